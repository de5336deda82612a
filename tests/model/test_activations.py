"""Counts of units and sizes against models made so that the answer is known."""

import json

import numpy as np
import pytest
import torch
from model.asked import EVERY, Running, changed, texts
from torch import nn

from inspector.errors import BadOption
from inspector.model.activations import activation_of, activations
from inspector.model.load import Model, load
from inspector.model.places import find_blocks
from inspector.model.records import LayerActivations
from inspector.model.sums import Sizes, Units, slopes
from inspector.results import Records

EXPERTS = ("mixtral", "gpt_oss")


def run(model: Model) -> Records[LayerActivations]:
    return activations(model, texts(model))


@pytest.mark.parametrize("name", EVERY)
def test_every_family_is_measured_or_the_reason_told(name: str, running: Running) -> None:
    model = running(name)
    result = run(model)
    assert len(result) == len(model.blocks)
    told = [finding for finding in result.findings if finding.id == "AC-UNITS"]
    assert len(told) == (2 if name in EXPERTS else 0)
    for record in result:
        assert record.stream_rms_low <= record.stream_rms <= record.stream_rms_high
        assert min(record.growth, record.largest, record.attention_rms, record.mlp_rms) > 0
        assert -1 <= record.cosine <= 1
        if name in EXPERTS:
            assert record.units is None
        else:
            assert record.dead_units + record.linear_units <= record.units
            assert 0 <= record.saturated_share <= 1
    assert json.loads(result.to_json())["schema"] == "inspector.activations/1"


def test_units_that_never_and_always_speak_are_counted(running: Running) -> None:
    def plant(network: nn.Module) -> None:
        layer = network.model.decoder.layers[0]
        layer.fc1.bias[:] = 0
        layer.fc1.bias[:3] = -1e3  # relu: never
        layer.fc1.bias[3:10] = 1e3  # always

    before = run(running("opt"))
    result = run(changed(running("opt"), plant))
    first = result[0]
    assert first.units == 48
    rows = forward_units(changed(running("opt"), plant))
    never = int((rows <= 0).all(0).sum())
    loudest = rows.clamp_min(0).amax(0)
    assert never >= 3
    assert first.saturated_units == never
    assert first.dead_units == int((loudest <= 1e-3 * loudest.median()).sum()) >= never
    assert first.linear_units == int((rows > 0).all(0).sum()) >= 7
    assert first.saturated_share == pytest.approx(float((rows <= 0).double().mean()))
    assert before[0].dead_units != first.dead_units or before[0].linear_units != first.linear_units


def forward_units(model: Model) -> torch.Tensor:
    """What enters the first block's activation, over all tokens."""
    kept = []
    module = model.network.model.decoder.layers[0].activation_fn
    handle = module.register_forward_hook(lambda _m, x, _y: kept.append(x[0].flatten(0, -2)))
    with torch.no_grad():
        for text in texts(model):
            model.network(model.tokenizer(text, return_tensors="pt")["input_ids"])
    handle.remove()
    return torch.cat(kept)


@pytest.mark.parametrize(
    "function", [nn.GELU(), nn.SiLU(), nn.Tanh(), nn.ReLU(), nn.GELU(approximate="tanh")]
)
def test_slopes_are_those_of_finite_differences(function: nn.Module) -> None:
    at = torch.linspace(-4, 4, 101) + 0.03  # ReLU has a corner
    step = 1e-2
    expected = (function(at + step) - function(at - step)) / (2 * step)
    torch.testing.assert_close(slopes(function, at), expected, rtol=1e-3, atol=1e-3)


def test_saturation_has_two_ends() -> None:
    units = Units()
    before = torch.tensor([[[9.0, -9.0, 9.0, 0.0, -40.0]], [[8.0, -8.0, -9.0, 0.1, -40.0]]])
    units.add(before[:1], before[:1].tanh(), torch.tanh)
    units.add(before[1:], before[1:].tanh(), torch.tanh)
    assert units.counts() == {
        "units": 5,
        "dead_units": 0,
        "saturated_units": 4,
        "linear_units": 1,
        "saturated_share": 0.8,
    }


def test_sums_do_not_depend_on_how_they_are_cut() -> None:
    values = torch.randn(6, 4, 8)
    whole, parts = Sizes(), Sizes()
    whole.add(values)
    for part in values.split(2):
        parts.add(part)
    assert (
        parts.rms == pytest.approx(whole.rms) == pytest.approx(float(values.square().mean()) ** 0.5)
    )
    assert (
        (parts.largest, parts.rows)
        == (whole.largest, whole.rows)
        == (float(values.abs().max()), 24)
    )
    assert Sizes().rms == 0


