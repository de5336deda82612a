"""The spectrum of every matrix, each number beside what noise of that exact shape would give."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from inspector.engine import Progress, no_progress, ordered_map
from inspector.errors import CheckpointError, NotEnoughData
from inspector.results import Records, Skipped, show_plain
from inspector.weights import noise, powerlaw, spectral
from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.matrices import (
    Matrix,
    ahead,
    blocks,
    coverage,
    head_view,
    load,
    matrices,
    one_blas_thread,
)
from inspector.weights.packed import findings_on
from inspector.weights.problems import Log
from inspector.weights.shape_noise import ShapeNoise, shape_noise

REPLICATES = 100  # bootstrap replicates of alpha
FEWEST = 16  # singular values below which nothing is said about noise
WELL_TRAINED = (2.0, 6.0)  # WeightWatcher's thresholds of alpha
NOISE = "indistinguishable from noise"
VERDICTS = (NOISE, "spikes above noise", "structured", "too small to tell", "all zero")
READINGS = ("noise", "no verdict: it crosses a threshold", "below 2", "2 to 6", "above 6")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MatrixSpectrum:
    """Spectrum of one matrix, part, expert or head; `*_noise`: what noise of that shape gives.

    None where too few singular values, or none, allow a number. `rank` counts singular values
    above rounding. `alpha_low` and `alpha_high` are the bootstrap interval, `alpha_drop_*` alpha
    without the largest eigenvalues, `alpha_noise_low` and `_high` the range over draws of noise.
    `snr` is the energy of the spikes over that of the rest. Norms are in units of the weights.
    """

    name: str
    layer: int | None
    role: str
    head: int | None
    rows: int
    columns: int
    rms: float
    spectral_norm: float
    spectral_norm_noise: float | None
    frobenius_norm: float
    rank: int
    condition: float | None
    stable_rank: float | None
    stable_rank_noise: float | None
    effective_rank: float | None
    effective_rank_noise: float | None
    effective_rank_energy: float | None
    effective_rank_energy_noise: float | None
    participation: float | None
    participation_noise: float | None
    alpha: float | None
    alpha_low: float | None
    alpha_high: float | None
    alpha_noise: float | None
    alpha_noise_low: float | None
    alpha_noise_high: float | None
    alpha_drop_1: float | None
    alpha_drop_2: float | None
    alpha_drop_5: float | None
    alpha_ks: float | None
    alpha_ks_noise: float | None
    alpha_xmin: float | None
    alpha_tail: int | None
    alpha_weighted: float | None
    log_alpha_norm: float | None
    alpha_reading: str | None
    noise_std: float | None
    mp_edge: float | None
    mp_threshold: float | None
    mp_spikes: int | None
    snr: float | None
    mp_distance: float | None
    mp_distance_noise: float | None
    verdict: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoleSpectrum:
    """The spectra of one role in a few numbers; medians over its matrices."""

    role: str
    matrices: int
    alpha: float | None
    alpha_noise: float | None
    stable_rank_share: float | None  # stable rank over the shorter side
    stable_rank_share_noise: float | None
    spikes: float | None
    verdicts: Mapping[str, int]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Spectra(Records[MatrixSpectrum]):
    """One record per matrix; `singular` holds all singular values by the record's name."""

    singular: Mapping[str, Float[np.ndarray, " rank"]]


def spectrum(
    checkpoint: Checkpoint,
    where: str | None = None,
    heads: bool = False,
    replicates: int = REPLICATES,
    device: str = "auto",
    progress: Progress = no_progress,
    workers: int | None = None,
) -> Spectra:
    """Spectra of all matrices of the tensors `where` finds, with `heads` also of each head's.

    With `replicates` 0 no intervals and no draws of noise are made: noise references are then the
    closed forms, and alpha has none. `device` is cpu, cuda or auto. Progress counts matrices.
    """
    found, skipped = matrices(checkpoint, where)
    found = sorted(found, key=lambda m: m.rows * m.columns, reverse=True)  # the last ones are short
    log = Log()
    on_gpu = spectral.use_gpu(device)
    measured: dict[str, tuple[Matrix, list[tuple[MatrixSpectrum, np.ndarray]]]] = {}
    with checkpoint.reader(ahead(found)) as reader, one_blas_thread():
        references = _references(found, heads, replicates, workers)
        work = _Measure(reader, heads, replicates, on_gpu, references)
        for done, (matrix, result) in enumerate(
            zip(found, ordered_map(work, found, 1 if on_gpu else workers), strict=True), 1
        ):
            if isinstance(result, str):
                told = show_plain(matrix.name)
                skipped.append(Skipped(name=told, reason=result))
                log.add("SP-SKIPPED", told, f"no spectrum: {result}")
            else:
                measured[matrix.name] = (matrix, result)
            progress(done, len(found), show_plain(matrix.name, 60))
    kept = [measured[m.name] for m in matrices(checkpoint, where)[0] if m.name in measured]
    records = [record for _, pairs in kept for record, _ in pairs]
    return Spectra(
        command="spectrum",
        record_type=MatrixSpectrum,
        source=dataclasses.replace(checkpoint.source(), device="cuda" if on_gpu else "cpu", seed=0),
        coverage=coverage(checkpoint, [matrix for matrix, _ in kept], skipped),
        summary=_summary(records, replicates, where),
        records=tuple(records),
        findings=(*findings_on(checkpoint), *log.findings),
        singular={record.name: values for _, pairs in kept for record, values in pairs},
    )


