"""One record per matrix: which outputs and inputs do nothing, repeat another or are saturated."""

import dataclasses
from typing import Any

import numpy as np

from inspector.errors import CheckpointError, NotEnoughData
from inspector.results import Skipped, show_plain
from inspector.weights import extremes, twins, units
from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.directions import Rows, inspect_rows
from inspector.weights.extremes import Extreme
from inspector.weights.matrices import Matrix, load
from inspector.weights.units import Axes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Neurons:
    """Outputs (rows, `_out`) and inputs (columns, `_in`) of one matrix; of a table words and width.

    Counts: `dead` is zero, or below 1e-6 of the median length; `constant` one number throughout,
    not zero; `duplicates`, `anti_parallel` and `scaled` point the way of an earlier one (|cosine|
    at least `cosine_out` or `cosine_in`) with the same length, the opposite sign, another length;
    None where too many are nearly parallel to try all pairs, and of fewer than 8 numbers each,
    which rounding makes equal by chance.
    `saturating`: outputs whose bias exceeds 4 times the length of their row, before an activation;
    None without bias or activation. `extreme_*` is the weight farthest from the mean, in standard
    deviations `extreme_z`; normal numbers reach `extreme_z_noise`. Ideal for all counts: 0.
    """

    name: str
    layer: int | None
    role: str
    kind: str
    stack: str | None
    expert: int | None
    rows: int
    columns: int
    dead_out: int
    dead_in: int
    constant_out: int
    constant_in: int
    duplicates_out: int | None
    duplicates_in: int | None
    anti_parallel_out: int | None
    anti_parallel_in: int | None
    scaled_out: int | None
    scaled_in: int | None
    cosine_out: float
    cosine_in: float
    saturating: int | None
    extreme_value: float | None
    extreme_row: int | None
    extreme_column: int | None
    extreme_z: float | None
    extreme_z_noise: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parallel:
    """One output or input (`axis` "out" or "in") that points the way of an earlier one, `like`."""

    name: str
    layer: int | None
    role: str
    axis: str
    number: int
    like: int
    relation: str
    cosine: float
    ratio: float
    exact: bool


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """A matrix with all that is kept of it once its values are let go."""

    matrix: Matrix
    record: Neurons
    axes: Axes
    extremes: tuple[Extreme, ...]
    sketch: twins.Sketch


class Measure:
    """What a thread does with a matrix."""

    def __init__(self, checkpoint: Checkpoint, reader: Reader, activated: set[str]) -> None:
        self._checkpoint, self._reader, self._activated = checkpoint, reader, activated

    def __call__(self, matrix: Matrix) -> Measured | Skipped:
        """The matrix measured, or why it cannot be."""
        try:
            values = load(matrix, self._reader)
            bias = units.bias_of(self._checkpoint, matrix, self._reader)
            return self._measure(matrix, values, bias)
        except (CheckpointError, NotEnoughData) as error:
            return Skipped(name=show_plain(matrix.name), reason=str(error))

    def _measure(self, matrix: Matrix, values: np.ndarray, bias: np.ndarray | None) -> Measured:
        out, into = inspect_rows(values), inspect_rows(values.T)
        far = extremes.extremes(matrix, values, out.lengths, into.lengths)
        saturating = None
        if bias is not None and matrix.name in self._activated:
            sizes = np.where(out.dead, 0.0, units.saturation(out.lengths, bias))
            saturating = int(np.count_nonzero(np.abs(sizes) > units.SATURATED))
        record = Neurons(
            name=matrix.name,
            layer=matrix.layer,
            role=matrix.role,
            kind=matrix.kind,
            stack=matrix.stack,
            expert=matrix.expert,
            rows=matrix.rows,
            columns=matrix.columns,
            **_counts("out", out),
            **_counts("in", into),
            saturating=saturating,
            extreme_value=far[0].value if far else None,
            extreme_row=far[0].row if far else None,
            extreme_column=far[0].column if far else None,
            extreme_z=far[0].z if far else None,
            extreme_z_noise=far[0].z_noise if far else None,
        )
        axes = Axes(out=out, into=into, bias=bias)
        return Measured(
            matrix=matrix, record=record, axes=axes, extremes=far, sketch=twins.sketch(values)
        )


def _counts(axis: str, rows: Rows) -> dict[str, Any]:
    relations = None if rows.alike is None else [one.relation for one in rows.alike]
    return {
        f"dead_{axis}": int(np.count_nonzero(rows.dead)),
        f"constant_{axis}": int(np.count_nonzero(rows.constant)),
        **{
            f"{field}_{axis}": None if relations is None else relations.count(relation)
            for field, relation in (
                ("duplicates", "duplicate"),
                ("anti_parallel", "anti-parallel"),
                ("scaled", "scaled"),
            )
        },
        f"cosine_{axis}": 1 - rows.tolerance,
    }


def parallel(one: Measured) -> list[Parallel]:
    """Outputs, then inputs, of a matrix that point the way of an earlier one."""
    return [
        Parallel(
            name=one.matrix.name,
            layer=one.matrix.layer,
            role=one.matrix.role,
            axis=axis,
            number=alike.row,
            like=alike.like,
            relation=alike.relation,
            cosine=alike.cosine,
            ratio=alike.ratio,
            exact=alike.exact,
        )
        for axis, rows in (("out", one.axes.out), ("in", one.axes.into))
        for alike in rows.alike or ()
    ]
