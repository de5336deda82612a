"""One record of exact statistics per tensor."""

import dataclasses
import math

import numpy as np

from inspector.results import Finding, show_plain
from inspector.weights.architecture import Placement
from inspector.weights.formats import FORMATS
from inspector.weights.header import TensorEntry
from inspector.weights.problems import finding
from inspector.weights.tally import LEAST_SQUARE, QUANTILES, Moments, Tally


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorStatistics:
    """Statistics of one tensor, exact when `exact`; None where a number does not exist.

    Over finite values: mean, std (population), skewness, kurtosis (excess; normal: 0), min, max,
    abs_max, l1, l2, rms, quantiles (the order statistic x[ceil(n q)], numpy's `inverted_cdf`) and
    the counts beyond 3 and 6 std from the mean. Over all values: zeros, nan, inf, subnormals,
    distinct (stored bit patterns) and entropy_bits (of those patterns, per value: what no lossless
    code can go below).
    """

    name: str
    layer: int | None
    role: str
    kind: str
    shape: tuple[int, ...]
    dtype: str
    shard: str
    parameters: int
    bytes: int
    mean: float | None
    std: float | None
    skewness: float | None
    kurtosis: float | None
    min: float | None
    max: float | None
    abs_max: float | None
    l1: float | None
    l2: float | None
    rms: float | None
    zeros: int
    nan: int
    inf: int
    subnormals: int
    distinct: int
    entropy_bits: float | None
    q01: float | None
    q05: float | None
    q25: float | None
    q50: float | None
    q75: float | None
    q95: float | None
    q99: float | None
    beyond_3sigma: int | None
    beyond_6sigma: int | None
    exact: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shape:
    """Moments as numbers people read; None where the values do not support one."""

    mean: float | None
    std: float | None
    skewness: float | None
    kurtosis: float | None
    l1: float | None
    l2: float | None
    rms: float | None


def shape_of(moments: Moments, minimum: float | None, maximum: float | None) -> Shape:
    """Mean, spread and tails from moments and extremes; None where float64 cannot hold a number."""
    if minimum is None or maximum is None:
        return Shape(mean=None, std=None, skewness=None, kurtosis=None, l1=None, l2=None, rms=None)
    constant = minimum == maximum
    std = moments.std(minimum, maximum)
    mean = minimum if constant else moments.mean
    rms = None if std is None else math.hypot(std, mean)
    skewness, kurtosis = _tails(moments, std) if std else (None, None)
    return Shape(
        mean=_known(mean),
        std=std,
        skewness=skewness,
        kurtosis=kurtosis,
        l1=_known(moments.l1),
        l2=None if rms is None else _known(rms * math.sqrt(moments.n)),
        rms=rms,
    )


def _tails(moments: Moments, std: float) -> tuple[float | None, float | None]:
    """(skewness, excess kurtosis): central moments in units of std, None where out of range."""
    n, left = moments.n, moments.s1 / moments.n  # the mean that was subtracted is `left` too low
    if not math.isfinite(moments.s4) or std**4 < LEAST_SQUARE:
        return None, None
    third = moments.s3 / n - 3 * left * (moments.s2 / n) + 2 * left**3
    fourth = (
        moments.s4 / n - 4 * left * (moments.s3 / n) + 6 * left**2 * (moments.s2 / n) - 3 * left**4
    )
    return third / std**3, fourth / std**4 - 3


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def statistics(entry: TensorEntry, placement: Placement, tally: Tally) -> TensorStatistics:
    """The record of a tensor from its tally."""
    shape = shape_of(tally.moments, tally.minimum, tally.maximum)
    quantiles = tally.quantiles or (None,) * len(QUANTILES)
    extremes = [abs(v) for v in (tally.minimum, tally.maximum) if v is not None]
    return TensorStatistics(
        name=entry.name,
        layer=placement.layer,
        role=placement.role,
        kind=placement.kind,
        shape=entry.shape,
        dtype=entry.dtype,
        shard=entry.file,
        parameters=entry.parameters,
        bytes=entry.bytes,
        **dataclasses.asdict(shape),
        min=tally.minimum,
        max=tally.maximum,
        abs_max=max(extremes, default=None),
        zeros=tally.zeros,
        nan=tally.nan,
        inf=tally.inf,
        subnormals=tally.subnormals,
        distinct=tally.distinct,
        entropy_bits=_entropy(tally),
        **dict(zip(("q01", "q05", "q25", "q50", "q75", "q95", "q99"), quantiles, strict=True)),
        beyond_3sigma=tally.beyond[0] if tally.beyond else None,
        beyond_6sigma=tally.beyond[1] if tally.beyond else None,
        exact=True,
    )


def _entropy(tally: Tally) -> float | None:
    """Shannon entropy of the patterns in bits; exactly 0 where there is but one."""
    if not tally.n:
        return None
    return math.log2(tally.n) - tally.nlogn / tally.n if tally.distinct > 1 else 0.0


def findings_on(record: TensorStatistics, first: dict[str, int]) -> list[Finding]:
    """What a reader of the record must know; `first`: flat index of the first nan and inf."""
    name = show_plain(record.name)
    found = []
    for id, what, count in (("WT-NAN", "NaN", record.nan), ("WT-INF", "infinite", record.inf)):
        if count:
            index = np.unravel_index(first[what], record.shape or (1,))
            at = [int(i) for i in index] if record.shape else []
            statement = (
                f"{count:,} of {record.parameters:,} values are {what}, the first at {at}; "
                "the statistics are over the finite ones"
            )
            found.append(finding(id, name, statement, count=count, first=at))
    if record.parameters == 0:
        found.append(finding("WT-EMPTY", name, f"shape {list(record.shape)} holds no values"))
    elif record.nan + record.inf == record.parameters:
        pass  # said above
    elif record.std is None:
        found.append(
            finding("WT-RANGE", name, "its squares leave the range of 64-bit floats: no spread")
        )
    elif record.skewness is None:
        found.append(
            finding(
                "WT-CONSTANT", name, f"all finite values are {record.min:.6g}", value=record.min
            )
            if record.min == record.max
            else finding(
                "WT-RANGE", name, "the fourth powers of its spread leave the range of 64-bit floats"
            )
        )
    if record.kind not in ("scale", "buffer") and _holds_codes(record.dtype):
        found.append(
            finding(
                "WT-CODES", name, f"{record.dtype} values are shown as stored", dtype=record.dtype
            )
        )
    return found


def _holds_codes(dtype: str) -> bool:
    return FORMATS[dtype].kind != "float" or FORMATS[dtype].bits <= 8
