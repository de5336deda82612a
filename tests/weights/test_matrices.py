"""Every matrix of every family is given once, as [out, in], and what is left out is named."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from weights.tiny_models import MODELS, Tiny

from inspector.errors import BadOption
from inspector.weights import matrices as m
from inspector.weights.checkpoint import open_checkpoint
from tests.weights.build import Stored, stored, write_file

Make = Callable[[str], Tiny]


def all_of(folder: Path) -> dict[str, tuple[m.Matrix, np.ndarray]]:
    checkpoint = open_checkpoint(folder)
    with checkpoint.reader() as reader:
        found = m.matrices(checkpoint)[0]
        return {matrix.name: (matrix, m.load(matrix, reader)) for matrix in found}


@pytest.mark.parametrize("name", MODELS)
def test_matrices_and_reasons_share_out_every_value(name: str, make: Make) -> None:
    """Sizes add up to the tensor; its values come back once each; blocks give the same Gram."""
    tiny = make(name)
    checkpoint = open_checkpoint(tiny.folder)
    found, skipped = m.matrices(checkpoint)
    sizes: Counter[str] = Counter()
    values: dict[str, list[np.ndarray]] = {}
    with checkpoint.reader() as reader:
        for matrix in found:
            loaded = m.load(matrix, reader)
            assert loaded.shape == (matrix.rows, matrix.columns)
            assert loaded.dtype == np.float32
            sizes[matrix.entry.name] += loaded.size
            values.setdefault(matrix.entry.name, []).append(loaded.ravel())
            pieces = list(m.blocks(matrix, reader))
            short = min(loaded.shape)
            assert {piece.shape[1] for piece in pieces} == {short}
            gram = sum(p.astype(float).T @ p for p in pieces)
            tall = loaded if loaded.shape[1] == short else loaded.T
            singular = np.linalg.svd(tall.astype(float), compute_uv=False)
            np.testing.assert_allclose(np.trace(gram), np.square(singular).sum(), rtol=1e-6)
            np.testing.assert_allclose(np.linalg.norm(gram, 2), singular[0] ** 2, rtol=1e-6)
    for entry in checkpoint.tensors:
        if entry.name in sizes:
            assert sizes[entry.name] == entry.parameters
            together = np.sort(np.concatenate(values[entry.name]))
            np.testing.assert_array_equal(together, np.sort(tiny.values[entry.name].ravel()))
    reasons = {s.name: s.reason for s in skipped}
    assert sizes.keys() | reasons.keys() == {entry.name for entry in checkpoint.tensors}
    assert not sizes.keys() & reasons.keys()
    covered = m.coverage(checkpoint, found, skipped)
    assert covered.parameters_total == sum(e.parameters for e in checkpoint.tensors)
    assert covered.parameters_measured == sum(sizes.values())
    assert covered.tensors_measured == len(sizes)
    assert covered.tensors_total == len(checkpoint.tensors)


def test_conv1d_and_linear_forms_of_one_model_give_the_same_matrices(
    make: Make, tmp_path: Path
) -> None:
    """GPT-2's [in, out] turned by hand, and its fused tensor cut by hand."""
    tiny = make("gpt2")
    found = all_of(tiny.folder)
    block = "transformer.h.0."
    fused = tiny.values[f"{block}attn.c_attn.weight"]
    for i, role in enumerate("qkv"):
        matrix, values = found[f"{block}attn.c_attn.weight[{role}]"]
        np.testing.assert_array_equal(values, fused[:, 32 * i : 32 * (i + 1)].T)
        assert (matrix.role, matrix.layer, matrix.heads) == (role, 0, 4)
        np.testing.assert_array_equal(m.head_view(matrix, values)[1], values[8:16])
    up = found[f"{block}mlp.c_fc.weight"][1]
    np.testing.assert_array_equal(up, tiny.values[f"{block}mlp.c_fc.weight"].T)
    output, values = found[f"{block}attn.c_proj.weight"]
    np.testing.assert_array_equal(m.head_view(output, values)[1], values[:, 8:16].T)


