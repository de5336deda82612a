"""Parts of fused tensors are what the modules' own forward passes split them into."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.overrides import TorchFunctionMode
from transformers import AttentionInterface, AttentionMaskInterface
from weights.tiny_models import Tiny

from inspector.weights.architecture import Placement, place
from inspector.weights.header import TensorEntry
from inspector.weights.layouts import (
    Part,
    blocks,
    codegen,
    even_odd,
    grouped,
    halves,
    take,
    take_expert,
    thirds,
)

Make = Callable[[str], Tiny]
TOKENS = torch.tensor([[5], [6], [7]])  # at position 0 rotary embeddings change nothing


def fused(tiny: Tiny, role: str) -> tuple[Placement, nn.Module]:
    """The weight of that role with parts in the first block that has one, and its module."""
    found = place(tiny.entries, tiny.config).placements.values()
    placed = next(p for p in found if p.role == role and p.kind == "weight" and p.parts)
    return placed, tiny.model.get_submodule(placed.name.removesuffix(".weight"))


def run(tiny: Tiny, module: nn.Module) -> np.ndarray:
    """One forward pass; what went into `module`, one row for each of TOKENS."""
    inputs: list[torch.Tensor] = []
    hook = module.register_forward_pre_hook(lambda _, args: inputs.append(args[0].detach()))
    with torch.no_grad():
        tiny.model(input_ids=TOKENS, **({} if "bert" in tiny.name else {"use_cache": False}))
    hook.remove()
    return inputs[0].reshape(len(TOKENS), -1).numpy()


def split(tiny: Tiny, placed: Placement, x: np.ndarray) -> dict[str, np.ndarray]:
    """x through each part of a stored weight and bias: [token, out] by role."""
    bias = placed.name.removesuffix("weight") + "bias"
    found = place(tiny.entries, tiny.config).placements
    out = {}
    for i, part in enumerate(placed.parts):
        weight = take(tiny.values[placed.name], part)
        out[part.role] = x @ (weight if placed.orientation == "in_out" else weight.T)
        if bias in found:
            out[part.role] += take(tiny.values[bias], found[bias].parts[i])
    return out


def heads_first(rows: np.ndarray, heads: int | None) -> np.ndarray:
    assert heads is not None
    return rows.reshape(len(rows), heads, -1)


def close(first: Any, second: Any) -> bool:
    return first.shape == second.shape and np.allclose(first, second, atol=1e-4, rtol=1e-4)


CAPTURED: list[Sequence[torch.Tensor]] = []


def capture(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *_: Any,
    **__: Any,
) -> tuple[torch.Tensor, None]:
    """Attention over a single position is its value; the inputs are what we are after."""
    CAPTURED.append((query, key, value))
    return value.repeat_interleave(query.shape[1] // value.shape[1], dim=1).transpose(1, 2), None


@pytest.mark.parametrize(
    "name",
    [
        "gpt2",
        "phi3",
        "gpt_neox",
        "dbrx",
        "gpt_bigcode",
        "gpt_bigcode-plain",
        "persimmon",
        "modernbert",
    ],
)
def test_q_k_and_v_are_those_attention_gets(name: str, make: Make) -> None:
    AttentionInterface.register("capture", capture)
    AttentionMaskInterface.register("capture", lambda *_, **__: None)
    tiny = make(name)
    tiny.model.set_attn_implementation("capture")
    placed, module = fused(tiny, "qkv")
    CAPTURED.clear()
    mine = split(tiny, placed, run(tiny, module))
    assert [part.role for part in placed.parts] == ["q", "k", "v"]
    for part, theirs in zip(placed.parts, CAPTURED[0], strict=True):
        assert close(heads_first(mine[part.role], part.heads), theirs[:, :, 0].numpy()), part.role
    assert (placed.heads, placed.kv_heads) == (placed.parts[0].heads, placed.parts[1].heads)


def test_latent_k_and_v_are_those_attention_gets(make: Make) -> None:
    AttentionInterface.register("capture", capture)
    AttentionMaskInterface.register("capture", lambda *_, **__: None)
    tiny = make("deepseek_v3")
    tiny.model.set_attn_implementation("capture")
    placed, module = fused(tiny, "qkv")
    CAPTURED.clear()
    mine = split(tiny, placed, run(tiny, module))
    _, key, value = CAPTURED[0]
    nope = tiny.config["qk_nope_head_dim"]
    assert close(heads_first(mine["k"], 4), key[:, :, 0, :nope].numpy())
    assert close(heads_first(mine["v"], 4), value[:, :, 0].numpy())


@pytest.mark.parametrize("name", ["bloom", "falcon-7b", "falcon-plain", "falcon-new"])
def test_q_k_and_v_are_those_the_module_splits_off(name: str, make: Make) -> None:
    tiny = make(name)
    placed, module = fused(tiny, "qkv")
    attention = tiny.model.get_submodule(placed.name.rsplit(".", 2)[0])
    x = torch.randn(3, 1, 32)
    with torch.no_grad():
        theirs = (attention._reshape if name == "bloom" else attention._split_heads)(module(x))
    mine = split(tiny, placed, x.reshape(3, 32).numpy())
    for part, their in zip(placed.parts, theirs, strict=True):
        flat = their.reshape(
            3, -1, 8
        ).numpy()  # [token, head, size]: one position, so order is kept
        rows = heads_first(mine[part.role], part.heads)
        assert close(rows.repeat(flat.shape[1] // rows.shape[1], axis=1), flat), part.role


class FirstProduct(TorchFunctionMode):
    """Keeps what the first product of two batches of matrices was of."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[torch.Tensor] = []

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is torch.matmul and args[0].dim() == 4:
            self.kept += args[:2]
        return function(*args, **(kwargs or {}))


