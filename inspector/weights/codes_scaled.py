"""Codes beside a grid of scales: fp8 and int8 by tensor, row or block; MXFP4 and NVFP4."""

import math

import numpy as np

from inspector.results import show_plain
from inspector.weights import unpack
from inspector.weights.checkpoint import Reader
from inspector.weights.codes import (
    WIDE,
    Look,
    Packed,
    cannot,
    misfit,
    no_scale,
    patterns_of,
    values_of,
)
from inspector.weights.formats import FORMATS, decode
from inspector.weights.header import TensorEntry

COMMON_BLOCK = (128, 128)  # of fp8 whose config does not say
FINE, POWERS = ("F8_E4M3", "U8"), ("F8_E8M0", "U8")  # scales of 16 and of 32 4-bit floats
SCALES = (*WIDE, "U8", "F8_E8M0", "F8_E4M3", "F8_E5M2")
CODES = ("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F4", "I8", "U8")


def scaled(look: Look, entry: TensorEntry) -> Packed | None:
    """Codes with one tensor of scales beside them: fp8, int8, or two 4-bit floats per byte."""
    if entry.dtype not in CODES or len(entry.shape) < 2 or 0 in entry.shape:
        return None
    owner, _, last = entry.name.rpartition(".")
    base = entry.name.removesuffix("_packed").removesuffix("._data")
    names = [f"{base}_scale_inv", f"{base}_scale", f"{base}._scale"]
    if last == "weight":
        names += [f"{owner}.{x}" for x in ("scale_weight", "qscale_weight", "scale", "SCB")]
    scale = look.beside(*names)
    is_code = FORMATS[entry.dtype].kind == "float" or last in ("weight", "weight_packed", "_data")
    if scale is None:
        return no_scale(entry, "codes", f"{base}_scale") if is_code else None
    if entry.dtype == "F4" or entry.dtype in ("I8", "U8") and _two_per_byte(look, entry, scale):
        return _fp4(look, entry, scale, base)
    if len(entry.shape) > 3:
        return cannot(entry, "scaled", "codes of more than three dimensions are no matrices")
    if entry.dtype == "U8":
        return cannot(entry, "codes", f"U8 codes beside {show_plain(scale.name)}: not a known way")
    zero = look.beside(f"{base}_zero_point") if entry.dtype == "I8" else None
    grid = _grid(entry.shape, scale.shape) if scale.dtype in SCALES else None
    block = grid and _block(entry.shape, grid, look.block())
    if not block or (zero is not None and (zero.shape, zero.dtype) != (scale.shape, "I8")):
        return misfit(entry, "scaled", scale, *([zero] if zero else []))
    name = "int8" if entry.dtype == "I8" else "fp8"
    told = f"{name} ({entry.dtype}) with {scale.dtype} scales {_per(block, entry.shape)}"
    return Packed(
        entry=entry,
        plain_name=base,
        format="scaled",
        scheme=told + (" and zero points" if zero else ""),
        shape=entry.shape,
        block=block,
        helpers={"scale": scale, **({"zero": zero} if zero else {})},
        settings={"factor": 1 / 127 if scale.name.endswith(".SCB") else 1.0},
    )


def _per(block: tuple[int, int], shape: tuple[int, ...]) -> str:
    rows, columns = shape[-2:]
    if block == (rows, columns):
        return "per tensor"
    return f"per {block[0]} x {'row' if block[1] == columns else block[1]}"


def _grid(shape: tuple[int, ...], scale: tuple[int, ...]) -> tuple[int, int] | None:
    """(rows, columns) of the scales of one matrix; None when they cannot belong to the codes."""
    *experts, rows, columns = shape
    if math.prod(scale) == 1:
        return 1, 1
    if experts:
        if len(experts) > 1 or scale[0] != experts[0]:
            return None
        scale = scale[1:] or (1,)
    if len(scale) == 1:
        return {1: (1, 1), columns: (1, columns), rows: (rows, 1)}.get(scale[0])
    return (scale[0], scale[1]) if len(scale) == 2 and 0 not in scale else None


