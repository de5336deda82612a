"""Removal curves against the values one can work out by hand, and chance beside everything."""

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest

from inspector.model import faithfulness as faith

Values = Callable[[np.ndarray], np.ndarray]


def additive(weights: list[float]) -> Values:
    return lambda kept: kept @ np.array(weights, dtype=float)


def test_the_curves_of_an_additive_function_are_the_known_ones() -> None:
    found = faith.faithfulness(additive([4, 3, 2, 1]), np.array([4.0, 3, 2, 1]))
    assert (found.orders, found.exhaustive, found.removed) == (24, True, (0, 1, 2, 3, 4))
    assert found.normalised == pytest.approx({"deletion": 0.375, "insertion": 0.625})
    assert found.measures["deletion"].random / 10 == pytest.approx(0.5)
    assert found.measures["deletion"].p == found.measures["insertion"].p == 1 / 24
    assert found.measures["infidelity"].value == pytest.approx(0, abs=1e-20)
    assert found.tau == 1
    assert found.removal == pytest.approx((4, 3, 2, 1))
    assert found.verdict == faith.BETTER
    worst = faith.faithfulness(additive([4, 3, 2, 1]), np.array([1.0, 2, 3, 4]))
    assert worst.normalised == pytest.approx({"deletion": 0.625, "insertion": 0.375})
    assert (worst.tau, worst.verdict) == (-1, faith.FEW)


def test_measures_are_those_of_their_papers() -> None:
    values, scores = additive([5.0, 1, 0, 0, -2, 3]), np.array([5.0, 1, 0.5, 0.2, -2, 3])
    found = faith.faithfulness(values, scores, seed=3)
    order = np.argsort(-scores)

    def without(k: int) -> float:
        return float(values(np.isin(np.arange(6), order[k:])[None])[0])

    def only(k: int) -> float:
        return float(values(np.isin(np.arange(6), order[:k])[None])[0])

    inner = range(1, 6)
    assert found.measures["comprehensiveness"].value == pytest.approx(
        np.mean([without(0) - without(k) for k in inner])
    )
    assert found.measures["sufficiency"].value == pytest.approx(
        np.mean([without(0) - only(k) for k in inner])
    )
    curve = [without(k) for k in range(7)]
    assert found.measures["deletion"].value == pytest.approx(np.trapezoid(curve, dx=1 / 6))
    assert found.orders == 100
    assert not found.exhaustive


@pytest.mark.parametrize("units", [5, 7, 25])
def test_a_planted_unit_is_found_and_a_random_attribution_is_not_believed(units: int) -> None:
    rng = np.random.default_rng(units)

    def values(kept: np.ndarray) -> np.ndarray:  # one decides, and the others in pairs
        pairs = kept[:, :-1] & kept[:, 1:]
        return 5.0 * kept[:, 2] + 0.3 * pairs.sum(1) + 0.1 * kept @ np.arange(units)

    known = 0.05 * np.arange(units)
    known[2] = 5
    found = faith.faithfulness(values, known)
    assert found.verdict == faith.BETTER
    assert found.measures["area"].value >= found.measures["area"].high
    verdicts = [
        faith.faithfulness(values, rng.permutation(units).astype(float), seed=i).verdict
        for i in range(60)
    ]
    assert verdicts.count(faith.BETTER) <= 8  # a twentieth by chance, with room for the draw
    assert verdicts.count(faith.RANDOM) >= 45
    assert faith.faithfulness(values, -known).verdict == faith.WORSE


def test_where_nothing_moves_there_is_nothing_to_explain() -> None:
    def flat(kept: np.ndarray) -> np.ndarray:
        return 3 + 0.01 * kept.sum(1)

    found = faith.faithfulness(flat, np.arange(6.0))
    assert found.verdict == faith.NOTHING
    assert found.normalised is None
    assert "0.06 nats" in faith.in_words(found)["told"]

    def even(kept: np.ndarray) -> np.ndarray:  # 0 for the whole text, but not along the way
        return 1.0 * kept[:, 0] - kept[:, 1]

    assert faith.faithfulness(even, np.arange(6.0), versus=True).verdict == faith.NOTHING
    assert faith.faithfulness(even, np.arange(6.0)).verdict != faith.NOTHING


@pytest.mark.parametrize("units", [1, 2, 3])
def test_few_words_cannot_be_told_from_chance(units: int) -> None:
    found = faith.faithfulness(additive([3.0, 2, 1][:units]), np.array([3.0, 2, 1][:units]))
    assert found.verdict == faith.FEW
    assert found.orders == math.factorial(units)
    assert "only" in faith.in_words(found)["told"]


def test_rows_asked_for_are_few_and_whole() -> None:
    asked: list[np.ndarray] = []

    def values(kept: np.ndarray) -> np.ndarray:
        asked.append(kept)
        return kept @ np.arange(20.0)

    faith.faithfulness(values, np.arange(20.0))
    assert len(asked) == 1
    assert len(np.unique(asked[0], axis=0)) <= 101 * 9 + 20


@pytest.mark.parametrize("units", range(1, 40))
def test_stops_are_the_same_from_both_ends(units: int) -> None:
    found = faith.stops(units)
    assert found[0] == 0
    assert found[-1] == units
    assert (units - found[::-1]).tolist() == found.tolist()
    assert len(found) <= 2 * faith.FRACTIONS


def test_orders_come_with_their_reverses() -> None:
    orders, whole = faith.random_orders(7, 100, 5)
    assert not whole
    assert {tuple(o) for o in orders} == {tuple(o[::-1]) for o in orders}
    assert all(sorted(o) == list(range(7)) for o in orders)
    assert faith.random_orders(5, 100, 0)[0].tolist() == [
        list(o) for o in itertools.permutations(range(5))
    ]


def test_kendall_is_that_of_scipy() -> None:
    from scipy.stats import kendalltau

    rng = np.random.default_rng(0)
    for _ in range(20):
        one, other = rng.integers(0, 4, 9).astype(float), rng.normal(size=9)
        assert faith.kendall(one, other) == pytest.approx(kendalltau(one, other).statistic)
    assert faith.kendall(np.zeros(4), np.arange(4.0)) is None


def test_infidelity_is_the_residual_of_the_best_scale() -> None:
    rng = np.random.default_rng(1)
    removed, scores = rng.random((50, 6)) < 0.5, rng.normal(size=6)
    drops = rng.normal(size=50)
    said = removed @ scores
    residual = np.linalg.lstsq(said[:, None], drops, rcond=None)[1][0] / 50
    assert faith.infidelity(scores, removed, drops) == pytest.approx(residual)
    assert faith.infidelity(7 * scores, removed, drops) == pytest.approx(residual)


def test_sensitivity_is_the_largest_relative_change() -> None:
    scores = np.array([3.0, 0, 4, 0, 0])
    moved = np.stack([scores, scores + [0, 0, 0, 0.5, 0], scores * 1.05])
    found = faith.of_sensitivity(scores, moved)
    assert found is not None
    assert found.value == pytest.approx(0.1)
    assert found.random > 0.5
    assert faith.of_sensitivity(0 * scores, moved) is None
