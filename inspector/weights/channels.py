"""Rows and columns of a matrix: mean, RMS and largest magnitude, in the pass of the counts."""

import dataclasses
import typing
from collections.abc import Callable

import numba
import numpy as np
from jaxtyping import Float, Int

from inspector.weights.formats import FORMATS, top
from inspector.weights.tally import LEAST_SQUARE

MOST_CHANNELS = 2_000_000  # rows or columns; longer profiles are of no use and cost memory
OUTLIERS = 10
ROWS_AT_A_TIME = 128  # fits a row number into the narrowest pattern, so that both move together


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Axis:
    """Profile of rows or columns over finite values; NaN where there are none.

    `abs_max_at` is the position of the largest magnitude along the other axis (the first, if tied).
    """

    mean: Float[np.ndarray, " channel"]
    rms: Float[np.ndarray, " channel"]
    abs_max: Float[np.ndarray, " channel"]
    abs_max_at: Int[np.ndarray, " channel"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outlier:
    """One of the largest magnitudes of a matrix; `sigmas` is its distance from the mean."""

    row: int
    column: int
    value: float
    sigmas: float | None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ChannelProfile:
    """Rows and columns of a matrix (leading dimensions of a stack are rows) and its outliers."""

    rows: Axis
    columns: Axis
    outliers: tuple[Outlier, ...]


def why_not(dtype: str, shape: tuple[int, ...]) -> str | None:
    """Why a tensor has no channel profile; None when it has one."""
    if len(shape) < 2:
        return "it has no rows and columns"
    if 0 in shape:
        return "it holds no values"
    if FORMATS[dtype].kind != "float" or FORMATS[dtype].bits < 8:
        return f"{dtype} values are codes, not sizes"
    if max(matrix_shape(shape)) > MOST_CHANNELS:
        return f"it has more than {MOST_CHANNELS:,} rows or columns"
    return None


def matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    """Rows and columns: the last dimension is columns, all others together are rows."""
    rows = 1
    for dimension in shape[:-1]:
        rows *= dimension
    return rows, shape[-1]


class ChannelSums:
    """Running sums over whole rows of a matrix; parts of one matrix add up, in any order."""

    def __init__(self, dtype: str, first_row: int, rows: int, columns: int) -> None:
        self.dtype, self.first_row, self._as_f16 = dtype, first_row, None
        if FORMATS[dtype].special == "nan at -0":
            # Magnitudes are told apart by pattern, so NaN must be on top: F16 holds all the values.
            self._as_f16 = top(dtype).values.astype(np.float16).view(np.uint16)
            self.dtype = dtype = "F16"
        self.row = _Sums(rows)
        self.column = _Sums(columns)
        bits = FORMATS[dtype].bits
        self._wide = np.empty(columns, dtype=np.float64 if bits == 64 else np.float32)
        looked_up = bits <= 16 and dtype != "BF16"
        self._table = top(dtype).values.astype(np.float32) if looked_up else self._wide[:0]

    def add(self, patterns: np.ndarray, first_row: int) -> None:
        """Take in the patterns of whole rows, of which the first has the number `first_row`."""
        if self._as_f16 is not None:
            patterns = self._as_f16[patterns]
        begin = first_row - self.first_row
        rows = slice(begin, begin + len(patterns) // len(self.column.total))
        _sum_rows(
            patterns,
            patterns.dtype.type((1 << (FORMATS[self.dtype].bits - 1)) - 1),
            self._wide,
            self._wide.view(f"u{self._wide.itemsize}"),
            self._table,
            *(array[rows] for array in self.row.arrays()),
            *self.column.arrays(),
            first_row,
        )

    def merge(self, other: "ChannelSums") -> None:
        """Add the sums of another part of the same matrix, whose rows lie within these."""
        begin = other.first_row - self.first_row
        self.row.merge(other.row, slice(begin, begin + len(other.row.total)))
        self.column.merge(other.column, slice(None))

    def axes(self) -> tuple[Axis, Axis]:
        """The profiles of rows and of columns."""
        return self.row.axis(len(self.column.total)), self.column.axis(len(self.row.total))


class _Sums:
    """Sums of one axis over finite values, its largest magnitudes (-1: none yet) and gaps."""

    def __init__(self, channels: int) -> None:
        self.total = np.zeros(channels)
        self.square = np.zeros(channels)
        self.largest = np.full(channels, -1.0)
        self.at = np.zeros(channels, dtype=np.int64)
        self.bad = np.zeros(channels, dtype=np.int64)

    def arrays(self) -> tuple[np.ndarray, ...]:
        return self.total, self.square, self.largest, self.at, self.bad

    def merge(self, other: "_Sums", part: slice) -> None:
        larger = (other.largest > self.largest[part]) | (
            (other.largest == self.largest[part]) & (other.at < self.at[part])
        )
        self.largest[part] = np.where(larger, other.largest, self.largest[part])
        self.at[part] = np.where(larger, other.at, self.at[part])
        self.total[part] += other.total
        self.square[part] += other.square
        self.bad[part] += other.bad

    def axis(self, length: int) -> Axis:
        n = np.where(self.bad < length, length - self.bad, np.nan)
        held = np.isfinite(self.square) & ((self.square >= LEAST_SQUARE) | (self.largest == 0))
        return Axis(
            mean=np.where(np.isfinite(self.total), self.total, np.nan) / n,
            rms=np.sqrt(np.where(held, self.square, np.nan) / n),
            abs_max=np.where(self.largest >= 0, self.largest, np.nan),
            abs_max_at=self.at,
        )


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _sum_rows(
    patterns, magnitude, wide, wide_bits, table,
    row_total, row_square, row_largest, row_at, row_bad,
    total, square, largest, at, bad, first_row,
):  # fmt: skip
    """Add whole rows of patterns; `magnitude` masks their sign off.

    `wide` and `wide_bits` are one row of floats and the same bytes as integers; `table` is what
    each pattern is worth, empty where shifting makes the float. Magnitudes are compared as
    patterns: the same order as their values, and four times as many fit a register.
    """
    columns = len(wide)
    shift = 8 * (wide_bits.itemsize - patterns.itemsize)
    record = np.zeros(columns, dtype=patterns.dtype)
    record_row = np.zeros(columns, dtype=patterns.dtype)
    for begin in range(0, len(row_total), ROWS_AT_A_TIME):
        end = min(begin + ROWS_AT_A_TIME, len(row_total))
        record[:] = 0
        clean = -1
        for r in range(begin, end):
            bits = patterns[r * columns : (r + 1) * columns]
            if len(table):
                for j in range(columns):
                    wide[j] = table[bits[j]]
            else:
                _shift_up(bits, shift, wide_bits)
            j = _find(bits, magnitude, _largest(bits, magnitude))
            if abs(wide[j]) < np.inf:
                row_total[r], row_square[r] = _add_row(wide, total, square)
                row_largest[r], row_at[r] = abs(wide[j]), j
                if clean < 0:
                    clean = r - begin
                    record_row[:] = clean
                _raise_records(bits, magnitude, r - begin, record, record_row)
            else:
                for j in range(columns):
                    x = np.float64(wide[j])
                    if abs(x) < np.inf:
                        row_total[r] += x
                        row_square[r] += x * x
                        total[j] += x
                        square[j] += x * x
                        if abs(x) > row_largest[r]:
                            row_largest[r], row_at[r] = abs(x), j
                        if abs(x) > largest[j]:
                            largest[j], at[j] = abs(x), first_row + r
                    else:
                        row_bad[r] += 1
                        bad[j] += 1
        if clean < 0:
            continue
        if len(table):
            for j in range(columns):
                wide[j] = table[record[j]]
        else:
            _shift_up(record, shift, wide_bits)
        for j in range(columns):
            row = first_row + begin + np.int64(record_row[j])
            if wide[j] > largest[j] or (wide[j] == largest[j] and row < at[j]):
                largest[j], at[j] = wide[j], row


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _shift_up(bits, shift, wide_bits):
    if shift:
        for j in range(len(bits)):
            wide_bits[j] = np.uint32(bits[j]) << np.uint32(16)  # the only shift there is: BF16
    else:
        for j in range(len(bits)):
            wide_bits[j] = bits[j]


@numba.njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
@typing.no_type_check
def _add_row(row, total, square):
    row_total = row_square = 0.0
    for j in range(len(row)):
        x = np.float64(row[j])
        xx = x * x
        row_total += x
        row_square += xx
        total[j] += x
        square[j] += xx
    return row_total, row_square


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _largest(bits, magnitude):
    largest = bits[0] & magnitude  # starting from a literal 0 would make numba compare as float64
    for j in range(len(bits)):
        largest = max(largest, bits[j] & magnitude)
    return largest


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _raise_records(bits, magnitude, row, record, record_row):
    """Where a row beats a column's record, the record and the row that holds it are replaced."""
    for j in range(len(bits)):
        size = bits[j] & magnitude
        higher = size > record[j]
        record[j] = size if higher else record[j]
        record_row[j] = row if higher else record_row[j]


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _find(bits, magnitude, wanted):
    """The first position of a magnitude that is there."""
    for begin in range(0, len(bits), 64):
        part = bits[begin : begin + 64]
        hits = 0
        for j in range(len(part)):
            hits += (part[j] & magnitude) == wanted
        if hits:
            for j in range(len(part)):
                if (part[j] & magnitude) == wanted:
                    return begin + j
    return 0


def outliers(
    rows: Axis, read_row: Callable[[int], Float[np.ndarray, " columns"]], mean: float, std: float
) -> tuple[Outlier, ...]:
    """The OUTLIERS largest finite magnitudes, largest first, ties by row and then column.

    They all lie in the rows with the largest maxima, as many rows as values wanted.
    """
    order = np.lexsort((np.arange(len(rows.abs_max)), -np.nan_to_num(rows.abs_max, nan=-1.0)))
    found = []
    for row in sorted(order[:OUTLIERS].tolist()):
        values = read_row(row)
        sizes = np.where(np.isfinite(values), np.abs(values), -1.0)
        columns = np.argsort(-sizes, kind="stable")[:OUTLIERS]
        found += [(-sizes[c], row, int(c), float(values[c])) for c in columns if sizes[c] >= 0]
    return tuple(
        Outlier(row=r, column=c, value=v, sigmas=(v - mean) / std if std else None)
        for _, r, c, v in sorted(found)[:OUTLIERS]
    )
