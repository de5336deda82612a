"""Heads of real architectures against what their own attention computes, and planted ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from weights import llama_file
from weights.llama_file import DIM, HEADS, KV_HEADS, WIDTH, llama, write
from weights.tiny_models import Tiny, is_transposed

from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.composition import Composition
from inspector.weights.heads import Head
from inspector.weights.neurons import neurons

Make = Callable[[str], Tiny]
O_NAMES = ("o_proj", "c_proj", "out_proj", "dense", "output.dense")
FACTORS = {"opt": 8**-0.5, "gpt_oss": (0.1 * np.log(32) + 1) ** 2}  # of q in OPT, of q k in YaRN
CAPTURED: list[Any] = []


def capture(_module: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> Any:
    """What attention is given; over a single position it gives back its value."""
    CAPTURED.append((query, key, value))
    return value.repeat_interleave(query.shape[1] // value.shape[1], dim=1).transpose(1, 2), None


def theirs(tiny: Tiny, name: str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """OV and QK, width x width, of each head of the module of that name, found by probing it.

    The module is run on every unit vector at position 0, where rotary embeddings change nothing.
    """
    AttentionInterface.register("probe", capture)
    AttentionMaskInterface.register("probe", lambda *_, **__: None)
    tiny.model.set_attn_implementation("probe")
    module = tiny.model.get_submodule(name)
    probes = torch.cat([torch.zeros(1, 32), torch.eye(32)])[:, None]

    def replace(_: Any, args: Any, kwargs: Any) -> Any:
        if "hidden_states" in kwargs:
            return args, {**kwargs, "hidden_states": probes}
        return (probes, *args[1:]), kwargs

    hook = module.register_forward_pre_hook(replace, with_kwargs=True)
    CAPTURED.clear()
    with torch.no_grad():
        tiny.model(input_ids=torch.ones(33, 1, dtype=torch.long))
    hook.remove()
    layer = int(next(part for part in name.split(".") if part.isdigit()))
    q, k, v = ((x[1:] - x[:1])[:, :, 0].permute(1, 2, 0).double().numpy() for x in CAPTURED[layer])
    output = next(m for n in O_NAMES if (m := dict(module.named_modules()).get(n)) is not None)
    weight = output.weight.detach().double().numpy()
    o = (weight.T if is_transposed(output) else weight).reshape(32, len(q), -1).transpose(1, 0, 2)
    share = len(q) // len(k)
    return (
        [o[h] @ v[h // share] for h in range(len(q))],
        [q[h].T @ k[h // share] for h in range(len(q))],
    )


@pytest.mark.parametrize(
    "name",
    [
        *("gpt2", "llama", "mistral", "qwen2", "phi3", "gpt_neox", "opt", "bert", "roberta"),
        *("mixtral", "gpt_bigcode", "gpt_bigcode-plain", "persimmon", "gemma2", "gpt_oss", "dbrx"),
        "llama4_text",
    ],
)
def test_norms_and_copying_are_those_of_the_modules_own_split(name: str, make: Make) -> None:
    tiny = make(name)
    heads = neurons(open_checkpoint(tiny.folder)).summary["heads"]
    layers = {head.layer for head in heads}
    assert layers == {0, 1}
    for layer in layers:
        mine = [head for head in heads if head.layer == layer]
        module = {"dbrx": "transformer.blocks.{}.norm_attn_norm.attn"}.get(name, mine[0].name)
        ov, qk = theirs(tiny, module.format(layer))
        assert [head.head for head in mine] == list(range(len(ov)))
        for head, o_v, q_k in zip(mine, ov, qk, strict=True):
            assert head.ov_norm == pytest.approx(np.linalg.norm(o_v), rel=1e-4)
            assert head.ov_top == pytest.approx(np.linalg.norm(o_v, 2), rel=1e-4)
            values = np.linalg.eigvals(o_v)
            assert head.copying == pytest.approx(values.real.sum() / np.abs(values).sum(), abs=1e-3)
            assert head.qk_normalised == (name == "llama4_text")
            if not head.qk_normalised:
                q_k = q_k / FACTORS.get(name, 1.0)
                assert head.qk_norm == pytest.approx(np.linalg.norm(q_k), rel=1e-4)
                assert head.qk_top == pytest.approx(np.linalg.norm(q_k, 2), rel=1e-4)


@pytest.mark.parametrize("name", ["bloom", "falcon-7b", "falcon-plain", "falcon-new"])
def test_heads_of_modules_that_split_by_a_method(name: str, make: Make) -> None:
    tiny = make(name)
    heads = [head for head in heads_of(tiny.folder) if head.layer == 0]
    module = tiny.model.get_submodule(heads[0].name)
    with torch.no_grad():
        made = module.query_key_value(torch.cat([torch.zeros(1, 32), torch.eye(32)])[:, None])
        split = (module._reshape if name == "bloom" else module._split_heads)(made)
    q, k, v = (
        (x.reshape(33, -1, 8)[1:] - x.reshape(33, -1, 8)[:1]).double().numpy() for x in split
    )
    o = module.dense.weight.detach().double().numpy().reshape(32, 4, 8)
    assert len(heads) == 4
    for head in heads:
        at = head.head // (4 // k.shape[1])
        o_v, q_k = o[:, head.head] @ v[:, at].T, q[:, head.head] @ k[:, at].T
        assert head.ov_norm == pytest.approx(np.linalg.norm(o_v), rel=1e-4)
        assert head.qk_norm == pytest.approx(np.linalg.norm(q_k), rel=1e-4)


def heads_of(folder: Path) -> tuple[Head, ...]:
    found: tuple[Head, ...] = neurons(open_checkpoint(folder)).summary["heads"]
    return found


def product(values: dict[str, np.ndarray], layer: int, head: int) -> tuple[np.ndarray, np.ndarray]:
    """OV and QK of a head of the file, multiplied out."""
    q, k, v, o = (
        values[f"model.layers.{layer}.self_attn.{role}_proj.weight"].astype(np.float64)
        for role in "qkvo"
    )
    mine = slice(head * DIM, (head + 1) * DIM)
    kv = head // (HEADS // KV_HEADS)
    shared = slice(kv * DIM, (kv + 1) * DIM)
    return o[:, mine] @ v[shared], q[mine].T @ k[shared]


def test_eight_heads_over_two_kv_heads_to_1e_9(tmp_path: Path) -> None:
    values = llama()
    heads = heads_of(write(tmp_path / "m", values))
    assert len(heads) == 16
    for head in heads:
        assert head.kv_head == head.head // 4
        ov, qk = product(values, head.layer or 0, head.head)
        assert head.ov_norm == pytest.approx(np.linalg.norm(ov), rel=1e-9)
        assert head.qk_norm == pytest.approx(np.linalg.norm(qk), rel=1e-9)
        assert head.ov_top == pytest.approx(np.linalg.norm(ov, 2), rel=1e-9)
        assert head.qk_top == pytest.approx(np.linalg.norm(qk, 2), rel=1e-9)
        eigenvalues = np.linalg.eigvals(ov)
        expected = eigenvalues.real.sum() / np.abs(eigenvalues).sum()
        assert head.copying == pytest.approx(expected, abs=1e-9)
        assert head.qk_holds == "at distance 0 only"


def test_composition_is_that_of_the_products_and_near_its_baseline(tmp_path: Path) -> None:
    values = llama(layers=3)
    found = neurons(open_checkpoint(write(tmp_path / "m", values))).summary["composition"]
    assert len(found) == 50
    for one in found:
        ov, _ = product(values, one.from_layer, one.from_head)
        later_ov, later_qk = product(values, one.layer, one.head)
        left = {"q": later_qk.T, "k": later_qk, "v": later_ov}[one.through]
        expected = np.linalg.norm(left @ ov) / np.linalg.norm(left) / np.linalg.norm(ov)
        assert one.score == pytest.approx(expected, rel=1e-6)
        assert one.noise == WIDTH**-0.5
        assert one.from_layer < one.layer
    assert max(one.score / one.noise for one in found) < 1.5  # the largest of 576 pairs


@pytest.mark.parametrize("through", ["q", "k", "v"])
def test_a_head_that_reads_what_another_wrote_comes_first(through: str, tmp_path: Path) -> None:
    values = llama(layers=3)
    written = values["model.layers.0.self_attn.o_proj.weight"][:, 3 * DIM : 4 * DIM]
    reads = values[f"model.layers.2.self_attn.{through}_proj.weight"]
    at = 5 if through == "q" else 5 // 4
    reads[at * DIM : (at + 1) * DIM] = written.T
    found = neurons(open_checkpoint(write(tmp_path / "m", values))).summary["composition"]
    first: Composition = found[0]
    assert (first.through, first.from_layer, first.from_head, first.layer) == (through, 0, 3, 2)
    assert first.head == 5 if through == "q" else first.head // 4 == 1
    assert first.score > 2 * first.noise


@pytest.mark.parametrize(("name", "one_plus"), [("qwen3", 0.0), ("gemma3_text", 1.0)])
def test_gains_of_q_and_k_norms_are_multiplied_in(name: str, one_plus: float, make: Make) -> None:
    tiny = make(name)
    for head in heads_of(tiny.folder):
        start = f"model.layers.{head.layer}.self_attn"
        q, k = (
            tiny.values[f"{start}.{role}_proj.weight"].astype(np.float64)[at * 16 : (at + 1) * 16]
            * (one_plus + tiny.values[f"{start}.{role}_norm.weight"].astype(np.float64))[:, None]
            for role, at in (("q", head.head), ("k", head.kv_head))
        )
        assert head.qk_normalised
        assert head.qk_norm == pytest.approx(np.linalg.norm(q.T @ k), rel=1e-6)


def test_one_gain_for_each_head_of_olmo2(make: Make) -> None:
    tiny = make("olmo2")
    head = heads_of(tiny.folder)[3]
    start = "model.layers.0.self_attn"
    q, k = (
        (tiny.values[f"{start}.{r}_proj.weight"] * tiny.values[f"{start}.{r}_norm.weight"][:, None])
        for r in "qk"
    )
    expected = np.linalg.norm(q[24:32].T.astype(np.float64) @ k[8:16])
    assert head.qk_norm == pytest.approx(expected, rel=1e-6)


def test_latent_heads_have_ov_and_say_nothing_of_qk(make: Make) -> None:
    tiny = make("deepseek_v3")
    heads = heads_of(tiny.folder)
    assert len(heads) == 8
    start = "model.layers.0.self_attn"
    both = tiny.values[f"{start}.kv_b_proj.weight"].astype(np.float64).reshape(4, 14, 8)
    o = tiny.values[f"{start}.o_proj.weight"].astype(np.float64).reshape(32, 4, 6)
    for head in heads[:4]:
        product_of = o[:, head.head] @ both[head.head, 8:]
        assert head.ov_norm == pytest.approx(np.linalg.norm(product_of), rel=1e-6)
        assert head.qk_norm is head.qk_effective_rank is head.copying is None


def test_encoder_decoder_keeps_its_attentions_apart(make: Make) -> None:
    for name, each in (("t5", 4), ("bart", None)):
        tiny = make(name)
        result = neurons(open_checkpoint(tiny.folder))
        names = {head.name for head in result.summary["heads"]}
        assert result.summary["heads_skipped"] == ()
        assert len(names) == (2 + 2 * 2 if each else 2 + 2 * 3)
        assert {head.stack for head in result.summary["heads"]} == {"encoder", "decoder"}
        reading = {one.name for one in result.summary["composition"]}
        assert reading
        assert not any("EncDec" in name or "encoder_attn" in name for name in reading)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, "at distance 0 only"),
        ({"rope_theta": None}, "at distance 0 only"),  # Llama 1 did not say
        ({"rope_theta": None, "model_type": "bloom"}, "at every distance"),
        ({"rope_theta": None, "model_type": "unheard-of"}, "unknown"),
    ],
)
def test_what_qk_is_good_for(config: dict[str, Any], expected: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "m", llama(1), {**llama_file.CONFIG, **config})
    assert {head.qk_holds for head in heads_of(folder)} == {expected}


def test_unknown_heads_are_a_finding(tmp_path: Path) -> None:
    folder = write(tmp_path / "m", llama(2))
    (folder / "config.json").unlink()
    result = neurons(open_checkpoint(folder))
    assert result.summary["heads"] == ()
    assert len(result.summary["heads_skipped"]) == 2
    told = [f for f in result.findings if f.id == "NU-HEADS"]
    assert len(told) == 1
    assert "config.json" in told[0].statement
    assert len(result) == 14


def test_an_attention_with_a_nan_costs_no_other_its_heads(tmp_path: Path) -> None:
    values = llama(2)
    values["model.layers.0.self_attn.k_proj.weight"][1, 2] = np.nan
    result = neurons(open_checkpoint(write(tmp_path / "m", values)))
    assert {head.layer for head in result.summary["heads"]} == {1}
    assert [s.name for s in result.summary["heads_skipped"]] == ["model.layers.0.self_attn"]
    assert [s.name for s in result.coverage.skipped] == ["model.layers.0.self_attn.k_proj.weight"]
    assert {f.id for f in result.findings} >= {"NU-SKIPPED", "NU-HEADS"}
    assert len(result) == 13


def test_queries_and_gates_interleaved_in_one_tensor(tmp_path: Path) -> None:
    values = llama(1)
    q = values["model.layers.0.self_attn.q_proj.weight"].reshape(HEADS, 1, DIM, WIDTH)
    gates = np.ones_like(q)
    both = np.concatenate([q, gates], axis=1).reshape(-1, WIDTH)
    gated = {**values, "model.layers.0.self_attn.q_proj.weight": both}
    config = {**llama_file.CONFIG, "model_type": "qwen3_next", "head_dim": DIM}
    plain = heads_of(write(tmp_path / "plain", values))
    mine = heads_of(write(tmp_path / "gated", gated, config))
    assert len(mine) == HEADS
    assert [head.qk_norm for head in mine] == [head.qk_norm for head in plain]
