"""Gaps between groups in a classifier's rates: fairlearn, brute force, exact chance, changes."""

import itertools

import numpy as np
import pytest
from fairness.classifiers import decided

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.gaps import null_gap
from inspector.fairness.group_rates import Metric, Rate, counted, odds, rest_of, statistic
from inspector.fairness.group_tests import changed_metric_of_groups, measured_metric_of_groups

SELECTED = (Rate(name="selected", outcome=1),)
HITS = (Rate(name="true positives", outcome=1),)
CORRECT = (Rate(name="correct"),)
FEW = 499  # draws, where p is not what is looked at


def plain(groups: int, rates=SELECTED, kind="difference", fewest=1) -> Metric:
    return Metric(rates=rates, kind=kind, views=(np.arange(groups),), fewest=fewest)


def value(metric: Metric, truth, said, groups) -> float:
    return measured_metric_of_groups(metric, truth, said, groups, draws=FEW).estimate.value


def test_numbers_are_those_of_fairlearn():
    from fairlearn import metrics

    truth, said, groups = decided(4, 60, seed=3)
    said = np.where((groups == 2) & (truth == 1), 1, said)
    given = {"sensitive_features": groups}
    for metric, expected in (
        (plain(4), metrics.demographic_parity_difference(truth, said, **given)),
        (plain(4, kind="ratio"), metrics.demographic_parity_ratio(truth, said, **given)),
        (plain(4, odds([1])), metrics.equalized_odds_difference(truth, said, **given)),
        (
            plain(4, odds([1]), "mean difference"),
            metrics.equalized_odds_difference(truth, said, agg="mean", **given),
        ),
        (plain(4, HITS), metrics.equal_opportunity_difference(truth, said, **given)),
    ):
        assert value(metric, truth, said, groups) == pytest.approx(expected, abs=1e-12)
    right = metrics.MetricFrame(
        metrics={"correct": lambda y, p: float((y == p).mean())}, y_true=truth, y_pred=said, **given
    )
    assert value(plain(4, CORRECT), truth, said, groups) == pytest.approx(
        right.difference()["correct"]
    )


def test_signed_differences_are_those_of_aif360():
    """Unprivileged less privileged, from the definitions."""
    truth, said, groups = decided(3, 50, seed=5)
    view, one = rest_of(1, np.arange(3)), groups == 1

    def rate(where):
        return (said[where] == 1).mean()

    tpr, fpr = (rate(one & (truth == y)) - rate(~one & (truth == y)) for y in (1, 0))
    expected = {SELECTED: rate(one) - rate(~one), HITS: tpr, odds([1]): (tpr + fpr) / 2}
    for rates, wanted in expected.items():
        metric = Metric(rates=rates, kind="signed", views=(view,), fewest=1)
        found = measured_metric_of_groups(metric, truth, said, groups, draws=FEW)
        assert found.estimate.value == pytest.approx(wanted, abs=1e-12)
        assert found.estimate.low < wanted < found.estimate.high
        assert found.expected is None


