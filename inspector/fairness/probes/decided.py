"""Texts that a classifier has decided: true class, predicted class, groups, in numbers."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float

from inspector.errors import BadOption
from inspector.fairness.group_rates import Codes, Rate, odds
from inspector.fairness.items import BadStimuli, Labelled, Remark, Stimuli
from inspector.fairness.reliability import reliability
from inspector.fairness.uncertainty import wilson
from inspector.results import show_plain

CROSS: Final = " × "  # between the names of an intersection
MOST_CELLS: Final = 10_000  # groups and their intersections
NAMED: Final = 12  # labels or groups in a message

Values = Float[np.ndarray, "items columns"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Attribute:
    """An attribute, or the intersection of all: its groups, and that of each combination."""

    name: str
    groups: tuple[str, ...]
    view: Codes


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Decided:
    """Texts with what they are and what was said of them, a row of `values` each.

    In its columns: true class, predicted class, combination of groups, forecast, came true; NaN
    where a text has no prediction. `outcomes` are the classes that count as yes, one by one; with
    one of them the forecast is its probability, with several that of the predicted class.
    `attributes` come one by one and then, where there are several, crossed.
    """

    classes: tuple[str, ...]
    outcomes: tuple[int, ...]
    attributes: tuple[Attribute, ...]
    single: int
    values: Values
    fewest: int

    @property
    def known(self) -> np.ndarray:
        """Which texts have a prediction."""
        return np.asarray(~np.isnan(self.values).any(1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupRate:
    """One rate of one group with Wilson's interval; None where it is a share of no text.

    `outcome` is the class that counts as yes. `compared`: whether it rests on enough texts.
    """

    attribute: str
    group: str
    rate: str
    outcome: str | None
    n: int
    estimate: float | None
    low: float | None
    high: float | None
    compared: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class GroupReliability:
    """Calibration of one group: see `Reliability`; bins are (mean forecast, came true, n)."""

    attribute: str
    group: str
    n: int
    excess: float
    excess_low: float
    excess_high: float
    error: float
    error_by_chance: float
    error_p: float
    bins: tuple[tuple[float, float, int], ...]


def labels_of(
    stimuli: Stimuli[Labelled], classes: Sequence[str]
) -> tuple[Stimuli[Labelled], Codes]:
    """The texts whose label is one of the classes, by its name or else its number; and which.

    The others are left out, each with its row. Raises BadStimuli where nothing is left.
    """
    known = {str(i): i for i in range(len(classes))} | {name: i for i, name in enumerate(classes)}
    named = ", ".join(show_plain(name, 40) for name in classes[:NAMED])
    more = f" and {len(classes) - NAMED} more" if len(classes) > NAMED else ""
    out = [
        Remark(
            file=item.file,
            rows=item.rows,
            kind="unknown label",
            statement=f"label is {show_plain(item.label, 40)!r}; the model knows {named}{more}",
        )
        for item in stimuli.items
        if item.label not in known
    ]
    kept = tuple(item for item in stimuli.items if item.label in known)
    if not kept:
        raise BadStimuli(
            f"{show_plain(stimuli.origin, 200)}: none of {len(stimuli.items)} labels is a class of "
            f"the model. The first: {out[0]}.",
            [*stimuli.excluded, *out],
        )
    codes = np.array([known[item.label] for item in kept], dtype=np.int64)
    return dataclasses.replace(stimuli, items=kept, excluded=(*stimuli.excluded, *out)), codes


def attributes_of(
    items: Sequence[Labelled], chosen: Sequence[str] | None = None
) -> tuple[tuple[Attribute, ...], Codes]:
    """The attributes, crossed last, and the code of the combination of each text.

    Raises BadOption for an attribute that the texts do not have, and for more than MOST_CELLS
    intersections.
    """
    known = tuple(items[0].groups)
    names = known if chosen is None else tuple(dict.fromkeys(chosen))
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        shown = show_plain(unknown[0], 40) if unknown else "none"
        named = ", ".join(show_plain(name, 40) for name in known[:NAMED])
        raise BadOption(f"There is no attribute {shown}; known are {named}.")
    groups = {name: sorted({item.groups[name] for item in items}) for name in names}
    if (many := math.prod(map(len, groups.values()))) > MOST_CELLS:
        raise BadOption(
            f"{len(names)} attributes cross in {many:,} groups; at most {MOST_CELLS:,} are looked "
            f"at. Choose attributes: {', '.join(show_plain(name, 40) for name in names[:NAMED])}."
        )
    cells = list(itertools.product(*groups.values()))
    place = {cell: i for i, cell in enumerate(cells)}
    combos = np.array([place[tuple(item.groups[name] for name in names)] for item in items])
    found = [
        Attribute(
            name=name,
            groups=tuple(groups[name]),
            view=np.array([groups[name].index(cell[i]) for cell in cells]),
        )
        for i, name in enumerate(names)
    ]
    if len(names) > 1:
        crossed = tuple(CROSS.join(cell) for cell in cells)
        found.append(Attribute(name=CROSS.join(names), groups=crossed, view=np.arange(len(cells))))
    return tuple(found), combos


def rates_of(decided: Decided) -> list[GroupRate]:
    """Every rate of every group of every attribute, also of groups without a text."""
    values = decided.values[decided.known]
    truth, said, combos = values[:, :3].astype(np.int64).T
    rates = [Rate(name="correct")]
    for outcome in decided.outcomes:
        rates += [Rate(name="selected", outcome=outcome), *odds([outcome])]
    found = []
    for attribute in decided.attributes:
        of = attribute.view[combos]
        for rate in rates:
            among, yes = rate.among(truth), rate.yes(truth, said)
            sizes = np.bincount(of[among], minlength=len(attribute.groups))
            counts = np.bincount(of[yes], minlength=len(attribute.groups))
            for group, n, k in zip(attribute.groups, sizes.tolist(), counts.tolist(), strict=True):
                share = wilson(k, n) if n else None
                found.append(
                    GroupRate(
                        attribute=attribute.name,
                        group=group,
                        rate=rate.name,
                        outcome=None if rate.outcome is None else decided.classes[rate.outcome],
                        n=n,
                        estimate=None if share is None else share.value,
                        low=None if share is None else share.low,
                        high=None if share is None else share.high,
                        compared=n >= decided.fewest,
                    )
                )
    return found


def reliability_of(decided: Decided, seed: int = 0) -> list[GroupReliability]:
    """Calibration of each group that has enough texts."""
    values = decided.values[decided.known]
    found = []
    for attribute in decided.attributes:
        of = attribute.view[values[:, 2].astype(np.int64)]
        for place, group in enumerate(attribute.groups):
            own = values[of == place]
            if len(own) < max(2, decided.fewest):
                continue
            one = reliability(own[:, 3], own[:, 4] == 1, seed)
            found.append(
                GroupReliability(
                    attribute=attribute.name,
                    group=group,
                    n=one.n,
                    excess=one.excess.value,
                    excess_low=one.excess.low,
                    excess_high=one.excess.high,
                    error=one.error,
                    error_by_chance=one.error_by_chance,
                    error_p=one.error_p,
                    bins=tuple((b.forecast, b.came_true, b.n) for b in one.bins),
                )
            )
    return found
