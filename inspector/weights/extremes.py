"""The weights farthest from the rest of their matrix, by place, and what might be super weights."""

import dataclasses
import functools

import numpy as np
import scipy.special
from jaxtyping import Float

from inspector.errors import NotEnoughData
from inspector.weights.matrices import Matrix, wide_blocks
from inspector.weights.super_weights import SUPER_WEIGHTS, published

KEPT = 5  # extreme weights told of each matrix
SUPER = 3.0  # times the distance chance reaches: from there on a weight of `down` is a candidate
DOWN = ("down", "expert_down")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Extreme:
    """One weight: `row` is the output and `column` the input it joins, counted within `name`.

    `z` is its distance from the matrix's mean in standard deviations; `z_noise` how far the
    farthest of as many normal numbers lies (median of the maximum). `score` is |z| times how many
    times its row and its column are longer than the median row and column. `published` names
    models of which this place is a published super weight (see super_weights).
    """

    name: str
    layer: int | None
    role: str
    row: int
    column: int
    value: float
    z: float
    z_noise: float
    score: float
    published: tuple[str, ...]


@functools.lru_cache(maxsize=1024)
def farthest(count: int) -> float:
    """Median distance, in standard deviations, of the farthest of `count` normal numbers."""
    # Phi^-1((1 + 2^(-1/N)) / 2), from the upper tail so that large N do not round to 1
    return float(-scipy.special.ndtri(-np.expm1(-np.log(2) / count) / 2))


def extremes(
    matrix: Matrix,
    values: Float[np.ndarray, "rows columns"],
    row_lengths: Float[np.ndarray, " rows"],
    column_lengths: Float[np.ndarray, " columns"],
) -> tuple[Extreme, ...]:
    """The KEPT weights farthest from the mean, farthest first, and published super weights.

    Of those only what lies farther than chance reaches. Empty where all weights are equal.
    """
    mean, std = _moments(values)
    if not std > 0:
        return ()
    beyond = farthest(values.size)
    places = _farthest_places(values, mean)
    if matrix.role in DOWN:
        known = [
            (weight.row, weight.column)
            for weight in SUPER_WEIGHTS
            if (weight.layer, weight.rows, weight.columns) == (matrix.layer, *values.shape)
        ]
        far = [at for at in known if abs(float(values[at]) - mean) > beyond * std]
        places += [at for at in far if at not in places]
    stretch = _relative(row_lengths), _relative(column_lengths)
    found = []
    for row, column in places:
        z = (float(values[row, column]) - mean) / std
        found.append(
            Extreme(
                name=matrix.name,
                layer=matrix.layer,
                role=matrix.role,
                row=row,
                column=column,
                value=float(values[row, column]),
                z=z,
                z_noise=beyond,
                score=abs(z) * float(stretch[0][row] * stretch[1][column]),
                published=published(matrix.layer, row, column, values.shape)
                if matrix.role in DOWN
                else (),
            )
        )
    return tuple(sorted(found, key=lambda one: (-abs(one.z), one.row, one.column)))


def is_candidate(one: Extreme) -> bool:
    """Whether a weight may be a super weight: of `down`, and published or far beyond chance."""
    return one.role in DOWN and (bool(one.published) or abs(one.z) >= SUPER * one.z_noise)


def _relative(lengths: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    middle = float(np.median(lengths))
    return lengths / middle if middle > 0 else np.ones_like(lengths)


def _moments(values: np.ndarray) -> tuple[float, float]:
    """Mean and population standard deviation in float64; raises NotEnoughData past its range."""
    with np.errstate(over="ignore", invalid="ignore"):
        mean = sum(float(block.sum()) for _, block in wide_blocks(values)) / values.size
        square = sum(float(np.square(block - mean).sum()) for _, block in wide_blocks(values))
    if not np.isfinite(square):
        raise NotEnoughData("It holds NaN or infinite values, or its squares overflow.")
    return mean, float(np.sqrt(square / values.size))


def _farthest_places(values: np.ndarray, mean: float) -> list[tuple[int, int]]:
    """Where the KEPT values farthest from the mean stand; ties by row, then column."""
    best: list[tuple[float, int, int]] = []
    for start, block in wide_blocks(values):
        apart = np.abs(block - mean).ravel()
        least = -best[-1][0] if len(best) == KEPT else -1.0
        if apart.max() <= least:
            continue
        count = min(KEPT, apart.size)
        bound = max(float(np.partition(apart, apart.size - count)[apart.size - count]), least)
        for flat in np.flatnonzero(apart >= bound)[: 100 * KEPT]:  # many may be equally far
            row, column = divmod(int(flat), values.shape[1])
            best.append((-float(apart[flat]), start + row, column))
        best = sorted(best)[:KEPT]
    return [(row, column) for _, row, column in best]
