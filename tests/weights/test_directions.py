"""Dead, constant and parallel rows: what is planted is found, and nothing else."""

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import NotEnoughData
from inspector.weights import directions
from inspector.weights.directions import Rows, inspect_rows, tolerance_for

GENERATOR = np.random.default_rng(7)


def noise(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.02, (rows, columns)).astype(np.float32)


def brute(matrix: np.ndarray, tolerance: float) -> set[tuple[int, int]]:
    """Every pair of rows that are parallel by the full table of cosines."""
    wide = matrix.astype(np.float64)
    unit = wide / np.linalg.norm(wide, axis=1)[:, None]
    first, second = np.nonzero(np.triu(np.abs(unit @ unit.T) >= 1 - tolerance, 1))
    return set(zip(first.tolist(), second.tolist(), strict=True))


def found(rows: Rows) -> set[tuple[int, int, str]]:
    assert rows.alike is not None
    return {(one.like, one.row, one.relation) for one in rows.alike}


def planted(size: int) -> np.ndarray:
    matrix = noise(size, size)
    matrix[5] = matrix[3]
    matrix[7] = -matrix[3]
    matrix[20] = 3 * matrix[10]
    matrix[30] = 0
    matrix[31] = 0.25
    matrix[40] = matrix[41] + noise(1, size, 9)[0] * 0.02
    return matrix


@pytest.mark.parametrize("turned", [False, True])
def test_all_that_is_planted_in_noise_and_nothing_else(turned: bool) -> None:
    matrix = planted(4096)
    rows = inspect_rows(matrix.T.copy().T if turned else matrix)
    assert found(rows) == {
        (3, 5, "duplicate"),
        (3, 7, "anti-parallel"),
        (10, 20, "scaled"),
        (40, 41, "duplicate"),
    }
    assert np.flatnonzero(rows.dead).tolist() == [30]
    assert np.flatnonzero(rows.constant).tolist() == [31]
    by_row = {one.row: one for one in rows.alike or ()}
    assert by_row[5].exact
    assert not by_row[7].exact
    assert not by_row[41].exact
    assert by_row[20].ratio == pytest.approx(3, abs=1e-6)
    assert by_row[41].cosine == pytest.approx(1 - 0.02**2 / 2, abs=2e-5)


def test_columns_of_a_matrix_are_rows_of_its_transpose() -> None:
    matrix = planted(512)
    assert found(inspect_rows(matrix.T)) == found(inspect_rows(np.ascontiguousarray(matrix.T)))
    assert found(inspect_rows(np.ascontiguousarray(matrix.T).T)) == found(inspect_rows(matrix))


@pytest.mark.parametrize("shape", [(4096, 64), (2048, 8), (500, 9)])
def test_short_rows_of_noise_are_not_alike(shape: tuple[int, int]) -> None:
    """In few dimensions random rows come within 0.999 of each other: the tolerance tightens."""
    for seed in range(5):
        assert inspect_rows(noise(*shape, seed)).alike == ()


@pytest.mark.parametrize("columns", [1, 2, 3, 7, 8, 9])
def test_few_numbers_that_rounding_makes_equal_are_no_copies(columns: int) -> None:
    """Of two bfloat16 numbers each, a hundred of these rows point the same way by chance."""
    matrix = (noise(4096, columns).view(np.uint32) & 0xFFFF0000).view(np.float32)
    rows = inspect_rows(matrix)
    assert rows.alike == (() if columns >= directions.SHORTEST else None)
    assert not rows.crowded
    assert not rows.constant.any()


def test_the_tolerance_is_the_chance_it_states() -> None:
    rows, columns = 300, 3
    tolerance = tolerance_for(rows, columns)
    expected = directions.BY_CHANCE
    drawn = np.random.default_rng(1).standard_normal((2_000_000, columns))
    drawn /= np.linalg.norm(drawn, axis=1)[:, None]
    loose = tolerance * 1000  # in three dimensions the chance is proportional to the tolerance
    chance = np.mean(np.abs(drawn[:, 0]) >= 1 - loose) / 1000
    assert chance * rows * (rows - 1) / 2 == pytest.approx(expected, rel=0.1)
    assert tolerance_for(4096, 4096) == directions.SAME


