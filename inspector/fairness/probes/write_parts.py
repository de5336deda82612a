"""How the z of what a matrix writes along a direction is measured and compared, by pairs."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from jaxtyping import Float
from scipy.special import stdtr

from inspector.errors import NotEnoughData
from inspector.fairness.clusters import smallest_gap, student
from inspector.fairness.measures import Change, Measured, change, measured_gap
from inspector.fairness.probes.parts import Clusters, How, Values
from inspector.fairness.uncertainty import ALPHA
from inspector.fairness.writers import DRAWS, FEWEST, Written
from inspector.results import Estimate

WRITE_COLUMNS: Final = ("without", "z", "p", "null")  # of a part's values
UNIT: Final = "standard deviations of random directions"
COSINE: Final = "signed square cosine"

Columns = Float[np.ndarray, "pairs columns"]


def write_columns(found: Written, null: float) -> Columns:
    """A row for each pair: z without it; then, alike in all rows, z, its p, and the null."""
    return np.array([(without, found.z, found.p_value, null) for without in found.without])


def largest(found: Sequence[Written]) -> tuple[Written, float]:
    """The largest z of several matrices, and its mean over random directions.

    Each random direction is taken through all matrices, so that what they share is in the null.
    """
    null = np.max([one.null for one in found], axis=0)
    z = max(one.z for one in found)
    return Written(
        z=z,
        without=np.max([one.without for one in found], axis=0),
        null=null,
        p_value=float((1 + (null >= z).sum()) / (1 + len(null))),
    ), float(null.mean())


def measured_write(values: Values, clusters: Clusters, seed: int) -> Measured:
    """The z with an interval from leaving out pairs, and the share of random directions beyond it.

    values: rows of WRITE_COLUMNS, NaN for pairs that are not known. The test asks about other
    directions, the interval about other pairs of words.
    """
    known = values[~np.isnan(values).any(1)]
    if len(known) < FEWEST:
        raise NotEnoughData(f"a direction needs {FEWEST} pairs, got {len(known)}")
    return _measured(
        float(known[0, 1]),
        known[:, 0],
        null=float(known[0, 3]),
        p_value=float(known[0, 2]),
        smallest_p=1 / (1 + DRAWS),
        test=f"{DRAWS} random directions, one-sided",
        excluded=len(values) - len(known),
    )


def changed_write(before: Values, after: Values, clusters: Clusters, seed: int) -> Change:
    """After less before, by leaving out the same pairs of both; p by Student's t over pairs."""
    known = ~np.isnan(after).any(1)
    if (known != ~np.isnan(before).any(1)).any() or known.sum() < FEWEST:
        raise NotEnoughData("before and after do not know the same pairs")
    old, new = before[known], after[known]
    difference = float(new[0, 1] - old[0, 1])
    found = _measured(
        difference,
        new[:, 0] - old[:, 0],
        null=0.0,
        p_value=None,
        smallest_p=0.0,
        test=f"t over {len(new)} pairs",
        excluded=int((~known).sum()),
    )
    return Change(difference=found, sides=None)


def _measured(
    value: float,
    without: Float[np.ndarray, " pairs"],
    null: float,
    p_value: float | None,
    smallest_p: float,
    test: str,
    excluded: int,
) -> Measured:
    """A number with the jackknife's interval; p None: by that error."""
    n = len(without)
    error = math.sqrt((n - 1) / n * float(((without - without.mean()) ** 2).sum()))
    if p_value is None:
        p_value = float(value == null)
        if error > 0:
            p_value = float(2 * stdtr(n - 1, -abs(value - null) / error))

    def within(confidence: float) -> Estimate:
        return student(value, error, n - 1, confidence, n, UNIT, "jackknife over pairs, t")

    return Measured(
        estimate=within(1 - ALPHA),
        inner=within(1 - 2 * ALPHA),
        null=null,
        p_value=p_value,
        smallest_p=smallest_p,
        test=test,
        n_items=n,
        n_clusters=n,
        n_ties=0,
        n_excluded=excluded,
        mde80=smallest_gap(error, n),
    )


WRITES: Final = How(measured=measured_write, change=changed_write)
"""How strongly a matrix writes along a direction, against random directions."""

AGREES: Final = How(
    measured=lambda values, clusters, seed: measured_gap(
        values[:, 0], clusters, seed=seed, unit=COSINE
    ),
    change=lambda before, after, clusters, seed: change(
        before[:, 0], after[:, 0], clusters, seed=seed, unit=COSINE
    ),
)
"""How much of each pair's difference the others explain."""
