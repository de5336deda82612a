"""Permutation tests, against enumeration and scipy."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.clusters import totals
from inspector.fairness.gaps import widest
from inspector.fairness.permutation import group_test, mcnemar, sign_flip, smallest_p, subset_sums
from inspector.fairness.uncertainty import binomial_test

RNG = np.random.default_rng(1)


@pytest.mark.parametrize("m", [1, 4, 9])
def test_sign_flips_are_all_gone_through(m):
    values = RNG.normal(0.5, 1, m)
    flips = [abs(np.dot(signs, values)) for signs in itertools.product((-1, 1), repeat=m)]
    expected = np.mean([flip >= abs(values.sum()) - 1e-12 for flip in flips])
    found = sign_flip(totals(values))
    assert (found.p_value, found.exact) == (pytest.approx(expected), True)
    assert found.arrangements == 2**m
    assert found.p_value >= found.smallest_p == smallest_p(m)


def test_sign_flips_are_scipys():
    values = RNG.normal(0.4, 1, 10)
    expected = scipy.stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip(totals(values)).p_value == pytest.approx(expected.pvalue)


def test_drawn_flips_agree_with_all_of_them(monkeypatch):
    found = totals(RNG.normal(0.4, 1, 14))
    exact = sign_flip(found)
    monkeypatch.setattr("inspector.fairness.permutation.EXACT_FLIPS", 0)
    drawn = sign_flip(found, seed=2)
    assert (drawn.exact, drawn.arrangements) == (False, 9999)
    assert drawn.p_value == pytest.approx(exact.p_value, abs=0.015)
    assert drawn == sign_flip(found, seed=2)


def test_drawn_flips_are_never_zero():
    found = sign_flip(totals(np.full(60, 1.0)), draws=999)
    assert found.p_value == found.smallest_p == 0.001


def test_flips_of_single_items_of_one_size_are_the_sign_test():
    values = np.array([1.0] * 9 + [-1.0] * 3)
    assert sign_flip(totals(values)).p_value == pytest.approx(binomial_test(9, 12))


def test_flips_take_clusters_whole_and_ratios_anew():
    """Numerators are flipped by cluster; what stands below the line stays."""
    values = np.array([3.0, 1.0, -1.0, 2.0, 2.0, 4.0])
    clusters = ["a", "a", "b", "c", "c", "c"]
    parts = np.array([4.0, -1.0, 8.0])
    flips = [abs(np.dot(s, parts)) for s in itertools.product((-1, 1), repeat=3)]
    expected = np.mean([flip >= 11 - 1e-12 for flip in flips])
    found = sign_flip(totals(values, clusters))
    assert found.p_value == expected
    assert found.statistic == pytest.approx(11 / 6)


def test_rounding_does_not_part_equal_sums():
    """0.1 + 0.2 is not 0.3 in floating point; equality must count as far out."""
    assert sign_flip(totals(np.array([0.1, 0.2, -0.3]))).p_value == 1
    assert sign_flip(totals(np.array([0.1, 0.2, 0.3, 0.6]))).p_value == 2 / 16


@pytest.mark.parametrize("seed", range(12))
def test_tenths_are_flipped_as_whole_numbers_are(seed):
    whole = np.random.default_rng(seed).integers(-5, 9, 11).astype(float)
    assert sign_flip(totals(whole * 0.1)).p_value == sign_flip(totals(whole)).p_value


def test_nothing_moved_is_exactly_one():
    assert sign_flip(totals(np.zeros(300))).p_value == 1
    assert mcnemar(np.ones(4), np.ones(4)).p_value == 1


def test_order_of_items_does_not_matter():
    values, clusters = RNG.normal(size=90), np.repeat(np.arange(30), 3)
    order = RNG.permutation(90)
    one, other = (sign_flip(totals(values[i], clusters[i]), 4) for i in (np.arange(90), order))
    assert one.p_value == other.p_value


def test_false_alarms_of_sign_flips_are_at_the_level():
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(12), 5)
    runs = 400
    alarms = sum(
        sign_flip(totals(rng.normal(size=12)[clusters] + rng.normal(size=60), clusters)).p_value
        <= 0.05
        for _ in range(runs)
    )
    assert abs(alarms - 0.05 * runs) <= 3 * math.sqrt(runs * 0.0475)


def test_subset_sums_are_all_of_them():
    values = RNG.normal(size=6)
    sums, sizes = subset_sums(values)
    expected = {
        (round(sum(chosen), 9), len(chosen))
        for size in range(7)
        for chosen in itertools.combinations(values, size)
    }
    assert {(round(a, 9), b) for a, b in zip(sums, sizes, strict=True)} == expected


def test_mcnemar_is_the_exact_test_on_what_changed_sides():
    before = np.array([-1.0] * 8 + [1.0] * 4 + [1.0] * 5 + [0.0, 2.0])
    after = np.array([1.0] * 8 + [-1.0] * 4 + [3.0] * 5 + [2.0, 0.0])
    found = mcnemar(before, after)
    assert (found.up, found.down, found.unchanged, found.n_ties) == (8, 4, 5, 2)
    assert found.p_value == pytest.approx(scipy.stats.binomtest(8, 12).pvalue)


def test_groups_shuffled_within_strata_agree_with_enumeration():
    """Two strata, yes and no outcomes: all ways to deal them out, one by one."""
    outcomes = np.array([1, 1, 0, 0, 1, 0, 0, 1, 1.0])
    groups = np.array(list("aabbaabbb"))
    within = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
    seen, sizes = [], []
    for first in itertools.permutations(outcomes[:4]):
        for second in itertools.permutations(outcomes[4:]):
            dealt = np.array(first + second)
            gaps = [
                abs(
                    dealt[(within == s) & (groups == "a")].mean()
                    - dealt[(within == s) & (groups == "b")].mean()
                )
                for s in (0, 1)
            ]
            sizes.append(max(gaps))
            if (dealt == outcomes).all():
                seen = max(gaps)
    expected = np.mean(np.array(sizes) >= seen - 1e-12)
    found = group_test(outcomes, groups, widest, within)
    assert found.statistic == pytest.approx(seen)
    assert found.p_value == pytest.approx(expected, abs=0.02)
    shaken = outcomes + 1e-13 * np.arange(9)  # no longer 0 and 1: items are shuffled one by one
    assert group_test(shaken, groups, widest, within).p_value == pytest.approx(expected, abs=0.02)


def test_groups_that_differ_only_through_the_class_have_no_gap_inside_it():
    """Unequal base rates are no unequal odds: labels are shuffled within the true class."""
    rng = np.random.default_rng(7)
    truth = np.r_[rng.random(400) < 0.8, rng.random(400) < 0.2]
    groups = np.repeat(["a", "b"], 400)
    outcomes = (rng.random(800) < np.where(truth, 0.7, 0.3)).astype(float)
    assert group_test(outcomes, groups, widest, draws=999).p_value <= 0.01
    assert group_test(outcomes, groups, widest, truth, draws=999).p_value > 0.05


def test_wrong_shapes_are_refused():
    with pytest.raises(NotEnoughData, match="two groups"):
        group_test(np.ones(3), list("aaa"), widest)
    with pytest.raises(BadOption, match="finite"):
        group_test(np.array([1.0, np.nan]), list("ab"), widest)
    with pytest.raises(BadOption, match="paired"):
        mcnemar(np.array([1.0, np.inf]), np.zeros(2))
