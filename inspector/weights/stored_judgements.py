"""Judgements and comparisons kept on disk: the same at once while their files stay the same."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from inspector.engine import Progress, no_progress
from inspector.results import Finding, Records
from inspector.weights import cache
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.compare import compare
from inspector.weights.judgements import JUDGEMENTS
from inspector.weights.spectrum import Spectra
from inspector.weights.stored import coverage_of, source_of
from inspector.weights.tensor_change import TensorChange


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Kept(Records[Any]):
    """Records as they come from disk: the summary is plain JSON values.

    `arrays` holds what is no plain value: the singular values of each record of a spectrum by its
    name, the maps of attention; else nothing.
    """

    arrays: Mapping[str, np.ndarray]


def judgement_key(checkpoint: Checkpoint, command: str) -> str:
    """The name under which a judgement in JUDGEMENTS is kept."""
    return cache.key(checkpoint, command)


def stored_judgement(
    checkpoint: Checkpoint, command: str, progress: Progress = no_progress
) -> Kept:
    """A judgement of the whole checkpoint, from disk when it was kept there; else made and kept."""
    name = judgement_key(checkpoint, command)
    if (kept := load_judgement(name, command)) is not None:
        return kept
    made = JUDGEMENTS[command].measure(checkpoint, progress=progress)
    arrays = made.singular if isinstance(made, Spectra) else {}
    return keep(name, made, arrays, whole=not checkpoint.changed())


def load_judgement(name: str, command: str) -> Kept | None:
    """The judgement kept under `name`; None when there is none."""
    return load_kept(name, JUDGEMENTS[command].record)


def compare_key(base: Checkpoint, tuned: Checkpoint) -> str:
    """The name under which the comparison of two checkpoints is kept."""
    return cache.key(tuned, "compare", base=cache.key(base, "base"))


def stored_compare(base: Checkpoint, tuned: Checkpoint, progress: Progress = no_progress) -> Kept:
    """What `compare` gives, from disk when it was kept there; else made and kept."""
    name = compare_key(base, tuned)
    if (kept := load_compare(name)) is not None:
        return kept
    made = compare(base, tuned, progress=progress)
    return keep(name, made, {}, whole=not (base.changed() or tuned.changed()))


def load_compare(name: str) -> Kept | None:
    """The comparison kept under `name`; None when there is none."""
    return load_kept(name, TensorChange)


def keep(name: str, made: Records[Any], arrays: Mapping[str, np.ndarray], whole: bool) -> Kept:
    """The records in the form they have on disk, where they are put when files stayed `whole`."""
    document = {**made.to_dict(), "arrays": list(arrays)}
    numbered = {str(i): array for i, array in enumerate(arrays.values())}
    if whole:
        cache.store(name, document, numbered)
    return _kept(document, numbered, made.record_type)


def load_kept(name: str, record: type) -> Kept | None:
    """Records of one type kept under `name`; None when there are none with the fields it has now.

    A build that gave the record other fields had the same version: what it kept is measured again.
    """
    if (kept := cache.load(name)) is None:
        return None
    document, arrays = kept
    fields = {field.name for field in dataclasses.fields(record)}
    if any(plain.keys() != fields for plain in document["records"]):
        return None
    return _kept(document, arrays, record)


def _kept(document: dict[str, Any], arrays: Mapping[str, np.ndarray], record: type) -> Kept:
    return Kept(
        command=document["schema"].removeprefix("inspector.").partition("/")[0],
        record_type=record,
        source=source_of(document["source"]),
        coverage=coverage_of(document["coverage"]),
        summary=document["summary"],
        records=tuple(record(**_tupled(plain)) for plain in document["records"]),
        findings=tuple(Finding(**plain) for plain in document["findings"]),
        arrays={named: arrays[str(i)] for i, named in enumerate(document["arrays"])},
    )


def _tupled(plain: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(v) if isinstance(v, list) else v for key, v in plain.items()}
