"""What magnitude pruning would take from every matrix, beside what it takes from a Gaussian.

All of it is about the energy ||W||^2 that removed weights hold; the relative error of the matrix
is the square root of the fraction lost. What a sparsity costs in accuracy is not here: for that the
pruned model must be run on a task.
"""

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float

from inspector.engine import Progress, no_progress, ordered_map
from inspector.errors import CheckpointError
from inspector.results import Records, Skipped, show_plain
from inspector.weights import gaussian
from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.curves import GRID, LOST, Groups
from inspector.weights.gains import Gain, Gains, row_losses
from inspector.weights.magnitudes import Magnitudes, magnitudes, refined
from inspector.weights.matrices import Matrix, ahead, coverage, load, matrices, not_finite
from inspector.weights.packed import findings_on
from inspector.weights.problems import Log
from inspector.weights.sparsity import Pattern, kept_by_chance, pattern, zero_structure
from inspector.weights.tally import LEAST_SQUARE

SPARSITIES = (0.1, 0.25, 0.5, 0.7, 0.9)
NEARLY = 0.99  # of the groups follow an N:M pattern: the others are a defect, unless chance
FEWEST, FACTOR = 10, 10  # would let break it fewer than this, or than this many times as many


@dataclasses.dataclass(frozen=True, kw_only=True)
class PrunedMatrix:
    """What pruning takes from one matrix, exact; `*_noise`: from a Gaussian, `*_random`: by chance.

    energy_10 ... energy_90: fraction of ||W||^2 lost when the smallest 10 ... 90 % of the weights
    go (its square root is the relative error); threshold_50 and threshold_90: the largest |w| that
    goes (Gaussian: of the same rms); sparsity_1pct: the sparsity that loses one per cent. Ties,
    and fractions of a weight, go in proportion.

    nm_2_4: each group of 4 columns (the inputs) has at most 2 non-zeros; kept_2_4 is the fraction
    of groups of which that is true, (row, column) where the first other one begins, cost_2_4 the
    energy that pruning to the pattern takes. The same for 4:8. A row's last group is filled up
    with zeros.

    zero_rows, zero_columns, zero_blocks (16 x 16): how many hold zeros only; `*_random` expected
    where as many zeros lie anywhere.

    `norm` feeds the matrix (else `no_norm` says why none is known); with its gains |W| |gain| is
    what Wanda (arXiv 2306.11695) would order by, were the normalised inputs alike. Half of each row
    goes: energy_50_rows of ||W||^2 in order of |W|, energy_50_proxy in order of the proxy;
    output_50_rows and output_50_proxy the same of the energy weighted with squared gains, which
    the outputs lose.

    Everything about energy is None where all weights are zero. Source of the Gaussian numbers:
    inspector.weights.gaussian.
    """

    name: str
    layer: int | None
    role: str
    rows: int
    columns: int
    rms: float
    zeros: int
    zero_fraction: float
    energy_10: float | None
    energy_10_noise: float
    energy_25: float | None
    energy_25_noise: float
    energy_50: float | None
    energy_50_noise: float
    energy_70: float | None
    energy_70_noise: float
    energy_90: float | None
    energy_90_noise: float
    threshold_50: float
    threshold_50_noise: float
    threshold_90: float
    threshold_90_noise: float
    sparsity_1pct: float | None
    sparsity_1pct_noise: float
    nm_2_4: bool
    kept_2_4: float
    kept_2_4_random: float
    row_2_4: int | None
    column_2_4: int | None
    cost_2_4: float | None
    cost_2_4_noise: float
    nm_4_8: bool
    kept_4_8: float
    kept_4_8_random: float
    row_4_8: int | None
    column_4_8: int | None
    cost_4_8: float | None
    cost_4_8_noise: float
    zero_rows: int
    zero_rows_random: float
    zero_columns: int
    zero_columns_random: float
    zero_blocks: int
    zero_blocks_random: float
    norm: str | None
    no_norm: str | None
    energy_50_rows: float | None
    energy_50_proxy: float | None
    output_50_rows: float | None
    output_50_proxy: float | None


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Measured:
    """One matrix: its record and what its groups need, or why it has none."""

    matrix: Matrix
    record: PrunedMatrix | None = None
    found: Magnitudes | None = None
    at_grid: Float[np.ndarray, " points"] | None = None
    error: str | None = None
    finding: str = "WT-UNREAD"


