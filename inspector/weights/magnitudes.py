"""How much energy the smallest weights hold: exact curves from counts of magnitudes.

A magnitude's bin is its float pattern without the lowest bits. Of values of up to 16 bits (BF16,
F16 and narrower) a bin holds one, so that the counts say all. Of wider ones the sum of squares of
each bin makes the curve exact where bins end and bounds it in between; `refined` resolves the bins
an answer needs, so that it is exact too.
"""

import dataclasses
import typing
from collections.abc import Iterable, Sequence

import numba
import numpy as np
from jaxtyping import Float, Int, UInt

MANTISSA = 10  # bits of it that tell bins apart: all of F16, more than BF16 has
EXPONENT = {4: 8, 8: 11}  # bytes of a float -> bits of its exponent


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Magnitudes:
    """Magnitudes of weights in bins, smallest first; every bin holds at least one.

    Bin i holds `counts[i]` weights from `low[i]` to `high[i]` whose squares add up to `energy[i]`.
    Where low and high are the same the bin is one value, and all it says is exact.
    """

    low: Float[np.ndarray, " bins"]
    high: Float[np.ndarray, " bins"]
    counts: Int[np.ndarray, " bins"]
    energy: Float[np.ndarray, " bins"]

    @property
    def n(self) -> int:
        """How many weights."""
        return int(self.counts.sum())

    @property
    def total(self) -> float:
        """The sum of all squares; infinite where float64 cannot hold it."""
        return float(self.energy.sum())

    def energy_lost(self, sparsities: Iterable[float]) -> Float[np.ndarray, " points"]:
        """Fraction of the energy that these fractions of the weights hold, smallest first.

        Between whole numbers of weights, and inside a bin, in proportion; inside a bin of unequal
        values that is too high by at most `uncertainty`. There must be energy.
        """
        ends, sums = self._ends()
        at = np.fromiter(sparsities, float) * ends[-1]
        return np.asarray(np.interp(at, ends, sums) / sums[-1])

    def uncertainty(self, sparsities: Iterable[float]) -> float:
        """By how much `energy_lost` can be too high at the worst of these points; 0: exact."""
        ends, sums = self._ends()
        at = np.fromiter(sparsities, float) * ends[-1]
        bins = np.clip(np.searchsorted(ends, at) - 1, 0, len(self.counts) - 1)
        inside = at - ends[bins]
        above = self.energy[bins] - (self.counts[bins] - inside) * self.high[bins] ** 2
        least = np.maximum(inside * self.low[bins] ** 2, above)
        gaps = np.interp(at, ends, sums) - sums[bins] - least
        gaps = np.where(self.low[bins] < self.high[bins], gaps, 0.0)
        return float(gaps.max(initial=0.0) / sums[-1])

    def thresholds(self, sparsities: Iterable[float]) -> Float[np.ndarray, " points"]:
        """The largest of the smallest ceil(n s) magnitudes, upper end of its bin; 0 at s = 0."""
        points = np.fromiter(sparsities, float)
        return np.where(points > 0, self.high[self._bins(points)], 0.0)

    def sparsity_losing(self, share: float) -> float:
        """The largest fraction of the weights, smallest first, that holds `share` of the energy."""
        ends, sums = self._ends()
        return float(np.interp(share * sums[-1], sums, ends) / ends[-1])

    def needed(
        self, sparsities: Iterable[float], shares: Sequence[float]
    ) -> Int[np.ndarray, " bins"]:
        """The bins whose inside the answers at these sparsities and shares of the energy need."""
        _, sums = self._ends()
        crossed = np.searchsorted(sums, np.array(shares) * sums[-1]) - 1
        return np.union1d(self._bins(sparsities), np.clip(crossed, 0, len(self.counts) - 1))

    def without(self, bins: Int[np.ndarray, " bins"]) -> "Magnitudes":
        """All bins but these."""
        columns = (np.delete(column, bins) for column in self.columns())
        return Magnitudes(**dict(zip(("low", "high", "counts", "energy"), columns, strict=True)))

    def columns(self) -> tuple[np.ndarray, ...]:
        """Low, high, counts, energy."""
        return self.low, self.high, self.counts, self.energy

    def _ends(self) -> Float[np.ndarray, "2 edges"]:
        """Weights and energy up to the end of each bin, beginning with none."""
        edges = np.zeros((2, len(self.counts) + 1))
        np.cumsum(self.counts, out=edges[0, 1:])
        np.cumsum(self.energy, out=edges[1, 1:])
        return edges

    def _bins(self, sparsities: Iterable[float]) -> Int[np.ndarray, " points"]:
        """The bins of the order statistics at ceil(n s)."""
        ends = np.cumsum(self.counts)
        # 0.7 * 10 is 7 and a last bit
        ranks = np.ceil(np.round(np.fromiter(sparsities, float) * ends[-1], 6))
        bins: Int[np.ndarray, " points"] = np.searchsorted(ends, np.maximum(ranks, 1))
        return bins


