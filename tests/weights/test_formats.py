"""Every bit pattern is worth what independent libraries say it is, and patterns are in order."""

import numpy as np
import pytest
import torch

from inspector.weights.formats import FORMATS, UNREADABLE, decode, pattern_dtype, top
from inspector.weights.header import DTYPE_BITS
from tests.weights import reference
from tests.weights.build import BITS, random_bytes

TORCH = {
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
NARROW = [dtype for dtype in FORMATS if FORMATS[dtype].bits <= 16]
WIDE = [dtype for dtype in FORMATS if FORMATS[dtype].bits > 16]


def all_patterns(dtype: str) -> np.ndarray:
    return np.arange(1 << FORMATS[dtype].bits).astype(pattern_dtype(dtype))


def oracle(dtype: str, patterns: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return patterns.view(reference.ORACLES[dtype]).astype(np.float64)


def test_every_dtype_of_the_format_is_known_or_refused_with_a_reason():
    assert set(FORMATS) | set(UNREADABLE) == set(DTYPE_BITS)
    assert not set(FORMATS) & set(UNREADABLE)
    assert {dtype: form.bits for dtype, form in FORMATS.items()} == BITS
    assert all(DTYPE_BITS[dtype] == bits for dtype, bits in BITS.items())


@pytest.mark.parametrize("dtype", NARROW)
def test_every_pattern_of_a_narrow_format_is_worth_what_the_library_says(dtype):
    patterns = all_patterns(dtype)
    want = oracle(dtype, patterns)
    for got in (decode(dtype, patterns), top(dtype).values):
        np.testing.assert_array_equal(got, want)  # NaN where the other is NaN
        known = ~np.isnan(want)
        np.testing.assert_array_equal(np.signbit(got[known]), np.signbit(want[known]))


@pytest.mark.parametrize("dtype", TORCH)
def test_torch_agrees(dtype):
    patterns = all_patterns(dtype)
    signed = patterns.view(f"i{patterns.itemsize}")
    want = torch.from_numpy(signed).view(TORCH[dtype]).to(torch.float64).numpy()
    np.testing.assert_array_equal(decode(dtype, patterns), want)


@pytest.mark.parametrize("dtype", WIDE)
def test_wide_patterns_are_worth_what_numpy_says(dtype):
    patterns = np.frombuffer(random_bytes(dtype, 10_000), pattern_dtype(dtype))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(decode(dtype, patterns), oracle(dtype, patterns))


@pytest.mark.parametrize("dtype", FORMATS)
def test_bins_are_ranked_by_value_and_their_inside_runs_the_way_they_say(dtype):
    layout, form = top(dtype), FORMATS[dtype]
    low_bits = form.bits - form.top_bits
    assert sorted(layout.rank.tolist()) == list(range(1 << form.top_bits))
    bins = np.argsort(layout.rank)
    bins = bins[layout.finite[bins]]
    first = bins.astype(np.uint64) << np.uint64(low_bits)
    last = first | np.uint64((1 << low_bits) - 1)
    ends = [oracle(dtype, p.astype(pattern_dtype(dtype))) for p in (first, last)]
    backwards = layout.backwards[bins]
    low, high = np.where(backwards, ends[::-1], ends)
    assert (low <= high).all()
    assert (high[:-1] <= low[1:]).all()


@pytest.mark.parametrize("dtype", FORMATS)
def test_bins_of_finite_and_of_tiny_values_hold_no_others(dtype):
    layout, form = top(dtype), FORMATS[dtype]
    low_bits = form.bits - form.top_bits
    first = np.arange(1 << form.top_bits).astype(np.uint64) << np.uint64(low_bits)
    last = first | np.uint64((1 << low_bits) - 1)
    ends = np.stack([oracle(dtype, p.astype(pattern_dtype(dtype))) for p in (first, last)])
    assert (layout.finite == np.isfinite(ends).all(axis=0)).all()
    has_zero = (ends == 0).any(axis=0)
    assert layout.tiny[has_zero].all()
    if form.kind == "float":
        small = (np.abs(ends) < reference.smallest_normal(dtype)).all(axis=0)
        assert (layout.tiny == small).all()
