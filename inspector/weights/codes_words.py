"""Integers packed in words beside scales and zero points: GPTQ, AWQ, compressed-tensors."""

import numpy as np

from inspector.errors import CheckpointError
from inspector.results import show_plain
from inspector.weights import unpack
from inspector.weights.checkpoint import Reader
from inspector.weights.codes import WIDE, Look, Packed, misfit, no_scale, patterns_of, values_of
from inspector.weights.header import TensorEntry

WORD = 32  # bits
BITS = (2, 3, 4, 8)
INDEXES = ("I32", "I64")


def gptq_or_awq(look: Look, entry: TensorEntry) -> Packed | None:
    """A `qweight` of GPTQ (words along the inputs) or AWQ (words along the outputs)."""
    owner, _, last = entry.name.rpartition(".")
    if last != "qweight" or entry.dtype != "I32" or len(entry.shape) != 2 or 0 in entry.shape:
        return None
    scales, zeros = look.beside(f"{owner}.scales"), look.beside(f"{owner}.qzeros")
    for helper, name in ((scales, "scales"), (zeros, "qzeros")):
        if helper is None:
            return no_scale(entry, "gptq", f"{owner}.{name}")
    assert scales is not None and zeros is not None
    is_scale = len(scales.shape) == 2 and 0 not in scales.shape and scales.dtype in WIDE
    if not is_scale or zeros.dtype != "I32" or len(zeros.shape) != 2:
        return misfit(entry, "gptq", scales, zeros)
    groups, rows = scales.shape
    is_gptq = entry.shape[1] == rows
    words = zeros.shape[1] if is_gptq else entry.shape[1]
    bits = WORD * words // rows
    columns = entry.shape[0] * WORD // max(bits, 1) if is_gptq else entry.shape[0]
    fits = bits in (BITS if is_gptq else (4,)) and rows * bits == WORD * words
    if not fits or zeros.shape != (groups, words) or not 0 < groups <= columns:
        return misfit(entry, "gptq" if is_gptq else "awq", scales, zeros)
    group = _group(look, columns, groups)
    index = look.beside(f"{owner}.g_idx") if is_gptq else None
    if index is not None and (index.shape != (columns,) or index.dtype not in INDEXES):
        return misfit(entry, "gptq", index)
    if is_gptq:
        plus = 0 if look.stated.get("checkpoint_format") == "gptq_v2" else 1
        how = "stored less one (v1)" if plus else "stored as they are (v2)"
        scheme = f"GPTQ int{bits}, groups of {group} inputs, zero points {how}"
    else:
        plus, scheme = 0, f"AWQ int{bits}, groups of {group} inputs"
    return Packed(
        entry=entry,
        plain_name=f"{owner}.weight",
        format="gptq" if is_gptq else "awq",
        scheme=scheme,
        shape=(rows, columns),
        block=(1, group),
        helpers={"scale": scales, "zero": zeros, **({"index": index} if index else {})},
        settings={"bits": bits, "plus": plus},
    )


def _group(look: Look, columns: int, groups: int) -> int:
    """Inputs per group: as stated where that fits, else by division, rounded up."""
    stated = look.stated.get("group_size")
    if type(stated) is int and stated > 0 and -(-columns // stated) == groups:
        return stated
    return -(-columns // groups)


def int_words(look: Look, entry: TensorEntry) -> Packed | None:
    """The `weight_packed` of compressed-tensors: words along the inputs, codes offset by half."""
    owner, _, last = entry.name.rpartition(".")
    if last != "weight_packed" or entry.dtype != "I32" or len(entry.shape) != 2:
        return None
    scale, note = look.beside(f"{owner}.weight_scale"), look.beside(f"{owner}.weight_shape")
    if scale is None:
        return no_scale(entry, "words", f"{owner}.weight_scale")
    whole = note is not None and note.dtype in INDEXES and note.parameters == 2
    if note is None or not whole or len(scale.shape) != 2 or scale.dtype not in WIDE:
        return misfit(entry, "words", scale, *([note] if note else []))
    rows, columns = (int(x) for x in values_of(note, look.reader, dtype=np.float64))
    words, groups = entry.shape[1], scale.shape[1]
    fitting = [b for b in BITS if columns > 0 and -(-columns * b // WORD) == words]
    if rows != entry.shape[0] or not fitting or scale.shape[0] != rows or not groups:
        return misfit(entry, "words", scale, note)
    bits = fitting[0]
    zero, index = look.beside(f"{owner}.weight_zero_point"), look.beside(f"{owner}.weight_g_idx")
    if zero is not None and (
        zero.shape != (-(-rows * bits // WORD), groups) or zero.dtype != "I32"
    ):
        return misfit(entry, "words", zero)
    if index is not None and (index.shape != (columns,) or index.dtype not in INDEXES):
        return misfit(entry, "words", index)
    helpers = {"scale": scale, "zero": zero, "index": index}
    group = _group(look, columns, groups)
    return Packed(
        entry=entry,
        plain_name=f"{owner}.weight",
        format="words",
        scheme=f"int{bits} in words, groups of {group} inputs"
        + (" with zero points" if zero else ", symmetric"),
        shape=(rows, columns),
        block=(1, group),
        helpers={use: helper for use, helper in helpers.items() if helper is not None},
        settings={"bits": bits},
    )


def read_affine(packed: Packed, reader: Reader, _expert: int | None) -> np.ndarray:
    """Values scale (code - zero) of the three that pack integers in words."""
    rows, columns = packed.shape
    bits = int(packed.settings["bits"])
    stored = _words(packed.entry, reader)
    scale = packed.helpers["scale"]
    scales = values_of(scale, reader).reshape(scale.shape)
    if packed.format == "words":
        codes = unpack.words(stored, bits, columns)
        zeros = np.full(scales.shape, 1 << (bits - 1), dtype=np.int32)
        if "zero" in packed.helpers:  # packed along the rows
            held = _words(packed.helpers["zero"], reader)
            zeros = unpack.words(np.ascontiguousarray(held.T), bits, rows).T.astype(np.int32)
    else:
        held = _words(packed.helpers["zero"], reader)
        if packed.format == "gptq":
            codes = unpack.words(np.ascontiguousarray(stored.T), bits, columns)
            zeros = unpack.words(held, bits, rows).T + np.int32(packed.settings["plus"])
        else:
            codes = unpack.awq_words(stored, bits, rows).T
            zeros = unpack.awq_words(held, bits, rows).T.astype(np.int32)
        scales = scales.T
    return unpack.affine(codes, zeros, scales, _groups(packed, reader, scales.shape[1]))


def _words(entry: TensorEntry, reader: Reader) -> np.ndarray:
    return patterns_of(entry, reader).astype(np.uint32).reshape(entry.shape)


def _groups(packed: Packed, reader: Reader, groups: int) -> np.ndarray:
    """The group each input belongs to."""
    columns = packed.shape[1]
    index = packed.helpers.get("index")
    if index is None:
        return np.minimum(np.arange(columns) // packed.block[1], groups - 1)
    held = values_of(index, reader, dtype=np.float64).astype(np.int64)
    if held.min() < 0 or held.max() >= groups:
        raise CheckpointError(
            f"{show_plain(index.name)}: names groups {held.min()} to {held.max()} "
            f"where there are {groups}."
        )
    return held