def prune(
    checkpoint: Checkpoint,
    where: str | None = None,
    progress: Progress = no_progress,
    workers: int | None = None,
) -> Records[PrunedMatrix]:
    """What magnitude pruning would take from every matrix whose tensor `where` finds (None: all).

    Nothing is changed or written. `summary` has `sparsities` (a grid), `noise` (a Gaussian's loss
    at each), and `groups`: for the model, its blocks, each layer and each role the loss with one
    global threshold and with the same sparsity in each matrix (GroupCurve). `progress` is called
    with matrices. A matrix that cannot be measured is named in the coverage.
    """
    chosen, skipped = matrices(checkpoint, where)
    records: list[PrunedMatrix] = []
    measured: list[Matrix] = []
    groups, log, gains = Groups(), Log(), Gains(checkpoint)
    with checkpoint.reader(ahead(chosen)) as reader:

        def measure(matrix: Matrix) -> _Measured:
            return _measure(matrix, reader, gains)

        for done, one in enumerate(ordered_map(measure, chosen, workers), 1):
            matrix, record = one.matrix, one.record
            name = show_plain(matrix.name)
            if record is None or one.found is None or one.at_grid is None:
                skipped.append(Skipped(name=name, reason=one.error or ""))
                log.add(one.finding, name, f"not measured: {one.error}")
            else:
                records.append(record)
                measured.append(matrix)
                block = (matrix.stack, matrix.layer) if matrix.layer is not None else (None, None)
                groups.add(block, matrix.role, one.found, record.zeros, one.at_grid)
                _tell(record, log)
            progress(done, len(chosen), show_plain(matrix.name, 60))
    for name in checkpoint.changed():
        log.add("WT-CHANGED", show_plain(name), "the file changed while it was read")
    return Records(
        command="prune",
        record_type=PrunedMatrix,
        source=checkpoint.source(),
        coverage=coverage(checkpoint, measured, skipped),
        summary={
            "where": where,
            "sparsities": GRID,
            "noise": gaussian.energy_lost(np.array(GRID)).tolist(),
            "groups": groups.curves(),
        },
        records=tuple(records),
        findings=(*findings_on(checkpoint), *log.findings),
    )


def _measure(matrix: Matrix, reader: Reader, gains: Gains) -> _Measured:
    try:
        values = np.ascontiguousarray(load(matrix, reader))
    except CheckpointError as error:
        return _Measured(matrix=matrix, error=str(error))
    if (broken := not_finite(values)) is not None:
        id, why = broken
        return _Measured(matrix=matrix, error=why, finding=id)
    found = magnitudes(values)
    zeros = values.size - int(np.count_nonzero(values))
    if zeros < values.size and not LEAST_SQUARE < found.total < np.inf:
        why = "its squares leave the range of 64-bit floats"
        return _Measured(matrix=matrix, error=why, finding="WT-RANGE")
    exact = refined(found, values, (*SPARSITIES, *GRID), (LOST,))
    gain = gains.before(matrix, reader)
    return _Measured(
        matrix=matrix,
        record=_record(matrix, values, exact, zeros, gain),
        found=found,
        at_grid=exact.energy_lost(GRID) * exact.total if exact.total else np.zeros(len(GRID)),
    )