Shape = tuple[int, int]


def _references(
    found: Iterable[Matrix], heads: bool, replicates: int, workers: int | None
) -> dict[Shape, ShapeNoise]:
    """What noise gives for each shape, sides in ascending order; drawn once a shape."""
    shapes: dict[Shape, None] = {}
    for matrix in found:
        shapes[_sides(matrix.rows, matrix.columns)] = None
        if heads and matrix.heads:
            shapes[_sides(*_head_shape(matrix))] = None
    large = [shape for shape in shapes if shape[0] >= FEWEST]
    drawn = ordered_map(lambda shape: shape_noise(*shape, draws=replicates > 0), large, workers)
    return dict(zip(large, drawn, strict=True))


def _sides(rows: int, columns: int) -> Shape:
    return min(rows, columns), max(rows, columns)


def _head_shape(matrix: Matrix) -> Shape:
    along, width = matrix.rows, matrix.columns
    if matrix.role == "o":
        along, width = width, along
    return along // (matrix.heads or 1), width


@dataclasses.dataclass(frozen=True)
class _Measure:
    """What a thread does with a matrix: its records, or why there are none."""

    reader: Reader
    heads: bool
    replicates: int
    on_gpu: bool
    references: Mapping[Shape, ShapeNoise]

    def __call__(self, matrix: Matrix) -> list[tuple[MatrixSpectrum, np.ndarray]] | str:
        try:
            side = min(matrix.rows, matrix.columns)
            if self.on_gpu:
                singular = spectral.on_gpu(blocks(matrix, self.reader), side)
            else:
                singular = spectral.of_gram(spectral.gram(blocks(matrix, self.reader), side))
            if not singular[0] and any(block.any() for block in blocks(matrix, self.reader)):
                raise NotEnoughData("Its values are so small that their squares are zero.")
            made = [self._record(matrix, None, matrix.rows, matrix.columns, singular)]
            if self.heads and matrix.heads:
                rows, columns = _head_shape(matrix)
                for head, values in enumerate(head_view(matrix, load(matrix, self.reader))):
                    singular = spectral.singular_values(values)
                    made.append(self._record(matrix, head, rows, columns, singular))
        except (CheckpointError, NotEnoughData) as error:
            return str(error)
        return made

    def _record(
        self, matrix: Matrix, head: int | None, rows: int, columns: int, singular: np.ndarray
    ) -> tuple[MatrixSpectrum, np.ndarray]:
        record = MatrixSpectrum(
            name=matrix.name if head is None else f"{matrix.name}[head {head}]",
            layer=matrix.layer,
            role=matrix.role,
            head=head,
            **measure(
                singular, rows, columns, self.references.get(_sides(rows, columns)), self.replicates
            ),
        )
        return record, singular


def measure(
    singular: Float[np.ndarray, " rank"],
    rows: int,
    columns: int,
    reference: ShapeNoise | None,
    replicates: int = REPLICATES,
) -> dict[str, Any]:
    """The fields of a MatrixSpectrum that follow from singular values, descending."""
    short, long = _sides(rows, columns)
    frobenius = float(np.linalg.norm(singular))
    rms = frobenius / math.sqrt(rows * columns)
    # below this, eigenvalues of a Gram matrix in float64 are rounding
    rank = int((np.square(singular / (singular[0] or 1.0)) > long * np.finfo(float).eps).sum())
    fields: dict[str, Any] = dict.fromkeys(f.name for f in dataclasses.fields(MatrixSpectrum))
    for placed in ("name", "layer", "role", "head"):
        del fields[placed]
    fields |= {
        "rows": rows,
        "columns": columns,
        "rms": rms,
        "spectral_norm": float(singular[0]),
        "frobenius_norm": frobenius,
        "rank": rank,
    }
    if singular[0] == 0.0:
        return fields | {"verdict": "all zero"}
    fields |= {
        "condition": spectral.condition(singular),
        "stable_rank": spectral.stable_rank(singular),
        "effective_rank": spectral.effective_rank(singular),
        "effective_rank_energy": spectral.effective_rank_energy(singular),
        "participation": spectral.participation(singular),
        "verdict": "too small to tell",
    }
    if reference is not None:
        fields |= _beside_noise(singular, rows, columns, rms, reference)
    return fields | _power_law(
        np.square(singular[:rank]), reference, replicates, fields["verdict"] == NOISE
    )


