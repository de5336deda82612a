"""What is switched off is what would not be in the file: compared with models saved without it."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from model.asked import EVERY, Running, answers, changed, texts, zero_slice
from model.conftest import saved
from safetensors.torch import load_file, save_file
from torch import nn

from inspector.demo.corpus import contexts
from inspector.errors import BadOption
from inspector.model.ablation import COMPONENTS, ablate, biases, components_of
from inspector.model.asking import outcome
from inspector.model.load import Model, load
from inspector.model.questions import questions
from inspector.model.records import Ablation
from inspector.results import Records
from inspector.weights.problems import Log

DOWN = {  # the last projection of the second block's MLP
    "gpt2": "transformer.h.1.mlp.c_proj",
    "llama": "model.layers.1.mlp.down_proj",
    "gemma2": "model.layers.1.mlp.down_proj",
    "gpt_neox": "gpt_neox.layers.1.mlp.dense_4h_to_h",
    "opt": "model.decoder.layers.1.fc2",
    "bloom": "transformer.h.1.mlp.dense_4h_to_h",
    "falcon-new": "transformer.h.1.mlp.dense_4h_to_h",
    "bert": "bert.encoder.layer.1.output.dense",
    "distilbert": "distilbert.transformer.layer.1.ffn.lin2",
    "t5": "decoder.block.1.layer.2.DenseReluDense.wo",
}


def run(model: Model, **options) -> Records[Ablation]:
    return ablate(model, texts(model), *answers(model), **options)


def without(model: Model, change: Callable[[nn.Module], None]) -> tuple[float, float]:
    """Mean loss and score of a copy that was changed for good."""
    other = changed(model, change)
    asked = questions(other, texts(model), *answers(model), Log())
    with torch.no_grad():
        found = outcome(other, asked)
    return float(found.loss.nanmean()), float(found.score.mean())


def close(model: Model, record: Ablation, change: Callable[[nn.Module], None]) -> None:
    whole, score = without(model, lambda _: None)
    loss, answer = without(model, change)
    assert record.loss == pytest.approx(loss, abs=1e-4)
    assert record.loss_change == pytest.approx(loss - whole, abs=2e-4)
    assert record.answer_change == pytest.approx(answer - score, abs=2e-4)


def zeroed(*names: str) -> Callable[[nn.Module], None]:
    def change(network: nn.Module) -> None:
        for name in names:
            for parameter in network.get_submodule(name).parameters():
                parameter.zero_()

    return change


def biases_zeroed(part: str) -> Callable[[nn.Module], None]:
    def change(network: nn.Module) -> None:
        for name, parameter in network.named_parameters():
            if part in name and name.endswith("bias"):
                parameter.zero_()

    return change


@pytest.mark.parametrize("name", EVERY)
def test_everything_is_switched_off_and_on_again(name: str, running: Running) -> None:
    model = running(name)
    before = {key: value.clone() for key, value in model.network.state_dict().items()}
    result = run(model)
    assert all(torch.equal(before[k], v) for k, v in model.network.state_dict().items())
    assert all(record.loss is not None and 0 <= record.kept <= 1 for record in result)
    assert all(r.answer_change_low <= r.answer_change <= r.answer_change_high for r in result)
    assert all(record.divergence > -1e-4 for record in result)
    count = {c: sum(record.component == c for record in result) for c in COMPONENTS}
    blocks, sites = len(model.blocks), 6 if name == "t5" else len(model.blocks)
    rest = {"layer": blocks, "mlp": blocks, "attention": sites, "head": 4 * sites}
    assert {c: n for c, n in count.items() if c != "biases"} == rest
    assert bool(count["biases"]) == bool(biases(model))
    assert ("HE-NOBIAS" in {f.id for f in result.findings}) != bool(biases(model))
    for record in result:  # each is felt, or is one of those that softmax or a norm takes back
        moved = max(abs(record.loss_change), abs(record.answer_change), record.divergence)
        assert moved > 1e-7 or record.role in ("k", "position"), record.name
    document = json.loads(result.to_json())
    assert document["schema"] == "inspector.ablate/1"
    assert len(result.to_frame()) == len(result)


@pytest.mark.parametrize("name", ["gpt2", "qwen2", "bert", "gpt_neox", "bert-classifier"])
def test_all_biases_off_is_the_model_saved_with_zeros(name: str, running, tmp_path: Path) -> None:
    model = running(name)
    path = saved(name, tmp_path) / "model.safetensors"
    tensors = load_file(path)
    count = 0
    for key, values in tensors.items():
        if key.endswith("bias"):
            count += values.numel()
            values.zero_()
    save_file(tensors, path, metadata={"format": "pt"})
    plain = load(tmp_path)
    asked = questions(plain, texts(model), *answers(model), Log())
    with torch.no_grad():
        found = outcome(plain, asked)
    record = next(iter(run(model, components=["biases"])))
    assert record.name == "all biases"
    assert record.parameters == count
    assert record.loss == pytest.approx(float(found.loss.nanmean()), abs=1e-5)
    summary = run(model, components=["biases"]).summary
    score = summary["answer"] + record.answer_change
    assert score == pytest.approx(float(found.score.mean()), abs=1e-4)


def test_biases_are_told_apart_by_layer_and_role(running: Running) -> None:
    model = running("gpt2")
    result = {record.name: record for record in run(model, components=["biases"])}
    close(model, result["biases of layer 1"], biases_zeroed("h.1."))
    close(model, result["biases outside the layers"], biases_zeroed("ln_f"))
    whole = result["all biases"].parameters
    layers = [r.parameters for n, r in result.items() if n.startswith("biases of layer")]
    assert sum(layers) + result["biases outside the layers"].parameters == whole
    roles = [r.parameters for r in result.values() if r.role is not None]
    assert sum(roles) == whole
    assert result["biases of norm"].role == "norm"


def test_sinks_of_attention_are_no_biases(running: Running) -> None:
    names = {placed.name for placed, _ in biases(running("gpt_oss"))}
    assert any(name.endswith("down_proj_bias") for name in names)
    assert not any("sinks" in name for name in names)


@pytest.mark.parametrize("name", DOWN)
def test_an_mlp_off_is_one_whose_last_projection_is_zero(name: str, running: Running) -> None:
    model = running(name)
    records = [r for r in run(model, components=["mlp"]) if r.layer == 1]
    close(model, records[-1], zeroed(DOWN[name]))


@pytest.mark.parametrize("name", ["gpt2", "llama", "bloom", "gemma2", "bert", "t5"])
def test_an_attention_off_writes_nothing(name: str, running: Running) -> None:
    model = running(name)
    block = model.blocks[-1]
    path = next(n for n, m in model.network.named_modules() if m is block.output)
    wanted = [
        r
        for r in run(model, components=["attention", "head"])
        if (r.stack, r.layer, r.part) == (block.stack, block.layer, "self")
    ]
    close(model, wanted[0], zeroed(path))
    close(
        model,
        wanted[3],  # the attention, then heads 0, 1, 2
        lambda network: zero_slice(network.get_submodule(path), 2, block.heads),
    )


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("gpt2", "transformer.h"),
        ("bloom", "transformer.h"),
        ("llama", "model.layers"),
        ("bert", "bert.encoder.layer"),
        ("bert-classifier", "bert.encoder.layer"),
    ],
)
def test_a_layer_off_is_a_model_without_it(name: str, layers: str, running: Running) -> None:
    model = running(name)
    record = [r for r in run(model, components=["layer"]) if r.layer == 0][0]

    def cut(network: nn.Module) -> None:
        owner, _, last = layers.rpartition(".")
        kept = network.get_submodule(layers)[1]
        setattr(network.get_submodule(owner), last, nn.ModuleList([kept]))

    close(model, record, cut)


def test_divergence_and_kept_are_of_the_answer(running: Running) -> None:
    model = running("llama")
    record = [r for r in run(model, components=["layer"]) if r.layer == 1][0]
    kept, total = [], []
    for text in texts(model):
        ids = model.tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            one = model.network(ids).logits[0, -1].log_softmax(-1)
            layers = model.network.model.layers
            handle = layers[1].register_forward_hook(lambda _m, x, _y: x[0])
            other = model.network(ids).logits[0, -1].log_softmax(-1)
            handle.remove()
        total.append(float(nn.functional.kl_div(other, one, log_target=True, reduction="sum")))
        kept.append(float(one.argmax() == other.argmax()))
    assert record.divergence == pytest.approx(sum(total) / 3, rel=1e-4)
    assert record.kept == pytest.approx(sum(kept) / 3)


def test_one_text_has_no_range_and_one_token_no_loss(running: Running) -> None:
    model = running("llama")
    record = ablate(model, ["a b c"], "p", components=["mlp"])[0]
    assert record.loss_change is not None
    assert record.loss_change_low is None
    result = ablate(model, ["a"], "p", components=["mlp"])
    assert result[0].loss is None
    assert result[0].loss_change is None
    assert result.summary["loss"] is None
    assert result[0].answer_change != 0


def test_a_wrong_component_is_told(running: Running) -> None:
    with pytest.raises(BadOption, match="biases, layer, attention, mlp, head"):
        ablate(running("llama"), ["a b"], components=["neuron"])


def test_several_classes_at_once_have_no_divergence(running: Running) -> None:
    model = running("bert-classifier")
    kind = model.network.config.problem_type
    model.network.config.problem_type = "multi_label_classification"
    try:
        assert {r.divergence for r in run(model, components=["layer"])} == {None}
    finally:
        model.network.config.problem_type = kind


def test_progress_counts_components_and_may_stop(running: Running) -> None:
    model = running("gpt2")
    seen: list[tuple[int, int, str]] = []
    run(model, components=["mlp"], progress=lambda *step: seen.append(step))
    steps = [step[:2] for step in seen if not step[2].startswith("text ")]
    assert steps == [(0, 2), (1, 2), (2, 2)]

    def stop(done: int, _total: int, _label: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    before = model.network.transformer.h[0].mlp.c_fc.bias.clone()
    with pytest.raises(KeyboardInterrupt):
        run(model, components=["biases"], progress=stop)
    assert torch.equal(model.network.transformer.h[0].mlp.c_fc.bias, before)


def test_the_biases_of_the_planted_model_hardly_matter_and_its_first_layer_does() -> None:
    model = load("demo:planted")
    given = [c for who in ("nurse", "engineer") for c in contexts(who, "pronoun")[::6]]
    result = ablate(model, given, "he", "she", components=["biases", "layer", "attention"])
    weighed = result.summary["biases"]
    assert weighed["parameters"] == 2880
    assert 0.005 < weighed["share"] < 0.01
    assert abs(weighed["answer_change"]) < 0.05 < result.summary["answer"]
    assert weighed["layers_that_change_less"] == 0
    first = [r for r in result if r.component == "attention"][0]
    assert first.answer_change_high < -1
    assert len(list(components_of(model))) == 11 + 3 * 3 + 12