def _record(
    matrix: Matrix,
    values: Float[np.ndarray, "rows columns"],
    found: Magnitudes,
    zeros: int,
    gain: Gain | str,
) -> PrunedMatrix:
    total = found.total
    rms = float(np.sqrt(total / found.n))
    lost = found.energy_lost(SPARSITIES).tolist() if total else [None] * len(SPARSITIES)
    noise = gaussian.energy_lost(np.array(SPARSITIES))
    energies: dict[str, Any] = {}
    for sparsity, mine, reference in zip(SPARSITIES, lost, noise.tolist(), strict=True):
        field = f"energy_{sparsity * 100:.0f}"
        energies |= {field: mine, f"{field}_noise": reference}
    half, most = found.thresholds((0.5, 0.9)).tolist()
    half_noise, most_noise = (gaussian.threshold_of(np.array([0.5, 0.9])) * rms).tolist()
    return PrunedMatrix(
        name=matrix.name,
        layer=matrix.layer,
        role=matrix.role,
        rows=matrix.rows,
        columns=matrix.columns,
        rms=rms,
        zeros=zeros,
        zero_fraction=zeros / found.n,
        **energies,
        threshold_50=half,
        threshold_50_noise=half_noise,
        threshold_90=most,
        threshold_90_noise=most_noise,
        sparsity_1pct=found.sparsity_losing(LOST) if total else None,
        sparsity_1pct_noise=gaussian.sparsity_losing(LOST),
        **_pattern_fields(values, zeros, total, 2, 4),
        **_pattern_fields(values, zeros, total, 4, 8),
        **_zero_fields(values, zeros),
        **_gain_fields(values, total, gain),
    )


def _pattern_fields(
    values: Float[np.ndarray, "rows columns"], zeros: int, total: float, keep: int, group: int
) -> dict[str, Any]:
    found: Pattern = pattern(values, keep, group)
    row, column = found.violation or (None, None)
    by_chance = kept_by_chance(len(values), values.shape[1], zeros, keep, group)
    label = f"{keep}_{group}"
    return {
        f"nm_{label}": found.violation is None,
        f"kept_{label}": found.kept / found.groups,
        f"kept_{label}_random": by_chance / found.groups,
        f"row_{label}": row,
        f"column_{label}": column,
        f"cost_{label}": found.energy / total if total else None,
        f"cost_{label}_noise": gaussian.pattern_cost(keep, group),
    }


def _zero_fields(values: Float[np.ndarray, "rows columns"], zeros: int) -> dict[str, Any]:
    found = dataclasses.asdict(zero_structure(values == 0)) if zeros else {}
    return {
        f"zero_{field}{ending}": found.get(f"{field}{ending}", nothing)
        for field in ("rows", "columns", "blocks")
        for ending, nothing in (("", 0), ("_random", 0.0))
    }


def _gain_fields(
    values: Float[np.ndarray, "rows columns"], total: float, gain: Gain | str
) -> dict[str, Any]:
    losses = ("energy_50_rows", "energy_50_proxy", "output_50_rows", "output_50_proxy")
    if isinstance(gain, str):
        return {"norm": None, "no_norm": gain, **dict.fromkeys(losses)}
    found = row_losses(values, gain.values) if total else (None,) * 4
    return {"norm": gain.name, "no_norm": None, **dict(zip(losses, found, strict=True))}


def _tell(record: PrunedMatrix, log: Log) -> None:
    """What a reader of the record must know."""
    name = show_plain(record.name)
    if record.energy_50 is None:
        log.add("PR-NOENERGY", name, "all its weights are zero: there is no energy to lose")
        return
    for label in ("2_4", "4_8"):
        fits, kept, random, row, column = (
            getattr(record, field)
            for field in (f"nm_{label}", f"kept_{label}", f"kept_{label}_random", f"row_{label}")
            + (f"column_{label}",)
        )
        groups = record.rows * -(-record.columns // int(label[-1]))
        broken, expected = (round(groups * (1 - share)) for share in (kept, random))
        if expected < FEWEST or expected < FACTOR * broken:
            continue
        shown = label.replace("_", ":")
        if fits:
            log.add("PR-NM", name, f"all its {groups:,} groups follow the {shown} pattern")
        elif kept >= NEARLY:
            told = f"{broken:,} of {groups:,} groups break {shown}, the first at [{row}, {column}]"
            log.add("PR-NM-BROKEN", name, told, broken=broken, groups=groups, first=[row, column])
        return  # what follows 2:4 follows 4:8 too