@given(st.integers(0, 2**32), st.integers(2, 60), st.integers(8, 40), st.floats(1e-4, 0.2))
def test_groups_are_those_of_the_full_table(
    seed: int, rows: int, columns: int, spread: float
) -> None:
    generator = np.random.default_rng(seed)
    sources = generator.standard_normal((max(rows // 4, 1), columns))
    chosen = generator.integers(0, len(sources), rows)
    scale = generator.choice([1.0, -1.0, 3.0], rows)[:, None]
    matrix = sources[chosen] * scale + spread * generator.standard_normal((rows, columns))
    result = inspect_rows(matrix)
    pairs = brute(matrix, result.tolerance)
    assert result.alike is not None
    members = {one.row for one in result.alike}
    for one in result.alike:
        assert (one.like, one.row) in pairs
        true = matrix[one.row] @ matrix[one.like]
        assert np.sign(one.ratio) == np.sign(true) == np.sign(one.cosine)
    for first, second in pairs:  # of two parallel rows at least one is told
        assert {first, second} & members


def test_rows_of_many_numbers_are_read_in_pieces() -> None:
    matrix = noise(40, 3 * directions.ACROSS + 5)
    matrix[7] = -2 * matrix[3]
    matrix[9] = 0.5
    matrix[9, -1] = 0.25
    matrix[11] = -0.125
    rows = inspect_rows(matrix)
    assert found(rows) == {(3, 7, "anti-parallel")}
    assert np.flatnonzero(rows.constant).tolist() == [11]
    wide = matrix.astype(np.float64)
    np.testing.assert_allclose(rows.lengths, np.linalg.norm(wide, axis=1), rtol=1e-12)


def test_scale_does_not_matter() -> None:
    matrix = planted(256)
    expected = found(inspect_rows(matrix))
    for scale in (1e-30, 1e30):
        assert found(inspect_rows(matrix * np.float32(scale))) == expected


def test_thousands_of_equal_rows_are_one_group() -> None:
    matrix = np.repeat(noise(1, 128), 20_000, axis=0)
    start = time.process_time()
    rows = inspect_rows(matrix)
    assert time.process_time() - start < 10
    assert rows.alike is not None
    assert {one.like for one in rows.alike} == {0}
    assert len(rows.alike) == 19_999
    assert all(one.exact for one in rows.alike)


def test_rows_that_nearly_all_point_one_way_are_told_as_such() -> None:
    matrix = noise(1, 128) + 0.05 * noise(8000, 128, 2)
    rows = inspect_rows(matrix)
    assert rows.alike is None
    assert rows.crowded


def test_equal_rows_after_rounding_to_bfloat16() -> None:
    matrix = noise(100, 64)
    matrix[50] = 3 * matrix[10]
    matrix = (matrix.view(np.uint32) & 0xFFFF0000).view(np.float32)
    assert found(inspect_rows(matrix)) == {(10, 50, "scaled")}


def test_as_good_as_zero_counts_as_dead() -> None:
    matrix = noise(100, 64)
    matrix[[3, 4]] *= np.array([[1e-8], [1e-4]], dtype=np.float32)
    assert np.flatnonzero(inspect_rows(matrix).dead).tolist() == [3]


def test_a_matrix_of_zeros_is_all_dead() -> None:
    rows = inspect_rows(np.zeros((5, 9), dtype=np.float32))
    assert rows.dead.all()
    assert not rows.constant.any()
    assert rows.alike == ()


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_what_is_not_finite_is_no_direction(value: float) -> None:
    matrix = GENERATOR.standard_normal((10, 10))
    matrix[3, 4] = value
    with pytest.raises(NotEnoughData, match="NaN or infinite"):
        inspect_rows(matrix)
