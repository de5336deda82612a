"""Correlation with known statistics of the targets."""

import numpy as np
import pytest
import scipy.stats

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.correlation import correlation, pearson

RNG = np.random.default_rng(12)


def test_r_and_p_are_scipys():
    x = RNG.normal(size=30)
    y = 0.4 * x + RNG.normal(size=30)
    found = correlation(100 * x + 5, y)
    expected = scipy.stats.pearsonr(x, y)
    ends = expected.confidence_interval()
    assert found.r.value == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.02)
    assert (found.r.low, found.r.high) == pytest.approx((ends.low, ends.high), abs=0.1)


def test_either_sign_is_found_and_the_order_of_pairs_does_not_matter():
    x = RNG.normal(size=25)
    y = x + RNG.normal(size=25)
    there, back = correlation(x, y), correlation(x, -y)
    assert there.r.value == pytest.approx(-back.r.value)
    assert max(there.p_value, back.p_value) < 0.01
    order = RNG.permutation(25)
    assert correlation(x[order], y[order]) == there


def test_intervals_and_tests_hold():
    rng, runs, held, alarms = np.random.default_rng(2), 50, 0, 0
    for run in range(runs):
        x = rng.normal(size=30)
        y = 0.6 * x + 0.8 * rng.normal(size=30)
        found = correlation(x, y, run, draws=99, resamples=999)
        held += found.r.low <= 0.6 <= found.r.high
        alarms += correlation(x, rng.normal(size=30), run, draws=99, resamples=99).p_value <= 0.05
    assert held >= 0.86 * runs
    assert alarms <= 0.05 * runs + 3 * np.sqrt(runs * 0.0475)


def test_a_perfect_line_and_missing_pairs():
    found = correlation(np.arange(10.0), np.r_[3 * np.arange(9.0), np.nan])
    assert found.r.value == pytest.approx(1)
    assert (found.n_pairs, found.n_excluded) == (9, 1)
    assert found.p_value < 0.001


def test_sums_alone_give_r_and_rounding_is_no_variation():
    x, y = RNG.normal(40, 30, 60), RNG.normal(size=60)

    def sums(one, other):
        columns = [np.ones(60), one, other, one * one, other * other, one * other]
        return np.stack(columns, axis=1).sum(0)

    assert pearson(sums(x, y)) == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert np.isnan(pearson(sums(x, np.full(60, 1 / 3))))


def test_what_has_no_correlation_is_refused():
    with pytest.raises(NotEnoughData, match="same in all"):
        correlation(np.arange(8.0), np.full(8, 0.1))
    tiny = correlation(np.array([1.0, 2, 3, 5]), 1e-14 * np.array([1.0, 2, 3, 5]))
    assert tiny.r.value == pytest.approx(1)  # small is not the same
    with pytest.raises(NotEnoughData, match="four pairs"):
        correlation(np.arange(3.0), np.arange(3.0))
    with pytest.raises(BadOption, match="pairs"):
        correlation(np.arange(3.0), np.arange(4.0))