def test_of_several_classes_and_attributes_the_widest_counts():
    rng = np.random.default_rng(8)
    truth, said, combos = rng.integers(0, 3, (3, 400))
    combos = rng.integers(0, 6, 400)
    views = (np.arange(6) // 3, np.arange(6) % 3)
    metric = Metric(rates=odds([0, 1, 2]), kind="difference", views=views, fewest=1)
    gaps = []
    for view, outcome, positive in itertools.product(views, range(3), (True, False)):
        among = (truth == outcome) == positive
        shares = [
            (said == outcome)[among & (view[combos] == g)].mean() for g in range(view.max() + 1)
        ]
        gaps.append(max(shares) - min(shares))
    assert value(metric, truth, said, combos) == pytest.approx(max(gaps))


def test_five_groups_of_fifty_without_a_gap():
    """0.164 on average, which is what stands beside the number."""
    truth, _, groups = decided(5, 50)
    said = np.tile(np.repeat([0, 1], 25), 5)
    metric = plain(5)
    found, _ = counted(metric, truth, said, groups)
    yes = np.random.default_rng(0).binomial(50, 0.5, (20_000, 5))
    ones = int(np.flatnonzero(found.yes[0])[0])
    tables = np.empty((20_000, 2, 5), dtype=np.int64)
    tables[:, ones], tables[:, 1 - ones] = yes, 50 - yes
    mean = statistic(found, tables).mean()
    assert mean == pytest.approx(0.164, abs=0.002)
    measured = measured_metric_of_groups(metric, truth, said, groups, draws=FEW)
    assert measured.expected == pytest.approx(mean, abs=0.002)
    assert (measured.estimate.value, measured.p_value) == (0, 1)


def test_an_empty_group_is_an_error_and_a_small_one_is_not_compared():
    truth, said, groups = decided(2, 40)
    with pytest.raises(NotEnoughData, match="no two groups"):
        value(plain(2), truth, said, np.zeros(80, dtype=np.int64))
    with pytest.raises(NotEnoughData, match="3 texts"):
        value(plain(2, fewest=3), truth[:42], said[:42], groups[:42])
    small = np.where(np.arange(80) >= 78, 2, groups)
    said[78:] = 1 - said[:40].round().astype(int)[:1]
    assert value(plain(3, fewest=3), truth, said, small) == pytest.approx(
        abs(said[:40].mean() - said[40:78].mean())
    )
    with pytest.raises(BadOption):
        plain(2, fewest=0)


def test_chance_is_exact_for_one_rate_and_drawn_for_the_largest_of_several():
    truth, said, groups = decided(3, 40, seed=2)
    one = measured_metric_of_groups(plain(3), truth, said, groups)
    assert one.expected == pytest.approx(null_gap([40, 40, 40], said.mean()))
    both = measured_metric_of_groups(plain(3, odds([1])), truth, said, groups)
    rng, sizes, drawn = np.random.default_rng(1), [], []
    for y in (1, 0):
        sizes.append(np.array([((truth == y) & (groups == g)).sum() for g in range(3)]))
    for _ in range(4000):
        gaps = [
            np.ptp(rng.binomial(n, said[truth == y].mean()) / n)
            for n, y in zip(sizes, (1, 0), strict=True)
        ]
        drawn.append(max(gaps))
    assert both.expected == pytest.approx(np.mean(drawn), abs=0.006)


@pytest.mark.parametrize("rates", [SELECTED, odds([1])])
def test_p_is_that_of_all_ways_to_deal_out_the_groups(rates):
    truth = np.array([1, 1, 1, 1, 0, 0, 0, 0])
    said = np.array([1, 1, 1, 0, 0, 1, 0, 0])
    groups = np.array([0, 0, 1, 1, 0, 1, 1, 0])
    metric = plain(2, rates)
    seen = value(metric, truth, said, groups)
    hits = ways = 0
    for order in set(itertools.permutations(groups.tolist())):
        other = np.array(order)
        if len(rates) > 1 and other[:4].sum() != 2:
            continue  # within the true class
        found, _ = counted(metric, truth, said, other)
        ways += 1
        hits += float(statistic(found, found.table)) >= seen - 1e-9
    p = measured_metric_of_groups(metric, truth, said, groups, draws=9999).p_value
    assert p == pytest.approx(hits / ways, abs=0.015)


def test_without_a_gap_p_is_small_as_often_as_it_should_be():
    metric = plain(3, odds([1]))
    ps = []
    for seed in range(100):
        truth, said, groups = decided(3, 30, seed)
        ps.append(measured_metric_of_groups(metric, truth, said, groups, draws=199).p_value)
    assert 1 <= sum(p <= 0.05 for p in ps) <= 12
    assert 30 <= sum(p <= 0.5 for p in ps) <= 66


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["difference", "mean difference", "ratio"])
def test_intervals_hold_for_all_comparisons_at_once(kind):
    shares = np.array([0.5, 0.5, 0.6, 0.7])
    rates = SELECTED if kind == "ratio" else odds([1])
    true = {"difference": 0.2, "mean difference": 0.2, "ratio": 5 / 7}[kind]
    covered = 0
    for seed in range(1000):
        truth, _, groups = decided(4, 80, seed)
        said = (np.random.default_rng(seed + 5000).random(320) < shares[groups]).astype(int)
        found = measured_metric_of_groups(plain(4, rates, kind), truth, said, groups, draws=1)
        covered += found.estimate.low <= true <= found.estimate.high
    assert covered >= 950


