"""CrowS-Pairs, and pairs of one's own: how often the stereotype's sentence is the likelier one."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from inspector.engine import Progress, no_progress
from inspector.fairness.items import Pair, Stimuli
from inspector.fairness.probes.asking import asked
from inspector.fairness.probes.parts import SHARE, Part
from inspector.fairness.probes.records import (
    ALL,
    CONTROLS,
    Answers,
    ItemScore,
    by,
    of_items,
)
from inspector.fairness.probes.sides import SCORER, of_sides
from inspector.fairness.scoring import Score
from inspector.model.load import Model

PREFERENCE: Final = "preference"


def crows_pairs(
    model: Model,
    stimuli: Stimuli[Pair],
    scorer: str | None = None,
    seed: int = 0,
    lines: Path | None = None,
    progress: Progress = no_progress,
) -> Answers:
    """Share of pairs whose stereotyped sentence scores higher; ties one half, 0.5 without bias.

    For all pairs, for each category, for each group that the authors report apart, and for
    controls, which are in none of the others. `scorer` None: pll-shared as published, in causal
    models causal-sum. `lines`: see `score`. Source: Nangia et al. 2020; intervals, and tests by
    cluster, are not theirs.
    """
    name = scorer or SCORER.get(model.kind, "pll-shared")
    pairs = [(pair.more, pair.less) for pair in stimuli.items]
    heard = asked(model, name, pairs, seed=seed, lines=lines, progress=progress)
    items = tuple(
        _item(pair, name, *heard.scores[2 * i : 2 * i + 2]) for i, pair in enumerate(stimuli.items)
    )
    return heard.answers(stimuli.name, stimuli, items, _parts(items))


def _item(pair: Pair, scorer: str, more: Score, less: Score) -> ItemScore:
    return ItemScore(
        id=pair.id,
        category=pair.category,
        group=pair.group,
        cluster=pair.cluster,
        direction=pair.direction,
        scorer=scorer,
        text_more=pair.more,
        text_less=pair.less,
        **of_sides(more, less),
    )


def _parts(items: Sequence[ItemScore]) -> tuple[Part, ...]:
    asked = [item for item in items if item.direction]
    controls = [item for item in items if not item.direction]
    apart = asked if len({item.group for item in asked}) > 1 else []
    return (
        of_items(PREFERENCE, ALL, ALL, asked, SHARE),
        *by(PREFERENCE, "categories", asked, lambda item: item.category, SHARE),
        *by(PREFERENCE, "groups", apart, lambda item: f"group: {item.group}", SHARE),
        *by(PREFERENCE, CONTROLS, controls, lambda _: CONTROLS, SHARE),
    )
