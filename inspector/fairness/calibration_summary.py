"""What calibrations add up to: dose and response, power, false alarms, coverage, controls."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from inspector.errors import NotEnoughData
from inspector.fairness.clusters import t_interval, totals
from inspector.fairness.uncertainty import wilson
from inspector.fairness.verdicts import DETECTED, INVALID

PLANTED: Final = "pronoun"
FREQUENT: Final = "day"
LEAST: Final = 3  # models for a line


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a probe says of one pair of words in one model that was trained for it, and the truth.

    `strength`: of the bias planted in the pronoun, `planted` the strength in this attribute (0 but
    for the pronoun), both in nats. `log_odds`: mean of y D counted in the corpus, `true` what the
    probe should give for it, in its unit (shares in [0, 1], gaps nats). `differs`: whether test
    and interval at 5 % leave out the value without bias; `verdict` also knows guard and margin.
    `covered`: `true` lies within `low` and `high` (None but for the pronoun: a model need not learn
    what chance put into a corpus). `raw`: log-odds of the first word over the
    second without correction, nats (None: not of this probe). `guard`: share of sentences told
    from shuffled ones.
    """

    kind: str
    balanced: bool
    strength: float
    planted: float
    seed: int
    probe: str
    scorer: str
    attribute: str
    log_odds: float
    true: float
    estimate: float | None
    low: float | None
    high: float | None
    p_value: float | None
    differs: bool
    verdict: str
    covered: bool | None
    raw: float | None
    guard: float | None


def summarised(records: Sequence[Calibration]) -> dict[str, Any]:
    """A summary for each kind of model and probe, by name; see `_one`."""
    keys = dict.fromkeys((one.kind, one.probe) for one in records)
    return {
        f"{kind} {probe}": _one([r for r in records if (r.kind, r.probe) == (kind, probe)])
        for kind, probe in keys
    }


def _one(records: Sequence[Calibration]) -> dict[str, Any]:
    """Dose and response, false alarms, controls; shares come with Wilson's interval."""
    planted = [r for r in records if r.attribute == PLANTED and not r.balanced]
    stereotyped = [r for r in planted if r.planted >= 0]
    against = [r for r in planted if r.planted < 0]
    strengths = sorted({r.planted for r in planted})
    return {
        "scorer": records[0].scorer,
        "models": len({(r.balanced, r.strength, r.seed) for r in records}),
        "invalid": share(r.verdict == INVALID for r in records),
        "line": line(planted),
        "monotone": _rising([_mean([r for r in stereotyped if r.planted == s]) for s in strengths]),
        "strengths": [_strength([r for r in planted if r.planted == s]) for s in strengths],
        "false_alarms": {
            "balanced": share(r.differs for r in records if r.balanced and r.attribute == PLANTED),
            "strength 0": share(r.differs for r in stereotyped if r.planted == 0),
        },
        "sign": share((r.estimate or 0) < _null(r) for r in against if r.verdict == DETECTED),
        "not planted": {
            attribute: _control([r for r in records if r.attribute == attribute])
            for attribute in dict.fromkeys(r.attribute for r in records)
            if attribute != PLANTED
        },
    }


def _strength(records: Sequence[Calibration]) -> dict[str, Any]:
    """One planted strength: mean truth and reading, power, and how often intervals cover.

    `covers_true`: the log-odds of the model's own corpus; `covers_planted`: those it was drawn
    from. Power counts what was found on the side that was planted.
    """
    own = [r for r in records if r.estimate is not None]
    right = [r.differs and ((r.estimate or 0) - _null(r)) * (r.planted or 1) > 0 for r in records]
    gaps = [r for r in own if r.probe != "pairs"]
    return {
        "planted": records[0].planted,
        "models": len(records),
        "log_odds": float(np.mean([r.log_odds for r in records])),
        "true": float(np.mean([r.true for r in records])),
        "estimate": _mean(own),
        "error": over_models([(r.estimate or 0) - r.true for r in own]),
        "found": share(right),
        "covers_true": share(bool(r.covered) for r in own),
        "covers_planted": share((r.low or 0) <= r.planted <= (r.high or 0) for r in gaps),
    }


def _control(records: Sequence[Calibration]) -> dict[str, Any]:
    """An attribute that nothing was planted in: `differs` over targets, `detected` with a margin.

    What a planted direction adds to other words by chance is shared by all targets of a model, so
    that only models are independent: `over_models` has their mean with Student's interval.
    """
    unplanted = [r for r in records if r.balanced or r.strength == 0]
    rest = [r for r in records if not (r.balanced or r.strength == 0)]
    values = [r.estimate - _null(r) for r in records if r.estimate is not None]
    raw = [r.raw for r in records if r.raw is not None]
    return {
        "differs_without_bias": share(r.differs for r in unplanted),
        "differs_beside_bias": share(r.differs for r in rest),
        "detected": share(r.verdict == DETECTED for r in records),
        "over_models": over_models(values),
        "largest": max(map(abs, values), default=None),
        "raw": over_models(raw),
    }


def _null(record: Calibration) -> float:
    return 0.5 if record.probe == "pairs" else 0.0


def share(found: Iterable[bool]) -> dict[str, float | int] | None:
    """How many of how many, with Wilson's interval; None of none."""
    told = list(found)
    if not told:
        return None
    one = wilson(sum(told), len(told))
    return {"count": sum(told), "of": len(told), "low": one.low, "high": one.high}


def over_models(values: Sequence[float]) -> dict[str, float | int] | None:
    """Mean over models with Student's interval; None for fewer than two."""
    try:
        one = t_interval(totals(np.array(values, dtype=float)))
    except NotEnoughData:
        return None
    return {"mean": one.value, "low": one.low, "high": one.high, "models": one.n}


def line(records: Sequence[Calibration]) -> dict[str, float] | None:
    """Least squares of readings on the corpora's log-odds, over models; None for too few."""
    known = [(r.log_odds, r.estimate) for r in records if r.estimate is not None]
    dose, response = np.array(known, dtype=float).reshape(-1, 2).T
    if len(known) < LEAST or not np.ptp(dose) > 0:
        return None
    slope, intercept = np.polyfit(dose, response, 1)
    rest = response - slope * dose - intercept
    spread = float(((response - response.mean()) ** 2).sum())
    return {
        "slope": float(slope),
        "intercept": float(intercept),
        "r2": 1 - float(rest @ rest) / spread if spread > 0 else 0.0,
    }


def _mean(records: Sequence[Calibration]) -> float | None:
    known = [r.estimate for r in records if r.estimate is not None]
    return float(np.mean(known)) if known else None


def _rising(means: Sequence[float | None]) -> bool | None:
    known = [mean for mean in means if mean is not None]
    return None if len(known) < 2 else all(b > a for a, b in zip(known, known[1:], strict=False))
