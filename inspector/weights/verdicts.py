"""Reads one tensor at a time and gives its record of initialisation."""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from inspector.errors import CheckpointError, NotEnoughData
from inspector.weights import draws, rows
from inspector.weights.architecture import Placement
from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.draws import Draw
from inspector.weights.formats import FORMATS
from inspector.weights.header import TensorEntry
from inspector.weights.judging import TRAINED, Verdict, judge, judge_orthogonal, judge_vector
from inspector.weights.matrices import Matrix
from inspector.weights.rows import Groups, TableRows
from inspector.weights.scan import read_values
from inspector.weights.schemes import Setting, setting_of
from inspector.weights.sizes import stored_less_one

TABLES = ("embedding", "unembedding", "position", "token_type")
Item = Matrix | TensorEntry


@dataclasses.dataclass(frozen=True, kw_only=True)
class Initialization:
    """Which scheme one tensor, or one matrix in it, looks like.

    `verdict` is "trained", the name of a scheme, "tie" (several coincide: `ties`, best first) or
    "not enough data". `scheme` is the best that fits, None where none does. `ks` is the largest gap
    between the cumulative shares of `n` values and of the nearest shape, `ks_noise` what a fresh
    sample of that size exceeds once in 5000 draws. `scale_ratio`: measured over expected standard
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
class Found:
    """What reading one matrix or vector gave; `skipped` where it could not be judged."""

    item: Item
    record: Initialization | None = None
    skipped: str | None = None
    table: TableRows | None = None
    identical: Groups = ()
    heads: Groups = ()
    norm_square: float | None = None


class Judge:
    """Reads and judges one matrix or vector; used by many threads."""

    def __init__(self, checkpoint: Checkpoint, found: Sequence[Matrix], reader: Reader) -> None:
        self._reader = reader
        self._architecture = checkpoint.architecture
        self._config = checkpoint.config
        self._setting = setting_of(checkpoint.config)
        self._inputs = {matrix.entry.name: matrix.columns for matrix in found}
        self._outputs: Counter[tuple[str, int | None]] = Counter()
        for matrix in found:
            self._outputs[matrix.entry.name, matrix.stacked] += matrix.rows

    def __call__(self, item: Item) -> Found:
        """The record of a matrix or vector, or why there is none."""
        try:
            if isinstance(item, Matrix):
                return self._matrix(item)
            return self._vector(item)
        except (CheckpointError, NotEnoughData) as error:
            return Found(item=item, skipped=str(error))

    def _matrix(self, matrix: Matrix) -> Found:
        draw = self._draw(matrix, None)
        if not draw.finite:
            raise NotEnoughData(
                "it holds NaN or infinite values, or powers of them leave the range of floats"
            )
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
        if matrix.part is not None and verdict.verdict == TRAINED:
            verdict = self._of_fused(matrix, verdict)
        return Found(
            item=matrix,
            record=_of_matrix(matrix, verdict, std),
            table=table,
            identical=identical,
            heads=heads,
        )

    def _of_fused(self, matrix: Matrix, verdict: Verdict) -> Verdict:
        """The verdict on a part that looks neither fresh nor drawn otherwise than its whole.

        Of an orthogonal draw of the fused tensor, no part is orthogonal by itself.
        """
        if verdict.ks is None or verdict.ks_noise is None or verdict.ks > verdict.ks_noise:
            return verdict
        rounding = _rounding(matrix.entry)
        outputs = self._outputs[matrix.entry.name, matrix.stacked]
        whole = dataclasses.replace(matrix, part=None, rows=outputs)
        told = judge_orthogonal(
            self._draw(whole, None), rounding, lambda: self._spectrum(whole, None)
        )
        return told or verdict

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

    def _vector(self, entry: TensorEntry) -> Found:
        placement = self._architecture.placements[entry.name]
        values = read_values(entry, self._reader, 0, entry.parameters)
        if not np.isfinite(values).all():
            raise NotEnoughData("it holds NaN or infinite values")
        owner = f"{entry.name.removesuffix('bias')}weight"
        family = self._architecture.family
        less_one = placement.kind == "norm" and stored_less_one(entry.name, self._config, family)
        verdict = judge_vector(
            values,
            kind=placement.kind,
            inputs=self._inputs.get(owner),
            rounding=_rounding(entry),
            less_one=less_one,
        )
        std = math.sqrt(float(np.square(values).mean()))
        return Found(
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
