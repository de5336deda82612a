"""What a probe hands in and what it gets back: counts, tests, before against after."""

import numpy as np
import pytest
import scipy.stats

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.clusters import totals
from inspector.fairness.measures import change, measured_gap, measured_metric, measured_share
from inspector.fairness.permutation import sign_flip
from inspector.fairness.resampling import ratio

RNG = np.random.default_rng(6)


def test_a_gap_tells_what_went_in():
    values = np.r_[RNG.normal(0.5, 1, 58), 0.0, np.nan]
    clusters = [f"template {i % 12}" for i in range(60)]
    found = measured_gap(values, clusters)
    assert (found.n_items, found.n_clusters, found.n_ties, found.n_excluded) == (59, 12, 1, 1)
    assert found.estimate.value == pytest.approx(np.nanmean(values))
    assert found.estimate.low < found.inner.low < found.inner.high < found.estimate.high
    assert (found.estimate.confidence, found.inner.confidence) == (0.95, 0.9)
    known = [c for c, v in zip(clusters, values, strict=True) if not np.isnan(v)]
    assert found.p_value == sign_flip(totals(values[~np.isnan(values)], known)).p_value
    assert found.smallest_p == 2**-11


def test_a_share_without_clusters_is_tested_exactly():
    gaps = np.array([1.0] * 60 + [-1.0] * 40 + [0.0] * 10 + [np.nan] * 2)
    found = measured_share(gaps)
    assert found.p_value == pytest.approx(scipy.stats.binomtest(60, 100).pvalue)
    assert (found.n_items, found.n_ties, found.n_excluded) == (110, 10, 2)
    assert found.estimate.value == pytest.approx(65 / 110)
    assert found.mde80 == pytest.approx((0.6455 - 0.5) * 100 / 110, abs=0.01)


def test_clusters_that_move_as_one_are_no_more_evidence_than_clusters():
    """8 of 10 occupations, 40 items each: alone 320 of 400, in truth 8 of 10."""
    gaps = np.repeat([1.0] * 8 + [-1.0] * 2, 40)
    alone = measured_share(gaps)
    together = measured_share(gaps, np.repeat(np.arange(10), 40))
    assert alone.estimate.value == together.estimate.value == 0.8
    assert alone.p_value < 1e-30
    assert together.p_value == pytest.approx(scipy.stats.binomtest(8, 10).pvalue)
    assert together.estimate.low < 0.5 < alone.estimate.low


def test_a_share_in_clusters_of_one_is_nearly_that_without():
    gaps = RNG.normal(0.4, 1, 200)
    alone, apart = measured_share(gaps), measured_share(gaps, np.arange(200))
    assert apart.estimate.low == pytest.approx(alone.estimate.low, abs=0.002)
    assert apart.p_value == pytest.approx(alone.p_value, abs=0.01)
    assert apart.mde80 == pytest.approx(alone.mde80, abs=0.02)


def test_clusters_that_all_agree_do_not_make_everything_detectable():
    found = measured_share(np.ones(80), np.repeat(np.arange(10), 8))
    assert found.estimate.low < 0.8
    assert found.mde80 > 0.3


def test_a_metric_of_sums_is_bounded_and_tested_by_its_signed_part():
    """s_DIS of BBQ: 2 biased / answered - 1, templates as the unit."""
    biased, answered = RNG.integers(3, 9, 25).astype(float), np.full(25, 10.0)
    signed = totals(2 * biased - answered, np.arange(25), answered)
    rows = np.stack([signed.above, signed.below], axis=1)
    found = measured_metric(rows, ratio, 0.0, 250, 3, signed, bounds=(-1.0, 1.0))
    assert found.estimate.value == pytest.approx(2 * biased.sum() / 250 - 1)
    assert found.p_value == sign_flip(signed).p_value
    assert (found.n_clusters, found.n_items, found.n_excluded) == (25, 250, 3)
    untested = measured_metric(rows, ratio, 0.0, 250)
    assert untested.p_value is None
    plain = measured_gap(2 * biased - answered, np.arange(25), answered)
    assert plain.estimate.low == pytest.approx(found.estimate.low)


def test_identical_checkpoints_differ_by_exactly_nothing():
    gaps = RNG.normal(size=120)
    found = change(gaps, gaps.copy(), np.arange(120) // 5)
    ends = found.difference.estimate
    assert (ends.value, ends.low, ends.high, found.difference.p_value) == (0, 0, 0, 1)
    assert (found.sides.p_value, found.sides.up, found.sides.down) == (1, 0, 0)


def test_paired_changes_are_seen_where_two_intervals_overlap():
    before = RNG.normal(0.3, 2, 60)
    after = before - 0.3 + RNG.normal(0, 0.2, 60)
    one, other = measured_gap(before).estimate, measured_gap(after).estimate
    assert one.low < other.high  # apart, nothing is shown
    found = change(before, after)
    assert found.difference.p_value < 0.001
    assert found.difference.estimate.high < 0


def test_a_change_turns_with_its_sides():
    before, after = RNG.normal(size=(2, 40))
    there, back = change(before, after), change(after, before)
    assert there.difference.estimate.value == -back.difference.estimate.value
    assert there.difference.p_value == pytest.approx(back.difference.p_value, abs=0.02)
    assert (there.sides.up, there.sides.down) == (back.sides.down, back.sides.up)


def test_items_missing_on_one_side_are_excluded_and_counted():
    before, after = np.array([1.0, np.nan, 2.0, 3.0]), np.array([np.nan, 1.0, 1.0, 1.0])
    found = change(before, after)
    assert (found.difference.n_items, found.difference.n_excluded) == (2, 2)
    with pytest.raises(NotEnoughData, match="before and after"):
        change(np.array([np.nan]), np.array([1.0]))
    with pytest.raises(BadOption, match="paired"):
        change(np.ones(2), np.ones(3))


def test_nothing_to_measure_is_an_error_not_a_zero():
    for measure in (measured_gap, measured_share):
        with pytest.raises(NotEnoughData):
            measure(np.full(5, np.nan))
        with pytest.raises(BadOption, match="cluster"):
            measure(np.ones(3), list("ab"))
