"""Rows of a matrix that are zero, constant, or point the same way as another row."""

import dataclasses
import math

import numpy as np
import scipy.spatial
import scipy.special
from jaxtyping import Bool, Float, Int

from inspector.errors import NotEnoughData
from inspector.weights.matrices import BLOCK, wide_blocks

DEAD = 1e-6  # of the median length of the rows that are not zero: below it a row counts as dead
SAME = 1e-3  # 1 - |cosine| up to which two rows point the same way
BY_CHANCE = 1e-3  # pairs of random rows of the same shape that would; else the tolerance is tighter
SAME_LENGTH = 0.01  # lengths this far apart, relatively, make a multiple of a row, not a duplicate
PROJECTIONS = 64
IN_TREE = 8  # of them, by which neighbours are looked up
MISSED = 1e-9  # chance that projections hide a pair that points the same way
QUERIES = 1024  # neighbours looked up at a time
TRIES = 1000  # neighbours per row that may be looked at, and cosines that may disappoint, before
COMPARISONS = 50  # the rows count as crowded
SHORTEST = 8  # numbers in a row: of fewer, 16-bit ones are equal or parallel by chance
ACROSS = (
    4096  # columns read at a time: the directions onto which they are projected stay in the cache
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alike:
    """A row that points the way of an earlier one: row = ratio x earlier row, nearly or exactly.

    `cosine` is in [-1, 1], `ratio` that of their lengths with the sign of the cosine; `exact`
    when both hold the same numbers.
    """

    row: int
    like: int
    cosine: float
    ratio: float
    exact: bool

    @property
    def relation(self) -> str:
        """How it relates to the earlier row: "duplicate", "anti-parallel" or "scaled"."""
        if self.cosine < 0:
            return "anti-parallel"
        return "duplicate" if abs(self.ratio - 1) <= SAME_LENGTH else "scaled"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """What stands out among the rows of a matrix.

    `lengths` are Euclidean; `dead` rows are zero or below DEAD of the median length, `constant`
    ones hold one number other than zero throughout. `alike` is None where it could not be told:
    too many rows are nearly parallel (`crowded`), or they are shorter than SHORTEST, of which none
    counts as constant either. `tolerance` is the 1 - |cosine| it was told with.
    """

    lengths: Float[np.ndarray, " rows"]
    dead: Bool[np.ndarray, " rows"]
    constant: Bool[np.ndarray, " rows"]
    alike: tuple[Alike, ...] | None
    crowded: bool
    tolerance: float


def inspect_rows(matrix: Float[np.ndarray, "rows columns"]) -> Rows:
    """Dead, constant and parallel rows of a matrix, by one random projection and true cosines.

    Zero and constant rows are told as such and not compared. A group of parallel rows is told
    relative to the first of them. Raises NotEnoughData when values or their squares are not
    finite.
    """
    lengths, constant, projected = _project(matrix)
    positive = lengths[lengths > 0]
    dead = lengths <= (DEAD * np.median(positive) if len(positive) else 0)
    used = np.flatnonzero(~dead & ~constant)
    tolerance = tolerance_for(len(used), matrix.shape[1])
    long = matrix.shape[1] >= SHORTEST
    alike = _alike(matrix, lengths, used, projected[used], tolerance) if long else None
    return Rows(
        lengths=lengths,
        dead=dead,
        constant=constant & ~dead & long,
        alike=alike,
        crowded=long and alike is None,
        tolerance=tolerance,
    )


def tolerance_for(rows: int, columns: int) -> float:
    """1 - |cosine| up to which rows are alike: SAME, less where chance brings short rows so near.

    Between random directions of n dimensions 1 - cosine² follows Beta((n - 1) / 2, 1 / 2).
    """
    if rows < 2 or columns < 2:
        return 0.0
    chance = min(BY_CHANCE / (rows * (rows - 1) / 2), 1.0)
    sine_squared = float(scipy.special.betaincinv((columns - 1) / 2, 0.5, chance))
    return min(SAME, 1 - math.sqrt(1 - sine_squared))


def _project(
    matrix: Float[np.ndarray, "rows columns"],
) -> tuple[
    Float[np.ndarray, " rows"], Bool[np.ndarray, " rows"], Float[np.ndarray, "rows projections"]
]:
    """(length, whether constant, projections of the direction) of each row."""
    rows, columns = matrix.shape
    generator = np.random.default_rng(columns)
    squares, constant = np.zeros(rows), np.ones(rows, dtype=bool)
    projected = np.zeros((rows, PROJECTIONS))
    for left in range(0, columns, ACROSS):
        tile = matrix[:, left : left + ACROSS]
        onto = generator.standard_normal((tile.shape[1], PROJECTIONS))
        with np.errstate(over="ignore", invalid="ignore"):
            for start, block in wide_blocks(tile):
                here = slice(start, start + len(block))
                squares[here] += np.einsum("ij,ij->i", block, block)
                constant[here] &= (block == matrix[here, :1]).all(axis=1)
                projected[here] += block @ onto
        if not np.isfinite(squares).all():
            raise NotEnoughData("It holds NaN or infinite values, or its squares overflow.")
    lengths = np.sqrt(squares)
    return lengths, constant, projected / np.where(lengths > 0, lengths, 1.0)[:, None]


def _alike(
    matrix: Float[np.ndarray, "rows columns"],
    lengths: Float[np.ndarray, " rows"],
    used: Int[np.ndarray, " used"],
    near: Float[np.ndarray, "used projections"],
    tolerance: float,
) -> tuple[Alike, ...] | None:
    """Groups of parallel rows; None when too many rows come near each other to try them all."""
    tolerance += (matrix.shape[1] + 2) * np.finfo(np.float64).eps  # rounding of cosines
    reach, bound = _reach(tolerance, IN_TREE), _reach(tolerance, PROJECTIONS)
    tree = scipy.spatial.cKDTree(near[:, :IN_TREE])
    leader = np.full(len(used), -1)
    tried = compared = 0
    for start in range(0, len(used), QUERIES):
        free = start + np.flatnonzero(leader[start : start + QUERIES] < 0)
        for at in free[_neighbours(tree, near[free, :IN_TREE], reach) > 1]:
            if leader[at] >= 0:
                continue
            found = [tree.query_ball_point(sign * near[at, :IN_TREE], reach) for sign in (1, -1)]
            later = np.unique(np.concatenate(found).astype(np.int64))
            later = later[(later > at) & (leader[later] < 0)]
            apart = [np.square(near[later] - sign * near[at]).sum(axis=1) for sign in (1, -1)]
            close = later[np.minimum(*apart) <= bound**2]
            cosines = _cosines(matrix, lengths, used[at], used[close])
            leader[close[np.abs(cosines) >= 1 - tolerance]] = at
            tried += len(later)
            compared += int(np.count_nonzero(np.abs(cosines) < 1 - tolerance))
            if tried > TRIES * len(used) or compared > COMPARISONS * len(used):
                return None
    return _relations(matrix, lengths, used, leader)


def _reach(tolerance: float, projections: int) -> float:
    """How far apart the projections of two unit vectors with that cosine are, but for MISSED.

    Each projection of u - v is normal with variance |u - v|² = 2 (1 - cosine).
    """
    return math.sqrt(2 * tolerance * float(scipy.special.chdtri(projections, MISSED)))


def _neighbours(
    tree: scipy.spatial.cKDTree, points: Float[np.ndarray, "n dimensions"], reach: float
) -> Int[np.ndarray, " n"]:
    """How many points of the tree are near each point or its opposite, itself included."""
    if not len(points):
        return np.zeros(0, dtype=np.int64)
    both = [tree.query_ball_point(sign * points, reach, return_length=True) for sign in (1, -1)]
    total: np.ndarray = both[0] + both[1]
    return total


def _cosines(
    matrix: np.ndarray, lengths: np.ndarray, one: np.integer, others: Int[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """Cosines between one row and others, in float64."""
    first = matrix[one].astype(np.float64) / lengths[one]
    found = np.empty(len(others))
    step = max(BLOCK // matrix.shape[1], 1)
    for start in range(0, len(others), step):
        some = others[start : start + step]
        found[start : start + step] = matrix[some].astype(np.float64) @ first / lengths[some]
    return np.clip(found, -1.0, 1.0)


def _relations(
    matrix: np.ndarray, lengths: np.ndarray, rows: np.ndarray, leader: np.ndarray
) -> tuple[Alike, ...]:
    """Every row of a group but its first, told relative to that first."""
    found = []
    for at in np.unique(leader[leader >= 0]):
        group = np.sort(np.append(rows[leader == at], rows[at]))
        first, others = group[0], group[1:]
        for row, cosine in zip(others, _cosines(matrix, lengths, first, others), strict=True):
            found.append(
                Alike(
                    row=int(row),
                    like=int(first),
                    cosine=float(cosine),
                    ratio=float(math.copysign(lengths[row] / lengths[first], cosine)),
                    exact=bool(np.array_equal(matrix[row], matrix[first])),
                )
            )
    return tuple(sorted(found, key=lambda alike: alike.row))
