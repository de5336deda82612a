"""4-bit codes of bitsandbytes: places in a table of 16 values, with a scale per block."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from inspector.weights import unpack
from inspector.weights.checkpoint import Reader
from inspector.weights.codes import WIDE, Look, Packed, misfit, no_scale, patterns_of, values_of
from inspector.weights.header import TensorEntry

FORMAT = "table"
LONGEST_NOTE = 10_000  # bytes of the note on a tensor; real ones have about 150
NESTED = ("nested_absmax", "nested_quant_map")  # where the scales are in 8 bits themselves


def looked_up(look: Look, entry: TensorEntry) -> Packed | None:
    """The NF4 or FP4 codes of bitsandbytes: two per byte, the high four bits first."""
    names = {t: f"{entry.name}.quant_state.bitsandbytes__{t}" for t in ("nf4", "fp4")}
    kind = next((t for t, name in names.items() if name in look.entries), None)
    if kind is None or entry.dtype != "U8":
        return None
    note = look.entries[names[kind]]
    stated = _read_note(look, note)
    if stated is None or -(-math.prod(stated[0]) // 2) != entry.parameters:
        return misfit(entry, FORMAT, note)
    shape, settings = stated
    counts = {"absmax": -(-math.prod(shape) // int(settings["block"])), "quant_map": 16}
    if "nested_block" in settings:
        outer = int(settings["nested_block"])
        counts |= {"nested_absmax": -(-counts["absmax"] // outer), "nested_quant_map": 256}
    helpers = {}
    for use, count in counts.items():
        helper = look.beside(f"{entry.name}.{use}")
        if helper is None:
            return no_scale(entry, FORMAT, f"{entry.name}.{use}")
        inner = use == "absmax" and "nested_block" in settings
        if helper.parameters != count or helper.dtype not in (("U8",) if inner else WIDE):
            return misfit(entry, FORMAT, helper)
        helpers[use] = helper
    block = int(settings["block"])
    nested = ", their scales in 8 bits" if "nested_block" in settings else ""
    return Packed(
        entry=entry,
        plain_name=entry.name,
        format=FORMAT,
        scheme=f"bitsandbytes {kind.upper()} codes, blocks of {block}{nested}",
        shape=shape,
        block=(1, block),
        helpers=helpers,
        settings=settings,
    )


def _read_note(look: Look, note: TensorEntry) -> tuple[tuple[int, ...], Mapping[str, float]] | None:
    """(shape, sizes of blocks and offset) from the JSON object about a tensor; None if unfit."""
    if note.dtype != "U8" or note.parameters > LONGEST_NOTE:
        return None
    try:
        state = json.loads(patterns_of(note, look.reader).tobytes())
    except (ValueError, RecursionError):
        return None
    state = state if isinstance(state, dict) else {}
    shape, block = state.get("shape"), state.get("blocksize")
    if not isinstance(shape, list) or len(shape) != 2 or not all(map(_is_size, [*shape, block])):
        return None
    settings: dict[str, Any] = {"block": block}
    if "nested_blocksize" in state:
        outer, offset = state["nested_blocksize"], state.get("nested_offset")
        if not _is_size(outer) or type(offset) not in (int, float):
            return None
        settings |= {"nested_block": outer, "nested_offset": offset}
    return tuple(shape), settings


def _is_size(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**48


def read_looked_up(packed: Packed, reader: Reader, _expert: int | None) -> np.ndarray:
    """Codes through their table, times the scale of each block."""
    held = patterns_of(packed.entry, reader)
    codes = np.stack([held >> 4, held & 15], axis=1).ravel()[: math.prod(packed.shape)]
    helpers = packed.helpers
    if "nested_block" in packed.settings:
        table, outer = (values_of(helpers[use], reader) for use in reversed(NESTED))
        inner = patterns_of(helpers["absmax"], reader)
        scales = unpack.lookup(inner, table, outer, int(packed.settings["nested_block"]))
        scales += np.float32(packed.settings["nested_offset"])
    else:
        scales = values_of(helpers["absmax"], reader)
    table = values_of(helpers["quant_map"], reader)
    return unpack.lookup(codes, table, scales, packed.block[1]).reshape(packed.shape)
