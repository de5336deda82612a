"""What a direction moves: the mean of y D, each set against the others of its template."""

from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np
from jaxtyping import Float

from inspector.fairness.clusters import positions
from inspector.fairness.probes.parts import How, Part, Values, formula


def _mean_per_direction(sums: Float[np.ndarray, "... 5"]) -> Float[np.ndarray, "..."]:
    """From sums of y' D', y'^2, y^2 and 1, where a prime is a value about its stratum's mean."""
    moved, apart, squares, n, _ = np.moveaxis(sums, -1, 0)
    below = apart * n
    out = np.full(below.shape, np.nan)
    return np.asarray(np.divide(moved * squares, below, out=out, where=apart > 1e-9 * squares))


def directed(unit: str, bounds: tuple[float, float] | None = None) -> How:
    """Mean of direction times difference, against zero; see `directed_part`."""
    return formula(
        _mean_per_direction,
        0.0,
        unit,
        bounds=bounds,
        signed=lambda values: np.asarray(values[:, 0]),
        flips=1,
        tied=lambda values: np.asarray(values[:, 4] > 0),
    )


DIRECTED: Final = directed("nats")


def directed_part(
    metric: str,
    category: str,
    family: str,
    ids: Sequence[str],
    clusters: Sequence[Hashable],
    strata: Sequence[Hashable],
    directions: Float[np.ndarray, " items"],
    differences: Float[np.ndarray, " items"],
    how: How = DIRECTED,
) -> Part:
    """A part whose number is the mean of y D, direction times difference, in the unit of `how`.

    Within each of `strata` (a template with a pair of words) all differences share what the
    neutral text and the template do, whatever the direction. That is taken out: else it is noise
    where directions are balanced, and bias where they are not. With balanced directions the number
    is the plain mean of y D; else it is what y D would average if they were. A stratum whose
    directions are all alike has nothing to be set against, but the neutral text: it stays as it
    is. differences: NaN where an item has none.
    """
    known = ~np.isnan(differences)
    place = positions([strata[i] for i in np.flatnonzero(known).tolist()])[1]
    y, d = directions[known], differences[known]
    apart = y - _means(y, place)
    alike = _means(apart**2, place) < 1e-12
    y_apart, d_apart = np.where(alike, y, apart), np.where(alike, d, d - _means(d, place))
    values: Values = np.full((len(known), 5), np.nan)
    columns = [y_apart * d_apart, y_apart**2, y**2, np.ones(len(y)), d == 0]
    values[known] = np.stack(columns, axis=1)
    return Part(
        metric=metric,
        category=category,
        family=family,
        ids=tuple(ids),
        clusters=tuple(clusters),
        values=values,
        how=how,
    )


def added(part: Part) -> Float[np.ndarray, " items"]:
    """What each item adds to a directed part's number, which is their mean; NaN stays."""
    moved, apart, squares, *_ = part.values.T
    scale = np.nansum(squares) / max(np.nansum(apart), 1e-300)
    return np.asarray(moved * scale)


def _means(values: Float[np.ndarray, " items"], place: np.ndarray) -> Float[np.ndarray, " items"]:
    """The mean of each item's stratum."""
    sizes = np.maximum(np.bincount(place), 1)
    return np.asarray((np.bincount(place, values) / sizes)[place])
