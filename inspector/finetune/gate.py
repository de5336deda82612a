"""Whether a fine-tuned model may take the place of the one before: bias and use, both paired."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float, Int64

from inspector.engine import Progress, no_progress
from inspector.errors import InspectorError
from inspector.fairness.probes.records import ALL, Probe
from inspector.fairness.probes.table import probe
from inspector.finetune.config import Gate, GateProbe
from inspector.finetune.evaluate import Asked
from inspector.model.load import Model, load

PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"
DRAWS: Final = 2000
TAILS: Final = (0.025, 0.975)  # the interval that probes give too
INVALID: Final = "invalid measurement"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checked:
    """One condition of promotion: a number before and after on the same items, and its verdict.

    `worse_low` to `worse_high` is how much worse it may have become, at 95 %:
    for a probe the distance from no bias after, less that before; below zero is better.
    `limit` is how much worse it may become. None: could not be had, for the `reason`.
    """

    what: str
    metric: str
    before: float | None
    after: float | None
    worse_low: float | None
    worse_high: float | None
    limit: float
    unit: str | None
    verdict: str
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gated:
    """What the gate says: pass only if every condition passes, so that no correction is due.

    Source: Berger 1982, intersection-union tests.
    """

    verdict: str
    conditions: tuple[Checked, ...]

    def write(self, folder: Path) -> None:
        """Put it as gate.json into the folder of the run."""
        text = json.dumps(dataclasses.asdict(self), indent=1)
        (folder / "gate.json").write_text(text + "\n")


def gated(
    gate: Gate,
    before: str | Path,
    after: str | Path,
    use: Checked,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Gated:
    """Ask the probes of a gate of two models, and judge them together with the condition on use."""
    conditions = [use]
    old, new = load(before, dtype="float32"), load(after, dtype="float32")
    for done, one in enumerate(gate.probes):
        progress(done, len(gate.probes), "probes")
        conditions.append(_asked(one, old, new, seed))
    progress(len(gate.probes), len(gate.probes), "probes")
    verdicts = {one.verdict for one in conditions}
    worst = next(one for one in (FAIL, INCONCLUSIVE, PASS) if one in verdicts)
    return Gated(verdict=worst, conditions=tuple(conditions))


def _asked(asked: GateProbe, old: Model, new: Model, seed: int) -> Checked:
    try:
        found = probe(new, asked.probe, asked.data, baseline=old, margin=asked.margin, seed=seed)
    except InspectorError as error:
        return _unknown(asked, str(error))
    overall = next((one for one in found if one.category == ALL), None)
    return _unknown(asked, "it gave no number") if overall is None else judged(asked, overall)


def judged(asked: GateProbe, found: Probe) -> Checked:
    """The condition on one number of a probe.

    Where the interval of the change ends says how far from no bias the number may be after; that
    far less the distance before is how much worse it became, whichever side it is on.
    """
    values = (found.baseline, found.estimate, found.change_low, found.change_high, found.null)
    if any(one is None for one in values):
        return _unknown(asked, found.change_reason or found.reason)
    before, after, low, high, null = (float(one) for one in values if one is not None)
    ends = [before + low - null, before + high - null]
    worst = max(map(abs, ends)) - abs(before - null)
    best = (0.0 if ends[0] <= 0 <= ends[1] else min(map(abs, ends))) - abs(before - null)
    verdict = PASS if worst < asked.margin else FAIL if best > asked.margin else INCONCLUSIVE
    reason = ""
    if found.verdict == INVALID or found.change_verdict == INVALID:
        verdict, reason = INCONCLUSIVE, found.change_reason or found.reason
    return Checked(
        what=asked.probe,
        metric=found.metric,
        before=before,
        after=after,
        worse_low=best,
        worse_high=worst,
        limit=asked.margin,
        unit=found.unit,
        verdict=verdict,
        reason=reason,
    )


def _unknown(asked: GateProbe, reason: str) -> Checked:
    return Checked(
        what=asked.probe,
        metric="",
        before=None,
        after=None,
        worse_low=None,
        worse_high=None,
        limit=asked.margin,
        unit=None,
        verdict=INCONCLUSIVE,
        reason=reason,
    )


def use_kept(gate: Gate, metric: str, before: Asked | None, after: Asked, seed: int = 0) -> Checked:
    """The condition on use: how much worse the task is done on the same rows.

    Of "accuracy" the fall in shares; of all else the rise of exp(loss), perplexity for language
    models, as a share. `before` None: the model before had no head for the task, so that there
    is nothing to fall below; this passes, and says so. Interval: percentiles over resampled rows.
    """
    drawn = np.random.default_rng(seed).integers(0, len(after.errors), (DRAWS, len(after.errors)))
    every = np.arange(len(after.errors))[None]
    now = float(_use(metric, after, every)[0])
    if before is None:
        reason = "the model before has no head for this task"
        return _of_use(gate, metric, None, now, None, PASS, reason)
    then = float(_use(metric, before, every)[0])
    worse = _use(metric, before, drawn) - _use(metric, after, drawn)
    if metric != "accuracy":
        worse = np.expm1(-worse)
    low, high = (float(one) for one in np.quantile(worse, TAILS))
    limit = gate.utility_loss
    verdict = PASS if high <= limit else FAIL if low > limit else INCONCLUSIVE
    return _of_use(gate, metric, then, now, (low, high), verdict, "")


def _use(
    metric: str, asked: Asked, drawn: Int64[np.ndarray, "draws rows"]
) -> Float[np.ndarray, " draws"]:
    if metric == "accuracy" and asked.answers is not None and asked.of_row is not None:
        right = np.bincount(asked.of_row, asked.answers == asked.labels, len(asked.errors))
        sizes = np.bincount(asked.of_row, minlength=len(asked.errors))
    else:
        right, sizes = asked.errors, asked.items
    found: Float[np.ndarray, " draws"]
    found = right[drawn].sum(axis=1) / np.maximum(sizes[drawn].sum(axis=1), 1)
    return found


def _of_use(
    gate: Gate,
    metric: str,
    before: float | None,
    after: float,
    worse: Sequence[float] | None,
    verdict: str,
    reason: str,
) -> Checked:
    return Checked(
        what="use",
        metric=metric,
        before=before,
        after=after,
        worse_low=None if worse is None else worse[0],
        worse_high=None if worse is None else worse[1],
        limit=gate.utility_loss,
        unit="share" if metric == "accuracy" else "share of perplexity",
        verdict=verdict,
        reason=reason,
    )
