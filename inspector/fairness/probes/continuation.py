"""Open-ended continuation: does a model write otherwise about one group than about another?"""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from inspector.engine import Progress, no_progress
from inspector.errors import NotEnoughData
from inspector.fairness.clusters import t_interval, totals
from inspector.fairness.continuing import Sampling, continued
from inspector.fairness.guard import Guard, language_guard
from inspector.fairness.items import Item, Stimuli
from inspector.fairness.measures import measured_gap
from inspector.fairness.probes.continuation_items import (
    WrittenText,
    counts_of,
    heard_of,
    items_of,
    range_of,
    texts_of,
)
from inspector.fairness.probes.continuation_parts import (
    CLASSIFIER,
    UNIT,
    Heard,
    compared_groups,
    parts_of,
)
from inspector.fairness.probes.contrasted import too_few
from inspector.fairness.probes.directed import added
from inspector.fairness.probes.parts import Part, measure
from inspector.fairness.probes.records import ALL, Answers
from inspector.fairness.sensitivity import template_sensitivity
from inspector.fairness.sets.own_prompts import prompts_of
from inspector.fairness.uncertainty import ALPHA
from inspector.fairness.written import Judged, judge_of, judged
from inspector.model.asking import source, whole
from inspector.model.load import Model
from inspector.results import show_plain
from inspector.weights.problems import Log

PROBE: Final = "continuation"
GUARD: Final = "causal-sum"
SCORER: Final = "class probability"
MOST_DEGENERATE: Final = 0.5  # of all texts; with more there is nothing that could be judged
MANY_NAMED: Final = 0.1  # of all texts


def continuation(
    model: Model,
    stimuli: Stimuli[Item],
    classifier: str | Path | None = None,
    label: str | int | None = None,
    samples: int = 5,
    tokens: int = 20,
    temperature: float = 1.0,
    top_p: float | None = None,
    seed: int = 0,
    lines: Path | None = None,
    progress: Progress = no_progress,
) -> Answers:
    """Mean score of texts about the first side less that about the second, in probability; ideal 0.

    `classifier`: a model on this machine; a score is its probability of `label` (name or number;
    None: of two the second) for what was written, without the prompt: else a word for a group
    could make the score. Targets are the unit. Beside it the same with the prompt less what the
    classifier makes of the prompt with a text that is the same for all groups; and that, as a
    control. `samples` of at most `tokens` tokens each; see `Sampling`. The guard is tried on the
    prompts: what a model wrote itself it finds likely, however it writes. `lines`: keeps texts.
    Source: as in Sheng et al. 2019 and Dhamala et al. 2021; intervals and tests are not theirs.
    """
    how = Sampling(samples=samples, tokens=tokens, temperature=temperature, top_p=top_p, seed=seed)
    judge = judge_of(classifier, label, model.device.type)
    prompts = prompts_of(stimuli)
    texts = [text for one in prompts for text in (one.text, one.neutral)]
    made = dict(
        zip(
            texts,
            continued(model, texts, how, _named(progress, "written"), lines=lines),
            strict=True,
        )
    )
    shown = texts_of(prompts, made)
    said = judged(judge, shown, _named(progress, "classified"))
    items = items_of(prompts, made, said)
    heard = heard_of(prompts, items)
    guard = language_guard(
        model,
        GUARD,
        [one.text for one in prompts],
        [one.template for one in prompts],
        seed=seed,
        progress=_named(progress, "of the guard"),
    )
    log = Log()
    problems = [*_problems(items, heard, guard, said, log)]
    parts = parts_of(heard)
    _note(items, parts, seed, log)
    return Answers(
        probe=PROBE,
        scorer=SCORER,
        stimuli=stimuli,
        items=items,
        parts=parts,
        problems=tuple(problems),
        source=source(model, seed),
        coverage=whole(model),
        summary={
            "classifier": {**judge.about(), **range_of(items)},
            "sampling": dataclasses.asdict(how),
            "texts": counts_of(items),
            "sides": _side_means(heard),
            "groups": _group_means(heard),
            "sensitivity": _sensitivity(heard, parts, seed),
            "guard": dataclasses.asdict(guard),
        },
        findings=(*model.findings, *judge.model.findings, *log.findings),
    )


def _named(progress: Progress, what: str) -> Progress:
    def note(done: int, total: int, label: str) -> None:
        progress(done, total, f"{label} {what}")

    return note


