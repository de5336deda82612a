"""What a scan must say of a tensor, worked out from its bytes by other means than the scan's."""

import math
from typing import Any

import ml_dtypes
import numpy as np

from tests.weights.build import BITS, Stored

FIELDS = ("q01", "q05", "q25", "q50", "q75", "q95", "q99")
LEVELS = np.array([0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99])

ORACLES = {
    "BOOL": np.uint8, "U8": np.uint8, "I8": np.int8, "U16": np.uint16, "I16": np.int16,
    "U32": np.uint32, "I32": np.int32, "U64": np.uint64, "I64": np.int64,
    "F4": ml_dtypes.float4_e2m1fn, "F8_E4M3": ml_dtypes.float8_e4m3fn,
    "F8_E5M2": ml_dtypes.float8_e5m2, "F8_E4M3FNUZ": ml_dtypes.float8_e4m3fnuz,
    "F8_E5M2FNUZ": ml_dtypes.float8_e5m2fnuz, "F8_E8M0": ml_dtypes.float8_e8m0fnu,
    "F16": np.float16, "BF16": ml_dtypes.bfloat16, "F32": np.float32, "F64": np.float64,
}  # fmt: skip


def patterns(dtype: str, data: bytes) -> np.ndarray:
    """The bit pattern of each element."""
    if dtype == "F4":
        pairs = np.frombuffer(data, np.uint8)
        return np.column_stack([pairs & 15, pairs >> 4]).ravel()
    return np.frombuffer(data, f"u{BITS[dtype] // 8}")


def values(dtype: str, data: bytes) -> np.ndarray:
    """What each element is worth, in float64, by ml_dtypes or numpy."""
    with np.errstate(invalid="ignore"):
        return patterns(dtype, data).view(ORACLES[dtype]).astype(np.float64)


def moments(x: np.ndarray) -> dict[str, Any]:
    """Moments of finite values by two passes in extended precision; None where there are none."""
    names = ("mean", "std", "skewness", "kurtosis", "l1", "l2", "rms")
    n = len(x)
    if not n:
        return dict.fromkeys(names)
    x = x.astype(np.longdouble)
    mean = x.sum() / n
    d = x - mean
    d -= d.sum() / n
    square = d * d
    std = np.sqrt(square.sum() / n)
    if (x == x[0]).all():
        mean, std = x[0], np.longdouble(0)
    tails = (
        ((square * d).sum() / n / std**3, (square * square).sum() / n / std**4 - 3)
        if std
        else (None, None)
    )
    squares = (x * x).sum()
    found = (mean, std, *tails, np.abs(x).sum(), np.sqrt(squares), np.sqrt(squares / n))
    return {k: v if v is None else float(v) for k, v in zip(names, found, strict=True)}


def entropy(counts: np.ndarray) -> float | None:
    """Shannon entropy of counts in bits."""
    n = int(counts.sum())
    sizes, often = np.unique(counts, return_counts=True)
    terms = zip(sizes.tolist(), often.tolist(), strict=True)
    return math.fsum(k * (c / n) * math.log2(n / c) for c, k in terms) if n else None


def smallest_normal(dtype: str) -> float:
    """Below it, what is not zero is subnormal; 0 where the format has no subnormals."""
    floats = dtype.startswith(("F", "BF")) and dtype != "F8_E8M0"
    return float(ml_dtypes.finfo(ORACLES[dtype]).smallest_normal) if floats else 0.0


def expected(tensor: Stored) -> dict[str, Any]:
    """Every measured field of the record of a tensor, the counts beyond k std apart."""
    dtype, shape, data = tensor
    every = values(dtype, data)
    x = every[np.isfinite(every)]
    _, counts = np.unique(patterns(dtype, data), return_counts=True)
    quantiles = np.quantile(x, LEVELS, method="inverted_cdf") if len(x) else [None] * len(LEVELS)
    return {
        "shape": shape,
        "dtype": dtype,
        "parameters": len(every),
        "bytes": len(data),
        **moments(x),
        "min": x.min() if len(x) else None,
        "max": x.max() if len(x) else None,
        "abs_max": np.abs(x).max() if len(x) else None,
        "zeros": int((x == 0).sum()),
        "nan": int(np.isnan(every).sum()),
        "inf": int(np.isinf(every).sum()),
        "subnormals": int(((x != 0) & (np.abs(x) < smallest_normal(dtype))).sum()),
        "distinct": len(counts),
        "entropy_bits": entropy(counts),
        **dict(zip(FIELDS, quantiles, strict=True)),
        "exact": True,
    }


def beyond(x: np.ndarray, mean: float, std: float, sigma: int) -> tuple[int, int]:
    """Fewest and most finite values beyond `sigma` std: those on the bound may go either way."""
    distance = np.abs(x - mean)
    bound, slack = sigma * std, 1e-12 * sigma * std + 1e-15 * abs(mean)
    return int((distance > bound + slack).sum()), int((distance > bound - slack).sum())


def assert_is(record: Any, tensor: Stored, rounding: float = 1e-12) -> None:
    """The record of a scan is that of the tensor, `rounding` relative for sums and else exactly.

    Skewness, kurtosis and entropy are numbers without a unit, whose error is absolute below 1. The
    mean and what hangs on it cannot be better than the values' own spacing: it is also allowed
    that much of the largest magnitude.
    """
    want = expected(tensor)
    largest = want["abs_max"] or 0.0
    for field, value in want.items():
        got = getattr(record, field)
        if field in ("mean", "std", "l1", "l2", "rms") and value is not None:
            floor = 4 * np.finfo(np.float64).eps * largest if field in ("mean", "std") else 0.0
            assert got is not None, field
            assert abs(got - value) <= rounding * abs(value) + floor, (field, got, value)
        elif field in ("skewness", "kurtosis", "entropy_bits") and value is not None:
            assert got is not None, field
            assert abs(got - value) <= rounding * max(abs(value), 1.0), (field, got, value)
        else:
            assert got == value, (field, got, value)
    x = values(tensor[0], tensor[2])
    x = x[np.isfinite(x)]
    for sigma in (3, 6):
        got = getattr(record, f"beyond_{sigma}sigma")
        if len(x):
            low, high = beyond(x, want["mean"], want["std"], sigma)
            assert low <= got <= high, (sigma, got, low, high)
        else:
            assert got is None
