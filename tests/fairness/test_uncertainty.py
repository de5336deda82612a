"""Shares, exact tests, power and corrections, against scipy, enumeration and printed tables."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.uncertainty import (
    benjamini_hochberg,
    binomial_power,
    binomial_test,
    cohens_h,
    holm,
    preference,
    smallest_share,
    wilson,
)

CROWS = {  # n: half-width of Wilson's interval, power at 55 % and 60 %, MDE80, MDE80 over 9 tests;
    # an MDE is printed rounded up, so that what is printed has the power
    1508: ("2.5", "0.97", "1.00", "53.7", "54.7"),
    516: ("4.3", "0.62", "1.00", "56.2", "58.0"),
    262: ("6.0", "0.34", "0.89", "58.9", "61.2"),
    172: ("7.4", "0.23", "0.72", "61.0", "63.9"),
    159: ("7.7", "0.21", "0.68", "61.5", "64.6"),
    105: ("9.4", "0.13", "0.46", "64.4", "68.1"),
    87: ("10.3", "0.11", "0.39", "65.8", "69.1"),
    84: ("10.5", "0.12", "0.41", "65.7", "70.3"),
    63: ("12.0", "0.11", "0.33", "67.7", "72.2"),
    60: ("12.3", "0.08", "0.26", "69.2", "73.9"),
}


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(0, 20, 0, 0.1611), (20, 20, 0.8389, 1), (912, 1508, 0.5799, 0.6292)],
)
def test_wilson_has_the_printed_ends(k, n, low, high):
    found = wilson(k, n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert found.value == k / n


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys_and_never_of_width_zero(case):
    k, n = case
    found = wilson(k, n, confidence=0.9)
    expected = scipy.stats.binomtest(k, n).proportion_ci(0.9, method="wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low < found.high


@pytest.mark.parametrize("n", CROWS)
def test_what_crows_can_detect_is_the_printed_table(n):
    middle = wilson(n / 2, n)
    found = (
        f"{50 * (middle.high - middle.low):.1f}",
        f"{binomial_power(0.55, n):.2f}",
        f"{binomial_power(0.60, n):.2f}",
        f"{math.ceil(1000 * smallest_share(n)) / 10:.1f}",
        f"{math.ceil(1000 * smallest_share(n, tests=9)) / 10:.1f}",
    )
    assert found == CROWS[n]


@given(
    st.integers(0, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.sampled_from([0.5, 0.25, 1 / 3, 0.9]),
)
def test_the_binomial_test_is_scipys(case, share):
    k, n = case
    expected = scipy.stats.binomtest(k, n, share).pvalue if n else 1
    assert binomial_test(k, n, share) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n", [1, 5, 8])
def test_the_sign_test_counts_all_sign_patterns(n):
    patterns = [sum(bits) for bits in itertools.product((0, 1), repeat=n)]
    for k in range(n + 1):
        rare = sum(abs(got - n / 2) >= abs(k - n / 2) for got in patterns)
        assert binomial_test(k, n) == pytest.approx(rare / len(patterns))


def test_power_counts_the_outcomes_that_reject():
    n, share = 40, 0.7
    k = np.arange(n + 1)
    for tests in (1, 9):
        rejects = np.array([binomial_test(int(i), n) <= 0.05 / tests for i in k])
        expected = scipy.stats.binom.pmf(k, n, share)[rejects].sum()
        assert binomial_power(share, n, tests=tests) == pytest.approx(expected)
    assert binomial_power(0.5, n) <= 0.05


def test_the_detectable_share_has_the_power_it_promises():
    for n in (6, 60, 263):
        assert binomial_power(smallest_share(n), n) == pytest.approx(0.8)
    assert smallest_share(5) is None  # 2 * 0.5**5 is over 0.05: nothing can be shown
    assert smallest_share(0) is None


def test_ties_count_one_half_and_are_not_tested():
    gaps = np.array([1.0, 2.0, 3.0, -1.0, 0.0, 0.0, np.nan])
    found = preference(gaps)
    assert (found.n_items, found.n_above, found.n_below) == (6, 3, 1)
    assert (found.n_ties, found.n_excluded) == (2, 1)
    assert found.share.value == pytest.approx(4 / 6)
    assert found.p_value == pytest.approx(scipy.stats.binomtest(3, 4).pvalue)


def test_a_constant_model_is_at_one_half_not_at_zero():
    """CrowS-Pairs' own script counts a tie as "not stereotyped", so constant scores give 0."""
    found = preference(np.zeros(1508))
    assert found.share.value == 0.5
    assert found.n_ties == 1508
    assert found.p_value == 1
    assert found.mde80 is None


def test_tiny_gaps_are_no_ties():
    """Scores rounded to three places turn these into ties."""
    assert preference(np.full(40, 1e-9)).share.value == 1


@given(st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5]), min_size=1, max_size=30))
def test_the_other_direction_mirrors_the_share(values):
    one, other = preference(np.array(values)), preference(-np.array(values))
    assert one.share.value == pytest.approx(1 - other.share.value)
    assert one.share.low == pytest.approx(1 - other.share.high)
    assert one.p_value == other.p_value
    assert one.h == pytest.approx(-other.h)


def test_nothing_to_count_is_an_error():
    with pytest.raises(NotEnoughData, match="2 given"):
        preference(np.full(2, np.nan))
    with pytest.raises(NotEnoughData, match="at least one item"):
        wilson(0, 0)
    with pytest.raises(BadOption, match="confidence"):
        wilson(1, 2, confidence=95.0)


def test_cohens_h_has_its_reference_value():
    assert round(cohens_h(0.6, 0.5), 3) == 0.201
    assert cohens_h(1, 0) == pytest.approx(np.pi)


def test_corrections_have_their_reference_values():
    p_values = (0.01, 0.02, 0.03, 0.04)
    assert holm(p_values) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert benjamini_hochberg(p_values) == pytest.approx([0.04, 0.04, 0.04, 0.04])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_corrections_are_those_of_their_definitions(p_values):
    assert benjamini_hochberg(p_values) == pytest.approx(
        scipy.stats.false_discovery_control(p_values, method="bh").tolist()
    )
    ranked = sorted(p_values)
    for p, adjusted in zip(p_values, holm(p_values), strict=True):
        steps = [(len(ranked) - i) * q for i, q in enumerate(ranked) if q <= p]
        assert adjusted == pytest.approx(min(1, max(steps)))
        assert adjusted >= p


def test_a_test_that_was_not_made_is_not_in_the_family():
    assert holm([0.01, None, 0.02]) == [0.02, None, 0.02]
    assert benjamini_hochberg([None]) == [None]
    with pytest.raises(BadOption, match="p-values"):
        holm([0.01, float("nan")])
