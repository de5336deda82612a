"""The table of number formats a weight can be rounded to, and how each sets its scales.

Conventions: round to nearest; symmetric integers scale absmax / (2^(b-1) - 1) and clip to
[-2^(b-1), 2^(b-1) - 1]; affine ones scale (max - min) / (2^b - 1) with a zero point that is not
rounded; NF4 scales absmax to 1 (Dettmers et al. 2023); MXFP4 scales by 2^(floor(log2 absmax) - 2)
(OCP MX 1.0); NVFP4 scales absmax to 6, in E4M3 relative to the largest such scale / 448. Counted
for storage are 16 bits for a scale or a zero point of integers, 32 for a scale of NF4 or of a
whole tensor of floats, 8 for one of MXFP4 or NVFP4; only those of NVFP4 and MXFP4 are rounded so.
"""

import dataclasses
import math
from typing import Literal

import numpy as np
from jaxtyping import Float

from inspector.weights import rounding

E4M3_TOP, E2M1_TOP = 448.0, 6.0
NF4 = (
    *(-1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0),
    *(0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0),
)

Span = Literal["group", "row", "tensor", "none"]
Scales = Float[np.ndarray, "rows groups"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """One format: the values it can hold and what shares a scale.

    `span` says what shares one; groups are `group` neighbours along the inputs. `scale_bits` are
    stored with each. Of floats `mantissa` counts stored bits, `lowest` is the exponent of the
    smallest normal number, `top` the largest value, at which larger ones saturate.
    """

    name: str
    kind: Literal["symmetric", "affine", "table", "float"]
    bits: int
    span: Span
    group: int | None = None
    scale_bits: int = 0
    tensor_bits: int = 0
    scaling: Literal["", "absmax", "power of two", "E4M3"] = ""
    mantissa: int = 0
    lowest: int = 0
    top: float = 0.0

    def bits_per_weight(self, rows: int, columns: int) -> float:
        """Stored bits per value, scales and zero points counted."""
        groups = {
            "group": rows * -(-columns // (self.group or 1)),
            "row": rows,
            "tensor": 1,
            "none": 0,
        }[self.span]
        return self.bits + (groups * self.scale_bits + self.tensor_bits) / (rows * columns)


def _integers(name: str, bits: int, span: Span, group: int | None = None) -> Grid:
    top = 2.0 ** (bits - 1) - 1
    return Grid(
        name=name, kind="symmetric", bits=bits, span=span, group=group, scale_bits=16, top=top
    )


def _affine(name: str, bits: int, group: int) -> Grid:
    top = 2.0**bits - 1
    return Grid(
        name=name, kind="affine", bits=bits, span="group", group=group, scale_bits=32, top=top
    )


def _float(name: str, bits: int, mantissa: int, lowest: int, top: float) -> Grid:
    return Grid(
        name=name, kind="float", bits=bits, span="none", mantissa=mantissa, lowest=lowest, top=top
    )


_E4M3 = _float("e4m3", 8, 3, -6, E4M3_TOP)
_E2M1 = _float("", 4, 1, 0, E2M1_TOP)

GRIDS: dict[str, Grid] = {
    grid.name: grid
    for grid in (
        _float("bf16", 16, 7, -126, (2 - 2**-7) * 2.0**127),
        _float("fp16", 16, 10, -14, 65504.0),
        _integers("int8-tensor", 8, "tensor"),
        _integers("int8-row", 8, "row"),
        _E4M3,
        dataclasses.replace(
            _E4M3, name="e4m3-tensor", span="tensor", scaling="absmax", scale_bits=32
        ),
        _float("e5m2", 8, 2, -14, 57344.0),
        _integers("int4-row", 4, "row"),
        _integers("int4-g128", 4, "group", 128),
        _integers("int4-g64", 4, "group", 64),
        _integers("int4-g32", 4, "group", 32),
        _affine("int4-asym-g128", 4, 128),
        _affine("int4-asym-g64", 4, 64),
        _affine("int4-asym-g32", 4, 32),
        _affine("int3-asym-g128", 3, 128),
        _affine("int2-asym-g128", 2, 128),
        Grid(name="nf4-g64", kind="table", bits=4, span="group", group=64, scale_bits=32),
        dataclasses.replace(
            _E2M1, name="mxfp4", span="group", group=32, scaling="power of two", scale_bits=8
        ),
        dataclasses.replace(
            _E2M1,
            name="nvfp4",
            span="group",
            group=16,
            scaling="E4M3",
            scale_bits=8,
            tensor_bits=32,
        ),
    )
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rounded:
    """What rounding does to one matrix: energy of the error, and the largest error and its place.

    `clipped` counts values beyond what the format holds: they saturate.
    """

    energy: float
    worst: float
    row: int
    column: int
    clipped: int


def round_to(
    grid: Grid, values: Float[np.ndarray, "rows columns"], absmax: float | None = None
) -> Rounded:
    """The error of rounding finite float32 values to a grid, in float64.

    `absmax` stands for the tensor's largest |value| where the values are only a part of it.
    """
    columns = values.shape[1]
    group = min(grid.group or columns, columns)
    low, high = rounding.extremes(values, group)
    peaks = np.maximum(np.abs(low), np.abs(high))
    peak = float(peaks.max()) if absmax is None else absmax
    scales = _scales(grid, low, high, peaks, peak)
    if grid.kind == "table":
        found = rounding.to_table(values, group, scales, np.array(NF4))
    elif grid.kind == "float":
        steps = rounding.float_steps(grid.mantissa, grid.lowest)
        found = rounding.to_floats(values, group, scales, *steps, grid.top)
    elif grid.kind == "affine":
        found = rounding.to_integers(values, group, scales, low, 0.0, grid.top)
    else:
        zero = np.zeros_like(scales)
        found = rounding.to_integers(values, group, scales, zero, -grid.top - 1, grid.top)
    energy, worst, row, column = found
    beyond = grid.span == "none" and peak > grid.top
    clipped = int(np.count_nonzero(np.abs(values) > grid.top)) if beyond else 0
    return Rounded(
        energy=float(energy), worst=float(worst), row=int(row), column=int(column), clipped=clipped
    )


def _scales(grid: Grid, low: Scales, high: Scales, peaks: Scales, peak: float) -> Scales:
    """What one unit of the grid is worth in every group."""
    if grid.span == "none":
        return np.ones_like(peaks)
    shared = np.full_like(peaks, peak) if grid.span == "tensor" else peaks
    if grid.kind == "affine":
        return np.asarray((high - low) / grid.top)
    if grid.kind == "table":
        return shared
    if grid.scaling == "power of two":
        exponent = np.frexp(shared)[1] - 1 - 2  # that of 6 is 2
        units = np.ldexp(1.0, np.clip(exponent, -127, 127))
        return np.asarray(np.where(shared > 0, units, 0.0))
    if grid.scaling == "E4M3":
        tensor = peak / E2M1_TOP / E4M3_TOP
        held = e4m3(shared / E2M1_TOP / tensor) if tensor > 0 else np.zeros_like(shared)
        return held * tensor
    return shared / grid.top


def e4m3(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Values of at least 0 rounded to the nearest E4M3 number, at most 448."""
    exponent = np.maximum(np.frexp(values)[1] - 1, _E4M3.lowest)
    step = np.ldexp(1.0, exponent - _E4M3.mantissa)
    return np.asarray(np.minimum(np.rint(values / step) * step, E4M3_TOP))


def decibels(energy: float, signal: float) -> float | None:
    """Signal to quantisation noise in dB; None where there is no noise or no signal."""
    return 10 * math.log10(signal / energy) if energy > 0 and signal > 0 else None
