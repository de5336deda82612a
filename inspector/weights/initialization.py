"""Which initialisation scheme each tensor looks like, and what was never trained."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from inspector.engine import Progress, no_progress, ordered_map
from inspector.results import Coverage, Finding, Records, Skipped, show_plain
from inspector.weights import matrices
from inspector.weights.checkpoint import Checkpoint
from inspector.weights.formats import FORMATS
from inspector.weights.header import TensorEntry
from inspector.weights.matrices import Matrix
from inspector.weights.problems import Log
from inspector.weights.signal import Norm, SignalPrediction, Weight, predict_signal
from inspector.weights.sizes import text_config
from inspector.weights.untrained import tell_rows, tell_symmetry, tell_untrained
from inspector.weights.verdicts import Found, Initialization, Item, Judge

VECTORS = ("norm", "bias", "weight", "other")
QUANTISED = "its values were rounded to few levels: how they were drawn can no longer be told"


def initialization(
    checkpoint: Checkpoint,
    where: str | None = None,
    progress: Progress = no_progress,
    workers: int | None = None,
) -> Records[Initialization]:
    """Which scheme each tensor `where` finds was drawn by, or that it was trained.

    `summary` has counts of verdicts, how many matrices are trained, and `predicted_signal`: the
    gain of a random signal's variance per layer, and of its gradient's. `progress` counts matrices
    and vectors.
    """
    found, skipped = matrices.matrices(checkpoint, where)
    coarse = [m for m in found if _is_coarse(m.entry)]
    vectors = _vectors(checkpoint, skipped)
    names = {show_plain(entry.name) for entry in vectors}
    missing = [s for s in skipped if s.name not in names]
    missing += [
        Skipped(name=name, reason=QUANTISED)
        for name in dict.fromkeys(show_plain(m.entry.name) for m in coarse)
    ]
    order = {entry.name: i for i, entry in enumerate(checkpoint.tensors)}
    items: list[Item] = [*(m for m in found if not _is_coarse(m.entry)), *vectors]
    items.sort(key=lambda item: order[_entry(item).name])
    done: list[Found] = []
    with (
        checkpoint.reader([*matrices.ahead(found), *vectors]) as reader,
        matrices.one_blas_thread(),
    ):
        work = Judge(checkpoint, found, reader)
        for one in ordered_map(work, items, workers):
            done.append(one)
            progress(len(done), len(items), show_plain(one.item.name, 60))
    return _result(checkpoint, done, missing, where)


def _entry(item: Item) -> TensorEntry:
    return item.entry if isinstance(item, Matrix) else item


def _is_coarse(entry: TensorEntry) -> bool:
    return FORMATS[entry.dtype].kind != "float" or FORMATS[entry.dtype].bits < 16


def _vectors(checkpoint: Checkpoint, skipped: Sequence[Skipped]) -> list[TensorEntry]:
    """Norms, biases and other vectors among what is no matrix."""
    names = {s.name for s in skipped}
    placements = checkpoint.architecture.placements
    return [
        entry
        for entry in checkpoint.tensors
        if show_plain(entry.name) in names
        and entry.unreadable is None
        and entry.dtype in FORMATS
        and not _is_coarse(entry)
        and entry.parameters
        and placements[entry.name].kind in VECTORS
        and placements[entry.name].alias_of is None
    ]


def _result(
    checkpoint: Checkpoint, done: Sequence[Found], skipped: Sequence[Skipped], where: str | None
) -> Records[Initialization]:
    failed = [Skipped(name=show_plain(f.item.name), reason=f.skipped) for f in done if f.skipped]
    records = tuple(f.record for f in done if f.record is not None)
    return Records(
        command="init",
        record_type=Initialization,
        source=checkpoint.source(),
        coverage=_coverage(checkpoint, done, [*skipped, *failed]),
        summary={**_summary(records, where), "predicted_signal": _signal(checkpoint, done, where)},
        records=records,
        findings=(
            *checkpoint.findings,
            *checkpoint.architecture.findings,
            *_findings(checkpoint, done, where),
        ),
    )


def _coverage(
    checkpoint: Checkpoint, done: Sequence[Found], skipped: Sequence[Skipped]
) -> Coverage:
    measured = [f.item for f in done if f.record is not None]
    covered = matrices.coverage(
        checkpoint, [item for item in measured if isinstance(item, Matrix)], skipped
    )
    vectors = [item for item in measured if isinstance(item, TensorEntry)]
    parameters, size = sum(v.parameters for v in vectors), sum(v.bytes for v in vectors)
    return dataclasses.replace(
        covered,
        tensors_total=covered.tensors_total + len(vectors),
        tensors_measured=covered.tensors_measured + len(vectors),
        parameters_total=covered.parameters_total + parameters,
        parameters_measured=covered.parameters_measured + parameters,
        bytes_total=covered.bytes_total + size,
        bytes_read=covered.bytes_read + size,
    )


def _summary(records: Sequence[Initialization], where: str | None) -> dict[str, Any]:
    judged = [r for r in records if r.untrained is not None and r.rows is not None]
    return {
        "verdicts": dict(Counter(r.verdict for r in records).most_common()),
        "matrices": sum(r.rows is not None for r in records),
        "matrices_judged": len(judged),
        "matrices_trained": sum(not r.untrained for r in judged),
        "untrained": [show_plain(r.name) for r in judged if r.untrained],
        "where": where,
    }


def _signal(
    checkpoint: Checkpoint, done: Sequence[Found], where: str | None
) -> tuple[SignalPrediction, ...]:
    """What the sizes of all weights predict; nothing where only some were looked at."""
    if where is not None:
        return ()
    architecture, weights, norms = checkpoint.architecture, [], []
    for one in done:
        if one.record is None:
            continue
        if isinstance(one.item, Matrix):
            weights.append(_weight(one.item, one.record))
        elif one.record.role == "norm" and one.norm_square is not None:
            placement = architecture.placements[one.item.name]
            norms.append(
                Norm(
                    name=one.item.name,
                    stack=placement.stack,
                    layer=placement.layer,
                    kind=placement.kind,
                    square=one.norm_square,
                )
            )
    return predict_signal(weights, norms, architecture.family, text_config(checkpoint.config or {}))


def _weight(matrix: Matrix, record: Initialization) -> Weight:
    return Weight(
        name=matrix.name,
        stack=matrix.stack,
        layer=matrix.layer,
        role=matrix.role,
        rows=matrix.rows,
        columns=matrix.columns,
        square=record.std**2,
    )


def _findings(
    checkpoint: Checkpoint, done: Sequence[Found], where: str | None
) -> tuple[Finding, ...]:
    log = Log()
    records = [f.record for f in done if f.record is not None]
    tell_untrained(
        log,
        fresh={r.name: r.reason for r in records if r.untrained},
        # a table of positions that is no draw may be one of sinusoids, which nobody trained
        judged=sum(
            r.untrained is not None and r.rows is not None and (r.untrained or r.role != "position")
            for r in records
        ),
        zero_biases=frozenset(r.name for r in records if r.kind == "bias" and r.scheme == "zeros"),
        whole=where is None,
    )
    padding = text_config(checkpoint.config or {}).get("pad_token_id")
    for one in done:
        if isinstance(one.item, Matrix) and one.table is not None:
            tell_rows(log, one.item.name, one.table, one.item.rows, padding)
        tell_symmetry(log, one.item.name, one.identical, one.heads)
    return log.findings
