"""Rows that stand out of a table or a matrix: zero, the mean of all, identical, identical heads."""

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float

from inspector.weights.checkpoint import Reader
from inspector.weights.matrices import Matrix, blocks, load

Groups = tuple[tuple[int, ...], ...]

NEAR_MEAN = 0.01  # of the median distance from the mean: rounding and drawn-on noise are far less


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableRows:
    """Numbers of the rows of a table that are no word of their own.

    `mean` rows equal the mean of the rows; `identical` are groups of equal rows that are neither.
    """

    zero: tuple[int, ...]
    mean: tuple[int, ...]
    identical: Groups

    def ordinary(self, rows: int) -> Bool[np.ndarray, " rows"]:
        """Which of the rows are left: none of zero and mean, one of each identical group."""
        keep = np.ones(rows, dtype=bool)
        for group in (self.zero, self.mean, *(g[1:] for g in self.identical)):
            keep[list(group)] = False
        return keep


def table_rows(matrix: Matrix, reader: Reader, energies: Float[np.ndarray, " rows"]) -> TableRows:
    """Padded and repeated rows of a vocabulary table; `energies` are the rows' sums of squares.

    A row is a mean row when it is nearer to the mean of all rows, or of all that are not zero,
    than 1 % of the median distance: appended rows are often drawn so, or rounded.
    """
    zero = energies == 0
    mean = _mean_rows(matrix, reader, energies)
    groups = identical_rows(matrix, reader, np.where(mean, 0.0, energies))
    return TableRows(
        zero=tuple(np.flatnonzero(zero).tolist()),
        mean=tuple(np.flatnonzero(mean).tolist()),
        identical=groups,
    )


def _mean_rows(
    matrix: Matrix, reader: Reader, energies: Float[np.ndarray, " rows"]
) -> Bool[np.ndarray, " rows"]:
    others = int(np.count_nonzero(energies))
    total = np.sum([block.sum(axis=0) for block in _row_blocks(matrix, reader)], axis=0)
    near = np.zeros(matrix.rows, dtype=bool)
    if others < 2:
        return near
    means = np.stack([total / matrix.rows, total / others], axis=1)
    products = np.concatenate([block @ means for block in _row_blocks(matrix, reader)])
    squared = energies[:, None] - 2 * products + np.square(means).sum(axis=0)
    distance = np.sqrt(np.maximum(squared, 0.0).min(axis=1))
    typical = float(np.median(distance[energies > 0]))
    return (energies > 0) & (distance <= NEAR_MEAN * typical) if typical > 0 else near


def _row_blocks(matrix: Matrix, reader: Reader) -> Iterator[np.ndarray]:
    """The matrix as float64 blocks of whole rows."""
    if matrix.rows >= matrix.columns:
        yield from (block.astype(np.float64) for block in blocks(matrix, reader))
    else:
        yield load(matrix, reader).astype(np.float64)


def identical_rows(
    matrix: Matrix, reader: Reader, energies: Float[np.ndarray, " rows"], columns: bool = False
) -> Groups:
    """Groups of rows (or columns) with the same values, other than zero; in order of the first.

    Equal sums of squares, added in the same order, tell which to compare; all bytes are compared,
    by their hash.
    """
    _, inverse, counts = np.unique(energies, return_inverse=True, return_counts=True)
    suspects = np.flatnonzero((counts[inverse] > 1) & (energies > 0))
    if not suspects.size:
        return ()
    groups: dict[bytes, list[int]] = defaultdict(list)
    for row, digest in zip(
        suspects.tolist(), _digests(matrix, reader, suspects, columns), strict=True
    ):
        groups[digest].append(row)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)


def _digests(matrix: Matrix, reader: Reader, chosen: np.ndarray, columns: bool) -> Iterable[bytes]:
    """A hash of the values of each chosen row or column; -0 counts as 0."""
    along_long = (matrix.rows >= matrix.columns) != columns
    if along_long:
        start, found = 0, []
        for block in blocks(matrix, reader):
            inside = chosen[(chosen >= start) & (chosen < start + len(block))] - start
            found += [hashlib.blake2b((row + 0.0).tobytes()).digest() for row in block[inside]]
            start += len(block)
        return found
    running = [hashlib.blake2b() for _ in chosen]
    for block in blocks(matrix, reader):
        for state, values in zip(running, block.T[chosen], strict=True):
            state.update((values + 0.0).tobytes())
    return [state.digest() for state in running]


def identical_heads(
    groups: Sequence[Sequence[int]], energies: Float[np.ndarray, " rows"], heads: int
) -> Groups:
    """Groups of heads, not all zero, whose every row equals that at the same place in the others.

    `groups` are the identical rows, of which `heads` heads of equal length are made.
    """
    labels = np.arange(len(energies))
    labels[energies == 0] = -1
    for group in groups:
        labels[list(group)] = group[0]
    by_rows: dict[bytes, list[int]] = defaultdict(list)
    for head, rows in enumerate(labels.reshape(heads, -1)):
        if (rows >= 0).any():
            by_rows[rows.tobytes()].append(head)
    return tuple(tuple(group) for group in by_rows.values() if len(group) > 1)


def ranges(rows: Sequence[int], most: int = 12) -> str:
    """Ascending numbers as text, runs as first-last; past `most` runs only how many there are."""
    numbers = np.asarray(rows)
    cuts = np.flatnonzero(np.diff(numbers) != 1) + 1
    runs = [
        f"{run[0]}" if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in np.split(numbers, cuts)
    ]
    shown = ", ".join(runs[:most])
    return shown if len(runs) <= most else f"{shown} and {len(runs) - most} more runs"
