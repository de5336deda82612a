"""From answers to verdicts: every part measured, its family corrected, controls beside it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from inspector.errors import BadOption
from inspector.fairness.measures import Change, Measured
from inspector.fairness.probes.parts import Part, measure, measure_change, shuffled
from inspector.fairness.probes.records import (
    CONTROLS,
    EXPLORATORY,
    QUALITY,
    Answers,
    Probe,
    Probed,
    record,
)
from inspector.fairness.stimuli import findings, provenance
from inspector.fairness.verdicts import CORRECTIONS, Judgement, judge, judge_all, judge_change

SHUFFLED = "sides shuffled"  # the category of the control in which no bias can be


def judged(answers: Answers, margin: float | None = None, seed: int = 0) -> Probed:
    """Records with verdicts of all parts, their p corrected within each family.

    A control comes with them: the overall number with the sides of each cluster exchanged at
    random, which shows bias at the rate of false alarms. Parts of the family QUALITY have no
    verdict: they are in the summary, with their intervals.
    """
    parts = [part for part in answers.parts if part.family != QUALITY]
    if parts and parts[0].how.flips:
        mixed = shuffled(parts[0], seed)
        parts.append(dataclasses.replace(mixed, category=SHUFFLED, family=CONTROLS))
    common = {
        "probe": answers.probe,
        "scorer": answers.scorer,
        "data_sha256": answers.stimuli.sha256,
    }
    measured = [measure(part, seed) for part in parts]
    verdicts = _by_family(parts, measured, margin, answers.problems)
    records = tuple(
        record(common, part, one, verdict)
        for part, one, verdict in zip(parts, measured, verdicts, strict=True)
    )
    return Probed(
        command="probe",
        record_type=Probe,
        source=answers.source,
        coverage=answers.coverage,
        summary={
            "verdict": records[0].verdict,
            "reason": records[0].reason,
            **provenance(answers.stimuli),
            "quality": _quality(answers, seed),
            "problems": list(answers.problems),
            **answers.summary,
        },
        records=records,
        findings=(*answers.findings, *findings(answers.stimuli)),
        items=answers.items,
        answers=(answers,),
    )


def compared(before: Probed, after: Probed, seed: int = 0) -> Probed:
    """`after` with its change from `before` in every record, paired by item.

    Never two separate intervals: the difference is formed item by item. p is corrected over the
    changes of each family. Raises BadOption where the two were not asked the same.
    """
    old, new = before.answers[0], after.answers[0]
    for what in ("probe", "scorer"):
        one, other = getattr(old, what), getattr(new, what)
        if one != other:
            raise BadOption(f"A change needs the same {what}: before {one}, after {other}.")
    if old.stimuli.sha256 != new.stimuli.sha256:
        raise BadOption("A change needs the same data: before and after differ in it.")
    earlier = {(part.metric, part.category): part for part in old.parts}
    earlier_records = {(one.metric, one.category): one for one in before}
    later = {(part.metric, part.category): part for part in new.parts}
    known = {
        key: measure_change(earlier[key], part, seed)
        for key, part in later.items()
        if key in earlier and part.family != QUALITY
    }
    problems = [
        *(f"before: {told}" for told in old.problems),
        *(f"after: {told}" for told in new.problems),
    ]
    adjusted: dict[tuple[str, str], float | None] = {}
    for family in dict.fromkeys(later[key].family for key in known):
        keys = [key for key in known if later[key].family == family]
        found = [known[key] for key in keys]
        tests = [None if one is None else one.difference.p_value for one in found]
        adjusted |= dict(zip(keys, CORRECTIONS[_correction(family)](tests), strict=True))
    records = []
    for one in after:
        key = (one.metric, one.category)
        if key not in known:
            records.append(one)
            continue
        change = known[key]
        own = dict.fromkeys((*earlier[key].problems, *later[key].problems))
        verdict = judge_change(change, adjusted[key], one.margin, [*problems, *own])
        estimate = None if change is None else change.difference.estimate
        records.append(
            dataclasses.replace(
                one,
                baseline=earlier_records[key].estimate,
                change=None if estimate is None else estimate.value,
                change_low=None if estimate is None else estimate.low,
                change_high=None if estimate is None else estimate.high,
                change_p_value=None if change is None else change.difference.p_value,
                change_p_adjusted=verdict.p_adjusted,
                change_verdict=verdict.verdict,
                change_reason=verdict.reason,
            )
        )
    return dataclasses.replace(
        after,
        records=tuple(records),
        summary={
            **after.summary,
            "baseline": {
                "model": before.source.model,
                "verdict": before.summary["verdict"],
                "quality": before.summary["quality"],
                "problems": before.summary["problems"],
            },
            "change": {
                "verdict": records[0].change_verdict,
                "reason": records[0].change_reason,
                "sides": _sides(known.get((records[0].metric, records[0].category))),
            },
        },
    )


def _sides(change: Change | None) -> dict[str, Any] | None:
    """How many items of the overall number changed sides; None where they have none."""
    if change is None or change.sides is None:
        return None
    return dataclasses.asdict(change.sides)


def _correction(family: str) -> str:
    return "benjamini-hochberg" if family == EXPLORATORY else "holm"


def _by_family(
    parts: Sequence[Part],
    measured: Sequence[Measured | None],
    margin: float | None,
    problems: Sequence[str],
) -> list[Judgement]:
    found: dict[int, Judgement] = {}
    for family in dict.fromkeys(part.family for part in parts):
        places = [i for i, part in enumerate(parts) if part.family == family]
        judged = judge_all([measured[i] for i in places], margin, problems, _correction(family))
        for i, one in zip(places, judged, strict=True):
            own = parts[i].problems
            told = tuple(dict.fromkeys((*problems, *own)))
            found[i] = judge(measured[i], one.p_adjusted, margin, told) if own else one
    return [found[i] for i in range(len(parts))]


def _quality(answers: Answers, seed: int) -> list[dict[str, Any]]:
    """What says whether the model can do the task: numbers with intervals, without a verdict."""
    told = []
    for part in answers.parts:
        if part.family != QUALITY:
            continue
        one = measure(part, seed)
        told.append(
            {
                "metric": part.metric,
                "category": part.category,
                "estimate": None if one is None else one.estimate.value,
                "low": None if one is None else one.estimate.low,
                "high": None if one is None else one.estimate.high,
                "chance": None if one is None else one.null,
                "unit": None if one is None else one.estimate.unit,
                "n_items": 0 if one is None else one.n_items,
                "n_clusters": 0 if one is None else one.n_clusters,
                "n_excluded": len(part) if one is None else one.n_excluded,
            }
        )
    return told