def test_the_same_decisions_change_nothing_and_moved_ones_do():
    truth, said, groups = decided(3, 80, seed=6)
    for metric in (plain(3), plain(3, odds([1])), plain(3, kind="ratio")):
        same = changed_metric_of_groups(metric, truth, said, said, groups, draws=FEW).difference
        ends = (same.estimate.value, same.estimate.low, same.estimate.high, same.p_value)
        assert ends == (0, 0, 0, 1)
    moved = np.where((groups == 1) & (np.arange(240) % 3 > 0), 1, said)
    metric = plain(3)
    there = changed_metric_of_groups(metric, truth, said, moved, groups, draws=FEW).difference
    back = changed_metric_of_groups(metric, truth, moved, said, groups, draws=FEW).difference
    gaps = [value(metric, truth, one, groups) for one in (moved, said)]
    assert there.estimate.value == pytest.approx(gaps[0] - gaps[1]) == -back.estimate.value
    assert there.p_value == back.p_value == pytest.approx(1 / (1 + FEW))
    assert 0 < there.estimate.low < there.estimate.value < there.estimate.high


def test_a_change_is_exchanged_text_by_text():
    """p of all 2^m ways to say which of two classifiers said what."""
    truth = np.array([1, 1, 0, 0, 1, 0, 1, 0])
    before = np.array([1, 0, 0, 1, 1, 0, 0, 0])
    after = np.array([0, 1, 1, 1, 0, 0, 1, 1])
    groups = np.array([0, 0, 0, 0, 1, 1, 1, 1])

    def gap(said):
        return abs(said[:4].mean() - said[4:].mean())

    seen = abs(gap(after) - gap(before))
    ways = [
        abs(gap(np.where(side, before, after)) - gap(np.where(side, after, before)))
        for side in itertools.product((False, True), repeat=8)
    ]
    exact = np.mean([way >= seen - 1e-9 for way in ways])
    found = changed_metric_of_groups(plain(2), truth, before, after, groups)
    assert found.difference.p_value == pytest.approx(exact, abs=0.015)
    assert found.sides is None


def test_a_change_of_every_decision_has_an_interval_all_the_same():
    truth = np.ones(60, dtype=np.int64)
    groups = np.repeat([0, 1], 30)
    found = changed_metric_of_groups(plain(2, HITS), truth, truth, 1 - groups, groups, draws=FEW)
    assert found.difference.estimate.value == 1
    assert found.difference.estimate.low < 0.9


def test_nobody_selected_has_no_ratio():
    truth, said, groups = decided(2, 30)
    with pytest.raises(NotEnoughData, match="no ratio"):
        value(plain(2, kind="ratio"), truth, 0 * said, groups)


def test_a_ratio_that_chance_leaves_undefined_has_a_chance_all_the_same():
    """One selected text: where it is dealt to the group that is too small, there is no ratio."""
    groups = np.repeat([0, 1, 2], [20, 20, 5])
    said = np.zeros(45, dtype=np.int64)
    said[3] = 1
    metric = plain(3, kind="ratio", fewest=10)
    found = measured_metric_of_groups(metric, 0 * said, said, groups)
    assert (found.estimate.value, found.expected, found.p_value) == (0, 0, 1)
    draws = int(found.test.split(", ")[1].split()[0])
    assert draws / 9999 == pytest.approx(40 / 45, abs=0.01)
    assert found.smallest_p == 1 / (1 + draws)
    with pytest.raises(NotEnoughData, match="undefined in"):
        changed_metric_of_groups(metric, 0 * said, said, np.roll(said, 20), groups)


def test_no_gap_over_one_is_said_to_be_detectable():
    truth, said, groups = decided(5, 10)
    few = measured_metric_of_groups(plain(5), truth[:50], said[:50], groups[:50], draws=FEW)
    assert few.mde80 is None or few.mde80 <= 1
    ratio = measured_metric_of_groups(plain(5, kind="ratio"), truth, said, groups, draws=FEW)
    assert ratio.mde80 is None or ratio.mde80 <= 1


def test_only_two_groups_have_a_sign():
    with pytest.raises(BadOption, match="two groups"):
        plain(3, kind="signed")
    with pytest.raises(BadOption):
        Rate(name="correct", outcome=1)
