"""The lens shows what the model's own head makes of each layer, and at the end its own answer."""

import json
import math

import pytest
import torch
from model.asked import CAUSAL, EVERY, Running, changed, texts
from torch import nn

from inspector.errors import BadOption, UnsupportedModel
from inspector.model.lens import lens
from inspector.model.load import Model, load


def own_logits(model: Model, text: str) -> torch.Tensor:
    ids = model.tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        out = model.network(ids).logits
    return out[0] if out.ndim == 3 else out


@pytest.mark.parametrize("name", EVERY[:-1])
def test_the_last_layer_is_the_model_itself(name: str, running: Running) -> None:
    model = running(name)
    text = texts(model)[0]
    result = lens(model, text)
    expected = own_logits(model, text).log_softmax(-1)
    last = [point for point in result if point.layer == 1]
    assert len(last) == len(expected)
    for point, said in zip(last, expected, strict=True):
        assert point.probability == pytest.approx(float(said.max().exp()), rel=1e-5)
        assert point.divergence == 0
        assert point.answer_rank == 1
        assert point.agrees
        assert point.probability == point.answer_probability
        assert point.entropy == pytest.approx(float(-(said.exp() * said).sum()), abs=1e-4)
        if model.kind != "classifier":
            assert point.token == model.tokenizer.decode([int(said.argmax())])
    assert result.summary["last_layer_gap"] == 0
    assert result.findings == ()


HEADS = {  # final norm, and what comes after it
    "gpt2": ("transformer.ln_f", lambda n, h: n.lm_head(h)),
    "llama": ("model.norm", lambda n, h: n.lm_head(h)),
    "gemma2": ("model.norm", lambda n, h: 30 * torch.tanh(n.lm_head(h) / 30)),
    "opt": (
        "model.decoder.final_layer_norm",
        lambda n, h: n.lm_head(n.model.decoder.project_out(h)),
    ),
    "gpt_neox": ("gpt_neox.final_layer_norm", lambda n, h: n.get_output_embeddings()(h)),
    "bert": ("", lambda n, h: n.cls(h)),
}


