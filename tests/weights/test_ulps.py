"""Distances in rounding steps, against integers counted by hand and neighbours by numpy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.weights.delta import Comparison
from inspector.weights.formats import decode
from inspector.weights.ulps import BINS, EXACT, PER_OCTAVE, bin_ends, grid

STEP_TYPES = {"BF16": np.uint16, "F16": np.uint16, "F32": np.uint32, "F8_E4M3": np.uint8}
BITS = {"BF16": 16, "F16": 16, "F32": 32, "F8_E4M3": 8}


def distance(dtype, other, a, b):
    """The distance of two values by way of the package, alone in their tensors."""
    one = Comparison(dtype, other)
    one.add(np.array([a], dtype=np.float64), np.array([b], dtype=np.float64))
    return one._stated.sums[1]


def ordered(dtype, pattern):
    """Patterns as whole numbers in the order of their values, both zeros at 0."""
    half = 1 << (BITS[dtype] - 1)
    return int(pattern) if pattern < half else half - int(pattern)


@given(st.sampled_from(sorted(BITS)), st.data())
def test_the_distance_is_the_number_of_steps_between_patterns(dtype, data):
    top = (1 << BITS[dtype]) - 1
    patterns = [data.draw(st.integers(0, top)) for _ in range(2)]
    a, b = decode(dtype, np.array(patterns, dtype=STEP_TYPES[dtype]))
    if not np.isfinite([a, b]).all():
        return
    expected = abs(ordered(dtype, patterns[0]) - ordered(dtype, patterns[1]))
    assert distance(dtype, dtype, a, b) == expected
    assert distance(dtype, dtype, b, a) == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_neighbours_in_float64_are_one_apart(x):
    with np.errstate(over="ignore"):
        beside = float(np.nextafter(x, np.inf))
    if np.isfinite(beside):
        assert distance("F64", "F64", x, beside) == 1


@given(st.integers(0, 0x7F7E))
def test_neighbours_in_bfloat16_are_one_apart(pattern):
    patterns = np.array([pattern, pattern + 1], dtype=np.uint16)
    a, b = decode("BF16", patterns)
    assert distance("BF16", "BF16", a, b) == 1
    assert distance("BF16", "BF16", -a, -b) == 1


def test_across_zero_both_zeros_are_one_place():
    least = 2.0**-133
    assert distance("BF16", "BF16", -least, least) == 2
    assert distance("BF16", "BF16", -0.0, 0.0) == 0
    assert distance("BF16", "BF16", -0.0, least) == 1


@given(st.floats(-1e4, 1e4, width=32))
def test_a_value_is_no_step_from_its_own_rounding(x):
    half = float(np.float16(x))
    assert distance("F32", "F16", x, half) == 0
    assert distance("F16", "F32", half, x) == 0


def test_where_two_formats_meet_the_coarser_one_of_the_place_counts():
    assert distance("BF16", "F16", 1.0, 1.0 + 2**-7) == 1  # eight steps of float16
    assert distance("BF16", "F16", 2.0**-26, 0.0) == 0  # the step of float16 is 2**-24 there
    assert distance("F16", "BF16", 2.0**-24, 0.0) == 1


@pytest.mark.parametrize("dtype", ["I64", "U8", "BOOL"])
def test_whole_numbers_are_as_far_apart_as_their_difference(dtype):
    assert distance(dtype, dtype, 3.0, 10.0) == 7


def test_opposite_extremes_of_float64_do_not_overflow():
    largest = np.finfo(np.float64).max
    assert distance("F64", "F64", -largest, largest) == pytest.approx(2 * 0x7FEFFFFFFFFFFFFF)


@given(st.integers(0, 2**53))
def test_a_bin_ends_where_it_says(steps):
    one = Comparison("I64", "I64")
    one.add(np.array([0.0]), np.array([float(steps)]))
    at = int(np.flatnonzero(one._stated.counts)[0])
    ends = bin_ends()
    assert int(ends[at]) >= steps
    assert at == 0 or int(ends[at - 1]) < steps
    assert int(ends[at]) - steps <= steps / PER_OCTAVE


def test_bins_are_in_order_and_exact_at_first():
    ends = bin_ends()
    assert len(ends) == BINS
    assert ends[: EXACT + 1].tolist() == list(range(EXACT + 1))
    assert (ends[1:] > ends[:-1]).all()


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F8_E4M3", "F8_E5M2"])
def test_steps_are_the_differences_of_neighbouring_values(dtype):
    bits = {"F32": 32, "F8_E4M3": 8, "F8_E5M2": 8}.get(dtype, 16)
    patterns = np.random.default_rng(0).integers(0, (1 << (bits - 1)) - 2, 500)
    unsigned = {8: np.uint8, 16: np.uint16, 32: np.uint32}[bits]
    here = decode(dtype, patterns.astype(unsigned))
    beyond = decode(dtype, (patterns + 1).astype(unsigned))
    fine = np.isfinite(here) & np.isfinite(beyond)
    exponents = (here[fine].view(np.uint64) >> 52).astype(int)
    np.testing.assert_array_equal(grid(dtype).steps[exponents], (beyond - here)[fine])
