"""Which initialisation scheme each tensor looks like, and what was never trained."""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from inspector.engine import Progress, no_progress, ordered_map
from inspector.errors import CheckpointError, NotEnoughData
from inspector.results import Coverage, Finding, Records, Skipped, show_plain
from inspector.weights import draws, matrices, rows
from inspector.weights.architecture import Placement
from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.draws import Draw
from inspector.weights.formats import FORMATS
from inspector.weights.header import TensorEntry
from inspector.weights.judging import Verdict, judge, judge_vector
from inspector.weights.matrices import Matrix
from inspector.weights.problems import Log
from inspector.weights.rows import Groups, TableRows
from inspector.weights.scan import read_values
from inspector.weights.schemes import NORM_LESS_ONE, Setting, setting_of
from inspector.weights.signal import Norm, SignalPrediction, Weight, predict_signal
from inspector.weights.sizes import text_config
from inspector.weights.untrained import tell_rows, tell_symmetry, tell_untrained

TABLES = ("embedding", "unembedding", "position", "token_type")
VECTORS = ("norm", "bias", "weight", "other")
Item = Matrix | TensorEntry
QUANTISED = "its values were rounded to few levels: how they were drawn can no longer be told"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Initialization:
    """Which scheme one tensor, or one matrix in it, looks like.

    `verdict` is "trained", the name of a scheme, "tie" (several coincide: `ties`, best first) or
    "not enough data". `scheme` is the best that fits, None where none does. `ks` is the largest gap
    between the cumulative shares of `n` values and of the nearest shape, `ks_noise` what a fresh
    sample of that size exceeds once in 1000 draws. `scale_ratio`: measured over expected standard
    deviation (1: as drawn; None where the scheme has no scale of its own). `spikes` counts singular
    values beyond those of noise and `noise_spectrum` says whether all look like noise; None where
    the values already tell. `std` is the root mean square: schemes have mean 0. `forward_gain` and
    `backward_gain` are inputs and outputs times std²: the factor on the variance of a signal of
    random values. `untrained`: cannot be told from a fresh draw; None where that cannot be said,
    as of vectors.
    """

    name: str
    layer: int | None
    role: str
    kind: str
    rows: int | None
    columns: int | None
    verdict: str
    scheme: str | None
    ties: tuple[str, ...]
    n: int | None
    ks: float | None
    ks_noise: float | None
    scale_ratio: float | None
    spikes: int | None
    noise_spectrum: bool | None
    std: float
    forward_gain: float | None
    backward_gain: float | None
    untrained: bool | None
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Found:
    """What reading one matrix or vector gave; `skipped` where it could not be judged."""

    item: Item
    record: Initialization | None = None
    skipped: str | None = None
    table: TableRows | None = None
    identical: Groups = ()
    heads: Groups = ()
    norm_square: float | None = None


