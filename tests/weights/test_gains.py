"""Which norm feeds what: against what the modules themselves compute."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn
from transformers.pytorch_utils import Conv1D

from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.gains import ATTENTION, FEED_FORWARD, Gain, Gains, row_losses
from inspector.weights.matrices import matrices
from tests.weights.build import stored, write_file
from tests.weights.tiny_models import NORMS, Tiny, owner_of

PRE_NORM = [
    *("gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "gpt_neox"),
    *("opt", "bloom", "falcon-7b", "falcon-plain", "falcon-new", "mixtral", "gpt_oss", "t5"),
    *("t5-gated", "deepseek_v3", "qwen3_moe", "mpt", "dbrx", "llama4_text", "gpt_bigcode"),
    *("gpt_bigcode-plain", "persimmon", "modernbert"),
]
OTHERS = ["bert", "roberta", "distilbert", "electra", "bart", "olmo2"]


def found_gains(folder) -> dict[str, tuple[str, Gain | str]]:
    """Role and gain, or why there is none, of every matrix of a checkpoint."""
    checkpoint = open_checkpoint(folder)
    gains = Gains(checkpoint)
    with checkpoint.reader() as reader:
        return {m.name: (m.role, gains.before(m, reader)) for m in matrices(checkpoint)[0]}


def is_norm(module: nn.Module) -> bool:
    return type(module).__name__.endswith(NORMS) and getattr(module, "weight", None) is not None


def watch(tiny: Tiny) -> dict[nn.Module, str]:
    """Run the model; the name of the norm whose very output each projection was given."""
    model, outputs, fed = tiny.model, {}, {}
    handles = []

    def keep(name):
        def hook(_module, _inputs, output):
            outputs[name] = output.detach().reshape(-1)

        return hook

    def compare(module, inputs):
        seen = inputs[0].detach().reshape(-1)
        for name, output in outputs.items():
            if len(output) == len(seen) and torch.equal(output, seen):
                fed[module] = name

    for name, module in model.named_modules():
        if is_norm(module):
            handles.append(module.register_forward_hook(keep(name)))
        elif isinstance(module, nn.Linear | Conv1D) or "Experts" in type(module).__name__:
            handles.append(module.register_forward_pre_hook(compare))
    tokens = torch.randint(1, 64, (1, 7), generator=torch.Generator().manual_seed(0))
    more = {"decoder_input_ids": tokens} if model.config.is_encoder_decoder else {}
    with torch.no_grad():
        model(input_ids=tokens, **more)
    for handle in handles:
        handle.remove()
    return fed


@pytest.mark.parametrize("name", PRE_NORM)
def test_a_norm_feeds_what_its_output_goes_into(name, make):
    tiny = make(name)
    fed = watch(tiny)
    checked = 0
    for matrix, (role, gain) in found_gains(tiny.folder).items():
        stored_name = matrix.partition("[")[0]
        module = owner_of(tiny.model, stored_name)[0]
        if isinstance(gain, Gain):
            if module in fed:
                assert f"{fed[module]}.weight" == gain.name, matrix
                checked += 1
        else:
            inside = role in (*ATTENTION, *FEED_FORWARD)
            known = not inside or fed.get(module) is None
            # the second: ModernBERT's first block reads what the norm of its embeddings gives
            assert known or "inputs come from" in gain or gain == "its block has no attn_norm"
    assert checked >= 4


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe", "gpt_oss", "llama4_text"])
def test_experts_are_fed_like_the_router(name, make):
    gains = found_gains(make(name).folder)
    experts = {m: gain for m, (role, gain) in gains.items() if role in ("expert_gate", "expert_up")}
    assert len(experts) >= 8
    for matrix, gain in experts.items():
        layer = matrix.partition("layers.")[2].partition(".")[0]
        assert gain.name == f"model.layers.{layer}.post_attention_layernorm.weight"


@pytest.mark.parametrize("name", OTHERS)
def test_after_norms_that_come_behind_none_is_claimed(name, make):
    for role, gain in found_gains(make(name).folder).values():
        assert isinstance(gain, str)
        assert ("post-norm" in gain) == (role in (*ATTENTION, *FEED_FORWARD)) or "encoder" in gain


@pytest.mark.parametrize("name", PRE_NORM)
def test_gains_are_what_the_norm_multiplies_by(name, make):
    tiny = make(name)
    modules = dict(tiny.model.named_modules())
    gains = {g.name: g for _, g in found_gains(tiny.folder).values() if isinstance(g, Gain)}
    for gain in list(gains.values())[:4]:
        norm = modules.get(gain.name.rpartition(".")[0])
        if norm is None:  # saved under another name
            continue
        x = torch.randn(1, 2, len(gain.values), generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            kept = norm.weight.clone()
            given = norm(x)
            norm.weight.zero_()
            at_zero = norm(x)
            norm.weight.fill_(1.0)
            slope = norm(x) - at_zero
            norm.weight.copy_(kept)
        bias = getattr(norm, "bias", None)
        flat = given - (0 if bias is None else bias.detach())
        np.testing.assert_allclose((flat / slope)[0, 0].numpy(), gain.values, rtol=2e-3, atol=1e-4)


def test_without_a_config_it_is_not_known_how_norms_are_stored(make, tmp_path):
    tiny = make("llama")
    (tmp_path / "model.safetensors").write_bytes((tiny.folder / "model.safetensors").read_bytes())
    gains = found_gains(tmp_path)
    assert "config.json" in gains["model.layers.0.self_attn.q_proj.weight"][1]


@pytest.mark.parametrize(
    ("gains", "told"),
    [(np.full(4, np.nan), "NaN"), (np.ones(3), "has 3 gains")],
)
def test_gains_that_do_not_fit_are_not_used(gains, told, tmp_path):
    names = {
        "model.layers.0.self_attn.q_proj.weight": np.eye(4, dtype=np.float32),
        "model.layers.0.input_layernorm.weight": gains.astype(np.float32),
        "model.norm.weight": np.ones(4, dtype=np.float32),
    }
    write_file(tmp_path / "model.safetensors", {n: stored("F32", v) for n, v in names.items()})
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert told in found_gains(tmp_path)["model.layers.0.self_attn.q_proj.weight"][1]


@given(
    arrays(np.float32, (5, 7), elements=st.floats(-2, 2, width=16)),
    arrays(np.float64, 7, elements=st.sampled_from([0.0, 0.25, -1.0, 1.0, 3.0])),
)
def test_losses_by_row_are_what_sorting_each_row_gives(values, gains):
    """Without ties; with ties they lie between the best and the worst choice among them."""
    wide = values.astype(np.float64) ** 2
    weighted = wide * gains**2
    if not wide.any():
        return
    found = row_losses(values, gains)
    scores = (np.abs(values), np.abs(values) * np.abs(gains).astype(np.float32))
    for at, (energy, score) in enumerate((e, s) for e in (wide, weighted) for s in scores):
        if not energy.any():
            assert found[at] is None
            continue
        cheap, dear = (
            sum(e[np.lexsort((sign * e, s))[:3]].sum() for e, s in zip(energy, score, strict=True))
            for sign in (1, -1)
        )
        total = energy.sum()
        assert cheap / total - 1e-12 <= found[at] <= dear / total + 1e-12


def test_equal_gains_change_no_order():
    values = np.random.default_rng(0).normal(size=(64, 256)).astype(np.float32)
    rows, proxy, rows_out, proxy_out = row_losses(values, np.full(256, 0.5))
    assert rows == proxy
    assert rows_out == proxy_out == pytest.approx(rows, rel=1e-12)


def test_the_proxy_spares_the_outputs_and_costs_weight():
    draw = np.random.default_rng(0)
    values = draw.normal(size=(64, 256)).astype(np.float32)
    rows, proxy, rows_out, proxy_out = row_losses(values, draw.lognormal(0, 1, 256))
    assert proxy > rows
    assert proxy_out < rows_out
