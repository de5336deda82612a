"""Tensors found again under other names, and values found again in other places."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from weights.build import stored, write_file

from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.lineage import SMALL, arrangement, by_content, by_prefix


def tensors(names, seed=0, shape=(8, 16)):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(np.float32) for name in names}


def opened(path, arrays):
    path.mkdir()
    write_file(path / "model.safetensors", {n: stored("F32", a) for n, a in arrays.items()})
    return open_checkpoint(path)


def match(tmp_path, base, tuned, once=True):
    one, other = opened(tmp_path / "base", base), opened(tmp_path / "tuned", tuned)
    with one.reader() as base_reader, other.reader() as tuned_reader:
        return by_content(
            {e.name: e for e in one.tensors},
            {e.name: e for e in other.tensors},
            base_reader,
            tuned_reader,
            once,
        )


def test_equal_bytes_are_found_whatever_the_name(tmp_path):
    base = tensors("abc")
    tuned = {"x": base["c"], "y": base["a"], "z": base["b"] + np.float32(1e-6)}
    assert match(tmp_path, base, tuned) == {"x": "c", "y": "a"}


def test_a_difference_outside_the_sample_is_seen(tmp_path):
    base = tensors("a", shape=(64, 1024))
    other = base["a"].copy()
    other[20, 700] += 1
    assert other.nbytes > SMALL
    assert match(tmp_path, base, {"x": other}) == {}


def test_among_equals_the_names_decide(tmp_path):
    names = [f"layers.{i}.norm.weight" for i in range(3)]
    base = {name: np.ones(16, dtype=np.float32) for name in names}
    tuned = {f"model.{name}": base[name] for name in reversed(names)}
    assert match(tmp_path, base, tuned) == {f"model.{name}": name for name in names}


def test_a_source_serves_once_or_many_times(tmp_path):
    base = tensors("a")
    tuned = {"x": base["a"], "y": base["a"]}
    assert match(tmp_path, base, tuned) == {"x": "a"}
    (tmp_path / "again").mkdir()
    assert match(tmp_path / "again", base, tuned, once=False) == {"x": "a", "y": "a"}


def test_the_same_bytes_in_another_shape_or_dtype_are_another_tensor(tmp_path):
    values = tensors("a")["a"]
    tuned = {"x": values.reshape(16, 8)}
    assert match(tmp_path, {"a": values}, tuned) == {}


def entries(tmp_path, names, shape=(4, 4)):
    checkpoint = opened(tmp_path, tensors(names, shape=shape))
    return {entry.name: entry for entry in checkpoint.tensors}


@pytest.mark.parametrize(
    ("old", "new"), [("bert.", ""), ("", "model."), ("transformer.h.", "model.layers.")]
)
def test_a_change_of_prefix_is_recognised(tmp_path, old, new):
    ends = [f"{i}.{leaf}.weight" for i in range(3) for leaf in ("q", "k")]
    before = entries(tmp_path / "base", [old + end for end in ends])
    after = entries(tmp_path / "tuned", [new + end for end in ends])
    assert by_prefix(before, after) == {new + end: old + end for end in ends}


def test_two_changes_of_prefix_at_once(tmp_path):
    before = entries(tmp_path / "a", ["enc.0.q", "enc.1.q", "dec.0.k", "dec.1.k"])
    after = entries(tmp_path / "b", ["E.0.q", "E.1.q", "D.0.k", "D.1.k"])
    expected = {"E.0.q": "enc.0.q", "E.1.q": "enc.1.q", "D.0.k": "dec.0.k", "D.1.k": "dec.1.k"}
    assert by_prefix(before, after) == expected


def test_one_like_ending_is_no_renaming(tmp_path):
    before = entries(tmp_path / "a", ["lm_head.weight", "x.bias"])
    assert by_prefix(before, entries(tmp_path / "b", ["classifier.weight"])) == {}


def test_another_shape_is_no_renaming(tmp_path):
    before = entries(tmp_path / "a", ["bert.0.q", "bert.1.q"])
    assert by_prefix(before, entries(tmp_path / "b", ["0.q", "1.q"], shape=(4, 5))) == {}


@given(st.integers(2, 12), st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_arrangements(rows, columns, seed):
    rng = np.random.default_rng(seed)
    patterns = rng.permutation(65536)[: rows * columns].astype(np.uint16).reshape(rows, columns)
    by_row = patterns[np.roll(np.arange(rows), 1)]
    by_column = patterns[:, np.roll(np.arange(columns), 1)]
    assert arrangement(patterns, by_row) == "rows in another order"
    assert arrangement(patterns, by_column) == "columns in another order"
    assert arrangement(patterns, by_row[:, ::-1].copy()) == "values in another order"
    assert arrangement(patterns, patterns ^ 1) in (None, "values in another order")
    changed = patterns.copy()
    changed[0, 0] = changed[-1, -1]
    assert arrangement(patterns, changed) is None
    if rows != columns:
        assert arrangement(patterns, patterns.T.copy()) == "transposed"


def test_equal_rows_count_as_often_as_they_stand():
    one = np.array([[1, 2], [1, 2], [3, 4]], dtype=np.uint16)
    other = np.array([[1, 2], [3, 4], [3, 4]], dtype=np.uint16)
    assert arrangement(one, other) is None
    assert arrangement(one, one[[2, 0, 1]]) == "rows in another order"