def test_the_stream_is_what_transformers_gives_out(running: Running) -> None:
    model = running("llama")
    hidden = []
    with torch.no_grad():
        for text in texts(model):
            ids = model.tokenizer(text, return_tensors="pt")["input_ids"]
            out = model.network(ids, output_hidden_states=True).hidden_states
            hidden.append([one[0].double() for one in out[:2]])
    first = run(model)[0]
    rms = [float(one[1].square().mean().sqrt()) for one in hidden]
    assert first.stream_rms == pytest.approx(np.mean(rms), rel=1e-5)
    entering, leaving = (torch.cat([one[i] for one in hidden]) for i in (0, 1))
    growth = leaving.square().mean().sqrt() / entering.square().mean().sqrt()
    assert first.growth == pytest.approx(float(growth), rel=1e-5)
    cosine = torch.cosine_similarity(entering, leaving).mean()
    assert first.cosine == pytest.approx(float(cosine), rel=1e-4)
    largest = leaving.abs().max() / leaving.square().mean().sqrt()
    assert first.largest == pytest.approx(float(largest), rel=1e-5)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "olmo2", "bloom", "falcon-plain", "t5"])
def test_a_silent_mlp_adds_nothing(name: str, running: Running) -> None:
    def silence(network: nn.Module) -> None:
        for block in find_blocks(network):
            for parameter in block.mlp.parameters():
                parameter.zero_()

    records = run(changed(running(name), silence))
    assert {record.mlp_rms for record in records} == {0.0}
    assert all(record.attention_rms > 0 for record in records)


def test_w_x_and_b_are_those_of_the_projection(running: Running) -> None:
    model = running("gpt2")
    module = model.network.transformer.h[1].mlp.c_fc
    kept = []
    handle = module.register_forward_pre_hook(lambda _m, x: kept.append(x[0][0]))
    with torch.no_grad():
        for text in texts(model):
            model.network(model.tokenizer(text, return_tensors="pt")["input_ids"])
    handle.remove()
    product = torch.cat(kept) @ module.weight.detach()
    found = {size.name: size for size in run(model).summary["biases"]}
    size = found["transformer.h.1.mlp.c_fc.bias"]
    assert (size.layer, size.role) == (1, "up")
    assert size.product_rms == pytest.approx(float(product.square().mean().sqrt()), rel=1e-4)
    assert size.bias_rms == pytest.approx(
        float(module.bias.detach().square().mean().sqrt()), rel=1e-5
    )
    assert size.ratio == pytest.approx(size.bias_rms / size.product_rms)
    larger = (module.bias.detach().abs() > product.square().mean(0).sqrt()).double().mean()
    assert size.larger_units == pytest.approx(float(larger))
    assert "transformer.ln_f.bias" in found  # of norms too


def test_a_bias_that_drowns_its_matrix_is_seen(running: Running) -> None:
    def drown(network: nn.Module) -> None:
        network.model.layers[0].self_attn.q_proj.weight.zero_()

    result = run(changed(running("qwen2"), drown))
    sizes = {size.name: size for size in result.summary["biases"]}
    size = sizes["model.layers.0.self_attn.q_proj.bias"]
    assert (size.product_rms, size.ratio, size.larger_units) == (0.0, None, 1.0)
    assert sizes["model.layers.1.self_attn.q_proj.bias"].ratio < 1


def test_few_tokens_and_no_text_are_told(running: Running) -> None:
    result = run(running("llama"))
    assert result.summary["silent_at_most"] == pytest.approx(3 / result.summary["tokens"])
    assert "AC-FEW" in {finding.id for finding in result.findings}
    many = activations(running("llama"), ["a b c d e f g h i j"] * 30)
    assert "AC-FEW" not in {finding.id for finding in many.findings}
    assert activations(running("llama"), ["a b"])[0].stream_rms_low is None
    with pytest.raises(BadOption, match="list of"):
        activations(running("llama"), [])
    with pytest.raises(BadOption, match="special"):
        activations(running("llama"), [""])


def test_an_encoder_without_a_head_is_measured_too(minilm) -> None:
    result = activations(load(minilm), ["The nurse said that he was tired."])
    assert [record.layer for record in result] == list(range(6))
    assert all(record.units == 1536 for record in result)
    assert (
        len(result.summary["biases"]) == 6 * 8 + 2
    )  # and those of the embeddings' norm and the pooler


def test_an_activation_is_found_by_its_name(running: Running) -> None:
    assert activation_of(running("gpt_oss").blocks[0]) is None
    assert type(activation_of(running("llama").blocks[0])).__name__.startswith("SiLU")