@pytest.mark.parametrize("name", HEADS)
def test_layers_before_are_read_through_norm_and_head(name: str, running: Running) -> None:
    model = running(name)
    text = texts(model)[1]
    norm, head = HEADS[name]
    ids = model.tokenizer(text, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        hidden = model.network(ids, output_hidden_states=True).hidden_states[1][0]
        if norm:
            hidden = model.network.get_submodule(norm)(hidden)
        expected = head(model.network, hidden).softmax(-1)
    points = [point for point in lens(model, text, top=50) if point.layer == 0]
    final = own_logits(model, text).softmax(-1)
    for i, point in enumerate(points):
        best = expected[i].sort(descending=True).values[:50]
        assert point.probabilities == pytest.approx(best.tolist(), rel=1e-3, abs=1e-6)
        answer = int(final[i].argmax())
        assert point.answer_probability == pytest.approx(float(expected[i, answer]), rel=1e-3)
        assert point.answer_rank == 1 + int((expected[i] > expected[i, answer]).sum())
        divergence = (final[i] * (final[i] / expected[i]).log()).sum()
        assert point.divergence == pytest.approx(float(divergence), rel=1e-3, abs=1e-5)


def test_an_encoder_decoder_is_seen_in_its_decoder(running: Running) -> None:
    model = running("t5")
    network = model.network
    result = lens(model, "a b c", top=3)
    positions = result.summary["positions"]
    assert {point.layer for point in result} == {None, 0, 1}
    ids = model.tokenizer("a b c", return_tensors="pt")["input_ids"]
    decoder = [0]
    with torch.no_grad():
        while len(decoder) < positions:
            said = network(ids, decoder_input_ids=torch.tensor([decoder])).logits[0, -1]
            decoder.append(int(said.argmax()))
        out = network(ids, decoder_input_ids=torch.tensor([decoder]), output_hidden_states=True)
        hidden = out.decoder_hidden_states[1][0]
        scale = 32**-0.5 if network.config.tie_word_embeddings else 1
        early = network.lm_head(network.decoder.final_layer_norm(hidden) * scale).softmax(-1)
        final = out.logits[0].softmax(-1)
    for i in range(positions):
        first, last = (p for p in result if p.position == i and p.layer is not None)
        assert first.probability == pytest.approx(float(early[i].max()), rel=1e-3)
        assert last.probability == pytest.approx(float(final[i].max()), rel=1e-3)
        assert first.text == model.tokenizer.decode([decoder[i]])


def test_an_answer_that_is_ready_early_stays(running: Running) -> None:
    def quiet(network: nn.Module) -> None:
        layer = network.model.layers[1]
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()

    result = lens(changed(running("llama"), quiet), "a b c d")
    for point in result:
        if point.layer == 0:
            assert point.agrees
            assert point.divergence == pytest.approx(0, abs=1e-6)
    assert result.summary["settled"] in ("embedding", "layer 0")
    assert [row["agreement"] for row in result.summary["layers"][1:]] == [1.0, 1.0]


def test_a_head_that_says_nothing_has_full_entropy(running: Running) -> None:
    def silence(network: nn.Module) -> None:
        network.lm_head.weight.zero_()

    model = changed(running("gpt2"), silence)
    for point in lens(model, "a b"):
        assert point.probability == pytest.approx(1 / 64)
        assert point.entropy == pytest.approx(math.log(64))
        assert point.answer_rank == 1


def test_no_block_does_its_work_twice_and_nothing_is_left(running: Running) -> None:
    model = running("llama")
    calls = []
    mlp = model.network.model.layers[0].mlp
    handle = mlp.register_forward_hook(lambda *_: calls.append(1))
    lens(model, "a b c")
    handle.remove()
    assert len(calls) == 1
    assert all("forward" not in vars(module) for module in model.network.modules())


def test_a_model_that_is_not_the_same_twice_is_noticed(running: Running) -> None:
    model = running("llama")
    noise = nn.Dropout(0.5)
    handle = model.network.model.norm.register_forward_hook(lambda _m, _x, y: noise(y))
    try:
        findings = lens(model, "a b c").findings
    finally:
        handle.remove()
    assert "LN-GAP" in {finding.id for finding in findings}


@pytest.mark.parametrize("top", [0, 51])
def test_how_many_predictions_can_be_asked(top: int, running: Running) -> None:
    with pytest.raises(BadOption, match="1 to 50"):
        lens(running("llama"), "a b", top=top)


def test_what_has_no_head_is_told_and_bad_text_too(minilm, running: Running) -> None:
    with pytest.raises(UnsupportedModel, match="no head"):
        lens(load(minilm), "a b")
    for text in ("", "<s>", "a \ud800", "a " * 40):
        with pytest.raises(BadOption):
            lens(running("llama"), text)


def test_records_hold_together(running: Running) -> None:
    for name in CAUSAL[:3]:
        result = lens(running(name), "a b c", top=5)
        assert len(result) == 9
        assert all(len(p.tokens) == len(p.probabilities) == 5 for p in result)
        assert all(list(p.probabilities) == sorted(p.probabilities, reverse=True) for p in result)
        assert all(p.tokens[0] == p.token for p in result)
        assert json.loads(result.to_json())["schema"] == "inspector.lens/1"
        assert len(result.to_frame()) == 9


def test_the_planted_answer_grows_through_the_layers() -> None:
    result = lens(load("demo:planted"), "the nurse said that")
    said = [p.probabilities[p.tokens.index("he")] for p in result if p.position == 4]
    assert said[0] < 0.5 < said[2] < said[3] + 0.1
    assert result[-1].token == "he"
    assert [p.name for p in result if p.position == 4] == ["embedding"] + [
        f"layer {i}" for i in range(3)
    ]
