"""Maps of single heads against explicit computation; rollout and flow by hand and by program."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Float
from scipy.optimize import linprog
from torch import Tensor, nn

from inspector.errors import BadOption, NotEnoughData
from inspector.model.attention_map import attention_map, value_norms, without_sink
from inspector.model.attention_paths import MOST_FLOW, flow, mixed, rollout
from inspector.model.hooks import attention_by, captured
from inspector.model.load import Model

Running = Callable[[str], Model]
TEXT = "a b c a b w1 w2 a"
Map = Float[np.ndarray, "queries keys"]


def eager_maps(model: Model, text: str) -> Float[np.ndarray, "layers heads queries keys"]:
    ids = model.tokenizer(text, return_tensors="pt")["input_ids"]
    with attention_by(model.network, "eager"), torch.no_grad():
        seen = model.network(ids, output_attentions=True).attentions
    return torch.cat(seen).numpy()


@pytest.mark.parametrize("name", ["gpt2", "llama", "gemma2", "bloom", "falcon-new", "bert"])
def test_weights_are_those_of_eager_attention(name: str, running: Running) -> None:
    model = running(name)
    heads = [(0, 1), (1, 0), (1, 3)]
    found = attention_map(model, TEXT, heads)
    maps = eager_maps(model, TEXT)
    for place, (layer, head) in enumerate(heads):
        np.testing.assert_allclose(found.weights[place], maps[layer, head], atol=2e-6)
    np.testing.assert_allclose(found.rollout, rollout(list(maps.mean(1))), atol=1e-6)
    np.testing.assert_allclose(found.rollout.sum(-1), 1, atol=1e-6)
    np.testing.assert_allclose(
        found.flow, flow(list(maps.mean(1)), len(found.tokens) - 1), atol=1e-6
    )
    assert found.texts == tuple(TEXT.split())


def values_of(model: Model, layer: int, text: str) -> Float[Tensor, "tokens heads dim"]:
    """Each head's own values, from the projections themselves, repeated for groups."""
    attention, heads = model.blocks[layer].attention, model.blocks[layer].heads
    ids = model.tokenizer(text, return_tensors="pt")["input_ids"]
    fused = hasattr(attention, "c_attn")
    place = attention.c_attn if fused else attention.v_proj
    with captured(place) as seen, torch.no_grad():
        model.network(ids)
    out = seen[0][0].chunk(3, -1)[2] if fused else seen[0][0]
    split = out.unflatten(-1, (-1, model.blocks[layer].head_dim))
    return split.repeat_interleave(heads // split.shape[1], 1)


@pytest.mark.parametrize("name", ["gpt2", "opt", "llama", "mistral"])  # Conv1D, Linear, groups
def test_value_weighted_maps_equal_the_explicit_products(name: str, running: Running) -> None:
    model = running(name)
    heads = [(1, head) for head in range(4)]
    found = attention_map(model, TEXT, heads)
    block = model.blocks[1]
    values = values_of(model, 1, TEXT)
    weight = block.output.weight if name == "gpt2" else block.output.weight.T
    maps = torch.tensor(eager_maps(model, TEXT)[1])
    per_head = weight.unflatten(0, (block.heads, -1))
    with torch.no_grad():
        each = torch.einsum("hqk,khd,hde->qkhe", maps, values, per_head)  # [T, T, H, d]
        ids = model.tokenizer(TEXT, return_tensors="pt")["input_ids"]
        with captured(block.output) as seen, attention_by(model.network, "eager"):
            model.network(ids)
    bias = getattr(block.output, "bias", None)
    whole = each.sum((1, 2)) + (0 if bias is None else bias)
    torch.testing.assert_close(whole, seen[0][0], atol=1e-3, rtol=1e-4)
    expected = each.norm(dim=-1).permute(2, 0, 1).detach().numpy()
    np.testing.assert_allclose(found.value_weighted, expected, rtol=1e-4, atol=1e-5)


def test_families_that_are_not_streamed_have_no_values(running: Running) -> None:
    found = attention_map(running("bloom"), TEXT, [(0, 0)])
    assert found.value_weighted is None
    assert found.value_norms is None
    assert "AH-VALUES" in {finding.id for finding in found.findings}
    assert found.way == "eager"


def test_the_decoder_has_its_own_maps(running: Running) -> None:
    model = running("t5")
    encoder = attention_map(model, TEXT, [(1, 2)], stack="encoder")
    decoder = attention_map(model, TEXT, [(1, 2)], stack="decoder")
    assert np.triu(decoder.weights[0], 1).max() == 0
    assert np.triu(encoder.weights[0], 1).max() > 0
    assert np.triu(decoder.rollout, 1).max() == 0
    with pytest.raises(BadOption, match="encoder or decoder"):
        attention_map(model, TEXT, [(0, 0)])


def test_the_sink_can_be_taken_out(running: Running) -> None:
    found = attention_map(running("llama"), TEXT, [(0, 0), (1, 1)])
    rest = without_sink(found)
    assert (found.sink, rest.sink) == (True, False)
    for one in (rest.weights, rest.rollout[None]):
        assert (one[..., 0] == 0).all()
        np.testing.assert_allclose(one[:, 1:].sum(-1), 1, atol=1e-6)
        assert (one[:, 0] == 0).all()
    ratio = rest.weights[0, -1, 1:] / found.weights[0, -1, 1:]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    np.testing.assert_array_equal(rest.value_weighted[..., 1:], found.value_weighted[..., 1:])
    assert found.weights[0, 1:, 0].min() > 0  # what was given is untouched


def test_the_hand_checkable_example() -> None:
    weights = np.array([[1.0, 0.0], [0.5, 0.5]])
    np.testing.assert_allclose(rollout([weights, weights]), [[1, 0], [0.4375, 0.5625]])
    np.testing.assert_allclose(flow([weights, weights], 1)[0], 0.5)


def random_layers(seed: int, size: int, depth: int) -> list[Map]:
    random = np.random.default_rng(seed)
    layers = [np.tril(random.random((size, size)) ** 3) for _ in range(depth)]
    return [layer / layer.sum(-1, keepdims=True) for layer in layers]


def program_flow(layers: list[Map], query: int, key: int) -> float:
    """The same flow as a linear program over all edges."""
    size, depth = len(layers[0]), len(layers)
    edges = [
        (d * size + q, (d - 1) * size + k, mixed(layer)[q, k])
        for d, layer in enumerate(layers, 1)
        for q in range(size)
        for k in range(size)
    ]
    source, sink = depth * size + query, key
    balance = np.zeros(((depth + 1) * size, len(edges)))
    for number, (start, end, _) in enumerate(edges):
        balance[start, number] -= 1
        balance[end, number] += 1
    inner = [node for node in range(len(balance)) if node not in (source, sink)]
    solved = linprog(
        -balance[sink],
        A_eq=balance[inner],
        b_eq=np.zeros(len(inner)),
        bounds=[(0, room) for *_, room in edges],
    )
    return float(-solved.fun)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999), size=st.integers(2, 4), depth=st.integers(1, 3))
