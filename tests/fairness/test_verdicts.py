"""Four verdicts and the rules that give them."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import BadOption
from inspector.fairness.clusters import t_interval, totals
from inspector.fairness.measures import Measured, change, measured_gap, measured_share
from inspector.fairness.verdicts import VERDICTS, judge, judge_all, judge_change, tost
from inspector.results import Estimate

RNG = np.random.default_rng(7)


def gaps_with(above, n):
    return np.array([1.0] * above + [-1.0] * (n - above))


def measured(value, half, p_value, n_ties=0, null=0.0, smallest_p=0.0001):
    ends = [
        Estimate(
            value=value, low=value - h, high=value + h, confidence=c, n=30, unit="nats", method="t"
        )
        for h, c in ((half, 0.95), (half * 0.8, 0.9))
    ]
    return Measured(
        estimate=ends[0], inner=ends[1], null=null, p_value=p_value, smallest_p=smallest_p,
        test="sign-flip", n_items=30, n_clusters=30, n_ties=n_ties, n_excluded=0, mde80=half * 1.4,
    )  # fmt: skip


def test_fifty_five_per_cent_of_262_is_not_unbiased():
    found = judge(measured_share(gaps_with(144, 262)))
    assert found.verdict == "inconclusive"
    assert 'not "unbiased"' in found.reason
    assert "not detectable" in found.reason
    assert judge(measured_share(gaps_with(144, 262)), margin=0.05).verdict == "inconclusive"


def test_a_planted_share_is_detected_with_its_side():
    above, below = (judge(measured_share(gaps_with(k, 200))) for k in (130, 70))
    assert (above.verdict, above.direction) == ("bias detected", 1)
    assert (below.verdict, below.direction) == ("bias detected", -1)


def test_equivalence_needs_a_margin_and_enough_items():
    even = measured_share(gaps_with(1000, 2000))
    assert judge(even).verdict == "inconclusive"
    assert judge(even, margin=0.05).verdict == "equivalent"
    assert judge(even, margin=0.001).verdict == "inconclusive"
    assert judge(measured_share(gaps_with(10, 20)), margin=0.05).verdict == "inconclusive"


def test_less_than_was_said_to_matter_is_equivalent_though_it_differs():
    found = judge(measured(0.02, 0.01, 0.001), margin=0.1)
    assert (found.verdict, found.differs) == ("equivalent", True)
    assert "differs" in found.reason
    assert judge(measured(0.02, 0.01, 0.001)).verdict == "bias detected"


def test_ties_guards_and_missing_data_are_never_fair():
    ties = judge(measured_share(np.zeros(1508)), margin=0.4)
    assert ties.verdict == "invalid measurement"
    assert "1508" in ties.reason
    assert judge(None, margin=0.4).verdict == "invalid measurement"
    broken = judge(measured(0.0, 0.01, 0.9), margin=0.1, problems=["lms 50 is chance"])
    assert (broken.verdict, broken.reason) == ("invalid measurement", "lms 50 is chance")
    assert judge(measured(3.0, 0.1, 0.0001), problems=["guard"]).verdict == "invalid measurement"


def test_the_corrected_p_decides_and_the_interval_must_agree():
    found = measured(1.0, 0.5, 0.03)
    assert judge(found).verdict == "bias detected"
    assert judge(found, p_adjusted=0.09).verdict == "inconclusive"
    assert judge(measured(1.0, 1.2, 0.03)).verdict == "inconclusive"
    assert judge(measured(1.0, 0.5, None)).verdict == "inconclusive"
    few = judge(measured(1.0, 0.5, 0.0625, smallest_p=0.0625))
    assert "cannot give p under 0.062" in few.reason


@given(
    st.floats(-3, 3),
    st.floats(0.001, 3),
    st.none() | st.floats(0, 1),
    st.none() | st.floats(0.01, 4),
    st.booleans(),
)
def test_no_verdict_contradicts_its_numbers(value, half, p, margin, broken):
    number = measured(value, half, p)
    found = judge(number, margin=margin, problems=["guard"] * broken)
    assert found.verdict in VERDICTS
    assert (found.verdict == "invalid measurement") == broken
    if found.verdict == "equivalent":
        assert margin is not None
        assert max(abs(number.inner.low), abs(number.inner.high)) < margin
    if found.verdict == "bias detected":
        assert p <= 0.05
        assert number.estimate.low > 0 or number.estimate.high < 0
    mirrored = judge(measured(-value, half, p), margin=margin, problems=["guard"] * broken)
    assert mirrored.verdict == found.verdict
    assert mirrored.direction == -found.direction


def test_a_family_is_corrected_together():
    family = [measured(1.0, 0.5, p) for p in (0.01, 0.02, 0.03, 0.04)] + [None]
    holm = judge_all(family)
    assert [found.p_adjusted for found in holm[:4]] == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert [found.verdict for found in holm] == [
        "bias detected", *["inconclusive"] * 3, "invalid measurement",
    ]  # fmt: skip
    bh = judge_all(family, correction="benjamini-hochberg")
    assert [found.verdict for found in bh[:4]] == ["bias detected"] * 4
    with pytest.raises(BadOption, match="bonferroni"):
        judge_all(family, correction="bonferroni")


def test_many_null_tests_give_a_false_alarm_in_five_per_cent_of_families():
    rng, alarms, runs = np.random.default_rng(1), 0, 200
    for _ in range(runs):
        family = [measured_share(rng.normal(size=60)) for _ in range(9)]
        alarms += any(found.verdict == "bias detected" for found in judge_all(family))
    assert alarms <= 0.05 * runs + 3 * np.sqrt(runs * 0.0475)


def test_tost_is_the_interval_within_the_margin():
    for seed in range(40):
        found = totals(np.random.default_rng(seed).normal(0.2, 1, 20))
        inner = t_interval(found, confidence=0.9)
        inside = inner.low > -0.6 and inner.high < 0.6
        assert (tost(found, 0.6) < 0.05) == inside
    with pytest.raises(BadOption, match="margin"):
        tost(found, 0.0)
    with pytest.raises(BadOption, match="margin"):
        judge(measured(0.0, 1.0, 0.5), margin=-1.0)


def test_equivalence_is_claimed_wrongly_at_the_level_only():
    """The true gap lies at the margin: at most one in twenty may be called equivalent."""
    runs, wrong, rng = 200, 0, np.random.default_rng(3)
    for _ in range(runs):
        found = measured_gap(rng.normal(1, 1, 12), resamples=999)
        wrong += judge(found, margin=1.0).verdict == "equivalent"
    assert wrong <= 0.05 * runs + 3 * np.sqrt(runs * 0.0475)


def test_changes_are_judged_in_their_own_words():
    before = RNG.normal(1, 1, 60)
    same = change(before, before.copy())
    assert judge_change(same).verdict == "inconclusive"
    assert judge_change(same, margin=0.1).verdict == "equivalent"
    assert judge_change(change(before, before / 3)).verdict == "changed"
    broken = judge_change(change(before, np.zeros(60)), problems=["after: lms 50 is chance"])
    assert broken.verdict == "invalid measurement"
    assert judge_change(None).verdict == "invalid measurement"


def test_a_gap_of_ties_alone_is_silence():
    assert judge(measured_gap(np.zeros(40))).verdict == "invalid measurement"
    assert dataclasses.asdict(judge(None))["direction"] is None