def _beside_noise(
    singular: np.ndarray, rows: int, columns: int, rms: float, reference: ShapeNoise
) -> dict[str, Any]:
    std = noise.noise_std(singular, rows, columns)
    spikes = noise.spikes(singular, rows, columns, std)
    energy = np.square(singular)
    rest = float(energy[spikes:].sum())
    away = noise.distance(singular, rows, columns, std) if std else 1.0
    if away > reference.distance_limit:
        verdict = "structured"
    else:
        verdict = "spikes above noise" if spikes else NOISE
    return {
        "spectral_norm_noise": noise.edge(rows, columns, rms),
        "stable_rank_noise": reference.stable_rank,
        "effective_rank_noise": reference.effective_rank,
        "effective_rank_energy_noise": reference.effective_rank_energy,
        "participation_noise": reference.participation,
        "noise_std": std,
        "mp_edge": noise.edge(rows, columns, std),
        "mp_threshold": noise.threshold(rows, columns, std),
        "mp_spikes": spikes,
        "snr": float(energy[:spikes].sum()) / rest if rest else None,
        "mp_distance": away,
        "mp_distance_noise": reference.distance,
        "verdict": verdict,
    }


def _power_law(
    eigenvalues: np.ndarray, reference: ShapeNoise | None, replicates: int, is_noise: bool
) -> dict[str, Any]:
    try:
        law = powerlaw.fit(eigenvalues)
    except NotEnoughData:
        return {}
    without = powerlaw.dropped(eigenvalues)
    interval = powerlaw.interval(eigenvalues, replicates) if replicates else None
    low, high = interval or (None, None)
    scale = float(eigenvalues[0])
    norm = law.alpha * math.log10(scale)
    return {
        "alpha": law.alpha,
        "alpha_low": low,
        "alpha_high": high,
        "alpha_noise": reference and reference.alpha,
        "alpha_noise_low": reference and reference.alpha_low,
        "alpha_noise_high": reference and reference.alpha_high,
        **{f"alpha_drop_{count}": alpha for count, alpha in without.items()},
        "alpha_ks": law.ks,
        "alpha_ks_noise": reference and reference.alpha_ks,
        "alpha_xmin": law.xmin,
        "alpha_tail": law.tail,
        "alpha_weighted": norm,
        # over the largest, since eigenvalue^alpha overflows where alpha is large
        "log_alpha_norm": norm + math.log10(float(((eigenvalues / scale) ** law.alpha).sum())),
        "alpha_reading": reading([law.alpha, low, high, *without.values()], is_noise),
    }


def reading(alphas: Sequence[float | None], is_noise: bool) -> str:
    """What alpha says by WeightWatcher's thresholds; nothing when its values straddle one.

    `alphas` are the estimate, its interval and what is left when the largest eigenvalues go.
    """
    if is_noise:
        return READINGS[0]
    sides = {int(np.searchsorted(WELL_TRAINED, alpha)) for alpha in alphas if alpha is not None}
    return READINGS[1] if len(sides) > 1 else READINGS[2 + sides.pop()]


def _summary(
    records: Sequence[MatrixSpectrum], replicates: int, where: str | None
) -> dict[str, Any]:
    whole = [record for record in records if record.head is None]
    alphas = [record.alpha for record in whole if record.alpha is not None]
    roles = list(dict.fromkeys(record.role for record in whole))
    return {
        "matrices": len(whole),
        "alpha_mean": float(np.mean(alphas)) if alphas else None,
        "alpha_readings": dict(Counter(r.alpha_reading for r in whole if r.alpha_reading)),
        "verdicts": dict(Counter(r.verdict for r in whole)),
        "roles": [_role(role, [r for r in whole if r.role == role]) for role in roles],
        "replicates": replicates,
        "margin": noise.MARGIN,
        "singular_value_floor": spectral.FLOOR,
        "where": where,
    }


def _role(role: str, records: Sequence[MatrixSpectrum]) -> RoleSpectrum:
    def median(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.median(known)) if known else None

    def share(value: float | None, record: MatrixSpectrum) -> float | None:
        return None if value is None else value / min(record.rows, record.columns)

    return RoleSpectrum(
        role=role,
        matrices=len(records),
        alpha=median(r.alpha for r in records),
        alpha_noise=median(r.alpha_noise for r in records),
        stable_rank_share=median(share(r.stable_rank, r) for r in records),
        stable_rank_share_noise=median(share(r.stable_rank_noise, r) for r in records),
        spikes=median(r.mp_spikes for r in records),
        verdicts=dict(Counter(r.verdict for r in records)),
    )
