"""What one reading of a matrix tells of how it was drawn: scale, extremes, rows and columns."""

import dataclasses
import math
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Bool, Float
from scipy import special

from inspector.weights import noise, spectral
from inspector.weights.checkpoint import Reader
from inspector.weights.matrices import Matrix, blocks
from inspector.weights.schemes import CHANCE

SAMPLE = 2**18  # values the KS distance rests on, at most: trained tensors differ by more
SEED = 0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Draw:
    """Sums over a matrix, all in float64; energies are sums of squares.

    `ordered` is a sample in ascending order, in units of `rms`; `fourth` the mean fourth power of
    all values in those units. `trace` is the sum of the diagonal.
    """

    n: int
    rms: float
    mean: float
    least: float
    most: float
    fourth: float
    trace: float
    row_energy: Float[np.ndarray, " rows"]
    column_energy: Float[np.ndarray, " columns"]
    ordered: Float[np.ndarray, " sample"]

    @property
    def constant(self) -> bool:
        """Whether all values are the same."""
        return self.least == self.most

    @property
    def finite(self) -> bool:
        """Whether values and the sums of their powers are numbers that float64 holds."""
        return math.isfinite(self.rms) and (self.constant or math.isfinite(self.fourth))

    @property
    def identity(self) -> bool:
        """Whether it is exactly 1 on the diagonal and 0 elsewhere."""
        ones = min(len(self.row_energy), len(self.column_energy))
        return self.trace == ones and float(self.row_energy.sum()) == ones and self.most == 1


def kept_blocks(
    matrix: Matrix, reader: Reader, keep: Bool[np.ndarray, " rows"] | None
) -> Iterator[np.ndarray]:
    """The matrix as float64 blocks along its longer side, without the rows that are not kept."""
    start = 0
    for block in blocks(matrix, reader):
        wide = np.ascontiguousarray(block, dtype=np.float64)
        if keep is not None:
            along_rows = matrix.rows >= matrix.columns
            wide = wide[keep[start : start + len(wide)]] if along_rows else wide[:, keep]
        start += len(block)
        yield wide


def read_draw(pieces: Iterable[np.ndarray], total: int, along_rows: bool) -> Draw:
    """The sums over a matrix of `total` values that comes in blocks of its rows, or its columns.

    Values that are NaN or infinite make `finite` false and nothing else of it mean anything.
    """
    rng = np.random.default_rng(SEED)
    longs, samples, shorts = [], [], []
    n, trace, least, most, summed, fourth = 0, 0.0, math.inf, -math.inf, 0.0, 0.0
    row = 0
    with np.errstate(over="ignore", invalid="ignore"):
        for block in pieces:
            if not block.size:
                continue
            squares = block * block
            longs.append(squares.sum(axis=1))
            shorts.append(squares.sum(axis=0))
            fourth += float(np.vdot(squares, squares))
            summed += float(block.sum())
            least, most = min(least, float(block.min())), max(most, float(block.max()))
            trace += float(np.trace(block, offset=row)) if row < block.shape[1] else 0.0
            row, n = row + len(block), n + block.size
            samples.append(_sample(block, total, rng))
        energy = float(np.concatenate(longs).sum()) if longs else 0.0
        rms = math.sqrt(energy / n) if n and math.isfinite(energy) else math.nan
        square = rms * rms
        fourth_power = fourth / n / square / square if n and square * square else math.nan
    ordered = np.concatenate(samples) if samples else np.zeros(0)
    if rms:
        ordered /= rms
    ordered.sort()
    along = np.concatenate(longs) if longs else np.zeros(0)
    across = np.sum(shorts, axis=0) if shorts else np.zeros(0)
    return Draw(
        n=n,
        rms=rms,
        mean=summed / n if n else math.nan,
        least=least,
        most=most,
        fourth=fourth_power,
        trace=trace,
        row_energy=along if along_rows else across,
        column_energy=across if along_rows else along,
        ordered=ordered,
    )


def _sample(block: np.ndarray, total: int, rng: np.random.Generator) -> np.ndarray:
    if total <= SAMPLE:
        return block.ravel()
    chosen: np.ndarray = block.ravel()[
        rng.integers(block.size, size=math.ceil(SAMPLE * block.size / total))
    ]
    return chosen


def uneven(energies: Float[np.ndarray, " n"], each: int, fourth: float) -> float | None:
    """Spread of row energies over that of independent values, where chance cannot explain it.

    1 on noise; None where it lies within what noise gives. `each` values make up a row; `fourth` is
    their mean fourth power in units of the mean square squared. Chi-squared test on the variance.
    """
    n, mean = len(energies), float(energies.mean())
    expected = mean**2 * (fourth - 1) / each
    if expected <= 0 or n < 2:
        return None
    ratio = float(energies.var(ddof=1)) / expected
    freedom = 2 * n / (2 + 12 / each)  # row energies are themselves a little heavy-tailed
    lower = special.chdtri(freedom, 1 - CHANCE) / freedom
    upper = special.chdtri(freedom, CHANCE) / freedom
    return None if lower <= ratio <= upper else ratio


def spectrum_of(pieces: Iterable[np.ndarray], side: int) -> Float[np.ndarray, " rank"]:
    """Singular values, descending, of a matrix that comes in blocks along its longer side."""
    return spectral.of_gram(spectral.gram(pieces, side))


def bulk_off(singular: Float[np.ndarray, " rank"], rows: int, columns: int) -> float | None:
    """Participation ratio over that of noise, where it is further from 1 than noise gets.

    None where it is not: the spectrum is spread as that of independent values. Measured on 5940
    draws of nine shapes, noise stays within 3.6 / shorter side of 1; 4 is allowed.
    """
    ratio = spectral.participation(singular) / noise.reference(rows, columns).participation
    return None if abs(ratio - 1) <= 4 / min(rows, columns) else ratio


def orthogonal_gain(draw: Draw, rounding: float) -> float | None:
    """The length all vectors along the shorter side share; None where they differ.

    A matrix with orthonormal rows or columns has such vectors; its singular values then decide.
    """
    lengths = np.sqrt(min(draw.row_energy, draw.column_energy, key=len))
    mean = float(lengths.mean())
    close = mean > 0 and float(np.ptp(lengths)) <= mean * (1e-4 + 2 * rounding)
    return mean if close else None


def all_equal(singular: Float[np.ndarray, " rank"], rounding: float) -> bool:
    """Whether all singular values are the same, up to the rounding of the entries."""
    return float(singular[0] - singular[-1]) <= float(singular[0]) * (1e-4 + 4 * rounding)