def _block(
    shape: tuple[int, ...], grid: tuple[int, int], stated: tuple[int, int] | None
) -> tuple[int, int] | None:
    """Size of the blocks, of which the last may be cut short: stated, usual, or by division."""
    rows, columns = shape[-2:]
    if grid == (1, 1):
        return rows, columns
    for high, wide in (stated, COMMON_BLOCK) if stated else (COMMON_BLOCK,):
        if (-(-rows // high), -(-columns // wide)) == grid:
            return high, wide
    if rows % grid[0] or columns % grid[1]:
        return None
    return rows // grid[0], columns // grid[1]


def _two_per_byte(look: Look, entry: TensorEntry, scale: TensorEntry) -> bool:
    """Whether bytes hold two 4-bit codes each: one-byte scales of groups of 16 or 32 of them."""
    one_byte = scale.dtype in FINE + POWERS
    groups = [2 * entry.shape[-1] // size for size in (16, 32)]
    return one_byte and len(scale.shape) > 1 and scale.shape[-1] in groups


def _fp4(look: Look, entry: TensorEntry, scale: TensorEntry, base: str) -> Packed:
    columns = entry.shape[-1] * (1 if entry.dtype == "F4" else 2)
    shape = (*entry.shape[:-1], columns)
    group = columns // scale.shape[-1] if scale.shape and scale.shape[-1] else 0
    fits = group in (16, 32) and scale.shape == (*shape[:-1], columns // group)
    if not fits or scale.dtype not in (FINE if group == 16 else POWERS):
        return misfit(entry, "fp4", scale)
    if look.beside(f"{base.rpartition('.')[0]}.comfy_quant"):
        return cannot(entry, "nvfp4", "NVFP4 whose scales are swizzled is not read")
    helpers = {"scale": scale}
    scheme = "MXFP4 (E2M1, one power of two per 32)"
    if group == 16:
        multiplied, divided = look.beside(f"{base}_scale_2"), look.beside(f"{base}_global_scale")
        second = multiplied or divided
        if second is None:
            return no_scale(entry, "nvfp4", f"{base}_scale_2 or {base}_global_scale")
        if _grid(shape, second.shape) != (1, 1) or second.dtype not in WIDE:
            return misfit(entry, "nvfp4", second)
        helpers |= {"multiply" if multiplied else "divide": second}
        scheme = "NVFP4 (E2M1, one E4M3 scale per 16 and one per tensor)"
    return Packed(
        entry=entry,
        plain_name=base,
        format="fp4",
        scheme=scheme,
        shape=shape,
        block=(1, group),
        helpers=helpers,
    )


def mx_blocks(look: Look, entry: TensorEntry) -> Packed | None:
    """The `_blocks` of gpt-oss: 16 bytes, which are 32 inputs, to each power of two."""
    if entry.dtype != "U8" or not entry.name.endswith("_blocks") or len(entry.shape) not in (3, 4):
        return None
    name = f"{entry.name.removesuffix('_blocks')}_scales"
    scale = look.beside(name)
    if scale is None:
        return no_scale(entry, "mxfp4", name)
    *lead, groups, size = entry.shape
    if size != 16 or scale.shape != (*lead, groups) or scale.dtype not in POWERS:
        return misfit(entry, "mxfp4", scale)
    return Packed(
        entry=entry,
        plain_name=entry.name,
        format="fp4",
        scheme="MXFP4 (E2M1, one power of two per 32)",
        shape=(*lead, groups * 32),
        block=(1, 32),
        helpers={"scale": scale},
    )


def read_scaled(packed: Packed, reader: Reader, expert: int | None) -> np.ndarray:
    """Each code times the scale of its block; `weight_scale_inv` too is multiplied."""
    shape = (packed.shape[-2], packed.shape[-1])
    values = values_of(packed.entry, reader, expert, len(packed.shape) > 2).reshape(shape)
    grid = _grid_of(packed, "scale", reader, expert) * np.float32(packed.settings["factor"])
    if "zero" in packed.helpers:
        values -= unpack.spread(_grid_of(packed, "zero", reader, expert), packed.block, shape)
    values *= unpack.spread(grid, packed.block, shape)
    return values


def read_fp4(packed: Packed, reader: Reader, expert: int | None) -> np.ndarray:
    """E2M1 codes times the scale of their group and that of the tensor where there is one."""
    shape = (packed.shape[-2], packed.shape[-1])
    stacked = len(packed.shape) > 2
    codes = patterns_of(packed.entry, reader, expert, stacked).view(np.uint8)
    if packed.entry.dtype != "F4":
        codes = unpack.nibbles(codes)
    values = unpack.E2M1[codes].reshape(-1, packed.block[1])
    scale = packed.helpers["scale"]
    dtype = {16: "F8_E4M3", 32: "F8_E8M0"}[packed.block[1]]
    scales = decode(dtype, patterns_of(scale, reader, expert, stacked)).astype(np.float32)
    for use in ("multiply", "divide"):
        if use in packed.helpers:
            second = _grid_of(packed, use, reader, expert)
            scales = scales * second.item() if use == "multiply" else scales / second.item()
    values *= scales.astype(np.float32)[:, None]
    return values.reshape(shape)


def _grid_of(packed: Packed, use: str, reader: Reader, expert: int | None) -> np.ndarray:
    """The scales of one matrix as a grid; of U8 scales the power of two they stand for."""
    entry = packed.helpers[use]
    grid = _grid(packed.shape, entry.shape)
    assert grid is not None
    stacked = len(packed.shape) > 2 and math.prod(entry.shape) > 1
    return values_of(entry, reader, expert, stacked).reshape(grid)
