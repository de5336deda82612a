"""Does a verdict hold for each template alone, and without any one of them?"""

import dataclasses
from collections.abc import Callable, Hashable, Sequence

import numpy as np
from jaxtyping import Float

from inspector.errors import NotEnoughData
from inspector.fairness.clusters import positions
from inspector.fairness.measures import Labels, Measured, measured_gap
from inspector.fairness.uncertainty import ALPHA
from inspector.fairness.variance import Components, DesignEffect, components, design_effect
from inspector.fairness.verdicts import DETECTED, Judgement, judge

Measure = Callable[..., Measured]
"""Like `measures.measured_gap`: (values, clusters, seed=, alpha=) -> Measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Template:
    """One template alone (`alone`, targets as the unit) and all without it (`without`).

    None: too few items for a number; the reason stands in `judged` or `judged_without`.
    """

    template: Hashable
    n_items: int
    alone: Measured | None
    judged: Judgement
    without: Measured | None
    judged_without: Judgement


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """How far a result hangs on its templates; each share is in [0, 1], 0: not at all.

    `other_side`: templates whose own estimate lies on the other side of no bias. `flipped`: whose
    own verdict is not that of all. `opposed`: where bias is detected in the opposite direction.
    `flipped_without`: whose removal changes the verdict of all. A template alone has fewer items,
    so `flipped` counts loss of power too; `opposed` and `flipped_without` do not. Shares are of
    the templates with a number (None: none has one). `components` and `design` are None where the
    design does not allow them.
    """

    overall: Measured
    judged: Judgement
    templates: tuple[Template, ...]
    lowest: float | None
    highest: float | None
    other_side: float | None
    flipped: float | None
    opposed: float | None
    flipped_without: float | None
    components: Components | None
    design: DesignEffect | None


def template_sensitivity(
    values: Float[np.ndarray, " items"],
    templates: Labels,
    targets: Labels | None = None,
    measure: Measure = measured_gap,
    margin: float | None = None,
    seed: int = 0,
    alpha: float = ALPHA,
) -> Sensitivity:
    """Every template alone and left out, and the variance between templates.

    values: signed gaps; NaN is excluded. `measure`: "measured_gap" or "measured_share" of
    `measures`, templates being the clusters of all and targets (None: items) those of one.
    """
    known, place = positions(templates)
    if len(known) < 3:
        raise NotEnoughData(f"what hangs on a template needs three of them, got {len(known)}")
    inner = None if targets is None else list(targets)

    def number(chosen: np.ndarray, clusters: Labels | None) -> tuple[Measured | None, str]:
        labels = (
            None if clusters is None else [clusters[i] for i in np.flatnonzero(chosen).tolist()]
        )
        try:
            return measure(values[chosen], labels, seed=seed, alpha=alpha), ""
        except NotEnoughData as error:
            return None, str(error)

    def judged(found: tuple[Measured | None, str]) -> Judgement:
        return judge(found[0], None, margin, [found[1]] if found[1] else [], alpha)

    whole = number(np.ones(len(values), bool), templates)
    if whole[0] is None:
        raise NotEnoughData(whole[1])
    lines = []
    for i, template in enumerate(known):
        alone, without = number(place == i, inner), number(place != i, templates)
        lines.append(
            Template(
                template=template,
                n_items=int((place == i).sum()),
                alone=alone[0],
                judged=judged(alone),
                without=without[0],
                judged_without=judged(without),
            )
        )
    return _told(whole[0], judged(whole), lines, values, place, inner)


def _told(
    overall: Measured,
    verdict: Judgement,
    lines: list[Template],
    values: Float[np.ndarray, " items"],
    place: np.ndarray,
    inner: Labels | None,
) -> Sensitivity:
    estimates = [line.alone.estimate.value for line in lines if line.alone is not None]
    usable = ~np.isnan(values)

    alone = [(line.judged, line.judged.direction or 0) for line in lines if line.alone is not None]
    side = verdict.direction or 0
    opposite = [judged for judged, direction in alone if direction * side < 0]
    removed = [line.judged_without.verdict for line in lines if line.without is not None]

    def share(held: Sequence[object], of: Sequence[object]) -> float | None:
        return len(held) / len(of) if of else None

    return Sensitivity(
        overall=overall,
        judged=verdict,
        templates=tuple(lines),
        lowest=min(estimates, default=None),
        highest=max(estimates, default=None),
        other_side=share(opposite, alone),
        flipped=share([j for j, _ in alone if j.verdict != verdict.verdict], alone),
        opposed=share([j for j in opposite if j.verdict == DETECTED], alone),
        flipped_without=share([v for v in removed if v != verdict.verdict], removed),
        components=_split(values, place, inner, usable),
        design=_design(values[usable], place[usable]),
    )


def _split(
    values: Float[np.ndarray, " items"],
    place: np.ndarray,
    inner: Labels | None,
    usable: np.ndarray,
) -> Components | None:
    if inner is None:
        return None
    kept = np.flatnonzero(usable).tolist()
    try:
        return components(values[kept], place[kept], [inner[i] for i in kept])
    except NotEnoughData:
        return None


def _design(values: Float[np.ndarray, " items"], place: np.ndarray) -> DesignEffect | None:
    try:
        return design_effect(values, place)
    except NotEnoughData:
        return None
