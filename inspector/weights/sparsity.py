"""N:M patterns, and how the zeros of a matrix lie against chance."""

import dataclasses
import typing

import numba
import numpy as np
from jaxtyping import Bool, Float
from scipy.special import binom, gammaln

BLOCK = 16  # rows and columns of the blocks that block-sparse kernels work on


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pattern:
    """How a matrix stands to N:M sparsity along its columns (the inputs).

    `groups` of consecutive columns there are, the last of a row filled up with zeros; `kept` of
    them already hold at most N non-zeros. `violation` is (row, first column) of the first that
    does not, None where all do. `energy` is the sum of squares that pruning to the pattern takes.
    """

    groups: int
    kept: int
    violation: tuple[int, int] | None
    energy: float


def pattern(values: Float[np.ndarray, "rows columns"], keep: int, group: int) -> Pattern:
    """The matrix against keeping the `keep` largest magnitudes of each `group` columns."""
    kept, row, column, energy = _pattern(values, group - keep, group)
    return Pattern(
        groups=len(values) * -(-values.shape[1] // group),
        kept=kept,
        violation=None if row < 0 else (row, column),
        energy=energy,
    )


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _pattern(values, drop, group):
    """(groups with `drop` zeros, row and column of the first without, energy of the smallest).

    The smallest of a group are kept in order by exchanges without branches, which are guessed wrong
    half of the time.
    """
    rows, columns = values.shape
    smallest = np.empty(drop)  # ascending
    kept = 0
    first_row = first_column = -1
    energy = 0.0
    for row in range(rows):
        lost = 0.0
        for start in range(0, columns, group):
            stop = min(start + group, columns)
            zeros = start + group - stop  # past the last column
            for i in range(drop):
                smallest[i] = 0.0 if i < zeros else np.inf
            for column in range(start, stop):
                value = np.float64(values[row, column])
                zeros += value == 0
                carried = value * value
                for i in range(drop):
                    held = smallest[i]
                    less = carried < held
                    smallest[i] = carried if less else held
                    carried = held if less else carried
            for i in range(drop):
                lost += smallest[i]
            if zeros >= drop:
                kept += 1
            elif first_row < 0:
                first_row, first_column = row, start
        energy += lost
    return kept, first_row, first_column, energy


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZeroStructure:
    """Rows, columns and 16 x 16 blocks that hold zeros only, with what chance would give.

    `*_random` is the expected number where as many zeros lie anywhere in the matrix, each place as
    likely. Blocks at the edges are smaller.
    """

    rows: int
    rows_random: float
    columns: int
    columns_random: float
    blocks: int
    blocks_random: float


def zero_structure(zero: Bool[np.ndarray, "rows columns"]) -> ZeroStructure:
    """How the zeros of a matrix lie; `zero` says where they are."""
    rows, columns = zero.shape
    row_edges, column_edges = np.arange(0, rows, BLOCK), np.arange(0, columns, BLOCK)
    by_block = np.logical_and.reduceat(np.logical_and.reduceat(zero, row_edges), column_edges, 1)
    heights = np.diff(np.append(row_edges, rows))
    widths = np.diff(np.append(column_edges, columns))
    cells, how_many = np.unique(np.outer(heights, widths), return_counts=True)
    n, zeros = zero.size, int(zero.sum())
    return ZeroStructure(
        rows=int(zero.all(axis=1).sum()),
        rows_random=rows * all_zero_by_chance(n, zeros, columns),
        columns=int(zero.all(axis=0).sum()),
        columns_random=columns * all_zero_by_chance(n, zeros, rows),
        blocks=int(by_block.sum()),
        blocks_random=sum(
            count * all_zero_by_chance(n, zeros, size)
            for size, count in zip(cells.tolist(), how_many.tolist(), strict=True)
        ),
    )


def all_zero_by_chance(n: int, zeros: int, cells: int) -> float:
    """Probability that given cells are all zero when `zeros` of n places, drawn at random, are."""
    if zeros < cells:
        return 0.0
    log = gammaln(zeros + 1) - gammaln(zeros - cells + 1) - gammaln(n + 1) + gammaln(n - cells + 1)
    return float(np.exp(min(log, 0.0)))


def _all_zero_and_others_not(n: int, zeros: int, cells: int, others: int) -> float:
    """Probability that given cells are zero and given others are not."""
    if zeros < cells:
        return 0.0
    after = n - cells
    return all_zero_by_chance(n, zeros, cells) * all_zero_by_chance(after, n - zeros, others)


def kept_by_chance(rows: int, columns: int, zeros: int, keep: int, group: int) -> float:
    """Expected groups that fit keep:group when the zeros lie at random."""

    def fits(size: int) -> float:
        needed = group - keep - (group - size)  # a short group is filled up with zeros
        return sum(
            float(binom(size, found))
            * _all_zero_and_others_not(rows * columns, zeros, found, size - found)
            for found in range(max(needed, 0), size + 1)
        )

    full, rest = divmod(columns, group)
    return rows * (full * fits(group) + (fits(rest) if rest else 0.0))
