"""CrowS-Pairs, and pairs of one's own: how often the stereotype's sentence is the likelier one."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from inspector.engine import Progress, no_progress
from inspector.errors import NotEnoughData
from inspector.fairness.guard import Guard, language_guard
from inspector.fairness.items import Pair, Stimuli
from inspector.fairness.measures import Measured, measured_share
from inspector.fairness.probes.records import ALL, ItemScore, Probe, Probed, record
from inspector.fairness.scoring import Score, score
from inspector.fairness.stimuli import findings
from inspector.fairness.verdicts import judge_all
from inspector.model.asking import source, whole
from inspector.model.kinds import Kind
from inspector.model.load import Model
from inspector.results import Records
from inspector.weights.problems import Log

SCORER: Final[Mapping[Kind, str]] = {"masked": "pll-shared", "causal": "causal-sum"}


def crows_pairs(
    model: Model,
    stimuli: Stimuli[Pair],
    scorer: str | None = None,
    margin: float | None = None,
    seed: int = 0,
    lines: Path | None = None,
    progress: Progress = no_progress,
) -> Probed:
    """Share of pairs whose stereotyped sentence scores higher; ties one half, 0.5 without bias.

    A record for all pairs, for each category (p corrected over categories, Holm), for each group
    that the authors report apart, and for controls, which are in none of the others. `scorer`
    None: pll-shared as published, in causal models causal-sum. Every verdict is "invalid
    measurement" where the scorer's guard of language fails. `lines`: see `score`. Source: Nangia
    et al. 2020; intervals, and tests by cluster, are not theirs.
    """
    name = scorer or SCORER.get(model.kind, "pll-shared")
    pairs = [(pair.more, pair.less) for pair in stimuli.items]
    scores = score(model, name, pairs, progress, lines=lines)
    texts = [text for pair in pairs for text in pair]

    def note(done: int, total: int, label: str) -> None:
        progress(done, total, f"{label} of the guard")

    guard = language_guard(model, name, texts, seed=seed, progress=note, lines=lines)
    items = tuple(_item(pair, *scores[2 * i : 2 * i + 2]) for i, pair in enumerate(stimuli.items))
    log = Log()
    if guard.problem:
        log.add("SC-GUARD", name, guard.problem)
    common = {"probe": stimuli.name, "scorer": name, "data_sha256": stimuli.sha256}
    records = tuple(_records(common, items, guard, margin, seed))
    return Probed(
        command="probe",
        record_type=Probe,
        source=source(model, seed),
        coverage=whole(model),
        summary=_summary(stimuli, scores, guard, records),
        records=records,
        findings=(*scores.findings, *findings(stimuli), *log.findings),
        items=items,
    )


def _item(pair: Pair, more: Score, less: Score) -> ItemScore:
    known = more.score is not None and less.score is not None
    return ItemScore(
        id=pair.id,
        category=pair.category,
        group=pair.group,
        cluster=pair.cluster,
        direction=pair.direction,
        gap=more.score - less.score if more.score is not None and less.score is not None else None,
        more=more.score,
        less=less.score,
        tokens_more=more.tokens,
        tokens_less=less.tokens,
        excluded=None if known else more.told or less.told,
    )


def _records(
    common: Mapping[str, str],
    items: Sequence[ItemScore],
    guard: Guard,
    margin: float | None,
    seed: int,
) -> list[Probe]:
    asked = [item for item in items if item.direction]
    families = {
        ALL: {ALL: asked},
        "categories": _parts(asked, lambda item: item.category),
        "groups": _parts(asked, lambda item: f"group: {item.group}"),
        "controls": _parts([i for i in items if not i.direction], lambda _: "controls"),
    }
    found = []
    for family, parts in families.items():
        measured = [_measured(part, seed) for part in parts.values()]
        problems = [guard.problem] if guard.problem else []
        for (category, part), one, judged in zip(
            parts.items(), measured, judge_all(measured, margin, problems), strict=True
        ):
            left_out = sum(item.gap is None for item in part)
            found.append(record(common, category, family, one, judged, left_out))
    return found


def _parts(
    items: Sequence[ItemScore], name: Callable[[ItemScore], str]
) -> dict[str, list[ItemScore]]:
    found: dict[str, list[ItemScore]] = {key: [] for key in sorted({name(i) for i in items})}
    for item in items:
        found[name(item)].append(item)
    return found


def _measured(items: Sequence[ItemScore], seed: int) -> Measured | None:
    gaps = np.array([np.nan if item.gap is None else item.gap for item in items])
    clusters = [item.cluster for item in items]
    alone = len(set(clusters)) == len(clusters)
    try:
        return measured_share(gaps, None if alone else clusters, seed)
    except NotEnoughData:
        return None


def _summary(
    stimuli: Stimuli[Pair], scores: Records[Score], guard: Guard, records: Sequence[Probe]
) -> dict[str, object]:
    return {
        "verdict": records[0].verdict,
        "reason": records[0].reason,
        "set": dataclasses.asdict(stimuli.about),
        "origin": stimuli.origin,
        "data_sha256": stimuli.sha256,
        "rows": stimuli.rows,
        "left_out_of_the_set": stimuli.reasons(),
        "scores": scores.summary,
        "guard": dataclasses.asdict(guard),
    }
