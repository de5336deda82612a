"""The difference of two tensors: size, direction, distance in rounding steps."""

import dataclasses
import math
import typing
from collections.abc import Mapping

import numba
import numpy as np
from jaxtyping import Float

from inspector.weights.formats import FORMATS
from inspector.weights.ulps import (
    BINS,
    EXACT,
    bin_ends,
    count_distances,
    count_on_grid,
    grid,
)

NARROWER = {"F64": ("F32", "BF16", "F16"), "F32": ("BF16", "F16")}
"""Formats in which a tensor of a wider one may really have been kept."""

RICH_SHARE = 0.25  # of the values must use a format's last bits to show that they come from it


@numba.njit(nogil=True, cache=True)
@typing.no_type_check
def _add(a, b, sums, counts, contents):
    """Add up finite pairs (a, b), d = b - a, and what all stored values are thrown together to.

    sums: a, b, a², b², ab, d², largest |d|; counts: pairs, not finite in a, not finite in b,
    different, of other sign alone, one at least not finite and the other not like it.
    """
    a_bits, b_bits = a.view(np.uint64), b.view(np.uint64)
    sa = sb = saa = sbb = sab = sdd = 0.0
    most = sums[6]
    for i in range(len(a)):
        x, y = a[i], b[i]
        contents[0] += _mixed(a_bits[i])
        contents[1] += _mixed(b_bits[i])
        fine = abs(x) < np.inf
        if not (fine and abs(y) < np.inf):
            counts[1] += not fine
            counts[2] += not abs(y) < np.inf
            counts[5] += not (x == y or (x != x and y != y))
            continue
        d = y - x
        sa += x
        sb += y
        saa += x * x
        sbb += y * y
        sab += x * y
        sdd += d * d
        most = max(most, abs(d))
        counts[0] += 1
        counts[3] += x != y
        counts[4] += x != y and x == -y
    sums[0] += sa
    sums[1] += sb
    sums[2] += saa
    sums[3] += sbb
    sums[4] += sab
    sums[5] += sdd
    sums[6] = most


@numba.njit(nogil=True, cache=True, inline="always")
@typing.no_type_check
def _mixed(x):
    """A 64-bit number thrown about (splitmix64, Steele et al. 2014): sums of these tell sets."""
    x += np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """What tells two tensors apart, over the pairs of finite values.

    `unit` is the dtype whose steps count as one ULP; `step` the root mean square step, `widened`
    that over the step of the dtypes stated, 1 unless `unit` is a narrower one. `ulps` maps
    "0", "1", "2", "3-4", "5-8", ... to counts. `rounding_only`: no value is more than one step
    from the other, and none is lost. `flipped` counts values of the same size and the other sign;
    `lost` pairs of which one at least is not finite, and the other not in the same way;
    `same_values` says that both hold the same values in some order.
    """

    n: int
    base_not_finite: int
    tuned_not_finite: int
    changed: int
    flipped: int
    lost: int
    base_norm: float
    tuned_norm: float
    product: float
    norm: float
    largest: float
    mean: float
    unit: str
    step: float
    widened: float
    ulps: Mapping[str, int]
    ulp_median: float | None
    ulp_max: float
    rounding_only: bool
    same_values: bool

    @property
    def changed_fraction(self) -> float | None:
        """Share of the values that are others, lost ones among them; None when there are none."""
        return _ratio(self.changed + self.lost, self.n + self.lost)

    @property
    def relative_change(self) -> float | None:
        """Norm of the difference over the norm of the base; None when that is zero."""
        return _ratio(self.norm, self.base_norm)

    @property
    def relative_change_noise(self) -> float | None:
        """The relative change that rounding to `unit` alone would give."""
        return _ratio(self.rounding * math.sqrt(self.n), self.base_norm)

    @property
    def cosine(self) -> float | None:
        """Cosine of the angle between both tensors; None when one is zero."""
        cosine = _ratio(self.product, self.base_norm * self.tuned_norm)
        return None if cosine is None else min(max(cosine, -1.0), 1.0)

    @property
    def rounding(self) -> float:
        """Upper bound of the standard deviation that rounding to `unit` adds: step / sqrt 12."""
        return self.step / math.sqrt(12)


def _ratio(top: float, bottom: float) -> float | None:
    return top / bottom if bottom > 0 and math.isfinite(top) and math.isfinite(bottom) else None


