"""Alpha against a plain quadratic scan, exact Pareto samples and its own laws."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from inspector.errors import NotEnoughData
from inspector.weights import powerlaw


def plain_fit(eigenvalues: np.ndarray) -> tuple[float, float, float, int]:
    """(alpha, distance, xmin, tail) by the definition, every start in full."""
    ordered = np.sort(eigenvalues)
    fits = []
    few = len(ordered) < powerlaw.FEW
    last = len(ordered) - powerlaw.SHORTEST_TAIL + 1 if few else len(ordered) - 1
    for start in range(last):
        tail = ordered[start:]
        spread = np.log(tail / tail[0]).sum()
        if spread <= 0:
            continue
        alpha = 1 + (len(tail) - few) / spread
        seen = np.arange(len(tail)) / len(tail)
        distance = np.abs(1 - (tail / tail[0]) ** (1 - alpha) - seen).max()
        score = distance - (0.868 / np.sqrt(len(tail)) if few else 0)
        fits.append((score, alpha, distance, tail[0], len(tail)))
    return min(fits)[1:]


SHAPES = [(9, "pareto"), (19, "pareto"), (20, "pareto"), (60, "noise"), (200, "pareto")]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("count", "kind"), [*SHAPES, (384, "noise"), (384, "wild")])
def test_fit_is_the_best_of_all_starts(count: int, kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    eigenvalues = {
        "pareto": lambda: 1 + rng.pareto(1.5, count),
        "noise": lambda: np.linalg.svd(rng.standard_normal((count, 2 * count)))[1] ** 2,
        "wild": lambda: np.exp(rng.normal(size=count) * 3),
    }[kind]()
    found = powerlaw.fit(eigenvalues)
    alpha, distance, xmin, tail = plain_fit(eigenvalues)
    assert found.alpha == pytest.approx(alpha, rel=1e-10)
    assert found.ks == pytest.approx(distance, rel=1e-9)
    assert found.xmin == pytest.approx(xmin, rel=1e-12)
    assert found.tail == tail


def test_alpha_of_an_exact_pareto_sample() -> None:
    alphas = []
    for seed in range(10):
        uniform = np.random.default_rng(seed).random(2000)
        alphas.append(powerlaw.fit((1 - uniform) ** (-1 / 1.5)).alpha)
    assert np.mean(alphas) == pytest.approx(2.5, abs=0.05)
    assert np.median(np.abs(np.array(alphas) - 2.5)) < 0.12


@given(st.floats(1e-30, 1e30), st.integers(0, 50))
def test_alpha_is_free_of_scale(factor: float, seed: int) -> None:
    eigenvalues = 1 + np.random.default_rng(seed).pareto(2, 120)
    found, scaled = powerlaw.fit(eigenvalues), powerlaw.fit(eigenvalues * factor)
    assert scaled.alpha == pytest.approx(found.alpha, rel=1e-9)
    assert scaled.xmin == pytest.approx(found.xmin * factor, rel=1e-9)


def test_one_eigenvalue_can_move_alpha_and_it_is_shown() -> None:
    body = 1 + np.random.default_rng(0).pareto(1.5, 30)
    moved = powerlaw.dropped(np.append(body, body.max() * 1e4))
    assert moved[1] == pytest.approx(powerlaw.fit(body).alpha)
    assert set(moved) == {1, 2, 5}


def test_interval_covers_the_truth_of_independent_values() -> None:
    """Of 40 Pareto samples about 38 intervals hold the true exponent."""
    hits = 0
    for seed in range(40):
        uniform = np.random.default_rng(seed).random(300)
        found = powerlaw.interval((1 - uniform) ** (-1 / 1.5), 100, seed)
        assert found is not None
        low, high = found
        assert low < high
        hits += low <= 2.5 <= high
    assert hits >= 33


def test_interval_is_the_same_for_the_same_seed() -> None:
    eigenvalues = 1 + np.random.default_rng(0).pareto(2, 100)
    assert powerlaw.interval(eigenvalues, 20, 4) == powerlaw.interval(eigenvalues, 20, 4)
    assert powerlaw.interval(eigenvalues, 20, 4) != powerlaw.interval(eigenvalues, 20, 5)


@pytest.mark.parametrize("values", [[1.0] * 5, [0.0] + [1.0, 2.0] * 10, [1.0] * 30])
def test_what_has_no_tail_is_refused(values: list[float]) -> None:
    with pytest.raises(NotEnoughData, match="power law|no tail"):
        powerlaw.fit(np.array(values))


def test_no_interval_where_no_replicate_draws_the_one_value_that_differs() -> None:
    eigenvalues = np.append(np.ones(50), 4.0)
    seeds = range(20)
    found = [powerlaw.interval(eigenvalues, 1, seed) for seed in seeds]
    drawn = [50 in np.random.default_rng(seed).integers(51, size=51) for seed in seeds]
    assert [one is not None for one in found] == drawn
    assert not all(drawn)


def test_an_orthogonal_matrix_has_no_tail() -> None:
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 64)))[0].astype(np.float32)
    with pytest.raises(NotEnoughData, match="equal"):
        powerlaw.fit(np.square(np.linalg.svd(q.astype(np.float64), compute_uv=False)))


def test_few_left_after_dropping_give_no_alpha() -> None:
    assert powerlaw.dropped(np.arange(1.0, 11.0))[5] is None
