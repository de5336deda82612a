"""Calibration by group: the definition, what chance gives, a group whose forecasts are too high."""

import numpy as np
import pytest

from inspector.errors import NotEnoughData
from inspector.fairness.reliability import (
    changed_calibration_gap,
    measured_calibration_gap,
    reliability,
)


def drawn(n: int, shift: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Forecasts, and events that come true less often by `shift`."""
    rng = np.random.default_rng(seed)
    forecasts = rng.uniform(0.15, 0.95, n)
    return forecasts, rng.random(n) < forecasts - shift


def test_the_error_is_that_of_its_definition():
    forecasts, events = drawn(300, 0.1)
    found = reliability(forecasts, events)
    error = 0.0
    for low in range(10):
        inside = (forecasts * 10).astype(int) == low
        if inside.any():
            error += inside.sum() / 300 * abs(forecasts[inside].mean() - events[inside].mean())
    assert found.error == pytest.approx(error)
    assert sum(one.n for one in found.bins) == found.n == 300
    assert found.excess.value == pytest.approx((forecasts - events).mean())
    assert found.excess.low > 0
    assert found.error_p <= 0.05


def test_true_probabilities_err_as_much_as_chance_says():
    found = [reliability(*drawn(100, seed=seed)) for seed in range(40)]
    mean = np.mean([one.error for one in found])
    assert mean == pytest.approx(np.mean([one.error_by_chance for one in found]), abs=0.015)
    assert mean > 0.05  # never zero, though nothing is wrong
    assert sum(one.error_p <= 0.05 for one in found) <= 6


def test_a_group_whose_forecasts_are_too_high_is_seen():
    parts = [drawn(400, shift, seed) for seed, shift in enumerate((0.0, 0.0, 0.15))]
    forecasts, events = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    groups = np.repeat([0, 1, 2], 400)
    found = measured_calibration_gap(forecasts, events, groups, draws=499)
    means = [(p - e).mean() for p, e in parts]
    assert found.estimate.value == pytest.approx(max(means) - min(means))
    assert found.p_value <= 0.01 < found.estimate.low
    same = measured_calibration_gap(forecasts[:800], events[:800], groups[:800], draws=499)
    assert same.p_value > 0.05
    assert same.estimate.low == 0
    assert same.expected == pytest.approx(same.estimate.value, abs=0.06)


def test_small_groups_are_left_out_and_counted():
    forecasts, events = drawn(45)
    groups = np.repeat([0, 1, 2], [20, 20, 5])
    found = measured_calibration_gap(forecasts, events, groups, n_excluded=2, draws=99)
    assert (found.n_items, found.n_excluded) == (40, 7)
    with pytest.raises(NotEnoughData, match="no two groups"):
        measured_calibration_gap(forecasts[20:], events[20:], groups[20:], draws=99, fewest=21)


def test_few_forecasts_that_all_came_true_say_little():
    """A classifier that is sure and right ten times may be wrong the eleventh."""
    groups, sure = np.repeat([0, 1], 10), np.full(20, 0.999)
    events = np.ones(20, dtype=bool)
    found = measured_calibration_gap(sure, events, groups, draws=99)
    assert found.estimate.value == pytest.approx(0)
    assert found.estimate.high == pytest.approx(1.96 * np.sqrt(2 / 90), abs=1e-3)
    excess = reliability(sure[:10], events[:10]).excess
    assert excess.low < -0.2 and excess.high > 0.2
    wider = measured_calibration_gap(*drawn(400), np.repeat([0, 1], 200), draws=99)
    residuals = np.subtract(*drawn(400)).reshape(2, 200)
    reach = 1.959964 * np.sqrt((residuals.var(1, ddof=1) / 200).sum())
    assert wider.estimate.high == pytest.approx(wider.estimate.value + reach, abs=1e-6)


def test_the_same_forecasts_change_nothing():
    one, other = drawn(80), drawn(80, seed=1)
    groups = np.repeat([0, 1], 40)
    same = changed_calibration_gap(one, one, groups, draws=99).difference
    assert (same.estimate.value, same.estimate.low, same.estimate.high, same.p_value) == (
        0,
        0,
        0,
        1,
    )
    found = changed_calibration_gap(one, other, groups, draws=99).difference
    gaps = [
        measured_calibration_gap(*side, groups, draws=9).estimate.value for side in (other, one)
    ]
    assert found.estimate.value == pytest.approx(gaps[0] - gaps[1])
    assert found.estimate.low < found.estimate.value < found.estimate.high
