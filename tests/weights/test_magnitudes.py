"""Curves of energy against sparsity: every answer against sorting all weights."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from inspector.weights.magnitudes import curve, magnitudes, refined, union
from tests.weights.build import bf16

PERCENT = (1, 10, 25, 50, 70, 90, 99)
POINTS = (0.0, *(p / 100 for p in PERCENT), 1.0)
SHARES = (0.01, 0.2)


def as_f32(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32)


def as_bf16(x: np.ndarray) -> np.ndarray:
    return (bf16(x).astype(np.uint32) << 16).view(np.float32)


def as_f16(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float16).astype(np.float32)


def sizes(n: int) -> st.SearchStrategy[np.ndarray]:
    """Values as weights have them, and all that is awkward: ties, zeros, subnormals."""
    values = st.one_of(
        st.floats(-2, 2, width=32),
        st.floats(-(2.0**-130), 2.0**-130, width=32),
        st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 2.0**-149, 2.0**127, 1 + 2**-23, 1 + 2**-22]),
    )
    return arrays(np.float32, st.integers(1, n), elements=values)


def sorted_curve(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(ascending squares, their sums from none to all), with nothing rounded on the way."""
    squares = np.sort(values.astype(np.float64).ravel() ** 2)
    sums = [Fraction(0)]
    for square in squares.tolist():
        sums.append(sums[-1] + Fraction(square))
    return squares, np.array([float(s) for s in sums])


@given(sizes(60), st.sampled_from([as_f32, as_bf16, as_f16, np.float64]))
def test_refined_is_what_sorting_gives(raw, stored):
    with np.errstate(over="ignore"):
        values = stored(raw)
    values = values[np.isfinite(values)]
    if not len(values) or not (values.astype(np.float64) ** 2).sum():
        return
    found = refined(magnitudes(values), values, POINTS, SHARES)
    assert (found.n, found.uncertainty(POINTS)) == (len(values), 0)
    squares, sums = sorted_curve(values)
    n = len(values)
    assert found.total == pytest.approx(sums[-1], rel=1e-12)
    want = np.interp(np.array(POINTS) * n, np.arange(n + 1), sums) / sums[-1]
    np.testing.assert_allclose(found.energy_lost(POINTS), want, rtol=1e-12, atol=1e-15)
    ordered = np.sort(np.abs(values))
    last = [ordered[math.ceil(Fraction(p * n, 100)) - 1] for p in PERCENT]
    assert found.thresholds(POINTS).tolist() == [0.0, *last, ordered[-1]]
    for share in SHARES:
        goes = int(np.searchsorted(sums, share * sums[-1], side="right")) - 1
        part = (share * sums[-1] - sums[goes]) / squares[goes]
        assert found.sparsity_losing(share) * n == pytest.approx(goes + part, rel=1e-9, abs=1e-9)


@given(sizes(200), st.sampled_from([as_f32, np.float64]))
def test_what_is_not_resolved_is_bounded(raw, stored):
    values = stored(raw)
    if not values.any():
        return
    found = magnitudes(values)
    _, sums = sorted_curve(values)
    n = len(values)
    exact = np.interp(np.array(POINTS) * n, np.arange(n + 1), sums) / sums[-1]
    too_high = found.energy_lost(POINTS) - exact
    assert too_high.min() >= -1e-14
    assert too_high.max() <= found.uncertainty(POINTS) + 1e-14
    ordered = np.sort(np.abs(values))
    for got, p in zip(found.thresholds(POINTS)[1:-1], PERCENT, strict=True):
        want = float(ordered[math.ceil(Fraction(p * n, 100)) - 1])
        assert want <= got <= want + max(want * 2**-10, 2**-136)  # the width of subnormal bins


@given(sizes(100))
def test_the_curve_never_falls_and_is_convex(values):
    if not values.any():
        return
    sparsities, lost = curve(magnitudes(values), points=57)
    assert (sparsities[0], sparsities[-1]) == (0, 1)
    assert (lost[0], lost[-1]) == (0, 1)
    steps = np.diff(lost)
    assert steps.min() >= 0
    assert np.diff(steps).min() >= -1e-14
    assert (lost <= sparsities + 1e-14).all()


@pytest.mark.parametrize("stored", [as_bf16, as_f16])
def test_counts_of_narrow_values_say_all(stored):
    values = stored(np.random.default_rng(0).normal(0, 0.02, (300, 400)))
    found = magnitudes(values)
    assert (found.low == found.high).all()
    assert found.uncertainty(POINTS) == 0
    assert len(found.counts) == len(np.unique(np.abs(values)))
    squares = np.sort(values.astype(np.float64).ravel() ** 2)
    at = [round(p * values.size) for p in POINTS]
    want = [math.fsum(squares[:k]) / math.fsum(squares) for k in at]
    np.testing.assert_allclose(found.energy_lost(POINTS), want, rtol=1e-12)
    assert refined(found, values, POINTS, SHARES) is found


@given(sizes(60), st.data())
def test_parts_add_up(values, data):
    cut = data.draw(st.integers(1, len(values)))
    parts = [part for part in (values[:cut], values[cut:]) if len(part)]
    whole, joined = magnitudes(values), union([magnitudes(part) for part in parts])
    np.testing.assert_array_equal(joined.low, whole.low)
    np.testing.assert_array_equal(joined.counts, whole.counts)
    assert (joined.high <= whole.high).all()
    np.testing.assert_allclose(joined.energy, whole.energy, rtol=1e-14)


def test_narrow_and_wide_values_add_up():
    draw = np.random.default_rng(1)
    parts = [as_bf16(draw.normal(0, 1, 500)), as_f32(draw.normal(0, 2, 700)), draw.normal(0, 1, 90)]
    joined = union([magnitudes(part) for part in parts])
    _, sums = sorted_curve(np.concatenate(parts))
    exact = np.interp(np.array(POINTS) * 1290, np.arange(1291), sums) / sums[-1]
    too_high = joined.energy_lost(POINTS) - exact
    assert joined.n == 1290
    assert -1e-14 <= too_high.min() <= too_high.max() <= joined.uncertainty(POINTS) + 1e-14
    assert joined.uncertainty(POINTS) < 1e-5


def test_of_zeros_there_is_no_curve():
    _, lost = curve(magnitudes(np.zeros((3, 4), np.float32)), points=5)
    assert np.isnan(lost).all()
