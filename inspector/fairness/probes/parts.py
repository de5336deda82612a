"""One number of a probe: which items it is made of and how, for one model or for two."""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Final

import numpy as np
from jaxtyping import Bool, Float

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.clusters import Totals, positions, totals
from inspector.fairness.measures import (
    Change,
    Measured,
    change,
    measured_gap,
    measured_metric,
    measured_share,
)
from inspector.fairness.resampling import Statistic

Clusters = tuple[Hashable, ...]
Values = Float[np.ndarray, "items columns"]
Measure = Callable[[Values, Clusters, int], Measured]
Compare = Callable[[Values, Values, Clusters, int], Change]


@dataclasses.dataclass(frozen=True, kw_only=True)
class How:
    """How a number is made of items: for one model, and after less before.

    Both take rows of values (NaN: excluded), clusters and a seed; see SHARE, GAP, `formula`.
    `flips`: how many columns, from the first, change sign when an item's sides are exchanged.
    """

    measured: Measure
    change: Compare
    flips: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """Items that one number is made of: a row of `values` each, NaN where an item has none.

    `family`: numbers whose p are corrected together. `ids` name the items, the same for every
    model; `clusters` are the units that were drawn. `problems`: why this number, unlike others of
    the probe, is not to be believed.
    """

    metric: str
    category: str
    family: str
    ids: tuple[str, ...]
    clusters: Clusters
    values: Values
    how: How
    problems: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.clusters) == len(self.values):
            raise BadOption(
                f"{self.metric}: {len(self.ids)} items need as many clusters and rows of values"
            )

    def __len__(self) -> int:
        return len(self.ids)


def measure(part: Part, seed: int = 0) -> Measured | None:
    """The number with its interval and test; None where the items do not allow one."""
    try:
        return part.how.measured(part.values, part.clusters, seed)
    except NotEnoughData:
        return None


def measure_change(before: Part, after: Part, seed: int = 0) -> Change | None:
    """After less before over the items that both have; None where they do not allow it."""
    place = {id: i for i, id in enumerate(before.ids)}
    both = [(place[id], i) for i, id in enumerate(after.ids) if id in place]
    if not both:
        return None
    first, second = (list(side) for side in zip(*both, strict=True))
    clusters = tuple(after.clusters[i] for i in second)
    try:
        return after.how.change(before.values[first], after.values[second], clusters, seed)
    except NotEnoughData:
        return None


def shuffled(part: Part, seed: int) -> Part:
    """The same with the sides of each cluster exchanged at random: no bias can be in it."""
    known, place = positions(part.clusters)
    sides = np.random.default_rng(seed).choice([-1.0, 1.0], len(known))
    values = part.values.copy()
    values[:, : part.how.flips] *= sides[place][:, None]
    return dataclasses.replace(part, values=values)


def _first(values: Values) -> Float[np.ndarray, " items"]:
    return np.asarray(values[:, 0])


def _units(clusters: Clusters) -> Clusters | None:
    """None where every item stands alone."""
    return None if len(set(clusters)) == len(clusters) else clusters


def _sides(values: Values) -> Float[np.ndarray, " items"]:
    """One for a gap above zero, one half for a tie; NaN stays."""
    return np.asarray((1 + np.sign(_first(values))) / 2)


def _sides_changed(
    before: Values, after: Values, clusters: Clusters, seed: int, equal: bool = False
) -> Change:
    """Shares after less before; that no item changed sides is no proof that none ever does."""
    return change(
        _sides(before) - 0.5,
        _sides(after) - 0.5,
        clusters,
        equal=equal,
        seed=seed,
        unit="share",
        bounds=None if _same(before, after) else (-1.0, 1.0),
    )


def _same(before: Values, after: Values) -> bool:
    """Whether two models gave exactly the same, so that there is no difference to doubt."""
    return np.array_equal(before, after, equal_nan=True)


SHARE: Final = How(
    measured=lambda values, clusters, seed: measured_share(_first(values), _units(clusters), seed),
    change=lambda before, after, clusters, seed: _sides_changed(before, after, clusters, seed),
    flips=1,
)
"""Share of items with a gap above zero, ties one half, against one half."""

SHARE_OF_CLUSTERS: Final = How(
    measured=lambda values, clusters, seed: measured_share(
        _first(values), clusters, seed, equal=True
    ),
    change=lambda before, after, clusters, seed: _sides_changed(
        before, after, clusters, seed, equal=True
    ),
    flips=1,
)
"""The same where clusters count alike: the mean of their shares."""

GAP: Final = How(
    measured=lambda values, clusters, seed: measured_gap(_first(values), clusters, seed=seed),
    change=lambda before, after, clusters, seed: change(
        _first(before), _first(after), clusters, seed=seed
    ),
    flips=1,
)
"""Mean signed gap in nats, against zero."""


def formula(
    statistic: Statistic,
    null: float,
    unit: str = "",
    bounds: tuple[float, float] | None = None,
    equal: bool = False,
    signed: Callable[[Values], Float[np.ndarray, " items"]] | None = None,
    flips: int = 0,
    tied: Callable[[Values], Bool[np.ndarray, " items"]] | None = None,
) -> How:
    """How any function of sums over clusters is made; `equal`: of means, clusters count alike.

    `signed`: per item what is zero on average without bias, tested by sign flips of clusters;
    None: the number is not tested, and never called bias. `tied`: per item whether its sides are
    equal (None: there are no ties).
    """

    def test(values: Values, clusters: Clusters) -> Totals | None:
        return None if signed is None else totals(signed(values), clusters, equal=equal)

    def measured(values: Values, clusters: Clusters, seed: int) -> Measured:
        known = ~np.isnan(values).any(1)
        kept, labels = values[known], _kept(clusters, known)
        found = measured_metric(
            _rows(kept, labels, equal),
            statistic,
            null,
            n_items=int(known.sum()),
            n_excluded=int((~known).sum()),
            signed=test(kept, labels),
            bounds=bounds,
            seed=seed,
            unit=unit,
        )
        return dataclasses.replace(found, n_ties=0 if tied is None else int(tied(kept).sum()))

    def compared(before: Values, after: Values, clusters: Clusters, seed: int) -> Change:
        known = ~(np.isnan(before).any(1) | np.isnan(after).any(1))
        old, new, labels = before[known], after[known], _kept(clusters, known)
        width = before.shape[1]
        rows = [_rows(side, labels, equal) for side in (old, new)]
        reach = None if bounds is None or _same(old, new) else bounds[1] - bounds[0]
        moved = None if signed is None else totals(signed(new) - signed(old), labels, equal=equal)
        difference = measured_metric(
            np.concatenate(rows, axis=1),
            lambda sums: np.asarray(statistic(sums[..., width:]) - statistic(sums[..., :width])),
            0.0,
            n_items=int(known.sum()),
            n_excluded=int((~known).sum()),
            signed=moved,
            bounds=None if reach is None else (-reach, reach),
            seed=seed,
            unit=unit,
        )
        return Change(difference=difference, sides=None)

    return How(measured=measured, change=compared, flips=flips)


def _kept(clusters: Sequence[Hashable], known: np.ndarray) -> Clusters:
    return tuple(label for label, kept in zip(clusters, known, strict=True) if kept)


def _rows(values: Values, clusters: Clusters, equal: bool) -> Float[np.ndarray, "clusters columns"]:
    """What each cluster adds to each sum."""
    if not len(values):
        raise NotEnoughData("no item has a value")
    known, place = positions(clusters)
    sums = np.zeros((len(known), values.shape[1]))
    np.add.at(sums, place, values)
    return sums / np.bincount(place)[:, None] if equal else sums
