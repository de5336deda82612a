"""The difference of two tensors, against numpy in float64 and the published table of merges."""

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from inspector.weights import spectral
from inspector.weights.delta import Comparison
from inspector.weights.delta_rank import MOST, DeltaSpectrum, delta_spectrum, unevenness
from inspector.weights.matrices import one_blas_thread

VALUES = arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e6, 1e6, width=32))


@pytest.fixture(autouse=True)
def one_thread():
    """Small matrices are no faster on many, and slower beside other work."""
    with one_blas_thread():
        yield


def rounded(values):
    """The nearest bfloat16, as float32."""
    return values.astype(ml_dtypes.bfloat16).astype(np.float32)


def difference(base, tuned, dtype="F32", other=None, cut=None):
    one = Comparison(dtype, other or dtype)
    a, b = (np.asarray(x, dtype=np.float64).ravel() for x in (base, tuned))
    for start in range(0, a.size, cut or a.size):
        part = slice(start, start + (cut or a.size))
        one.add(a[part], b[part])
    return one.result()


@given(VALUES, st.data())
def test_sums_equal_those_of_numpy(base, data):
    tuned = data.draw(
        arrays.arrays(np.float32, base.shape, elements=st.floats(-1e6, 1e6, width=32))
    )
    a, b = base.astype(np.float64), tuned.astype(np.float64)
    found = difference(base, tuned)
    assert found.n == base.size
    assert found.changed == (a != b).sum()
    assert found.norm == pytest.approx(np.linalg.norm(b - a), rel=1e-12)
    assert found.largest == np.abs(b - a).max()
    assert found.mean == pytest.approx((b - a).mean(), rel=1e-9, abs=1e-6)
    if np.linalg.norm(a) > 0:
        expected = np.linalg.norm(b - a) / np.linalg.norm(a)
        assert found.relative_change == pytest.approx(expected, rel=1e-12)
    else:
        assert found.relative_change is None
    if np.linalg.norm(a) > 1e-3 and np.linalg.norm(b) > 1e-3:
        expected = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert found.cosine == pytest.approx(expected, abs=1e-12)


@given(VALUES, st.integers(1, 7))
def test_chunks_do_not_matter(base, cut):
    tuned = base[::-1].copy()
    whole, parts = difference(base, tuned), difference(base, tuned, cut=cut)
    assert whole.ulps == parts.ulps
    assert whole.ulp_median == parts.ulp_median
    assert (whole.changed, whole.largest) == (parts.changed, parts.largest)
    assert whole.norm == pytest.approx(parts.norm, rel=1e-14)


@given(VALUES)
def test_a_tensor_and_itself(values):
    found = difference(values, values)
    assert (found.changed, found.norm, found.ulp_median, found.rounding_only) == (0, 0, 0, False)
    assert found.same_values
    assert sum(found.ulps.values()) == values.size == found.ulps["0"]


@given(VALUES, st.sampled_from([-4.0, -0.5, 2.0, 1024.0]))
def test_the_cosine_with_a_multiple_is_one(values, factor):
    found = difference(values, values * np.float32(factor))
    if np.linalg.norm(values.astype(np.float64)) > 1e-3:
        assert found.cosine == pytest.approx(math.copysign(1, factor), abs=1e-12)


@given(VALUES)
def test_distances_are_the_same_both_ways(values):
    other = values * np.float32(1.25) + np.float32(0.5)
    there, back = difference(values, other), difference(other, values)
    assert there.ulps == back.ulps
    assert there.ulp_max == back.ulp_max


def test_the_histogram_counts_every_pair_once():
    base = np.zeros(12)
    steps = np.array([0, 0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 4096])
    found = difference(base, steps, "I32")
    assert {k: v for k, v in found.ulps.items() if v} == {
        **{"0": 2, "1": 1, "2": 1, "3-4": 2, "5-8": 2},
        **{"9-16": 2, "17-32": 1, "2049-4096": 1},
    }
    assert found.ulp_median == 4  # the sixth of twelve
    assert found.ulp_max == 4096


def test_what_is_not_finite_is_counted_and_left_out():
    base = np.array([1.0, np.nan, 2.0, np.inf, 5.0])
    tuned = np.array([1.0, 3.0, -np.inf, np.inf, 6.0])
    found = difference(base, tuned)
    assert (found.n, found.base_not_finite, found.tuned_not_finite) == (2, 2, 2)
    assert (found.changed, found.norm, found.largest) == (1, 1.0, 1.0)


def weights(n=40_000, std=0.02, seed=0):
    return np.random.default_rng(seed).normal(0, std, n).astype(np.float32)


def test_a_round_trip_through_bfloat16_in_a_float32_file_is_rounding():
    base = weights()
    for found in (difference(base, rounded(base)), difference(rounded(base), base)):
        assert found.rounding_only
        assert found.unit == "BF16"
        assert found.ulp_median == found.ulp_max == 0
        assert found.relative_change == pytest.approx(0.00166, rel=0.02)  # of the Gaussian table
        assert found.relative_change_noise == pytest.approx(found.relative_change, rel=0.01)


def test_a_round_trip_through_float16_too():
    base = weights()
    found = difference(base, base.astype(np.float16).astype(np.float32))
    assert found.rounding_only
    assert found.unit == "F16"
    assert found.relative_change == pytest.approx(0.00021, rel=0.05)


def test_cutting_instead_of_rounding_is_within_one_step():
    base = weights()
    cut = (base.view(np.uint32) & 0xFFFF0000).view(np.float32)
    found = difference(base, cut, "F32", "BF16")
    assert found.rounding_only
    assert found.ulp_max == 1


