"""A tensor of codes and what it takes to read it; what all schemes of packing share."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from inspector.results import show_plain
from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.formats import FORMATS, decode
from inspector.weights.header import TensorEntry
from inspector.weights.scan import read_patterns

WIDE = ("F16", "BF16", "F32", "F64")  # dtypes a scale has, unless a scheme says otherwise


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Packed:
    """A tensor of codes that stands for a matrix, or for the stacked matrices of experts.

    `shape` and `plain_name` are those of the tensor an unquantised checkpoint would hold. One
    scale serves `block` (rows, columns) values. `helpers` are the other tensors it takes, by use;
    `settings` the numbers it takes. `problem` says why it cannot be read, None when it can;
    `missing` names what should lie beside it and does not.
    """

    entry: TensorEntry
    plain_name: str
    format: str
    scheme: str
    shape: tuple[int, ...]
    block: tuple[int, int] = (1, 1)
    helpers: Mapping[str, TensorEntry] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, float] = dataclasses.field(default_factory=dict)
    problem: str | None = None
    missing: str | None = None


class Look:
    """What recognisers look at: all entries by name, the config's words, small tensors."""

    def __init__(self, checkpoint: Checkpoint, reader: Reader) -> None:
        self.entries = {e.name: e for e in checkpoint.tensors if e.unreadable is None}
        self.reader = reader
        config = checkpoint.config or {}
        text = config.get("text_config")
        stated = config.get("quantization_config") or (
            text.get("quantization_config") if isinstance(text, dict) else None
        )
        self.stated: Mapping[str, Any] = stated if isinstance(stated, dict) else {}

    def beside(self, *names: str) -> TensorEntry | None:
        """The first of these tensors that is there."""
        return next((self.entries[name] for name in names if name in self.entries), None)

    def block(self) -> tuple[int, int] | None:
        """The block size the config states."""
        groups = self.stated.get("config_groups")
        nested = (
            [g.get("weights") for g in groups.values() if isinstance(g, dict)]
            if isinstance(groups, dict)
            else []
        )
        stated = [self.stated.get("weight_block_size")]
        stated += [w.get("block_structure") for w in nested if isinstance(w, dict)]
        for block in stated:
            if isinstance(block, list) and len(block) == 2:
                high, wide = block
                if type(high) is int and type(wide) is int and high > 0 and wide > 0:
                    return high, wide
        return None


def cannot(entry: TensorEntry, format: str, problem: str, missing: str | None = None) -> Packed:
    """Codes of which no values can be had, and why."""
    return Packed(
        entry=entry,
        plain_name=entry.name,
        format=format,
        scheme=format,
        shape=entry.shape,
        problem=problem,
        missing=missing,
    )


def no_scale(entry: TensorEntry, format: str, missing: str) -> Packed:
    """Codes beside which a tensor is missing that says what they are worth."""
    told = (
        f"{entry.dtype} codes without {show_plain(missing)}: what they are worth is not known, "
        "so no number is given"
    )
    return cannot(entry, format, told, missing)


def misfit(entry: TensorEntry, format: str, *helpers: TensorEntry) -> Packed:
    """Codes whose shape contradicts that of the tensors beside them."""
    shapes = ", ".join(f"{show_plain(h.name)} {h.dtype} {list(h.shape)}" for h in helpers)
    told = f"codes {entry.dtype} {list(entry.shape)} do not go with {shapes}"
    return cannot(entry, format, told)


def patterns_of(
    entry: TensorEntry, reader: Reader, expert: int | None = None, stacked: bool = False
) -> np.ndarray:
    """The stored patterns, flat; where experts are stacked only those of one."""
    if not stacked:
        return read_patterns(entry, reader, 0, entry.parameters)
    size = entry.parameters // entry.shape[0]
    first = (expert or 0) * size
    return read_patterns(entry, reader, first, first + size)


def values_of(
    entry: TensorEntry,
    reader: Reader,
    expert: int | None = None,
    stacked: bool = False,
    dtype: type[np.floating[Any]] = np.float32,
) -> np.ndarray:
    """What the patterns are worth, flat; U8, which holds no scale itself, as a power of two."""
    patterns = patterns_of(entry, reader, expert, stacked)
    stored = "F8_E8M0" if entry.dtype == "U8" else entry.dtype
    if FORMATS[stored].bits == 8:
        worth: np.ndarray = decode(stored, np.arange(256)).astype(dtype)[patterns]
        return worth
    with np.errstate(over="ignore"):  # a scale beyond float32 is infinite, which is told
        return decode(stored, patterns).astype(dtype)
