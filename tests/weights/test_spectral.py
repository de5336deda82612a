"""Singular values by the Gram route and the measures on them, against numpy and small cases."""

import math
import threading

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as arrays

from inspector.errors import BadOption, NotEnoughData
from inspector.weights import lapack, spectral

MEASURES = (
    spectral.stable_rank,
    spectral.effective_rank,
    spectral.effective_rank_energy,
    spectral.participation,
)


def planted(singular: np.ndarray, rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """A matrix of the given singular values."""
    rng = np.random.default_rng(seed)
    left, right = (
        np.linalg.qr(rng.standard_normal((n, len(singular))))[0] for n in (rows, columns)
    )
    return (left * singular) @ right.T


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (20, 20), (30, 500), (500, 30)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("order", ["C", "F"])
def test_singular_values_are_those_of_the_svd(shape, dtype, order) -> None:
    matrix = np.random.default_rng(0).standard_normal(shape).astype(dtype, order=order)
    expected = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    np.testing.assert_allclose(spectral.singular_values(matrix), expected, rtol=1e-9)


def test_small_singular_values_are_as_exact_as_stated() -> None:
    values = np.geomspace(1, 1e-6, 61)
    found = spectral.singular_values(planted(values, 200, 300))
    large = values >= 1e-5
    np.testing.assert_allclose(found[:61][large], values[large], rtol=1e-6)
    np.testing.assert_allclose(found[60], 1e-6, rtol=1e-4)


def test_blocks_add_up_to_the_gram_of_the_whole() -> None:
    matrix = np.random.default_rng(1).standard_normal((1000, 24)).astype(np.float32)
    pieces = [matrix[:1], matrix[1:700], np.asfortranarray(matrix[700:])]
    whole = spectral.of_gram(spectral.gram([matrix], 24))
    np.testing.assert_allclose(spectral.of_gram(spectral.gram(pieces, 24)), whole, rtol=1e-12)


def test_other_threads_go_on_while_eigenvalues_are_found() -> None:
    """The interpreter's lock is free: a counting thread gets on during one long call."""
    matrix = np.random.default_rng(0).standard_normal((900, 900))
    counted = [0]
    done = threading.Event()

    def count() -> None:
        while not done.is_set():
            counted[0] += 1

    thread = threading.Thread(target=count)
    total = spectral.gram([matrix], 900)
    thread.start()
    before = counted[0]
    spectral.of_gram(total)
    meanwhile = counted[0] - before
    done.set()
    thread.join()
    assert meanwhile > 10_000


@pytest.mark.parametrize("wrong", [np.ones((3, 3), np.float32), np.asfortranarray(np.ones((3, 2)))])
def test_arrays_of_another_layout_never_reach_lapack(wrong: np.ndarray) -> None:
    with pytest.raises(TypeError, match="C-ordered"):
        lapack.add_gram(np.zeros((wrong.shape[1], wrong.shape[1])), wrong)


def test_float32_squares_do_not_overflow() -> None:
    matrix = np.eye(3, 5, dtype=np.float32) * np.float32(1e30)
    assert spectral.singular_values(matrix)[0] == pytest.approx(1e30)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_matrix_that_is_not_finite_is_refused(bad: float) -> None:
    matrix = np.ones((3, 3))
    matrix[1, 2] = bad
    with pytest.raises(NotEnoughData, match="NaN or infinite"):
        spectral.singular_values(matrix)


def test_an_empty_matrix_is_refused() -> None:
    with pytest.raises(NotEnoughData, match="without entries"):
        spectral.singular_values(np.empty((0, 3)))


@given(
    arrays.arrays(np.float64, st.integers(1, 30), elements=st.floats(1e-3, 1e3)),
    st.floats(1e-30, 1e30),
)
def test_measures_are_free_of_scale_and_bounded_by_the_rank(values, factor) -> None:
    singular = np.sort(values)[::-1]
    for measure in MEASURES:
        found = measure(singular)
        assert 1 - 1e-12 <= found <= len(singular) * (1 + 1e-12)
        assert measure(singular * factor) == pytest.approx(found, rel=1e-9)
        assert measure(np.append(singular, 0.0)) == pytest.approx(found, rel=1e-12)
    assert spectral.effective_rank_energy(singular) <= spectral.effective_rank(singular) + 1e-9


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("rank", [1, 3, 17])
def test_equal_singular_values_count_as_their_number(measure, rank: int) -> None:
    assert measure(np.full(rank, 0.3)) == pytest.approx(rank)


def test_measures_on_two_values_by_hand() -> None:
    singular = np.array([2.0, 1.0])
    assert spectral.stable_rank(singular) == 1.25
    assert spectral.participation(singular) == pytest.approx(25 / 17)
    assert spectral.effective_rank(singular) == pytest.approx(3 / 2 ** (2 / 3))
    assert spectral.effective_rank_energy(singular) == pytest.approx(5 / 4**0.8)
    assert spectral.condition(singular) == 2.0


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("values", [[], [0.0, 0.0], [math.nan], [math.inf, 1.0]])
def test_what_has_no_spectrum_is_refused(measure, values) -> None:
    with pytest.raises(NotEnoughData, match="no spectrum"):
        measure(np.array(values))


def test_no_condition_where_the_smallest_value_is_rounding() -> None:
    assert spectral.condition(np.array([1.0, 1e-8])) is None


@pytest.mark.parametrize(("device", "told"), [("cuda", "no CUDA device"), ("tpu", "auto, cpu")])
def test_a_device_that_is_not_there_is_named(device: str, told: str) -> None:
    if device == "cuda" and spectral.use_gpu("auto"):
        pytest.skip("there is a CUDA device")
    with pytest.raises(BadOption, match=told):
        spectral.use_gpu(device)


@pytest.mark.gpu
def test_the_gpu_gives_the_same_singular_values() -> None:
    if not spectral.use_gpu("auto"):
        pytest.skip("no CUDA device")
    matrix = np.random.default_rng(0).standard_normal((3000, 700)).astype(np.float32)
    found = spectral.on_gpu([matrix[:1000], matrix[1000:]], 700)
    np.testing.assert_allclose(found, spectral.singular_values(matrix), rtol=1e-9)
