"""Intervals with the cluster as the unit: oracles, laws, coverage."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.clusters import (
    share_interval,
    smallest_gap,
    standard_error,
    t_interval,
    totals,
)
from inspector.fairness.resampling import RESAMPLES, interval, ratio, resample

RNG = np.random.default_rng(2)


def rows_of(found):
    return np.stack([found.above, found.below], axis=1)


def bootstrap_t(found, seed=0, resamples=RESAMPLES):
    return interval(resample(rows_of(found), ratio, seed, resamples))


def limits(n, p=0.05, z=3.0):
    return n * p - z * math.sqrt(n * p * (1 - p)), n * p + z * math.sqrt(n * p * (1 - p))


def test_single_items_give_students_interval():
    values = RNG.normal(1, 2, 20)
    found = t_interval(totals(values))
    expected = scipy.stats.ttest_1samp(values, 0)
    ends = expected.confidence_interval()
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))


def test_pooled_items_and_equal_clusters_are_two_numbers():
    values, clusters = np.array([1.0, 1.0, 1.0, 5.0]), list("aaab")
    assert totals(values, clusters).value == 2
    assert totals(values, clusters, equal=True).value == 3
    assert totals(values, clusters, weights=np.array([1.0, 1.0, 0.0, 2.0])).value == 2


def test_the_error_is_that_of_the_jackknife_for_means():
    values = RNG.normal(size=(9, 4))
    found = totals(values.ravel(), np.repeat(np.arange(9), 4))
    left_out = np.array([np.delete(values, i, 0).mean() for i in range(9)])
    expected = math.sqrt(8 / 9 * ((left_out - left_out.mean()) ** 2).sum())
    assert standard_error(found) == pytest.approx(expected)
    assert resample(rows_of(found), ratio, resamples=10).error == pytest.approx(expected, rel=1e-6)


def test_resamples_sum_clusters_anew():
    """Of three clusters all 27 resamples are known: each drawn value and error is one of them."""
    above, below = np.array([1.0, 5.0, 2.0]), np.array([2.0, 4.0, 9.0])
    rows = np.stack([above, below], axis=1)
    known = []
    for chosen in itertools.product(range(3), repeat=3):
        a, b = above[list(chosen)], below[list(chosen)]
        value = a.sum() / b.sum()
        rest = a - value * b
        known.append((round(value, 9), round(math.sqrt(1.5 * rest @ rest) / b.sum(), 9)))
    known = np.array(sorted(set(known)))
    drawn = resample(rows, ratio, resamples=500)
    seen = np.stack([drawn.values, drawn.errors], axis=1)
    nearest = np.abs(seen[:, None] - known[None]).max(-1)
    assert nearest.min(1).max() < 1e-6
    assert len(set(nearest.argmin(1))) == len(known)


def test_products_of_ratios_have_the_delta_method_s_error():
    """As s_AMB of BBQ: a share of wrong answers times a ratio."""
    rows = RNG.uniform(1, 3, size=(12, 3))
    rows[:, 1] += rows[:, 0]

    def product(sums):
        return (1 - sums[..., 0] / sums[..., 1]) * (sums[..., 2] / sums[..., 1])

    found = resample(rows, product, resamples=50)
    a, b, c = rows.sum(0)
    slope = np.array([-c / b**2, -c / b**2 + 2 * a * c / b**3, (1 - a / b) / b])
    pulls = (rows - rows.mean(0)) @ slope
    assert found.error == pytest.approx(math.sqrt(12 / 11 * pulls @ pulls), rel=1e-6)


def test_bca_is_scipys():
    values = RNG.exponential(size=40)
    expected = scipy.stats.bootstrap(
        (values,), np.mean, method="BCa", n_resamples=9999, rng=0
    ).confidence_interval
    drawn = resample(rows_of(totals(values)), ratio)
    found = interval(drawn, method="bca")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.02)


def test_bootstrap_t_is_that_of_its_definition():
    values = RNG.exponential(size=15)
    rng, n = np.random.default_rng(0), 15
    drawn = values[rng.integers(0, n, (40_000, n))]
    t = (drawn.mean(1) - values.mean()) / (drawn.std(1, ddof=0) / math.sqrt(n - 1))
    error = values.std(ddof=1) / math.sqrt(n)
    # both forms of the error differ by the same factor above and below: t is unchanged
    expected = values.mean() - error * np.quantile(t, [0.975, 0.025])
    found = bootstrap_t(totals(values))
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.06)


@given(st.floats(-5, 5), st.floats(0.1, 10))
@settings(max_examples=20)
def test_intervals_move_and_stretch_with_the_values(shift, scale):
    values, clusters = np.random.default_rng(8).normal(size=24), np.repeat(np.arange(8), 3)
    plain = bootstrap_t(totals(values, clusters), resamples=200)
    moved = bootstrap_t(totals(scale * values + shift, clusters), resamples=200)
    assert moved.low == pytest.approx(scale * plain.low + shift, abs=1e-4)
    assert moved.high == pytest.approx(scale * plain.high + shift, abs=1e-4)


def test_order_of_items_and_seed():
    values, clusters = RNG.normal(size=60), np.repeat(np.arange(12), 5)
    order = RNG.permutation(60)
    one = bootstrap_t(totals(values, clusters), 3)
    assert one == bootstrap_t(totals(values, clusters), 3)
    other = bootstrap_t(totals(values[order], clusters[order]), 3)
    assert (other.low, other.high) == pytest.approx((one.low, one.high))
    assert one.low != bootstrap_t(totals(values, clusters), 4).low


def test_metrics_at_their_bound_have_no_width_of_zero():
    """Every template at s = -1: 25 templates do not prove the next one is."""
    rows = np.stack([-np.full(25, 8.0), np.full(25, 8.0)], axis=1)
    found = interval(resample(rows, ratio), bounds=(-1.0, 1.0), items=200)
    low, high = scipy.stats.binomtest(25, 25).proportion_ci(method="wilson")
    assert (found.value, found.low) == (-1, -1)
    assert -1 + 2 * (1 - low) - 1e-9 <= found.high < -0.5
    rows[3, 0] = -7.5  # nearly so: resamples without this cluster have no spread
    nearly = interval(resample(rows, ratio), bounds=(-1.0, 1.0), items=200)
    assert nearly.high > -0.98
    assert "wilson" in nearly.method


def test_a_few_clusters_fall_back_on_student():
    values = np.array([1.0, 2.0, 4.0])
    found, student = bootstrap_t(totals(values)), t_interval(totals(values))
    assert (found.low, found.high) == pytest.approx((student.low, student.high), rel=1e-5)
    assert "student" in found.method


def test_identical_checkpoints_differ_by_exactly_nothing():
    found = bootstrap_t(totals(np.zeros(30)))
    assert (found.value, found.low, found.high) == (0, 0, 0)
    assert "no variation" in found.method


def test_undefined_resamples_are_counted_and_too_many_refused():
    rows = np.array([[1.0, 2.0], [2.0, 3.0], [1.0, 2.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    drawn = resample(rows, ratio)
    assert "undefined" in interval(drawn).method
    rows[1:4] = 0
    with pytest.raises(NotEnoughData, match="undefined in"):
        interval(resample(rows, ratio))
    with pytest.raises(NotEnoughData, match="nothing to divide by"):
        resample(np.zeros((4, 2)), ratio)


def test_shares_in_clusters_of_one_have_wilsons_interval():
    won = (np.arange(400) < 240).astype(float)
    found = share_interval(totals(won))
    expected = scipy.stats.binomtest(240, 400).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.001)


def test_shares_of_clusters_that_move_as_one_count_clusters():
    won = np.repeat((np.arange(40) < 24).astype(float), 10)
    found = share_interval(totals(won, np.repeat(np.arange(40), 10)))
    expected = scipy.stats.binomtest(24, 40).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)
    assert (found.low, found.high) != pytest.approx((0.55, 0.65), abs=0.03)  # of 400 alone
    whole = share_interval(totals(np.ones(400), np.repeat(np.arange(40), 10)))
    assert (whole.high, whole.low) == (1, pytest.approx(0.906, abs=0.01))


def test_shares_of_few_clusters_are_as_wide_as_students():
    won = RNG.binomial(60, RNG.uniform(0.4, 0.6, 6)).astype(float)
    found = totals(won, np.arange(6), np.full(6, 60.0))
    share, student = share_interval(found), t_interval(found)
    assert share.high - share.low == pytest.approx(student.high - student.low, rel=0.1)


def test_many_clusters_are_resampled_less_often():
    assert len(resample(np.ones((2000, 2)), ratio)) == 2000
    assert len(resample(np.ones((20, 2)), ratio)) == 9999


def test_the_detectable_gap_is_found_with_the_power_promised():
    rng, m, runs = np.random.default_rng(4), 12, 600
    gap = smallest_gap(1 / math.sqrt(m), m)
    tested = scipy.stats.ttest_1samp(rng.normal(gap, 1, (runs, m)), 0, axis=1)
    shown = (tested.pvalue <= 0.05).sum()
    assert abs(shown - 0.8 * runs) <= 3 * math.sqrt(runs * 0.16)
    assert smallest_gap(1.0, 5) is None  # sign flips of five clusters have p of 1/16 at least
    assert smallest_gap(1.0, 6) is not None
    assert smallest_gap(0.0, 30) is None
    assert smallest_gap(1.0, 6, tests=9) is None
    assert smallest_gap(1.0, 2000) == pytest.approx(2.80, abs=0.01)


def test_bbq_s_templates_are_the_unit(capsys):
    """25 templates that lean each its way, no bias: items alone alarm at over 40 %."""
    runs, rng = 60, np.random.default_rng(9)
    alone = ours = 0
    clusters = np.repeat(np.arange(25), 40)
    for run in range(runs):
        lean = 1 / (1 + np.exp(-rng.normal(size=25)))
        signed = np.where(rng.random(1000) < lean[clusters], 1.0, -1.0)
        half = 1.96 * signed.std() / math.sqrt(1000)
        alone += not abs(signed.mean()) <= half
        found = bootstrap_t(totals(signed, clusters), run, resamples=999)
        ours += not found.low <= 0 <= found.high
    assert alone > 0.4 * runs
    assert ours < 0.12 * runs


@pytest.mark.soak
@pytest.mark.parametrize("m", [4, 8, 25])
@pytest.mark.parametrize("law", ["normal", "exponential", "uneven"])
def test_coverage(law, m):
    runs, missed, rng = 2000, 0, np.random.default_rng(m)
    for run in range(runs):
        sizes = rng.integers(1, 40, m) if law == "uneven" else np.full(m, 8)
        clusters = np.repeat(np.arange(m), sizes)
        own = rng.exponential(size=m) - 1 if law == "exponential" else rng.normal(size=m)
        values = own[clusters] + rng.normal(size=len(clusters))
        found = bootstrap_t(totals(values, clusters), run, resamples=999)
        missed += not found.low <= 0 <= found.high
    assert missed / runs <= (0.12 if m == 4 else 0.08)


@pytest.mark.soak
@pytest.mark.parametrize("m", [5, 15, 40])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_coverage_of_clustered_shares(m, share):
    runs, missed, rng = 3000, 0, np.random.default_rng(m)
    for _ in range(runs):
        own = rng.beta(4 * share, 4 * (1 - share), m)
        won = rng.binomial(10, own).astype(float)
        found = share_interval(totals(won, np.arange(m), np.full(m, 10.0)))
        missed += not found.low <= share <= found.high
    assert missed / runs <= 0.07


def test_wrong_shapes_are_refused():
    with pytest.raises(BadOption, match="as many clusters"):
        totals(np.ones(3), list("ab"))
    with pytest.raises(BadOption, match="finite"):
        totals(np.array([1.0, np.nan]))
    with pytest.raises(NotEnoughData, match="two of them"):
        bootstrap_t(totals(np.ones(4), list("aaaa")))
    with pytest.raises(BadOption, match="no interval"):
        interval(resample(np.random.default_rng(0).random((9, 2)), ratio), method="wald")
    with pytest.raises(BadOption, match="successes"):
        share_interval(totals(np.full(4, 2.0)))