def test_mpt_multiplies_q_and_k_and_then_v(make: Make) -> None:
    tiny = make("mpt")
    placed, module = fused(tiny, "qkv")
    with FirstProduct() as seen:
        mine = split(tiny, placed, run(tiny, module))
    q, k_transposed, _, v = seen.kept[:4]
    assert close(heads_first(mine["q"], 4), q[:, :, 0].numpy())
    assert close(heads_first(mine["k"], 4), k_transposed[..., 0].numpy())
    assert close(heads_first(mine["v"], 4), v[:, :, 0].numpy())


def test_plain_thirds_are_wrong_for_interleaved_heads(make: Make) -> None:
    tiny = make("gpt_neox")
    placed, _ = fused(tiny, "qkv")
    weight = tiny.values[placed.name]
    for part, third in zip(placed.parts, np.split(weight, 3), strict=True):
        assert not np.allclose(take(weight, part), third)


@pytest.mark.parametrize(("name", "down"), [("phi3", "down_proj"), ("modernbert", "Wo")])
def test_gate_and_up_make_what_goes_down(name: str, down: str, make: Make) -> None:
    tiny = make(name)
    placed, module = fused(tiny, "gate_up")
    block = tiny.model.get_submodule(placed.name.rsplit(".", 2)[0])
    activation = block.activation_fn if name == "phi3" else block.act
    mine = split(tiny, placed, run(tiny, module))
    made = activation(torch.from_numpy(mine["gate"])).numpy() * mine["up"]
    assert close(made, run(tiny, getattr(block, down)))


def test_even_and_odd_columns_of_gpt_oss(make: Make) -> None:
    tiny = make("gpt_oss")
    name = "model.layers.0.mlp.experts.gate_up_proj"
    found = place(tiny.entries, tiny.config).placements
    experts = tiny.model.get_submodule("model.layers.0.mlp.experts")
    x = torch.randn(3, 32)
    halves_of = {}
    for weight, bias in zip(found[name].parts, found[f"{name}_bias"].parts, strict=True):
        assert weight.role == bias.role
        matrix = take_expert(take(tiny.values[name], weight), 4, 2)
        halves_of[weight.role] = torch.from_numpy(
            x.numpy() @ matrix + take(tiny.values[f"{name}_bias"], bias)[2]
        )
    gate, up = halves_of["expert_gate"], halves_of["expert_up"]
    gate, up = gate.clamp(max=experts.limit), up.clamp(-experts.limit, experts.limit)
    made = (up + 1) * gate * torch.sigmoid(gate * experts.alpha)
    with torch.no_grad():
        theirs = experts._apply_gate(x @ experts.gate_up_proj[2] + experts.gate_up_proj_bias[2])
    assert close(made.numpy(), theirs.numpy())