def test_heads_of_grouped_queries(make: Make) -> None:
    found = all_of(make("llama").folder)
    block = "model.layers.0.self_attn."
    heads = {role: found[f"{block}{role}_proj.weight"][0].heads for role in "qkvo"}
    assert heads == {"q": 4, "k": 2, "v": 2, "o": 4}


def test_experts_are_matrices_of_their_own(make: Make) -> None:
    tiny = make("gpt_oss")
    found = all_of(tiny.folder)
    stacked = tiny.values["model.layers.1.mlp.experts.gate_up_proj"]
    gate, values = found["model.layers.1.mlp.experts.gate_up_proj[expert 3, expert_gate]"]
    np.testing.assert_array_equal(values, stacked[3][:, ::2].T)
    assert (gate.expert, gate.role, gate.rows, gate.columns) == (3, "expert_gate", 48, 32)
    mixtral = all_of(make("mixtral").folder)
    assert {matrix.expert for matrix, _ in mixtral.values()} == {None, 0, 1, 2, 3}


def test_what_is_laid_out_as_a_matrix_and_is_none(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        "backbone.layers.0.mixer.A_log": rng.standard_normal((32, 8)),
        "backbone.layers.0.mixer.in_proj.weight": rng.standard_normal((32, 8)),
        "rwkv.blocks.0.attention.time_mix_key": rng.standard_normal((1, 1, 32)),
        "score.weight": rng.standard_normal((1, 32)),
    }
    write_file(tmp_path / "model.safetensors", {n: stored("F64", x) for n, x in arrays.items()})
    found, skipped = m.matrices(open_checkpoint(tmp_path))
    assert {x.name for x in found} == {"backbone.layers.0.mixer.in_proj.weight", "score.weight"}
    assert {s.name.rpartition(".")[2] for s in skipped} == {"A_log", "time_mix_key"}


def test_a_head_count_that_is_not_known_is_an_error() -> None:
    checkpoint = open_checkpoint("demo:planted")
    matrix = next(x for x in m.matrices(checkpoint)[0] if x.role == "up")
    with pytest.raises(BadOption, match="not known"):
        m.head_view(matrix, np.zeros((2, 2)))


def test_values_of_every_float_format(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 4))
    tensors: dict[str, Stored] = {
        "a.weight": stored("F64", x),
        "b.weight": stored("F32", x.astype(np.float32)),
        "c.weight": stored("F16", x.astype(np.float16)),
        "e.weight": stored("I8", np.ones((6, 4), dtype=np.int8)),
        "f.weight": ("F32", (0, 4), b""),
        "g.weight": stored("F32", np.ones(3, dtype=np.float32)),
    }  # fmt: skip
    write_file(tmp_path / "model.safetensors", tensors)
    found = all_of(tmp_path)
    assert found["a.weight"][1].dtype == np.float64
    np.testing.assert_array_equal(found["a.weight"][1], x)
    np.testing.assert_array_equal(found["c.weight"][1], x.astype(np.float16).astype(np.float32))
    reasons = {s.name: s.reason for s in m.matrices(open_checkpoint(tmp_path))[1]}
    assert set(reasons) == {"e.weight", "f.weight", "g.weight"}
    assert "no values" in reasons["f.weight"]


@pytest.mark.parametrize("large", [10**9, 0])
def test_a_matrix_larger_than_a_block_is_read_in_several(
    large: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(m, "BLOCK", 64)
    monkeypatch.setattr(m, "LARGE", large)
    x = np.random.default_rng(0).standard_normal((50, 7)).astype(np.float32)
    for name, values in (("tall", x), ("wide", np.ascontiguousarray(x.T))):
        folder = tmp_path / name
        folder.mkdir()
        write_file(folder / "model.safetensors", {"x.weight": stored("F32", values)})
        checkpoint = open_checkpoint(folder)
        with checkpoint.reader() as reader:
            pieces = list(m.blocks(m.matrices(checkpoint)[0][0], reader))
        assert len(pieces) == 6
        np.testing.assert_array_equal(np.concatenate(pieces), x)
