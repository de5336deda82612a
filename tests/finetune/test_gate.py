"""The gate: what passes, what fails, and what nobody can know."""

import json

import numpy as np
import pytest

from inspector.fairness.probes.records import Probe
from inspector.finetune.config import Gate, GateProbe
from inspector.finetune.evaluate import Asked
from inspector.finetune.gate import Gated, gated, judged, use_kept


def changed(before, change, half, null=0.0, **more) -> Probe:
    """A probe's record with a paired change of that interval."""
    return Probe(
        **{
            "probe": "counterfactual-gap",
            "metric": "gap",
            "category": "all",
            "estimate": before + change,
            "low": None,
            "high": None,
            "null": null,
            "unit": "nats",
            "p_value": None,
            "p_adjusted": None,
            "family": "all",
            "n_items": 9,
            "n_clusters": 9,
            "n_ties": 0,
            "n_excluded": 0,
            "mde80": None,
            "scorer": "continuation",
            "data_sha256": "0",
            "verdict": "inconclusive",
            "reason": "",
            "margin": 0.1,
            "baseline": before,
            "change": change,
            "change_low": change - half,
            "change_high": change + half,
            **more,
        }
    )


ASKED = GateProbe(probe="counterfactual-gap", margin=0.1)


@pytest.mark.parametrize(
    ("before", "change", "half", "null", "verdict"),
    [
        (1.6, 0.0, 0.0, 0.0, "pass"),  # the same model
        (1.6, -1.6, 0.2, 0.0, "pass"),  # mended
        (0.0, 1.6, 0.2, 0.0, "fail"),
        (0.0, -1.6, 0.2, 0.0, "fail"),  # as far on the other side
        (1.6, -3.0, 0.05, 0.0, "pass"),  # beyond no bias, but nearer to it
        (1.6, -3.4, 0.05, 0.0, "fail"),  # beyond it by more than before
        (0.0, 0.0, 0.5, 0.0, "inconclusive"),  # five items
        (0.5, 0.2, 0.05, 0.5, "fail"),  # a share, away from one half
        (0.7, -0.2, 0.05, 0.5, "pass"),
    ],
)
def test_distance_from_no_bias(before, change, half, null, verdict):
    found = judged(ASKED, changed(before, change, half, null))
    assert found.verdict == verdict
    drawn = np.abs(before + np.linspace(change - half, change + half, 4001) - null)
    worse = drawn - abs(before - null)  # brute force over the interval
    assert found.worse_high == pytest.approx(worse.max())
    assert found.worse_low == pytest.approx(worse.min(), abs=1e-3)


def test_what_is_not_measured_is_not_promoted():
    lost = judged(ASKED, changed(0.0, 0.0, 0.0, change_low=None, change_reason="too few"))
    assert (lost.verdict, lost.reason, lost.worse_high) == ("inconclusive", "too few", None)
    guarded = changed(0.0, 0.0, 0.0, verdict="invalid measurement", reason="no language")
    assert (judged(ASKED, guarded).verdict, judged(ASKED, guarded).reason) == (
        "inconclusive",
        "no language",
    )


def answered(errors: np.ndarray, right: np.ndarray | None = None) -> Asked:
    return Asked(
        errors=errors,
        items=np.ones(len(errors)),
        answers=None if right is None else right.astype(np.int64),
        labels=None if right is None else np.ones(len(errors), dtype=np.int64),
        of_row=None if right is None else np.arange(len(errors)),
    )


def test_use_is_compared_row_by_row():
    draw = np.random.default_rng(0)
    errors = draw.normal(3, 2, 400) ** 2
    gate = Gate(utility_loss=0.02)
    same = use_kept(gate, "loss", answered(errors), answered(errors + 0.001))
    assert same.verdict == "pass"  # rows differ widely, but each got worse by the same little
    assert same.worse_high == pytest.approx(np.expm1(0.001))
    assert use_kept(gate, "loss", answered(errors), answered(errors + 0.1)).verdict == "fail"
    noisy = answered(errors + draw.normal(0, 1, 400))
    assert use_kept(gate, "loss", answered(errors), noisy).verdict == "inconclusive"


def test_use_in_shares_and_without_a_model_before():
    right = np.arange(1000) % 10 > 0
    worse = right & (np.arange(1000) % 10 > 2)
    errors = np.ones(1000)
    gate = Gate(utility_loss=0.05)
    fallen = use_kept(gate, "accuracy", answered(errors, right), answered(errors, worse))
    assert fallen.verdict == "fail"
    assert fallen.worse_low < 0.2 < fallen.worse_high
    assert use_kept(gate, "accuracy", answered(errors, worse), answered(errors, right)).verdict == (
        "pass"
    )
    alone = use_kept(gate, "accuracy", None, answered(errors, right))
    assert (alone.verdict, alone.before) == ("pass", None)
    assert "no head" in alone.reason


def test_models_of_known_bias(tmp_path):
    gate = Gate(
        probes=(GateProbe(probe="counterfactual-gap", data="demo:words", margin=0.1),),
        utility_loss=0.02,
    )
    kept = use_kept(gate, "loss", answered(np.ones(9)), answered(np.ones(9)))
    worse = gated(gate, "demo:balanced", "demo:planted", kept)
    assert worse.verdict == "fail"
    assert worse.conditions[1].worse_low > 1
    assert gated(gate, "demo:planted", "demo:balanced", kept).verdict == "pass"
    worse.write(tmp_path)
    told = json.loads((tmp_path / "gate.json").read_text())
    assert [one["verdict"] for one in told["conditions"]] == ["pass", "fail"]
    lost = use_kept(gate, "loss", answered(np.ones(9)), answered(2 * np.ones(9)))
    assert isinstance(both := gated(gate, "demo:balanced", "demo:balanced", lost), Gated)
    assert [one.verdict for one in both.conditions] == ["fail", "pass"]
    assert both.verdict == "fail"
