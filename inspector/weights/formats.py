"""Number formats of safetensors dtypes: what each bit pattern is worth, and their order.

Formats: IEEE 754; OCP 8-bit floating point (OFP8) 1.0; OCP Microscaling (MX) 1.0 for E8M0 and E2M1.
"""

import dataclasses
from functools import cache
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Integer

Special = Literal["ieee", "nan at top", "nan at -0", "none"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Format:
    """How a dtype's bits make a number; `exponent` and `mantissa` count bits, 0 for integers."""

    bits: int
    kind: Literal["float", "int", "uint", "scale"]
    exponent: int = 0
    mantissa: int = 0
    bias: int = 0
    special: Special = "ieee"

    @property
    def top_bits(self) -> int:
        """Bits that are counted first: all of them up to 16, else the high 16."""
        return min(self.bits, 16)


# Absent, since no order or no reader exists for them: C64, F6_E2M3, F6_E3M2.
FORMATS = {
    "BOOL": Format(bits=8, kind="uint"),
    "U8": Format(bits=8, kind="uint"),
    "I8": Format(bits=8, kind="int"),
    "U16": Format(bits=16, kind="uint"),
    "I16": Format(bits=16, kind="int"),
    "U32": Format(bits=32, kind="uint"),
    "I32": Format(bits=32, kind="int"),
    "U64": Format(bits=64, kind="uint"),
    "I64": Format(bits=64, kind="int"),
    "F4": Format(bits=4, kind="float", exponent=2, mantissa=1, bias=1, special="none"),
    "F8_E4M3": Format(bits=8, kind="float", exponent=4, mantissa=3, bias=7, special="nan at top"),
    "F8_E5M2": Format(bits=8, kind="float", exponent=5, mantissa=2, bias=15),
    "F8_E4M3FNUZ": Format(
        bits=8, kind="float", exponent=4, mantissa=3, bias=8, special="nan at -0"
    ),
    "F8_E5M2FNUZ": Format(
        bits=8, kind="float", exponent=5, mantissa=2, bias=16, special="nan at -0"
    ),
    "F8_E8M0": Format(bits=8, kind="scale"),
    "F16": Format(bits=16, kind="float", exponent=5, mantissa=10, bias=15),
    "BF16": Format(bits=16, kind="float", exponent=8, mantissa=7, bias=127),
    "F32": Format(bits=32, kind="float", exponent=8, mantissa=23, bias=127),
    "F64": Format(bits=64, kind="float", exponent=11, mantissa=52, bias=1023),
}
UNREADABLE = {
    "C64": "complex numbers have no order, so no quantiles",
    "F6_E2M3": "no library writes this packing yet, so it cannot be checked",
    "F6_E3M2": "no library writes this packing yet, so it cannot be checked",
}


def pattern_dtype(dtype: str) -> np.dtype[np.unsignedinteger]:
    """The unsigned integer type whose values are the stored patterns (two per byte for F4)."""
    return np.dtype(f"u{max(FORMATS[dtype].bits, 8) // 8}")


def decode(dtype: str, patterns: Integer[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """What patterns of a dtype are worth, as float64 (integers past 2^53 are rounded)."""
    form = FORMATS[dtype]
    if form.bits in (32, 64) and form.kind == "float":
        stored = patterns.astype(f"u{form.bits // 8}").view(f"f{form.bits // 8}")
        with np.errstate(invalid="ignore"):  # a signalling NaN among the patterns is no error
            return stored.astype(np.float64)
    if form.kind == "uint":
        return patterns.astype(np.float64)
    if form.kind == "int":
        unsigned = patterns.astype(f"u{form.bits // 8}")
        return unsigned.view(f"i{form.bits // 8}").astype(np.float64)
    if form.kind == "scale":
        return np.where(patterns == 0xFF, np.nan, np.ldexp(1.0, patterns.astype(np.int64) - 127))
    return _decode_small_float(form, patterns.astype(np.int64))


def _decode_small_float(
    form: Format, patterns: Integer[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    mantissa = patterns & ((1 << form.mantissa) - 1)
    exponent = (patterns >> form.mantissa) & ((1 << form.exponent) - 1)
    sign = np.where(patterns >> (form.exponent + form.mantissa) & 1, -1.0, 1.0)
    significand = np.where(exponent > 0, mantissa + (1 << form.mantissa), mantissa)
    scale = np.maximum(exponent, 1) - form.bias - form.mantissa
    values = sign * np.ldexp(significand.astype(np.float64), scale)
    magnitude = patterns & ((1 << (form.bits - 1)) - 1)
    top = (1 << form.exponent) - 1
    if form.special == "ieee":
        values = np.where(exponent == top, np.where(mantissa == 0, sign * np.inf, np.nan), values)
    elif form.special == "nan at top":
        values = np.where(magnitude == (1 << (form.bits - 1)) - 1, np.nan, values)
    elif form.special == "nan at -0":
        values = np.where((magnitude == 0) & (sign < 0), np.nan, values)
    decoded: Float[np.ndarray, " n"] = values
    return decoded


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Top:
    """The high bins of a dtype, one per value of its top bits; all arrays have one entry per bin.

    `rank` is the place of a bin by the value it holds, lowest first; `values` the value of its
    first pattern. `backwards` marks bins in which a larger remaining pattern is a smaller value,
    `finite` those of finite values only, `tiny` those of the lowest exponent (zeros, subnormals).
    """

    rank: Integer[np.ndarray, " bins"]
    values: Float[np.ndarray, " bins"]
    backwards: Bool[np.ndarray, " bins"]
    finite: Bool[np.ndarray, " bins"]
    tiny: Bool[np.ndarray, " bins"]


@cache
def top(dtype: str) -> Top:
    """The high bins of a dtype (see Top)."""
    form = FORMATS[dtype]
    bins = np.arange(1 << form.top_bits, dtype=np.int64)
    low_bits = form.bits - form.top_bits
    values = decode(dtype, (bins.astype(np.uint64) << np.uint64(low_bits)).astype(np.uint64))
    half = 1 << (form.top_bits - 1)
    none = np.zeros(len(bins), dtype=bool)
    if form.kind in ("uint", "scale"):
        key, backwards = bins, none
    elif form.kind == "int":
        key, backwards = bins ^ half, none
    else:
        negative = bins >= half
        key, backwards = np.where(negative, len(bins) - 1 - bins, bins + half), negative
    exponent = (bins >> max(form.mantissa - low_bits, 0)) & ((1 << form.exponent) - 1)
    is_float = form.kind == "float"
    tiny = (exponent == 0) if is_float else (values == 0)
    if low_bits and not is_float:
        tiny = bins == 0
    return Top(
        rank=key,
        values=values,
        backwards=backwards,
        finite=np.isfinite(values),
        tiny=tiny & np.isfinite(values),  # FNUZ formats have their NaN at minus zero
    )
