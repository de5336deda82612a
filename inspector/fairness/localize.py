"""Where a gap sits: which layers, heads, blocks and matrices carry it, checked by taking it out."""

import dataclasses
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from inspector.engine import Progress, no_progress
from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.carried import Asked, carried
from inspector.fairness.contrasts import Reading, read_contrasts
from inspector.fairness.guard import Guard, language_guard
from inspector.fairness.items import Contrast, Item, Stimuli
from inspector.fairness.localised import Findings, sample
from inspector.fairness.localize_records import WHAT, ContrastGap, Localisation, Localised
from inspector.fairness.probes.contrasted import SCORER, too_few
from inspector.fairness.probes.counterfactual_gap import sentences
from inspector.fairness.sentences import Excluded
from inspector.fairness.sets.own_templates import contrasts
from inspector.fairness.stimuli import findings, provenance
from inspector.model.asking import source, whole
from inspector.model.load import Model
from inspector.results import show_plain
from inspector.weights.problems import Log

MOST: Final = 200  # contrasts that are asked, and as many controls
NOT_DRAWN: Final = "it can be asked, but was not drawn"
PATCHED: Final = (
    "The sentence with the target is run; what a part gives there is replaced by what it gives in "
    "the sentence with the neutral text, position by position: shared tokens and the place where "
    "the words are read face one another, the target's tokens face the neutral text's, or the "
    "mean of all of those where they are not as many. Heads give nothing instead, in both."
)


