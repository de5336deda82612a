"""Gaps between groups: what chance gives, intervals, strata."""

import itertools

import numpy as np
import pytest
import scipy.stats

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.gaps import null_gap, share_gap, stratified_bootstrap, widest

RNG = np.random.default_rng(4)


@pytest.mark.parametrize(
    ("groups", "size", "expected"),
    [(2, 50, 0.079), (5, 50, 0.164), (10, 50, 0.217), (5, 500, 0.052)],
)
def test_chance_alone_gives_the_printed_gap(groups, size, expected):
    assert null_gap([size] * groups, 0.5) == pytest.approx(expected, abs=0.001)


def test_chance_is_what_draws_give():
    draws = np.random.default_rng(0).binomial(50, 0.5, (20_000, 5)) / 50
    seen = np.ptp(draws, axis=1).mean()
    assert seen == pytest.approx(0.164, abs=0.002)
    assert null_gap([50] * 5, 0.5) == pytest.approx(seen, abs=0.002)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_chance_is_exact(share):
    """Small groups of unlike size, all outcomes one by one."""
    sizes = (2, 3, 5)
    expected = 0.0
    for yes in itertools.product(*(range(n + 1) for n in sizes)):
        shares = [k / n for k, n in zip(yes, sizes, strict=True)]
        p = np.prod([scipy.stats.binom.pmf(k, n, share) for k, n in zip(yes, sizes, strict=True)])
        expected += p * (max(shares) - min(shares))
    assert null_gap(sizes, share) == pytest.approx(expected)


def test_a_gap_stands_beside_what_chance_gives():
    outcomes = np.array([1.0] * 30 + [0.0] * 20 + [1.0] * 15 + [0.0] * 35)
    found = share_gap(outcomes, np.repeat(["a", "b"], 50))
    assert found.gap.value == pytest.approx(0.3)
    assert found.ratio == pytest.approx(0.5)
    assert (found.highest, found.lowest) == ("a", "b")
    assert found.null_mean == pytest.approx(null_gap([50, 50], 0.45))
    # Newcombe's method 10 for two groups
    z = scipy.stats.norm.ppf(0.975)
    ends = [scipy.stats.binomtest(k, 50).proportion_ci(method="wilson") for k in (30, 15)]
    low = 0.3 - np.hypot(0.6 - ends[0].low, ends[1].high - 0.3)
    high = 0.3 + np.hypot(ends[0].high - 0.6, 0.3 - ends[1].low)
    assert z > 1.9
    assert (found.gap.low, found.gap.high) == pytest.approx((low, high))


def test_an_empty_group_is_an_error_not_a_gap():
    with pytest.raises(NotEnoughData, match="'c'"):
        share_gap(np.array([1.0, 0.0]), ["a", "b"], expected=["a", "b", "c"])
    with pytest.raises(NotEnoughData, match="none empty"):
        null_gap([50, 0], 0.5)
    with pytest.raises(NotEnoughData, match="two groups"):
        share_gap(np.ones(2), ["a", "a"])
    with pytest.raises(BadOption, match="0 or 1"):
        share_gap(np.array([0.5, 1.0]), ["a", "b"])


def test_nobody_chosen_has_no_ratio():
    found = share_gap(np.zeros(20), np.repeat([1, 2], 10))
    assert (found.gap.value, found.ratio) == (0, None)
    assert found.gap.high > 0.2


@pytest.mark.parametrize(("groups", "true"), [(2, 0.0), (5, 0.0), (3, 0.3)])
def test_the_interval_holds_also_where_there_is_no_gap(groups, true):
    """A percentile bootstrap of the maximum never covers 0."""
    rng, runs, held = np.random.default_rng(groups), 150, 0
    shares = np.full(groups, 0.4)
    shares[0] += true
    names = np.repeat(np.arange(groups), 50)
    for _ in range(runs):
        found = share_gap((rng.random(50 * groups) < shares[names]).astype(float), names)
        held += found.gap.low <= true <= found.gap.high
    assert held >= 0.91 * runs


def test_widest_is_the_largest_gap_in_any_stratum():
    means = np.array([[0.2, 0.5, np.nan], [0.9, np.nan, 0.1], [np.nan, 0.3, np.nan]])
    assert widest(means) == pytest.approx(0.8)
    assert widest(np.stack([means, means[::-1]])) == pytest.approx([0.8, 0.8])


def test_strata_are_resampled_each_for_itself():
    one, other = RNG.normal(1, 1, 60), RNG.normal(0, 2, 30)
    values, strata = np.r_[one, other], np.repeat(["a", "b"], [60, 30])
    found = stratified_bootstrap(values, strata, lambda means: means[..., 0] - means[..., 1])
    error = np.sqrt(one.var() / 60 + other.var() / 30)
    assert found.value == pytest.approx(one.mean() - other.mean())
    assert found.low == pytest.approx(found.value - 1.96 * error, abs=0.1)
    assert found.high == pytest.approx(found.value + 1.96 * error, abs=0.1)
    expected = scipy.stats.bootstrap(
        (one, other), lambda x, y, axis: x.mean(axis) - y.mean(axis), method="BCa", rng=1
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.04)


def test_yes_and_no_are_resampled_by_their_law():
    yes = (np.arange(80) < 30).astype(float)
    strata = np.arange(80) % 2
    by_law = stratified_bootstrap(yes, strata, lambda means: means.mean(-1))
    by_item = stratified_bootstrap(yes + 1e-12 * np.arange(80), strata, lambda m: m.mean(-1))
    assert (by_law.low, by_law.high) == pytest.approx((by_item.low, by_item.high), abs=0.015)


def test_a_stratum_of_one_cannot_be_resampled():
    still = stratified_bootstrap(
        np.zeros(20), np.arange(20) % 2, lambda m: m[..., 0] - m[..., 1], bounds=(-1.0, 1.0)
    )
    assert (still.value, "wilson" in still.method) == (0, True)
    assert still.low < -0.3
    with pytest.raises(NotEnoughData, match="two items"):
        stratified_bootstrap(np.ones(3), list("aab"), lambda means: means.mean(-1))


@pytest.mark.soak
@pytest.mark.parametrize("yes_and_no", [True, False])
def test_coverage_inside_strata(yes_and_no):
    rng, runs, missed = np.random.default_rng(6), 1500, 0
    strata = np.repeat([0, 1], [40, 25])
    for run in range(runs):
        values = rng.exponential(size=65)
        values = (values < 0.5).astype(float) if yes_and_no else values
        found = stratified_bootstrap(
            values, strata, lambda means: means[..., 0] - means[..., 1], run, resamples=999
        )
        missed += not found.low <= 0 <= found.high
    assert missed / runs <= (0.07 if yes_and_no else 0.09)
