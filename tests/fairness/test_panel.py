"""Scorers side by side: Kendall's tau, its interval, and where they part."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.panel import kendall, scorer_panel

RNG = np.random.default_rng(9)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=3, max_size=30))
def test_tau_is_scipys_with_ties(pairs):
    one, other = np.array(pairs, dtype=float).T
    expected = scipy.stats.kendalltau(one, other).statistic if np.ptp(one) * np.ptp(other) else None
    found = kendall(one, other)
    assert (found is None) == (expected is None)
    if found is not None:
        assert found == pytest.approx(expected)


def test_the_jackknife_leaves_each_cluster_out(monkeypatch):
    monkeypatch.setattr("inspector.fairness.panel.BLOCK", 50)  # several blocks of rows
    one, other = RNG.normal(size=(2, 24)).round(1)
    clusters = RNG.permutation(np.arange(24) % 6)
    left_out = np.array(
        [scipy.stats.kendalltau(one[clusters != c], other[clusters != c])[0] for c in range(6)]
    )
    tau = scipy.stats.kendalltau(one, other)[0]
    error = np.sqrt(5 / 6 * ((left_out - left_out.mean()) ** 2).sum()) / (1 - tau**2)
    half = scipy.stats.t.ppf(0.975, 5) * error
    found = scorer_panel({"a": one, "b": other}, clusters).pairs[0].tau
    assert (found.low, found.high) == pytest.approx(
        (np.tanh(np.arctanh(tau) - half), np.tanh(np.arctanh(tau) + half))
    )


def test_the_interval_of_tau_holds():
    rng, runs, held = np.random.default_rng(4), 150, 0
    true = 2 / np.pi * np.arcsin(0.6)
    for _ in range(runs):
        one = rng.normal(size=60)
        other = 0.6 * one + 0.8 * rng.normal(size=60)
        found = scorer_panel({"a": one, "b": other}).pairs[0].tau
        held += found.low <= true <= found.high
    assert held >= 0.90 * runs


def test_a_panel_lists_what_scorers_dispute():
    gaps = {
        "pll": np.array([1.0, 2.0, -1.0, 0.0, 3.0]),
        "aul": np.array([2.0, -2.0, -3.0, 1.0, np.nan]),
        "causal-sum": np.array([0.5, 3.0, -1.0, -1.0, 1.0]),
    }
    found = scorer_panel(gaps)
    assert found.disputed == (1, 3)
    assert (found.n_items, found.n_excluded) == (4, 1)
    assert [(p.one, p.other) for p in found.pairs] == [
        ("pll", "aul"), ("pll", "causal-sum"), ("aul", "causal-sum"),
    ]  # fmt: skip
    assert found.pairs[0].same_side.value == pytest.approx((1 + 0 + 1 + 0.5) / 4)
    assert found.shares["pll"].value == pytest.approx(2.5 / 4)
    assert found.spread == pytest.approx(0.625 - 0.5)


def test_one_scorer_twice_agrees_wholly_and_a_turned_one_not_at_all():
    gaps = RNG.normal(size=40)
    found = scorer_panel({"a": gaps, "b": gaps.copy(), "c": -gaps})
    assert [pair.tau.value for pair in found.pairs] == [1, -1, -1]
    assert [pair.same_side.value for pair in found.pairs] == [1, 0, 0]
    assert len(found.disputed) == 40


def test_a_constant_scorer_has_no_order():
    found = scorer_panel({"a": RNG.normal(size=8), "b": np.zeros(8)})
    assert found.pairs[0].tau is None
    assert found.shares["b"].value == 0.5


def test_an_order_that_one_item_makes_has_no_interval():
    found = scorer_panel({"a": RNG.normal(size=6), "b": np.r_[1.0, np.zeros(5)]}).pairs[0].tau
    assert (found.low, found.high) == (-1, 1)
    assert "no interval" in found.method


def test_what_is_no_panel_is_refused():
    with pytest.raises(BadOption, match="two scorers"):
        scorer_panel({"a": np.ones(4)})
    with pytest.raises(BadOption, match="same items"):
        scorer_panel({"a": np.ones(4), "b": np.ones(5)})
    with pytest.raises(NotEnoughData, match="3 are needed"):
        scorer_panel({"a": np.full(4, np.nan), "b": np.ones(4)})
