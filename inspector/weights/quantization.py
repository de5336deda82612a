"""What rounding every matrix to each number format would do, beside what it does to a Gaussian.

Round to nearest only: methods that look at data (GPTQ, AWQ) do better, none does it for free. What
a format costs in accuracy is not here: for that the quantised model must be run on a task.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import numpy as np

from inspector.engine import Progress, no_progress, ordered_map
from inspector.errors import BadOption, CheckpointError
from inspector.results import Records, Skipped, show_plain
from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.grid_noise import noise_energy
from inspector.weights.grids import GRIDS, Grid, Rounded, decibels, round_to
from inspector.weights.lattice import Lattice, find_lattice
from inspector.weights.matrices import Matrix, ahead, coverage, load, matrices, not_finite
from inspector.weights.packed import find_packed, findings_on
from inspector.weights.problems import Log
from inspector.weights.quantization_summary import summary

ONE_BIT = 20 * math.log10(2)  # dB that a bit more or less of an integer format makes: 6.02


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedMatrix:
    """The error of rounding one matrix to one format, exact; `*_noise`: of a Gaussian of its shape.

    `group` is how many neighbouring inputs share a scale (None: a row, the tensor or nothing does);
    `last_group` the size of a row's last group where it is shorter. `bits_per_weight` counts
    scales and zero points. `relative_error` is ||W - Q(W)|| / ||W||; `sqnr_db` its square in dB,
    the higher the better (None: the error is exactly zero). `db_lost` is sqnr_noise_db - sqnr_db:
    what the shape of the distribution costs, 0 for a Gaussian, above it mostly outliers.
    `max_error` is the largest |w - Q(w)| and stands at (max_error_row, max_error_column).
    `clipped` counts values beyond the format's range, which saturate.
    """

    name: str
    layer: int | None
    role: str
    format: str
    rows: int
    columns: int
    group: int | None
    last_group: int | None
    bits_per_weight: float
    relative_error: float
    sqnr_db: float | None
    sqnr_noise_db: float | None
    db_lost: float | None
    max_error: float
    max_error_row: int
    max_error_column: int
    clipped: int


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Measured:
    matrix: Matrix
    records: tuple[QuantizedMatrix, ...] = ()
    energy: float = 0.0
    lattice: Lattice | None = None
    skipped: str | None = None
    finding: str | None = None


def quantize(
    checkpoint: Checkpoint,
    where: str | None = None,
    formats: Sequence[str] | None = None,
    progress: Progress = no_progress,
    workers: int | None = None,
) -> Records[QuantizedMatrix]:
    """Rounding errors of all matrices of the tensors `where` finds, in every format of GRIDS.

    `formats` names fewer of them; an unknown one raises BadOption. One record per matrix and
    format. Nothing is written: the checkpoint stays as it is. Progress counts matrices.
    """
    grids = _chosen(formats)
    found, skipped = matrices(checkpoint, where)
    kept: list[_Measured] = []
    log = Log()
    with checkpoint.reader(ahead(found)) as reader:
        work = _Measure(reader, grids)
        for done, result in enumerate(ordered_map(work, found, workers), 1):
            name = show_plain(result.matrix.name)
            if result.skipped is not None:
                skipped.append(Skipped(name=name, reason=result.skipped))
                if result.finding is not None:
                    log.add(result.finding, name, f"not measured: {result.skipped}")
            else:
                kept.append(result)
            progress(done, len(found), show_plain(result.matrix.name, 60))
    records = [record for one in kept for record in one.records]
    asked = {m.entry.name for m in found} | {s.name for s in skipped}
    packed = {n: p for n, p in find_packed(checkpoint).items() if {n, show_plain(n)} & asked}
    lattices = [(one.matrix, one.lattice) for one in kept if one.lattice is not None]
    for changed in checkpoint.changed():
        log.add("WT-CHANGED", show_plain(changed), "the file changed while it was read")
    _tell(log, records, lattices)
    return Records(
        command="quantize",
        record_type=QuantizedMatrix,
        source=dataclasses.replace(checkpoint.source(), seed=0),
        coverage=coverage(checkpoint, [one.matrix for one in kept], skipped),
        summary={
            **summary(records, {one.matrix.name: one.energy for one in kept}),
            "lattices": [
                {"name": matrix.name, **dataclasses.asdict(lattice)} for matrix, lattice in lattices
            ],
            "stored_as": sorted({one.scheme for one in packed.values() if one.problem is None}),
            "where": where,
        },
        records=tuple(records),
        findings=(*findings_on(checkpoint), *log.findings),
    )


def _chosen(formats: Sequence[str] | None) -> list[Grid]:
    unknown = [name for name in formats or () if name not in GRIDS]
    if unknown:
        raise BadOption(f"{show_plain(unknown[0])} is no format; known: {', '.join(GRIDS)}.")
    return [GRIDS[name] for name in dict.fromkeys(formats or GRIDS)]


class _Measure:
    """What a thread does with a matrix."""

    def __init__(self, reader: Reader, grids: Sequence[Grid]) -> None:
        self._reader, self._grids = reader, grids

    def __call__(self, matrix: Matrix) -> _Measured:
        try:
            loaded = load(matrix, self._reader)
        except CheckpointError as error:
            return _Measured(matrix=matrix, skipped=str(error))
        if (broken := not_finite(loaded)) is not None:
            return _Measured(matrix=matrix, skipped=broken[1], finding=broken[0])
        with np.errstate(over="ignore"):
            values = np.ascontiguousarray(loaded, dtype=np.float32)
        if not np.isfinite(values).all():
            why = "some of its values are beyond the range of float32"
            return _Measured(matrix=matrix, skipped=why, finding="WT-RANGE")
        energy = float(np.einsum("ij,ij->", values, values, dtype=np.float64))
        if energy == 0.0:
            return _Measured(matrix=matrix, skipped="all zero: no signal to compare an error with")
        return _Measured(
            matrix=matrix,
            records=tuple(_record(matrix, g, round_to(g, values), energy) for g in self._grids),
            energy=energy,
            lattice=find_lattice(values) if matrix.packed is None else None,
        )


def _record(matrix: Matrix, grid: Grid, rounded: Rounded, energy: float) -> QuantizedMatrix:
    rows, columns = matrix.rows, matrix.columns
    rms = math.sqrt(energy / (rows * columns))
    sqnr = decibels(rounded.energy, energy)
    noise = decibels(noise_energy(grid, rows, columns, rms), 1.0)
    return QuantizedMatrix(
        name=matrix.name,
        layer=matrix.layer,
        role=matrix.role,
        format=grid.name,
        rows=rows,
        columns=columns,
        group=grid.group,
        last_group=(columns % grid.group or None) if grid.group else None,
        bits_per_weight=grid.bits_per_weight(rows, columns),
        relative_error=math.sqrt(rounded.energy / energy),
        sqnr_db=sqnr,
        sqnr_noise_db=noise,
        db_lost=noise - sqnr if sqnr is not None and noise is not None else None,
        max_error=rounded.worst,
        max_error_row=rounded.row,
        max_error_column=rounded.column,
        clipped=rounded.clipped,
    )


def _tell(
    log: Log,
    records: Iterable[QuantizedMatrix],
    lattices: Iterable[tuple[Matrix, Lattice]],
) -> None:
    """Findings: outliers that cost a bit, values out of range, errors of zero, lattices."""
    costly: dict[str, list[QuantizedMatrix]] = {}
    exact: dict[str, list[str]] = {}
    for record in records:
        if record.db_lost is not None and record.db_lost >= ONE_BIT:
            costly.setdefault(record.name, []).append(record)
        if record.relative_error == 0.0:
            exact.setdefault(record.format, []).append(record.name)
        if record.clipped and record.format == "fp16":
            told = f"{record.clipped:,} values are beyond what fp16 holds"
            log.add("QT-RANGE", show_plain(record.name), told, count=record.clipped)
    for name, several in costly.items():
        worst = max(several, key=lambda r: r.db_lost or 0.0)
        told = (
            f"{worst.format} loses {worst.db_lost:.1f} dB more than on a Gaussian; "
            f"a bit or more is lost in {', '.join(r.format for r in several)}"
        )
        lost = {r.format: r.db_lost for r in several}
        log.add("QT-OUTLIERS", show_plain(name), told, db_lost=lost)
    for format, names in exact.items():
        told = (
            f"{len(names)} matrices, the first {show_plain(names[0])}, hold numbers of {format} "
            "only: rounding to it changes nothing"
        )
        log.add("QT-EXACT", "checkpoint", told, format=format, matrices=len(names))
    for matrix, lattice in lattices:
        told = f"{told_of(lattice)}, stored as {matrix.entry.dtype}"
        log.add("QT-LATTICE", show_plain(matrix.name), told, **dataclasses.asdict(lattice))


def told_of(lattice: Lattice) -> str:
    """A lattice in words."""
    if lattice.mantissa is not None:
        return f"floats of {lattice.bits} bits: {lattice.mantissa} bits behind the leading one"
    where = {"row": "each row", "tensor": "the tensor"}.get(
        lattice.span, f"each group of {lattice.group} inputs"
    )
    return f"{lattice.bits}-bit values: at most {lattice.levels} different ones in {where}"
