"""N:M patterns and the structure of zeros, against counting them the slow way."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from inspector.weights import gaussian
from inspector.weights.sparsity import (
    all_zero_by_chance,
    kept_by_chance,
    pattern,
    zero_structure,
)

VALUES = st.sampled_from([0.0, 0.0, -0.0, 1.0, -1.0, 0.5, 2.0, -3.0, 1e-30])
MATRICES = arrays(np.float32, array_shapes(min_dims=2, max_dims=2, max_side=40), elements=VALUES)
PATTERNS = [(2, 4), (4, 8), (1, 4)]


def groups_of(values: np.ndarray, group: int) -> np.ndarray:
    """All groups, one per row, filled up with zeros."""
    missing = -values.shape[1] % group
    return np.pad(values.astype(np.float64), ((0, 0), (0, missing))).reshape(-1, group)


@given(MATRICES, st.sampled_from(PATTERNS))
def test_a_pattern_is_what_its_groups_are(values, form):
    keep, group = form
    found = pattern(values, keep, group)
    groups = groups_of(values, group)
    fits = (groups != 0).sum(axis=1) <= keep
    assert (found.groups, found.kept) == (len(groups), fits.sum())
    lost = np.sort(groups**2, axis=1)[:, : group - keep].sum()
    assert found.energy == pytest.approx(lost, rel=1e-12)
    if fits.all():
        assert (found.violation, found.energy) == (None, 0)
    else:
        row, at = divmod(int(np.argmin(fits)), -(-values.shape[1] // group))
        assert found.violation == (row, at * group)


@pytest.mark.parametrize(("keep", "group"), [(2, 4), (4, 8)])
def test_what_a_pattern_costs_a_gaussian(keep, group):
    values = np.random.default_rng(0).normal(0, 0.02, (1000, 4096)).astype(np.float32)
    cost = pattern(values, keep, group).energy / (values.astype(np.float64) ** 2).sum()
    assert cost == pytest.approx(gaussian.pattern_cost(keep, group), abs=5e-4)


@given(MATRICES)
def test_zeros_are_counted_by_rows_columns_and_blocks(values):
    zero = values == 0
    found = zero_structure(zero)
    blocks = [
        zero[i : i + 16, j : j + 16]
        for i in range(0, len(zero), 16)
        for j in range(0, zero.shape[1], 16)
    ]
    assert found.rows == sum(bool(row.all()) for row in zero)
    assert found.columns == sum(bool(column.all()) for column in zero.T)
    assert found.blocks == sum(bool(block.all()) for block in blocks)
    chances = [by_counting(zero.size, int(zero.sum()), block.size) for block in blocks]
    assert found.blocks_random == pytest.approx(sum(chances), rel=1e-9)


def by_counting(n: int, zeros: int, cells: int) -> float:
    """Placements in which all cells are zero, of all placements."""
    if zeros < cells:
        return 0.0
    return float(Fraction(math.comb(n - cells, zeros - cells), math.comb(n, zeros)))


@given(st.integers(1, 300), st.data())
def test_chance_is_what_counting_placements_gives(n, data):
    zeros = data.draw(st.integers(0, n))
    cells = data.draw(st.integers(1, n))
    want = by_counting(n, zeros, cells)
    assert all_zero_by_chance(n, zeros, cells) == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("columns", [12, 13, 14, 15])
def test_groups_kept_by_chance_by_drawing(columns):
    draw = np.random.default_rng(columns)
    zero = np.zeros(30 * columns, dtype=bool)
    zero[: 12 * columns] = True
    kept = []
    for _ in range(200):
        draw.shuffle(zero)
        kept.append(pattern(1.0 - zero.reshape(30, columns), 2, 4).kept)
    expected = kept_by_chance(30, columns, 12 * columns, 2, 4)
    assert np.mean(kept) == pytest.approx(expected, abs=5 * np.std(kept) / len(kept) ** 0.5)


@given(st.integers(1, 3), st.integers(1, 9), st.data())
def test_groups_kept_by_chance_by_counting_placements(rows, columns, data):
    """Also where fewer zeros there are than places in a group."""
    zeros = data.draw(st.integers(0, min(rows * columns, 4)))
    kept = []
    for places in itertools.combinations(range(rows * columns), zeros):
        values = np.ones(rows * columns)
        values[list(places)] = 0
        kept.append(pattern(values.reshape(rows, columns), 2, 4).kept)
    assert kept_by_chance(rows, columns, zeros, 2, 4) == pytest.approx(np.mean(kept), abs=1e-9)


def test_pruned_rows_are_more_than_chance():
    values = np.random.default_rng(0).normal(size=(64, 64))
    values[:16] = 0
    found = zero_structure(values == 0)
    assert (found.rows, found.columns, found.blocks) == (16, 0, 4)
    assert max(found.rows_random, found.blocks_random) < 1e-6