def initialization(
    checkpoint: Checkpoint,
    where: str | None = None,
    progress: Progress = no_progress,
    workers: int | None = None,
) -> Records[Initialization]:
    """Which scheme each tensor `where` finds was drawn by, or that it was trained.

    `summary` has counts of verdicts, how many matrices are trained, and the predicted gain of the
    signal's variance per layer. `progress` counts matrices and vectors.
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
    done: list[_Found] = []
    with checkpoint.reader() as reader, matrices.one_blas_thread():
        work = _Judge(checkpoint, found, reader)
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


class _Judge:
    """Reads and judges one matrix or vector; used by many threads."""

    def __init__(self, checkpoint: Checkpoint, found: Sequence[Matrix], reader: Reader) -> None:
        self._reader = reader
        self._architecture = checkpoint.architecture
        self._less_one = self._architecture.family in NORM_LESS_ONE
        self._setting = setting_of(checkpoint.config)
        self._inputs = {matrix.entry.name: matrix.columns for matrix in found}
        self._outputs: Counter[tuple[str, int | None]] = Counter()
        for matrix in found:
            self._outputs[matrix.entry.name, matrix.stacked] += matrix.rows

    def __call__(self, item: Item) -> _Found:
        try:
            if isinstance(item, Matrix):
                return self._matrix(item)
            return self._vector(item)
        except (CheckpointError, NotEnoughData) as error:
            return _Found(item=item, skipped=str(error))

    def _matrix(self, matrix: Matrix) -> _Found:
        draw = self._draw(matrix, None)
        if not draw.finite:
            raise NotEnoughData("it holds NaN or infinite values, or its squares overflow")
        std, keep, table = draw.rms, None, None
        identical: Groups = ()
        heads: Groups = ()
        if matrix.role in TABLES or matrix.kind == "embedding":
            table = rows.table_rows(matrix, self._reader, draw.row_energy)
            kept = table.ordinary(matrix.rows)
            if not kept.all() and not draw.constant:
                keep, draw = kept, self._draw(matrix, kept)
        else:
            identical = rows.identical_rows(matrix, self._reader, draw.row_energy)
            heads = self._heads(matrix, draw, identical)
        verdict = judge(
            draw,
            rounding=_rounding(matrix.entry),
            setting=self._setting_of(matrix),
            spectrum=lambda: self._spectrum(matrix, keep),
        )
        return _Found(
            item=matrix,
            record=_of_matrix(matrix, verdict, std),
            table=table,
            identical=identical,
            heads=heads,
        )

    def _draw(self, matrix: Matrix, keep: np.ndarray | None) -> Draw:
        kept = matrix.rows if keep is None else int(keep.sum())
        return draws.read_draw(
            draws.kept_blocks(matrix, self._reader, keep),
            kept * matrix.columns,
            along_rows=matrix.rows >= matrix.columns,
        )

    def _spectrum(self, matrix: Matrix, keep: np.ndarray | None) -> Float[np.ndarray, " rank"]:
        kept = matrix.rows if keep is None else int(keep.sum())
        across = matrix.columns if matrix.rows >= matrix.columns else kept
        return draws.spectrum_of(draws.kept_blocks(matrix, self._reader, keep), across)

    def _heads(self, matrix: Matrix, draw: Draw, identical: Groups) -> Groups:
        if matrix.heads is None or matrix.heads < 2:
            return ()
        if matrix.role != "o":
            return rows.identical_heads(identical, draw.row_energy, matrix.heads)
        columns = rows.identical_rows(matrix, self._reader, draw.column_energy, columns=True)
        return rows.identical_heads(columns, draw.column_energy, matrix.heads)

    def _setting_of(self, matrix: Matrix) -> Setting:
        return dataclasses.replace(
            self._setting,
            inputs=matrix.columns,
            outputs=matrix.rows,
            fused_outputs=self._outputs[matrix.entry.name, matrix.stacked],
        )

    def _vector(self, entry: TensorEntry) -> _Found:
        placement = self._architecture.placements[entry.name]
        values = read_values(entry, self._reader, 0, entry.parameters)
        if not np.isfinite(values).all():
            raise NotEnoughData("it holds NaN or infinite values")
        owner = f"{entry.name.removesuffix('bias')}weight"
        verdict = judge_vector(
            values,
            kind=placement.kind,
            inputs=self._inputs.get(owner),
            rounding=_rounding(entry),
            less_one=self._less_one,
        )
        std = math.sqrt(float(np.square(values).mean()))
        less_one = placement.kind == "norm" and self._less_one
        return _Found(
            item=entry,
            record=_of_vector(entry, placement, verdict, std),
            norm_square=float(np.square(values + less_one).mean()),
        )


def _rounding(entry: TensorEntry) -> float:
    """Spacing of the stored dtype, relative to a value, at most."""
    return 2.0 ** -FORMATS[entry.dtype].mantissa


def _of_matrix(matrix: Matrix, verdict: Verdict, std: float) -> Initialization:
    is_table = matrix.kind == "embedding"
    return Initialization(
        name=matrix.name,
        layer=matrix.layer,
        role=matrix.role,
        kind=matrix.kind,
        rows=matrix.rows,
        columns=matrix.columns,
        std=std,
        forward_gain=None if is_table else matrix.columns * std**2,
        backward_gain=None if is_table else matrix.rows * std**2,
        **_fields(verdict),
    )


def _of_vector(
    entry: TensorEntry, placement: Placement, verdict: Verdict, std: float
) -> Initialization:
    return Initialization(
        name=entry.name,
        layer=placement.layer,
        role=placement.role,
        kind=placement.kind,
        rows=None,
        columns=None,
        std=std,
        forward_gain=None,
        backward_gain=None,
        **_fields(verdict),
    )


def _fields(verdict: Verdict) -> dict[str, Any]:
    return {field.name: getattr(verdict, field.name) for field in dataclasses.fields(verdict)}


def _result(
    checkpoint: Checkpoint, done: Sequence[_Found], skipped: Sequence[Skipped], where: str | None
) -> Records[Initialization]:
    failed = [Skipped(name=show_plain(f.item.name), reason=f.skipped) for f in done if f.skipped]
    records = tuple(f.record for f in done if f.record is not None)
    return Records(
        command="init",
        record_type=Initialization,
        source=checkpoint.source(),
        coverage=_coverage(checkpoint, done, [*skipped, *failed]),
        summary={**_summary(records, where), "signal": _signal(checkpoint, done, where)},
        records=records,
        findings=(
            *checkpoint.findings,
            *checkpoint.architecture.findings,
            *_findings(checkpoint, done, where),
        ),
    )


def _coverage(
    checkpoint: Checkpoint, done: Sequence[_Found], skipped: Sequence[Skipped]
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
    checkpoint: Checkpoint, done: Sequence[_Found], where: str | None
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
    checkpoint: Checkpoint, done: Sequence[_Found], where: str | None
) -> tuple[Finding, ...]:
    log = Log()
    records = [f.record for f in done if f.record is not None]
    tell_untrained(
        log,
        fresh={r.name: r.reason for r in records if r.untrained},
        judged=sum(r.untrained is not None and r.rows is not None for r in records),
        zero_biases=frozenset(r.name for r in records if r.kind == "bias" and r.scheme == "zeros"),
        whole=where is None,
    )
    padding = text_config(checkpoint.config or {}).get("pad_token_id")
    for one in done:
        if isinstance(one.item, Matrix) and one.table is not None:
            tell_rows(log, one.item.name, one.table, one.item.rows, padding)
        tell_symmetry(log, one.item.name, one.identical, one.heads)
    return log.findings
