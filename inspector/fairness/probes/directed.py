"""What a direction moves: the mean of y D, each set against the others of its template."""

from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np
from jaxtyping import Float

from inspector.fairness.clusters import positions
from inspector.fairness.probes.parts import GAP, Part, Values, formula


def _per_direction(sums: Float[np.ndarray, "... 4"]) -> Float[np.ndarray, "..."]:
    """sum(y D) sum(y^2) / (n sum(y^2 about its mean)), NaN where no direction differs."""
    moved, apart, squares, n = np.moveaxis(sums, -1, 0)
    below = apart * n
    return np.asarray(
        np.divide(
            moved * squares, below, out=np.full(below.shape, np.nan), where=below > 1e-9 * n * n
        )
    )


DIRECTED: Final = formula(
    _per_direction, 0.0, "nats", signed=lambda values: np.asarray(values[:, 0]), flips=1
)
"""Mean of y D in nats, against zero, where y and D are taken about their means in a template."""


def directed_part(
    metric: str,
    category: str,
    family: str,
    ids: Sequence[str],
    clusters: Sequence[Hashable],
    strata: Sequence[Hashable],
    directions: Float[np.ndarray, " items"],
    differences: Float[np.ndarray, " items"],
) -> Part:
    """A part whose number is the mean of direction times difference, in nats, 0 without bias.

    Within each of `strata` (a template with a pair of words) all differences share what the
    neutral text and the template do, whatever the direction. It is taken out: else it is noise to
    targets with balanced directions and bias with others. With balanced directions the value is
    the plain mean of y D, and with directions of one sign in every stratum too: nothing can be
    taken out there. differences: NaN where an item has none.
    """
    known = ~np.isnan(differences)
    place = positions([strata[i] for i in np.flatnonzero(known).tolist()])[1]
    y, d = (_about_means(values[known], place) for values in (directions, differences))
    values: Values
    if (y**2).sum() > 0:
        how, values = DIRECTED, np.full((len(known), 4), np.nan)
        values[known] = np.stack([y * d, y**2, directions[known] ** 2, np.ones(len(y))], axis=1)
    else:
        how, values = GAP, (directions * differences)[:, None]
    return Part(
        metric=metric,
        category=category,
        family=family,
        ids=tuple(ids),
        clusters=tuple(clusters),
        values=values,
        how=how,
    )


def _about_means(
    values: Float[np.ndarray, " items"], place: np.ndarray
) -> Float[np.ndarray, " items"]:
    """Each value less the mean of its stratum."""
    if not len(values):
        return values
    return np.asarray(values - (np.bincount(place, values) / np.bincount(place))[place])