def localize(
    model: Model,
    stimuli: Stimuli[Item],
    category: str | None = None,
    what: Sequence[str] = WHAT,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Localisation:
    """Carry the counterfactual gap of templates to layers, heads, blocks and single matrices.

    The gap of a contrast is log P(a) - log P(b) with the target less the same with the neutral
    text; the effect of a part is how much of it is lost when the part gives what it gives in the
    neutral sentence (heads: nothing), run anew each time. Numbers are made as the probe
    "counterfactual-gap" makes them, with the target as the unit, beside the same on the controls;
    p corrected by Benjamini and Hochberg. Of more than MOST contrasts, or controls, as many are
    drawn by `seed`, from all templates alike. Progress counts inputs run. Source: Vig et al. 2020,
    arXiv 2004.12265; slopes of heads Michel et al. 2019, arXiv 1905.10650.
    """
    if unknown := set(what) - set(WHAT):
        named = ", ".join(show_plain(one) for one in sorted(unknown))
        raise BadOption(f"No gap is carried to {named}: give some of {', '.join(WHAT)}.")
    log = Log()
    given = _of_category(stimuli, category)
    read = read_contrasts(model, given)
    can = [i for i, one in enumerate(read) if not isinstance(one, Excluded)]
    drawn = _drawn(given, can, seed, log)
    asked = _asked(given, read, drawn)
    guard = _guard(model, [given[i] for i in can], seed, progress)
    if guard.problem:
        log.add("SC-GUARD", SCORER, guard.problem)
    found = carried(model, asked, what, progress)
    kept = [given[i] for i in drawn]
    localised = Findings(
        found=found,
        main=sample(kept, False, seed),
        null=sample(kept, True, seed),
        problems=[*too_few(len(can), len(given)), *([guard.problem] if guard.problem else [])],
    )
    gaps = dict(zip(drawn, found.gaps.tolist(), strict=True))
    items = tuple(_item(i, one, read[i], gaps) for i, one in enumerate(given))
    records = tuple(localised.records())
    _note(log, given, read, localised)
    return Localisation(
        command="localize",
        record_type=Localised,
        source=source(model, seed),
        coverage=whole(model),
        summary={
            "category": category,
            "scorer": SCORER,
            "patched": PATCHED,
            **localised.summary(records),
            "guard": dataclasses.asdict(guard),
            "contrasts": len(given),
            "asked": len(drawn),
            "excluded": dict(Counter(why.reason for why in _left_out(read)).most_common()),
            "uneven": sum(not all(r.even for r in _known(read[i])) for i in drawn),
            "data": provenance(stimuli),
        },
        records=records,
        findings=(*model.findings, *findings(stimuli), *log.findings),
        items=items,
    )


def _of_category(stimuli: Stimuli[Item], category: str | None) -> list[Contrast]:
    every = contrasts(stimuli)
    if category is not None and category not in stimuli.categories():
        known = ", ".join(show_plain(one, 40) for one in stimuli.categories())
        raise BadOption(f"There is no category {show_plain(category, 40)!r}; known are {known}.")
    return [
        one for one in every if category in (None, one.category) and (one.control or one.direction)
    ]


def _drawn(given: Sequence[Contrast], can: Sequence[int], seed: int, log: Log) -> list[int]:
    """Of those that can be asked MOST contrasts, and as many controls, from templates alike."""
    draw = random.Random(seed)
    chosen: list[int] = []
    for control in (False, True):
        templates: dict[str, list[int]] = {}
        for number in can:
            if given[number].control == control:
                templates.setdefault(given[number].template, []).append(number)
        for numbers in templates.values():
            draw.shuffle(numbers)
        ranked = [(rank, n) for numbers in templates.values() for rank, n in enumerate(numbers)]
        chosen += [number for _, number in sorted(ranked)[:MOST]]
        if len(ranked) > MOST:
            kind = "controls" if control else "contrasts"
            told = f"{MOST} of {len(ranked):,} {kind} are asked, from all templates alike"
            log.add("LO-DRAWN", "contrasts", told, asked=MOST, known=len(ranked))
    return sorted(chosen)


def _asked(
    given: Sequence[Contrast],
    read: Sequence[tuple[Reading, ...] | Excluded],
    drawn: Sequence[int],
) -> Asked:
    """All readings of what is asked; NotEnoughData where these are controls alone."""
    if all(given[i].control for i in drawn):
        told = Counter(one.told for one in _left_out(read)).most_common(1)
        why = f": {told[0][0]}" if told else ""
        raise NotEnoughData(f"None of {len(given)} contrasts can be asked of this model{why}.")
    owned = [(n, reading) for n, i in enumerate(drawn) for reading in _known(read[i])]
    return Asked(
        readings=tuple(reading for _, reading in owned),
        owners=np.array([n for n, _ in owned]),
        weights=np.array([0.0 if given[i].control else given[i].direction for i in drawn]),
    )


def _known(read: tuple[Reading, ...] | Excluded) -> tuple[Reading, ...]:
    return () if isinstance(read, Excluded) else read


def _guard(model: Model, kept: Sequence[Contrast], seed: int, progress: Progress) -> Guard:
    pairs = [(sentences(one)[:2], one.template) for one in kept]

    def note(done: int, total: int, label: str) -> None:
        progress(done, total, f"{label} of the guard")

    texts, templates = [either for either, _ in pairs], [name for _, name in pairs]
    return language_guard(model, SCORER, texts, templates, seed=seed, progress=note)


def _item(
    number: int,
    one: Contrast,
    read: tuple[Reading, ...] | Excluded,
    gaps: Mapping[int, float],
) -> ContrastGap:
    return ContrastGap(
        id=one.id,
        category=one.category,
        template=one.template,
        target=one.target,
        pair=one.pair,
        direction=one.direction,
        control=one.control,
        gap=gaps.get(number),
        excluded=read.told if isinstance(read, Excluded) else None if number in gaps else NOT_DRAWN,
    )


def _left_out(read: Sequence[tuple[Reading, ...] | Excluded]) -> list[Excluded]:
    return [one for one in read if isinstance(one, Excluded)]


def _note(
    log: Log,
    given: Sequence[Contrast],
    read: Sequence[tuple[Reading, ...] | Excluded],
    found: Findings,
) -> None:
    reasons = Counter(why.reason for why in _left_out(read))
    for reason, count in reasons.most_common():
        first, told = next(
            (one.id, why.told)
            for one, why in zip(given, read, strict=True)
            if isinstance(why, Excluded) and why.reason == reason
        )
        shown = f"{count} of {len(given)} are left out: {told}; the first: {show_plain(first)!r}"
        log.add("LO-EXCLUDED", "contrasts", shown, reason=reason, count=count)
    if not found.shown:
        log.add("LO-NOTHING", "gap", f"there is nothing to localise: {found.verdict.reason}")
    if found.total_null is None:
        log.add("LO-NONULL", "controls", "no controls: effects have no null beside them")