def test_packed_codes_of_gpt_oss_split_by_rows() -> None:
    name = "model.layers.0.mlp.experts.gate_up_proj_blocks"
    codes = np.arange(2 * 6 * 1 * 16).reshape(2, 6, 1, 16).astype(np.uint8)
    entry = TensorEntry(name=name, dtype="U8", shape=codes.shape, file="x", start=0, end=0)
    parts = place([entry], {"model_type": "gpt_oss"}).placements[name].parts
    for part, first in zip(parts, (0, 1), strict=True):
        assert np.array_equal(take(codes, part), codes[:, first::2])


def test_gate_up_and_down_of_llama4_experts(make: Make) -> None:
    tiny = make("llama4_text")
    placements = place(tiny.entries, tiny.config).placements
    name = next(n for n in placements if n.endswith("experts.gate_up_proj"))
    experts = tiny.model.get_submodule(name.rsplit(".", 1)[0])
    x = torch.randn(4, 3, 32)
    gate, up = (torch.from_numpy(take(tiny.values[name], p)) for p in placements[name].parts)
    assert [p.role for p in placements[name].parts] == ["expert_gate", "expert_up"]
    down = torch.from_numpy(tiny.values[name.replace("gate_up", "down")])
    with torch.no_grad():
        theirs = experts(x.reshape(12, 32)).reshape(4, 3, 32)
        made = (experts.act_fn(x @ gate) * (x @ up)) @ down
    assert close(made.numpy(), theirs.numpy())


@pytest.mark.parametrize("name", ["mixtral", "qwen3_moe", "deepseek_v3", "dbrx"])
def test_each_expert_computes_what_its_module_does(name: str, make: Make) -> None:
    tiny = make(name)
    placements = place(tiny.entries, tiny.config).placements.values()
    last = max(p.layer for p in placements if p.layer is not None)
    mine: dict[str, np.ndarray] = {}
    for placed in placements:
        if placed.layer != last or not placed.role.startswith("expert_"):
            continue
        if placed.expert == 2:
            mine[placed.role] = tiny.values[placed.name]
        elif placed.experts is not None:
            mine[placed.role] = take_expert(tiny.values[placed.name], placed.experts, 2)
            if placed.orientation == "in_out":
                mine[placed.role] = mine[placed.role].T
    gate, up, down = (torch.from_numpy(mine[f"expert_{r}"].copy()) for r in ("gate", "up", "down"))
    block = tiny.model.get_submodule(
        f"transformer.blocks.{last}.ffn" if name == "dbrx" else f"model.layers.{last}.mlp"
    )
    x = torch.randn(3, 32)
    chosen, weights = torch.full((3, 1), 2), torch.ones(3, 1)
    with torch.no_grad():
        theirs = block.experts(x, chosen, weights).reshape(3, 32)
        made = (nn.functional.silu(x @ gate.T) * (x @ up.T)) @ down.T
    assert close(made.numpy(), theirs.numpy())


LAYOUTS: dict[str, Callable[[int, int, int], tuple[Part, ...]]] = {
    "halves": lambda n, _, __: halves(0, 2 * n, ("gate", "up")),
    "even_odd": lambda n, _, __: even_odd(0, 2 * n, ("gate", "up")),
    "thirds": lambda n, h, _: thirds(0, 3 * n * h, h),
    "blocks": lambda n, h, kv: blocks(0, n * (h * kv + 2 * kv), h * kv, kv),
    "grouped": lambda n, h, kv: grouped(0, n * (h * kv + 2 * kv), h * kv, kv),
    "codegen": lambda n, h, _: codegen(0, 12 * n * h, 4 * h),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@given(size=st.integers(1, 5), heads=st.integers(1, 4), kv_heads=st.integers(1, 3))
def test_parts_share_a_tensor_out_without_rest(
    layout: str, size: int, heads: int, kv_heads: int
) -> None:
    parts = LAYOUTS[layout](size, heads, kv_heads)
    total = np.prod(parts[0].split)
    where = np.arange(total)
    assert sorted(np.concatenate([take(where, part) for part in parts])) == list(where)
    for part in parts:  # along any axis of any tensor alike
        wide = np.broadcast_to(where, (2, 3, total))
        moved = Part(role=part.role, axis=2, split=part.split, index=part.index)
        assert np.array_equal(take(wide, moved)[1, 2], take(where, part))


def test_parts_that_lie_together_are_views() -> None:
    array = np.zeros((12, 4))
    for part in (*blocks(0, 12, 2, 2), *halves(0, 12, ("gate", "up")), *thirds(0, 12, 2)):
        assert np.shares_memory(take(array, part), array)
    assert np.shares_memory(take_expert(array, 3, 1), array)