def magnitudes(values: Float[np.ndarray, "..."]) -> Magnitudes:
    """The magnitudes of finite values, at least one, in an array of any shape."""
    patterns, shift = _patterns(values)
    counts, energy = np.zeros(_bin_count(values), dtype=np.int64), np.zeros(_bin_count(values))
    uneven = _count(values.reshape(-1), patterns, shift, counts, energy)
    used = np.flatnonzero(counts)
    first = used.astype(patterns.dtype) << shift
    last = first | patterns.dtype.type((1 << int(shift)) - 1) if uneven else first
    return Magnitudes(
        low=first.view(values.dtype).astype(np.float64),
        high=last.view(values.dtype).astype(np.float64),
        counts=counts[used],
        energy=energy[used],
    )


def refined(
    found: Magnitudes,
    values: Float[np.ndarray, "..."],
    sparsities: Iterable[float],
    shares: Sequence[float] = (),
) -> Magnitudes:
    """`found`, the magnitudes of `values`, with those bins resolved that answers here need.

    At those sparsities, and where those shares of the energy are lost, nothing is uncertain then.
    """
    bins = found.needed(sparsities, shares)
    bins = bins[found.low[bins] < found.high[bins]]
    if not len(bins):
        return found
    patterns, shift = _patterns(values)
    wanted = np.zeros(_bin_count(values), dtype=np.bool_)
    wanted[found.low[bins].astype(values.dtype).view(patterns.dtype) >> shift] = True
    held = np.empty(int(found.counts[bins].sum()), dtype=patterns.dtype)
    _gather(patterns, shift, wanted, held)
    each, counts = np.unique(held, return_counts=True)
    exact = each.view(values.dtype).astype(np.float64)
    inside = Magnitudes(low=exact, high=exact, counts=counts, energy=counts * exact**2)
    return union([found.without(bins), inside])


def union(parts: Sequence[Magnitudes]) -> Magnitudes:
    """The magnitudes of all parts together; bins that begin alike become one."""
    lows, highs, all_counts, energies = (
        np.concatenate(column) for column in zip(*(part.columns() for part in parts), strict=True)
    )
    low, at = np.unique(lows, return_inverse=True)
    high, counts = low.copy(), np.zeros(len(low), dtype=np.int64)
    np.maximum.at(high, at, highs)
    np.add.at(counts, at, all_counts)
    energy = np.bincount(at, weights=energies, minlength=len(low))
    return Magnitudes(low=low, high=high, counts=counts, energy=energy)


def curve(found: Magnitudes, points: int = 201) -> tuple[np.ndarray, np.ndarray]:
    """(sparsities from 0 to 1, fraction of the energy lost at each), for charts.

    Magnitude pruning: the smallest weights go first. Never decreasing and convex, from (0, 0) to
    (1, 1); the relative error of the matrix is the square root of the energy lost. NaN where there
    is no energy.
    """
    sparsities = np.linspace(0, 1, points)
    if not found.total:
        return sparsities, np.full(points, np.nan)
    return sparsities, found.energy_lost(sparsities)


def _bin_count(values: Float[np.ndarray, "..."]) -> int:
    return 1 << (EXPONENT[values.itemsize] + MANTISSA)


def _patterns(
    values: Float[np.ndarray, "..."],
) -> tuple[UInt[np.ndarray, " n"], np.unsignedinteger]:
    """Bit patterns with the sign, and by how many bits they are shifted to make a bin."""
    kind = np.dtype(f"u{values.itemsize}")
    shift = 8 * values.itemsize - 1 - EXPONENT[values.itemsize] - MANTISSA
    return values.reshape(-1).view(kind), kind.type(shift)


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _count(values, patterns, shift, counts, energy):
    """Add every value to its bin; whether any bit below the bins' was set."""
    bins = len(counts) - 1
    rest = patterns.dtype.type(0)
    for i in range(len(values)):
        pattern = patterns[i]
        bin = (pattern >> shift) & bins
        counts[bin] += 1
        energy[bin] += np.float64(values[i]) * np.float64(values[i])
        rest |= pattern
    return rest & ((1 << shift) - 1) != 0


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _gather(patterns, shift, wanted, held):
    """Lay the patterns of the wanted bins, without their sign, into `held`."""
    bins = len(wanted) - 1
    at = 0
    for pattern in patterns:
        if wanted[(pattern >> shift) & bins]:
            held[at] = pattern & ((bins << shift) | ((1 << shift) - 1))
            at += 1