@pytest.mark.parametrize("relative", [1e-4, 1e-3])
def test_small_training_of_a_float32_tensor_is_no_rounding(relative):
    base = weights()
    tuned = base * (1 + relative * np.random.default_rng(1).normal(size=base.size))
    found = difference(base, tuned.astype(np.float32))
    assert not found.rounding_only
    assert found.unit == "F32"


def test_round_numbers_are_no_evidence_of_a_narrow_format():
    ones = np.ones(384)
    tuned = np.float32(1 + np.random.default_rng(0).normal(0, 1e-3, 384))
    for base, after in ((ones, tuned), (tuned, ones)):
        found = difference(base, after)
        assert not found.rounding_only
        assert found.unit == "F32"


def test_training_from_an_upcast_base_is_counted_in_its_own_steps():
    base = rounded(weights())
    tuned = base + np.random.default_rng(1).normal(0, 1e-3, base.size).astype(np.float32)
    found = difference(base, tuned)
    assert not found.rounding_only
    assert found.unit == "F32"


def test_the_step_of_bfloat16_weights_is_that_of_the_table():
    found = difference(rounded(weights()), rounded(weights()), "BF16")
    assert found.rounding == pytest.approx(3.33e-5, rel=0.01)


# Merged into bfloat16 N(0, .02) of 1024 x 1024: size of the update, rank that can be seen,
# share of weights changed. The update's directions fall off to a quarter.
MERGES = [
    (8.6e-6, 0, 0.096),
    (1.4e-5, 3, 0.152),
    (2.1e-5, 6, 0.219),
    (3.4e-5, 7, 0.335),
    (8.6e-5, 8, 0.600),
]


def low_rank(rows, columns, rank, rms, seed=1):
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(n, rank)))[0] for n in (rows, columns))
    update = (left * np.geomspace(1, 0.25, rank)) @ right.T
    return update * rms / math.sqrt(np.square(update).mean())


def spectrum_of(base, tuned, dtype) -> DeltaSpectrum:
    found = difference(base, tuned, dtype)
    delta = tuned.astype(np.float64) - base.astype(np.float64)
    flat = tuned.astype(np.float64).ravel()
    squares = Comparison(dtype, dtype).squared_steps(flat).reshape(tuned.shape)
    uneven = unevenness(squares.sum(axis=1), squares.sum(axis=0))
    singular = spectral.singular_values(delta)
    return delta_spectrum(singular, *delta.shape, found.rounding, uneven)


@pytest.mark.parametrize(("rms", "rank", "changed"), MERGES)
def test_a_merge_of_rank_8_into_bfloat16(rms, rank, changed):
    base = rounded(weights(2**20)).reshape(1024, 1024)
    tuned = rounded(base + low_rank(1024, 1024, 8, rms))
    found = difference(base, tuned, "BF16")
    spectrum = spectrum_of(base, tuned, "BF16")
    assert abs(spectrum.rank - rank) <= (1 if rank in (3, 6, 7) else 0)
    assert found.changed / found.n == pytest.approx(changed, rel=0.02)
    assert spectrum.explained
    assert spectrum.low_rank == (spectrum.energy >= MOST)  # less may be training all the same


@pytest.mark.parametrize("rms", [8.6e-6, 8.6e-5])
def test_a_merge_into_float32_keeps_its_rank_at_any_size(rms):
    base = weights(2**18).reshape(512, 512)
    spectrum = spectrum_of(base, np.float32(base + low_rank(512, 512, 8, rms)), "F32")
    assert (spectrum.rank, spectrum.low_rank) == (8, True)
    assert spectrum.energy == pytest.approx(1)
    assert 1 <= spectrum.stable_rank <= 8


def test_a_large_low_rank_update_is_not_drowned_in_our_own_rounding():
    base = weights(2**18).reshape(512, 512)
    spectrum = spectrum_of(base, np.float32(base + low_rank(512, 512, 4, 1.0)), "F32")
    assert spectrum.rank == 4


def test_training_of_all_directions_is_no_merge():
    rng = np.random.default_rng(3)
    base = rounded(weights(2**16)).reshape(256, 256)
    spectrum = spectrum_of(base, rounded(base + rng.normal(0, 2e-3, base.shape)), "BF16")
    assert spectrum.rank > 128
    assert not spectrum.low_rank


def test_no_difference_has_no_rank():
    spectrum = delta_spectrum(np.zeros(8), 8, 8, 1e-3)
    assert (spectrum.rank, spectrum.stable_rank, spectrum.low_rank) == (0, None, False)


@pytest.mark.parametrize("shape", [(256, 256), (512, 128), (100, 300)])
def test_rows_and_columns_of_all_sizes_do_not_make_rounding_a_signal(shape):
    rng = np.random.default_rng(0)
    sizes = np.outer(*(np.exp(rng.normal(size=n)) for n in shape))
    for seed in range(10):
        base = np.float32(np.random.default_rng(seed).normal(0, 0.02, shape) * sizes)
        assert spectrum_of(base, rounded(base), "BF16").rank == 0


def test_of_even_steps_noise_reaches_no_further():
    assert unevenness(np.full(8, 3.0), np.full(4, 6.0)) == pytest.approx(1)
    assert unevenness(np.zeros(8), np.zeros(4)) == 1
    rows, columns = np.array([9.0, 1, 1, 1]), np.full(4, 3.0)
    assert unevenness(rows, columns) == pytest.approx((3 + 3**0.5) / (2 * 3**0.5))