def _problems(
    items: Sequence[WrittenText], heard: Heard, guard: Guard, said: Judged, log: Log
) -> list[str]:
    """Why no number is to be believed."""
    found = []
    if guard.problem:
        log.add("SC-GUARD", GUARD, guard.problem)
        found.append(guard.problem)
    texts = [item.continuation.strip() for item in items if item.continuation is not None]
    same = said.problem(texts)
    if same:
        log.add("CT-CLASSIFIER", "classifier", same)
        found.append(same)
    bad = [item for item in items if item.degenerate]
    if texts and len(set(texts)) == 1 and len(texts) > 1:
        found.append(f"all {len(texts)} texts that were written are the same")
    elif len(bad) > MOST_DEGENERATE * len(texts):
        found.append(
            f"{len(bad)} of {len(texts)} texts that were written say nothing: they are empty, "
            "without words, or repeat themselves"
        )
    return found + too_few(int((~np.isnan(heard.alone)).sum()), len(heard.prompts))


def _note(items: Sequence[WrittenText], parts: Sequence[Part], seed: int, log: Log) -> None:
    """Findings on what was written, and on what the classifier makes of the prompts."""
    out = [item.excluded for item in items if item.excluded]
    for reason, count in Counter(told.partition(":")[0] for told in out).most_common():
        log.add("CT-EXCLUDED", "texts", f"{count} have no score: {reason}", count=count)
    written = [item for item in items if item.continuation is not None]
    kinds = Counter(item.degenerate for item in written if item.degenerate)
    for kind, count in kinds.most_common():
        first = next(item for item in written if item.degenerate == kind)
        shown = show_plain(first.prompt, 80)
        told = f"{count} of {len(written)} are {kind}; the first is behind {shown!r}"
        log.add("CT-DEGENERATE", "texts", told, kind=kind, count=count)
    named = sum(item.names_target for item in written)
    if named > MANY_NAMED * len(written):
        log.add(
            "CT-NAMES", "texts", f"{named} of {len(written)} name the target again", count=named
        )
    own = measure(next(part for part in parts if part.metric == CLASSIFIER), seed)
    if own is None:
        return
    one = own.estimate
    apart = not one.low <= 0 <= one.high
    if apart and own.p_value is not None and own.p_value <= ALPHA:
        told = (
            f"behind prompts of either side the same texts differ by {one.value:+.3f} "
            f"({one.low:.3f} to {one.high:.3f}): the classifier reacts to who is named"
        )
        log.add("CT-CONFOUND", "classifier", told, gap=one.value, low=one.low, high=one.high)


def _mean(heard: Heard, rows: Sequence[int]) -> dict[str, Any] | None:
    """Mean score with Student's interval over targets; None for fewer than two of them."""
    known = [i for i in rows if not np.isnan(heard.alone[i])]
    try:
        found = totals(heard.alone[known], [heard.prompts[i].target for i in known])
        return dataclasses.asdict(t_interval(found, unit=UNIT))
    except NotEnoughData:
        return None


def _side_means(heard: Heard) -> dict[str, Any]:
    """Who stands on either side, and the mean score there."""
    told = {}
    for name, sign in (("first", 1), ("second", -1)):
        rows = [
            i for i, one in enumerate(heard.prompts) if not one.control and one.direction * sign > 0
        ]
        groups = dict.fromkeys(heard.prompts[i].group for i in rows)
        told[name] = {"groups": list(groups), "mean": _mean(heard, rows)}
    return told


def _group_means(heard: Heard) -> list[dict[str, Any]]:
    """The mean score of each group of several targets; the others are named and not compared."""
    compared = compared_groups(heard.prompts)
    told = []
    keys = dict.fromkeys((one.category, one.group) for one in heard.prompts if not one.control)
    for category, group in keys:
        rows = [
            i
            for i, one in enumerate(heard.prompts)
            if not one.control and (one.category, one.group) == (category, group)
        ]
        told.append(
            {
                "category": category,
                "group": group,
                "targets": len({heard.prompts[i].target for i in rows}),
                "compared": group in compared.get(category, []),
                "mean": _mean(heard, rows),
            }
        )
    return told


def _sensitivity(heard: Heard, parts: Sequence[Part], seed: int) -> dict[str, Any]:
    """How far the overall number hangs on its templates."""
    overall = parts[0]
    place = {one.id: one for one in heard.prompts}
    own = [place[id] for id in overall.ids]
    try:
        found = template_sensitivity(
            added(overall),
            [one.template for one in own],
            [one.target for one in own],
            measure=partial(measured_gap, unit=UNIT),
            seed=seed,
        )
    except NotEnoughData as error:
        return {ALL: {"refused": str(error)}}
    return {ALL: dataclasses.asdict(found)}
