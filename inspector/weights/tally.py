"""From counts to exact answers: moments, order statistics, distinct values, entropy."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt

from inspector.weights import counts as kernels
from inspector.weights.formats import FORMATS, Top, decode, top
from inspector.weights.refine import Alike, Chunks, Refined, Wanted, refine_32, refine_64

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
SIGMAS = (3, 6)
VALUE_TYPE = {"int": "i", "uint": "u", "float": "f"}
LEAST_SQUARE = 2.0**-960  # what underflows in a sum of squares above this is below its last bit


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moments:
    """Count, mean, sums of powers of the distance from it, sum of magnitudes; of finite values.

    s1 is what rounding left out of the mean. They add up over parts (binomial expansion about the
    common mean; Pebay 2008, SAND2008-6212, section 2, has the case s1 = 0).
    """

    n: int = 0
    mean: float = 0.0
    s1: float = 0.0
    s2: float = 0.0
    s3: float = 0.0
    s4: float = 0.0
    l1: float = 0.0

    @classmethod
    def of_rows(cls, rows: Float[np.ndarray, "parts 7"]) -> "Moments":
        """The moments of the union of parts, one row as of `row` per part."""
        n, mean, s1, s2, s3, s4, l1 = rows[rows[:, 0] > 0].T
        total = math.fsum(n)
        if not total:
            return cls()
        with np.errstate(over="ignore", invalid="ignore"):  # told as "not finite" by whoever reads
            centre = _sum(np.concatenate([n * mean, s1])) / total
            d = mean - centre
            return cls(
                n=int(total),
                mean=centre,
                s1=_sum(s1 + n * d),
                s2=_sum(s2 + 2 * d * s1 + n * d**2),
                s3=_sum(s3 + 3 * d * s2 + 3 * d**2 * s1 + n * d**3),
                s4=_sum(s4 + 4 * d * s3 + 6 * d**2 * s2 + 4 * d**3 * s1 + n * d**4),
                l1=_sum(l1),
            )

    @classmethod
    def of_values(
        cls, values: Float[np.ndarray, " n"], counts: UInt[np.ndarray, " n"]
    ) -> "Moments":
        """The moments of finite `values` of which each stands `counts` times."""
        weight = counts.astype(np.float64)
        total = float(weight.sum())
        if not total:
            return cls()
        centre = _sum(weight * values) / total
        d = values - centre
        square = weight * d**2
        return cls(  # only the mean cancels enough to need exact summing
            n=int(total),
            mean=centre,
            s1=float((weight * d).sum()),
            s2=float(square.sum()),
            s3=float((square * d).sum()),
            s4=float((square * d**2).sum()),
            l1=float((weight * np.abs(values)).sum()),
        )

    def row(self) -> tuple[float, ...]:
        """As a row for `of_rows`."""
        return (float(self.n), self.mean, self.s1, self.s2, self.s3, self.s4, self.l1)

    def std(self, minimum: float, maximum: float) -> float | None:
        """Population standard deviation; None where its square leaves the range of float64."""
        if minimum == maximum:
            return 0.0  # and not what rounding the mean makes of it
        square = (self.s2 - self.s1 * self.s1 / self.n) / self.n
        return math.sqrt(square) if math.isfinite(square) and square > LEAST_SQUARE else None


def _sum(values: Float[np.ndarray, " n"]) -> float:
    """The exactly rounded sum; NaN or infinity where a term is, never an error."""
    total = float(values.sum())
    return math.fsum(values) if math.isfinite(total) else total


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Tally:
    """All a tensor's elementwise answers.

    `top` counts the patterns' high 16 bits (all bits of narrower formats). Order statistics and
    counts beyond k standard deviations are over finite values, and None where there are none.
    `distinct` counts stored bit patterns; `nlogn` is the sum of c log2 c over their counts c.
    """

    dtype: str
    n: int
    top: UInt[np.ndarray, " bins"]
    moments: Moments
    zeros: int
    nan: int
    inf: int
    subnormals: int
    distinct: int
    nlogn: float
    minimum: float | None
    maximum: float | None
    quantiles: tuple[float, ...] | None
    beyond: tuple[int, ...] | None


def tally_counts(dtype: str, counts: UInt[np.ndarray, " bins"]) -> Tally:
    """The answers for a format of up to 16 bits from the counts of all its patterns."""
    used = np.flatnonzero(counts)
    c = counts[used].astype(np.float64)
    values = top(dtype).values[used]
    finite = top(dtype).finite[used]
    moments = Moments.of_values(values[finite], counts[used][finite])
    nothing = Refined(distinct=len(used), nlogn=float((c * np.log2(c)).sum()), bins={})
    return _answers(dtype, counts, used, moments, nothing)


def tally_stream(dtype: str, chunks: Chunks) -> Tally:
    """The answers for a 32- or 64-bit format: a pass for moments and high bits, then the rest."""
    form = FORMATS[dtype]
    shift = form.bits - 16
    value_type = f"{VALUE_TYPE[form.kind]}{form.bits // 8}"
    counts = np.zeros(1 << 16, dtype=np.uint64)
    rows = [np.zeros((0, 7))]
    for patterns in chunks():
        kernels.count_high(patterns, shift, counts)
        rows.append(np.zeros((-(-len(patterns) // kernels.BLOCK), 7)))
        kernels.block_moments(patterns.view(value_type), rows[-1])
    moments = Moments.of_rows(np.concatenate(rows))
    used = np.flatnonzero(counts)
    wanted = _wanted(dtype, counts, used, moments)
    if form.bits == 32:
        refined = refine_32(counts, wanted, chunks)
    else:
        refined = refine_64(dtype, counts, wanted, _alike(moments), chunks)
    return _answers(dtype, counts, used, moments, refined)


def _wanted(
    dtype: str,
    counts: UInt[np.ndarray, " bins"],
    used: Integer[np.ndarray, " used"],
    moments: Moments,
) -> Wanted:
    """The high bins whose inside an answer depends on, with the places of order statistics."""
    layout = top(dtype)
    wanted = {bin: set[int]() for bin in used[layout.tiny[used] | ~layout.finite[used]].tolist()}
    order, ends = _finite_order(layout, counts, used)
    if moments.n:
        for rank in _ranks(moments.n):
            bin, place = _place(rank, order, ends)
            wanted.setdefault(bin, set()).add(place)
        first, last = _edges(dtype, order)
        for sigma in SIGMAS:
            for bin in order[_mixed(first, last, moments, sigma)].tolist():
                wanted.setdefault(bin, set())
    return {bin: tuple(sorted(places)) for bin, places in wanted.items()}


def _place(
    rank: int, order: Integer[np.ndarray, " finite"], ends: Integer[np.ndarray, " finite"]
) -> tuple[int, int]:
    """(the bin of the value at a rank, its place among the values of the bin)."""
    at = int(np.searchsorted(ends, rank, side="right"))
    return int(order[at]), rank - (int(ends[at - 1]) if at else 0)


def _alike(moments: Moments) -> Alike:
    """Tells values apart as far as counts of zeros, infinities and far ones depend on them."""

    def kinds(values: Float[np.ndarray, " n"]) -> Integer[np.ndarray, " n"]:
        kind: Integer[np.ndarray, " n"] = (values == 0) + 2 * np.isinf(values)
        if moments.n:
            for i, sigma in enumerate(SIGMAS):
                kind += (4 << i) * _is_beyond(values, moments, sigma)
        return kind

    return kinds


def _ranks(n: int) -> list[int]:
    """Positions among n ordered values: lowest, numpy's `inverted_cdf` quantiles, highest."""
    return [0, *(max(math.ceil(n * q - 1), 0) for q in QUANTILES), n - 1]


