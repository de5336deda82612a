"""Rounding errors of a whole model: per format, and where in the model they arise."""

import dataclasses
import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from inspector.weights.grids import decibels

if TYPE_CHECKING:
    from inspector.weights.quantization import QuantizedMatrix

SHOWN = 3  # worst matrices named per format


@dataclasses.dataclass(frozen=True, kw_only=True)
class FormatError:
    """One format over the whole model.

    relative_error: of all weights as one vector, sqnr_db the same in dB; sqnr_db_weighted and
    db_lost_weighted: means weighted by parameters. None where no matrix has the number.
    """

    format: str
    matrices: int
    bits_per_weight: float
    relative_error: float
    sqnr_db: float | None
    sqnr_db_weighted: float | None
    sqnr_db_median: float | None
    db_lost_weighted: float | None
    db_lost_median: float | None
    worst: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlaceError:
    """The median dB lost to outliers in one format among the matrices of a layer or a role."""

    format: str
    layer: int | None
    role: str | None
    matrices: int
    db_lost_median: float | None


def summary(records: Sequence["QuantizedMatrix"], energies: Mapping[str, float]) -> dict[str, Any]:
    """Formats in their order, then layers and roles; `energies`: ||W||^2 of every matrix."""
    formats: dict[str, list[QuantizedMatrix]] = defaultdict(list)
    layers: dict[tuple[str, int | None], list[QuantizedMatrix]] = defaultdict(list)
    roles: dict[tuple[str, str], list[QuantizedMatrix]] = defaultdict(list)
    for record in records:
        formats[record.format].append(record)
        layers[record.format, record.layer].append(record)
        roles[record.format, record.role].append(record)
    return {
        "formats": [_format(name, among, energies) for name, among in formats.items()],
        "layers": [
            _place(name, among, layer=layer)
            for (name, layer), among in layers.items()
            if layer is not None
        ],
        "roles": [_place(name, among, role=role) for (name, role), among in roles.items()],
    }


def _format(
    name: str, among: Sequence["QuantizedMatrix"], energies: Mapping[str, float]
) -> FormatError:
    total = sum(r.rows * r.columns for r in among)
    signal = math.fsum(energies[r.name] for r in among)
    error = math.fsum(energies[r.name] * r.relative_error**2 for r in among)
    worst = sorted((r for r in among if r.db_lost is not None), key=_lost, reverse=True)
    return FormatError(
        format=name,
        matrices=len(among),
        bits_per_weight=math.fsum(r.bits_per_weight * r.rows * r.columns for r in among) / total,
        relative_error=math.sqrt(error / signal),
        sqnr_db=decibels(error, signal),
        sqnr_db_weighted=_mean((r.sqnr_db, r.rows * r.columns) for r in among),
        sqnr_db_median=_median(r.sqnr_db for r in among),
        db_lost_weighted=_mean((r.db_lost, r.rows * r.columns) for r in among),
        db_lost_median=_median(r.db_lost for r in among),
        worst=tuple(r.name for r in worst[:SHOWN]),
    )


def _lost(record: "QuantizedMatrix") -> float:
    return record.db_lost or 0.0


def _place(
    name: str,
    among: Sequence["QuantizedMatrix"],
    layer: int | None = None,
    role: str | None = None,
) -> PlaceError:
    return PlaceError(
        format=name,
        layer=layer,
        role=role,
        matrices=len(among),
        db_lost_median=_median(r.db_lost for r in among),
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def _mean(weighted: Iterable[tuple[float | None, int]]) -> float | None:
    known = [(value, weight) for value, weight in weighted if value is not None]
    if not known:
        return None
    return math.fsum(v * w for v, w in known) / sum(w for _, w in known)
