"""Checkpoints that are already quantised: which tensors hold codes, and their values again.

A code is worth nothing without its scale: where that is missing, no number is given out at all.
Layouts: transformers 5.23 (fine-grained fp8, MXFP4), compressed-tensors, ModelOpt, AutoGPTQ,
AutoAWQ, bitsandbytes.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping

import numpy as np

from inspector.errors import CheckpointError
from inspector.results import Finding, show_plain
from inspector.weights.architecture import Placement, place
from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.codes import Look, Packed
from inspector.weights.codes_scaled import mx_blocks, read_fp4, read_scaled, scaled
from inspector.weights.codes_table import looked_up, read_looked_up
from inspector.weights.codes_words import gptq_or_awq, int_words, read_affine
from inspector.weights.problems import Log

KINDS = ("weight", "embedding", "other")
RECOGNISERS = (mx_blocks, gptq_or_awq, int_words, looked_up, scaled)
READERS = {
    "scaled": read_scaled,
    "fp4": read_fp4,
    "gptq": read_affine,
    "awq": read_affine,
    "words": read_affine,
    "table": read_looked_up,
}


def find_packed(checkpoint: Checkpoint) -> dict[str, Packed]:
    """Every tensor of codes by its name; those that cannot be read are there with their problem.

    Reads nothing but the notes of a few bytes that state shapes.
    """
    with checkpoint.reader() as reader:
        look = Look(checkpoint, reader)
        found = {}
        for entry in look.entries.values():
            kind = checkpoint.architecture.placements[entry.name].kind
            for recognise in RECOGNISERS:
                if kind in KINDS and (packed := recognise(look, entry)) is not None:
                    found[entry.name] = packed
                    break
    return found


def read_packed(packed: Packed, reader: Reader, expert: int | None = None) -> np.ndarray:
    """The values as float32, shaped and oriented as an unquantised file would hold them.

    With `expert` the one matrix of a stacked tensor. Raises CheckpointError when `packed` has a
    problem, or when its helpers hold what they cannot.
    """
    if packed.problem is not None:
        raise CheckpointError(f"{show_plain(packed.entry.name)}: {packed.problem}")
    if len(packed.shape) > 2 and expert is None:
        return np.stack([read_packed(packed, reader, e) for e in range(packed.shape[0])])
    return READERS[packed.format](packed, reader, expert)


def packed_placements(checkpoint: Checkpoint, packed: Mapping[str, Packed]) -> dict[str, Placement]:
    """Where the packed tensors belong, judged by the shapes and names they stand for."""
    readable = {name: p for name, p in packed.items() if p.problem is None}
    taken = {entry.name for entry in checkpoint.tensors}
    entries, stored_names = [], {}
    for entry in checkpoint.tensors:
        if (one := readable.get(entry.name)) is not None:
            plain = entry.name if one.plain_name in taken else one.plain_name
            stored_names[plain] = entry.name
            entry = dataclasses.replace(entry, name=plain, shape=one.shape)
        entries.append(entry)
    placements = place(entries, checkpoint.config).placements if readable else {}
    return {
        stored: dataclasses.replace(placements[plain], name=stored)
        for plain, stored in stored_names.items()
    }


def findings_on(checkpoint: Checkpoint) -> tuple[Finding, ...]:
    """All that is known of a checkpoint before its weights are judged: files, names and codes."""
    packed = packed_findings(find_packed(checkpoint))
    return (*checkpoint.findings, *checkpoint.architecture.findings, *packed)


def packed_findings(packed: Mapping[str, Packed]) -> tuple[Finding, ...]:
    """Which schemes were recognised, and every tensor whose codes cannot be turned into values."""
    log = Log()
    schemes = Counter(one.scheme for one in packed.values() if one.problem is None)
    for scheme, count in schemes.items():
        told = f"{count} tensors hold {scheme}; they are read through their scales"
        log.add("QT-PACKED", "checkpoint", told, tensors=count, scheme=scheme)
    for one in packed.values():
        if one.problem is not None:
            name = show_plain(one.entry.name)
            id = "QT-SCALE" if one.missing is not None else "QT-UNREAD"
            log.add(id, name, one.problem, dtype=one.entry.dtype, shape=list(one.entry.shape))
    return log.findings