def test_flow_by_linear_programming(seed: int, size: int, depth: int) -> None:
    layers = random_layers(seed, size, depth)
    found = flow(layers, size - 1)
    assert found.shape == (size,)
    for key in range(size):
        assert found[key] == pytest.approx(program_flow(layers, size - 1, key), abs=1e-6)
    paths = rollout(layers)
    np.testing.assert_allclose(paths.sum(-1), 1)
    assert (found >= paths[-1] - 1e-8).all()  # one path's share is never more than the flow


def test_rows_with_a_learned_sink_are_scaled_for_paths(running: Running) -> None:
    found = attention_map(running("gpt_oss"), TEXT, [(0, 0)])
    assert found.weights.sum(-1).max() < 1
    np.testing.assert_allclose(found.rollout.sum(-1), 1, atol=1e-6)


def test_long_texts_have_no_flow(running: Running) -> None:
    model = running("gpt2")
    assert attention_map(model, "a " * MOST_FLOW, [(0, 0)]).flow is not None
    assert attention_map(model, "a " * (MOST_FLOW + 1), [(0, 0)]).flow is None


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"heads": [(2, 0)]}, "no head 0 in layer 2"),
        ({"heads": [(0, 4)]}, "no head 4 in layer 0"),
        ({"heads": [(0, -1)]}, "no head -1"),
        ({"heads": [(0, 1), (0, 1)]}, "twice"),
        ({"heads": [(0, 0)], "stack": "decoder"}, "no stack 'decoder'"),
        ({"heads": [(0, 0)], "flow_query": 8}, "Token 8 of 8"),
        ({"heads": [(0, 0)], "max_bytes": 100}, "limit of 100"),
    ],
)
def test_what_cannot_be_shown(given: dict, told: str, running: Running) -> None:
    with pytest.raises(BadOption, match=told):
        attention_map(running("llama"), TEXT, **given)


def test_texts_that_cannot_be_shown(running: Running) -> None:
    with pytest.raises(NotEnoughData):
        attention_map(running("llama"), "", [(0, 0)])
    with pytest.raises(BadOption, match="no valid text"):
        attention_map(running("llama"), "a \ud800", [(0, 0)])
    assert attention_map(running("llama"), TEXT, []).weights.shape == (0, 8, 8)


def test_value_norms_take_the_columns_of_their_head(running: Running) -> None:
    """The identity as output projection: the norm of what a head adds is that of its values."""
    block = running("llama").blocks[0]
    kept = block.output.weight
    block.output.weight = nn.Parameter(torch.eye(32))
    try:
        values = torch.rand(1, 2, 5, 8)
        for head in range(4):
            torch.testing.assert_close(
                value_norms(block, head, values), values[:, head // 2].norm(dim=-1)
            )
    finally:
        block.output.weight = kept