class _Steps:
    """Distances in the coarser of two formats."""

    def __init__(self, one: str, other: str) -> None:
        self.dtype = one if FORMATS[one].mantissa <= FORMATS[other].mantissa else other
        grids = grid(one), grid(other)
        self._shapes = np.stack([g.shape for g in grids])
        self._scales = np.stack([g.scale for g in grids])
        with np.errstate(over="ignore"):  # steps of huge float64 numbers
            self.squares = np.square(np.maximum(*(g.steps for g in grids)))
        self.counts = np.zeros(BINS, dtype=np.uint64)
        self.sums = np.zeros(2)

    def add(self, a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> None:
        count_distances(a, b, self._shapes, self._scales, self.squares, self.counts, self.sums)


class _Kept:
    """Whether the values of either tensor lie on the grid of a narrower format."""

    def __init__(self, dtype: str) -> None:
        self._grid = grid(dtype)
        self.steps = _Steps(dtype, dtype)
        self._found = np.zeros((2, 3), dtype=np.int64)

    def add(self, a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> None:
        if not self.possible:
            return
        for values, found in zip((a, b), self._found, strict=True):
            if found[0] == found[1]:
                count_on_grid(values, self._grid.shape, self._grid.scale, found)
        if self.possible:
            self.steps.add(a, b)

    @property
    def possible(self) -> bool:
        """Whether either tensor has shown no value off the grid yet."""
        return bool((self._found[:, 0] == self._found[:, 1]).any())

    def on(self, side: int) -> bool:
        """Whether one tensor (0: base, 1: tuned) was kept in this format, by all that is seen."""
        n, on, rich = self._found[side]
        return bool(n == on and rich > RICH_SHARE * n)


class Comparison:
    """Takes two tensors in chunks, in the same order, and tells their difference."""

    def __init__(self, base_dtype: str, tuned_dtype: str) -> None:
        self._stated = _Steps(base_dtype, tuned_dtype)
        narrower = NARROWER.get(self._stated.dtype, ())
        self._kept = [_Kept(dtype) for dtype in narrower]
        self._sums = np.zeros(7)
        self._counts = np.zeros(6, dtype=np.int64)
        self._contents = np.zeros(2, dtype=np.uint64)

    def add(self, base: Float[np.ndarray, " n"], tuned: Float[np.ndarray, " n"]) -> None:
        """Take the next values of both."""
        _add(base, tuned, self._sums, self._counts, self._contents)
        self._stated.add(base, tuned)
        for kept in self._kept:
            kept.add(base, tuned)

    def squared_steps(self, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The squared step at each value, in the coarser of the two stated formats."""
        exponents = (values.view(np.uint64) >> np.uint64(52)) & np.uint64(0x7FF)
        found: np.ndarray = self._stated.squares[exponents]
        return found

    def result(self) -> Difference:
        """The difference of all that was taken."""
        n, base_bad, tuned_bad, changed, flipped, lost = (int(c) for c in self._counts)
        sa, sb, saa, sbb, sab, sdd, largest = (float(s) for s in self._sums)
        steps = self._unit()
        return Difference(
            n=n,
            base_not_finite=base_bad,
            tuned_not_finite=tuned_bad,
            changed=changed,
            flipped=flipped,
            lost=lost,
            base_norm=math.sqrt(saa),
            tuned_norm=math.sqrt(sbb),
            product=sab,
            norm=math.sqrt(sdd),
            largest=largest,
            mean=(sb - sa) / n if n else 0.0,
            unit=steps.dtype,
            step=math.sqrt(steps.sums[0] / n) if n else 0.0,
            widened=_ratio(math.sqrt(steps.sums[0]), math.sqrt(self._stated.sums[0])) or 1.0,
            ulps=_histogram(steps.counts),
            ulp_median=_median(steps.counts),
            ulp_max=float(steps.sums[1]),
            rounding_only=self.is_rounding,
            same_values=bool(self._contents[0] == self._contents[1]),
        )

    @property
    def is_rounding(self) -> bool:
        """Whether values differ, and none by more than one step, in all that was taken so far."""
        changed, lost = self._counts[3], self._counts[5]
        return bool(changed > 0 and not lost and self._unit().sums[1] <= 1)

    def _unit(self) -> _Steps:
        """Steps of the narrowest format that either tensor shows to have been kept in.

        That the base lies on a coarser grid than the tuned tensor is rounding only when it is the
        tuned one rounded; else the step of the tuned one counts.
        """
        for kept in sorted(self._kept, key=lambda kept: FORMATS[kept.steps.dtype].mantissa):
            if kept.on(1) or (kept.on(0) and kept.steps.sums[1] <= 1):
                return kept.steps
        return self._stated


def _median(counts: np.ndarray) -> float | None:
    """Lower median of distances; exact up to EXACT, beyond within 1 in 2000."""
    ends = np.cumsum(counts.astype(np.int64))
    if not ends[-1]:
        return None
    at = int(np.searchsorted(ends, (ends[-1] + 1) // 2))
    return float(at) if at <= EXACT else float(bin_ends()[at])


def _histogram(counts: np.ndarray) -> dict[str, int]:
    """Counts by distance 0, 1, 2, 3-4, 5-8, ...; up to the last that is not empty."""
    used = np.flatnonzero(counts)
    ends = bin_ends()
    found: dict[str, int] = {}
    if not used.size:
        return found
    last = int(ends[used[-1]])
    low, high = 0, 0
    while low <= last:
        first, behind = np.searchsorted(ends, [np.uint64(low), np.uint64(high) + np.uint64(1)])
        found[str(low) if low == high else f"{low}-{high}"] = int(counts[first:behind].sum())
        low, high = high + 1, max(2 * high, 1)
    return found