def _finite_order(
    layout: Top, counts: UInt[np.ndarray, " bins"], used: Integer[np.ndarray, " used"]
) -> tuple[Integer[np.ndarray, " finite"], Integer[np.ndarray, " finite"]]:
    """The used bins of finite values by value, and how many values lie up to the end of each."""
    finite = used[layout.finite[used]]
    order = finite[np.argsort(layout.rank[finite])]
    return order, np.cumsum(counts[order].astype(np.int64))


def _edges(
    dtype: str, bins: Integer[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """The value of the first and of the last pattern of each high bin."""
    low_bits = np.uint64(FORMATS[dtype].bits - FORMATS[dtype].top_bits)
    if not low_bits:
        return top(dtype).values[bins], top(dtype).values[bins]
    first = bins.astype(np.uint64) << low_bits
    last = first | ((np.uint64(1) << low_bits) - np.uint64(1))
    return decode(dtype, first), decode(dtype, last)


def _is_beyond(
    values: Float[np.ndarray, " n"], moments: Moments, sigma: int
) -> Bool[np.ndarray, " n"]:
    """Which values lie more than `sigma` (population) standard deviations from the mean."""
    with np.errstate(over="ignore", invalid="ignore"):
        beyond: Bool[np.ndarray, " n"] = np.abs(values - moments.mean) > sigma * math.sqrt(
            moments.s2 / moments.n
        )
    return beyond


def _mixed(
    first: Float[np.ndarray, " n"], last: Float[np.ndarray, " n"], moments: Moments, sigma: int
) -> Bool[np.ndarray, " n"]:
    """The bins that may hold values on both sides of a k-sigma bound."""
    beyond = _is_beyond(first, moments, sigma)
    same_side = (first > moments.mean) == (last > moments.mean)
    differ = beyond != _is_beyond(last, moments, sigma)
    mixed: Bool[np.ndarray, " n"] = (differ | (beyond & ~same_side)) & np.isfinite(first)
    return mixed


def _answers(
    dtype: str,
    counts: UInt[np.ndarray, " bins"],
    used: Integer[np.ndarray, " used"],
    moments: Moments,
    refined: Refined,
) -> Tally:
    layout = top(dtype)
    form = FORMATS[dtype]
    low_bits = form.bits - form.top_bits

    def inside(bin: int) -> tuple[Float[np.ndarray, " n"], Integer[np.ndarray, " n"]]:
        """Values of a bin, lowest first, and how often each stands."""
        if not low_bits:
            return layout.values[bin : bin + 1], counts[bin : bin + 1].astype(np.int64)
        low, c = refined.bins[bin]
        if layout.backwards[bin]:
            low, c = low[::-1], c[::-1]
        return decode(dtype, (np.uint64(bin) << np.uint64(low_bits)) | low.astype(np.uint64)), c

    zeros = inf = 0
    for bin in used[layout.tiny[used]].tolist():
        values, c = inside(bin)
        zeros += int(c[values == 0].sum())
    for bin in used[~layout.finite[used]].tolist():
        values, c = inside(bin)
        inf += int(c[np.isinf(values)].sum())
    tiny = int(counts[used[layout.tiny[used]]].sum())
    not_finite = int(counts[used[~layout.finite[used]]].sum())
    ordered, beyond = _order_statistics(dtype, counts, used, moments, inside)
    return Tally(
        dtype=dtype,
        n=int(counts.sum()),
        top=counts,
        moments=moments,
        zeros=zeros,
        nan=not_finite - inf,
        inf=inf,
        subnormals=tiny - zeros if form.kind == "float" else 0,
        distinct=refined.distinct,
        nlogn=refined.nlogn,
        minimum=ordered[0] if ordered else None,
        maximum=ordered[-1] if ordered else None,
        quantiles=ordered[1:-1] if ordered else None,
        beyond=beyond,
    )


def _order_statistics(
    dtype: str,
    counts: UInt[np.ndarray, " bins"],
    used: Integer[np.ndarray, " used"],
    moments: Moments,
    inside: Callable[[int], tuple[Float[np.ndarray, " n"], Integer[np.ndarray, " n"]]],
) -> tuple[tuple[float, ...] | None, tuple[int, ...] | None]:
    """(values at _ranks, counts beyond SIGMAS); None of either where the mean is not finite."""
    if not moments.n:
        return None, None
    order, ends = _finite_order(top(dtype), counts, used)
    ordered = []
    for rank in _ranks(moments.n):
        bin, place = _place(rank, order, ends)
        values, c = inside(bin)
        value = values[np.searchsorted(np.cumsum(c), place, side="right")]
        ordered.append(float(value) + 0.0)  # minus zero becomes zero
    std = moments.std(ordered[0], ordered[-1])
    if not std:
        return tuple(ordered), None if std is None else (0,) * len(SIGMAS)
    first, last = _edges(dtype, order)
    beyond = []
    for sigma in SIGMAS:
        mixed = _mixed(first, last, moments, sigma)
        total = int(counts[order[_is_beyond(first, moments, sigma) & ~mixed]].sum())
        for bin in order[mixed].tolist():
            values, c = inside(bin)
            total += int(c[_is_beyond(values, moments, sigma)].sum())
        beyond.append(total)
    return tuple(ordered), tuple(beyond)
