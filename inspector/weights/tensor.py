"""One tensor in full: statistics, histogram, rows and columns, a picture of it, its peers."""

import dataclasses
import math
import re
from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Float, Int

from inspector.engine import Progress, no_progress
from inspector.errors import CheckpointError, NotEnoughData
from inspector.results import Coverage, Finding, Records, Source, show_plain
from inspector.weights import channels as channel_sums
from inspector.weights.channels import ChannelProfile, matrix_shape
from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.formats import FORMATS, top
from inspector.weights.header import TensorEntry
from inspector.weights.scan import read_patterns, read_values, scan
from inspector.weights.statistics import TensorStatistics

STEP = 2**20  # elements turned into float64 at a time
MOST_CELLS = 256  # rows and columns of the picture: what a browser still draws at once
MOST_BINS = 1000


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Histogram:
    """How many finite values lie in each bin [edge, next edge), the last bin closed; exact."""

    edges: Float[np.ndarray, " edges"]
    counts: Int[np.ndarray, " bins"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A matrix reduced to at most MOST_CELLS each way; `reduction` says what a cell is.

    A cell holds the value of largest magnitude in its block, with its sign; NaN where the block
    has no finite value.
    """

    cells: Float[np.ndarray, "rows columns"]
    rows: int
    columns: int
    reduction: str


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class TensorView:
    """All there is to see of one tensor; None where its values have no such view."""

    entry: TensorEntry
    statistics: TensorStatistics
    histogram: Histogram | None
    profile: ChannelProfile | None
    picture: Picture | None
    findings: tuple[Finding, ...]
    source: Source
    coverage: Coverage


def view(
    checkpoint: Checkpoint, name: str, bins: int = 101, progress: Progress = no_progress
) -> TensorView:
    """Everything about the tensor `name`; raises CheckpointError when it cannot be read.

    `progress` is called with elements, counting each of the up to three passes.
    """
    entry = checkpoint.tensor(name)
    found = scan(checkpoint, where=rf"\A{re.escape(name)}\Z", channels=True)
    records = [r for r in found.records if r.name == name]
    if not records:
        reason = next((s.reason for s in found.coverage.skipped), "its name stands more than once")
        raise CheckpointError(f"{show_plain(name)}: cannot be measured: {reason}.", found.findings)
    passes = _Passes(entry.parameters, progress)
    passes.done(1)
    with checkpoint.reader([entry]) as reader:
        histogram = _histogram(entry, reader, records[0], bins, passes)
        picture = _picture(entry, reader, passes)
    return TensorView(
        entry=entry,
        statistics=records[0],
        histogram=histogram,
        profile=found.channels.get(name),
        picture=picture,
        findings=tuple(f for f in found.findings if f.where == show_plain(name)),
        source=found.source,
        coverage=found.coverage,
    )


class _Passes:
    """Progress over several passes of the same tensor."""

    TOTAL = 3

    def __init__(self, parameters: int, progress: Progress) -> None:
        self._parameters, self._progress, self._finished = parameters, progress, 0

    def at(self, element: int) -> None:
        self._progress(
            self._finished * self._parameters + element, self.TOTAL * self._parameters, "reading"
        )

    def done(self, finished: int) -> None:
        self._finished = finished
        self.at(0)


def even_edges(low: float, high: float, bins: int) -> Float[np.ndarray, " edges"]:
    """Edges of `bins` even bins that hold low and high; raises NotEnoughData if not finite."""
    if not (math.isfinite(low) and math.isfinite(high)):
        raise NotEnoughData("A histogram needs finite values.")
    if not 1 <= bins <= MOST_BINS:
        raise NotEnoughData(f"A histogram needs 1 to {MOST_BINS} bins, not {bins}.")
    if low == high:
        half = abs(low) / 2 or 0.5
        low, high = low - half, high + half
    # halves keep the width finite at the ends of the range
    return 2 * np.linspace(low / 2, high / 2, bins + 1)


def _histogram(
    entry: TensorEntry, reader: Reader, record: TensorStatistics, bins: int, passes: _Passes
) -> Histogram | None:
    if record.min is None or record.max is None:
        return None
    edges = even_edges(record.min, record.max, bins)
    return histogram(entry, reader, edges, passes.at)


def histogram(
    entry: TensorEntry,
    reader: Reader,
    edges: Float[np.ndarray, " edges"],
    at: Callable[[int], None] = lambda _element: None,
) -> Histogram:
    """Exact counts of a tensor's finite values in any bins; those outside are left out."""
    counts = np.zeros(len(edges) - 1, dtype=np.int64)
    if FORMATS[entry.dtype].bits <= 16:  # place each pattern once, not each element
        layout = top(entry.dtype)
        total = np.zeros(len(layout.values), dtype=np.int64)
        for start, stop in _steps(entry.parameters):
            total += np.bincount(read_patterns(entry, reader, start, stop), minlength=len(total))
            at(stop)
        used = (total > 0) & layout.finite
        counts += np.histogram(layout.values[used], edges, weights=total[used])[0].astype(np.int64)
    else:
        for start, stop in _steps(entry.parameters):
            values = read_values(entry, reader, start, stop)
            counts += np.histogram(values[np.isfinite(values)], edges)[0]
            at(stop)
    return Histogram(edges=edges, counts=counts)


def _steps(n: int) -> Iterator[tuple[int, int]]:
    for start in range(0, n, STEP):
        yield start, min(start + STEP, n)


def _picture(entry: TensorEntry, reader: Reader, passes: _Passes) -> Picture | None:
    if len(entry.shape) < 2 or 0 in entry.shape:
        return None
    rows, columns = matrix_shape(entry.shape)
    if columns > channel_sums.MOST_CHANNELS:
        return None
    high, wide = min(rows, MOST_CELLS), min(columns, MOST_CELLS)
    row_edges = np.linspace(0, rows, high + 1).astype(np.int64)
    column_edges = np.linspace(0, columns, wide + 1).astype(np.int64)[:-1]
    lowest = np.full((high, wide), np.inf)
    highest = np.full((high, wide), -np.inf)
    step = max(STEP // columns, 1)
    for i, (first, last) in enumerate(zip(row_edges[:-1], row_edges[1:], strict=True)):
        for start in range(first, last, step):
            stop = min(start + step, int(last))
            values = read_values(entry, reader, start * columns, stop * columns).reshape(
                -1, columns
            )
            known = np.isfinite(values)
            bottom = np.where(known, values, np.inf).min(axis=0)
            peak = np.where(known, values, -np.inf).max(axis=0)
            lowest[i] = np.minimum(lowest[i], np.minimum.reduceat(bottom, column_edges))
            highest[i] = np.maximum(highest[i], np.maximum.reduceat(peak, column_edges))
            passes.at(entry.parameters + stop * columns)
    cells = np.where(-lowest > highest, lowest, highest)
    return Picture(
        cells=np.where(np.isfinite(cells), cells, np.nan),
        rows=rows,
        columns=columns,
        reduction=_reduction(entry.shape, rows, columns, high, wide),
    )


def _reduction(shape: tuple[int, ...], rows: int, columns: int, high: int, wide: int) -> str:
    stacked = (
        f" ({' x '.join(map(str, shape))} with its leading dimensions stacked)"
        if len(shape) > 2
        else ""
    )
    if (high, wide) == (rows, columns):
        return f"{rows} x {columns}{stacked}, every value shown"
    return (
        f"{rows} x {columns}{stacked} shown as {high} x {wide}: each cell is the value of largest "
        "magnitude in its block"
    )


def peers(checkpoint: Checkpoint, name: str) -> list[str]:
    """Names of the tensors of the same role, kind and stack, by depth, itself included."""
    placements = checkpoint.architecture.placements
    mine = placements[name]
    same = [
        p
        for p in placements.values()
        if (p.role, p.kind, p.stack, p.expert) == (mine.role, mine.kind, mine.stack, mine.expert)
        and (p.layer is None) == (mine.layer is None)
    ]
    return [p.name for p in sorted(same, key=lambda p: (p.layer is None, p.layer or 0, p.name))]


def records(found: TensorView) -> Records[TensorStatistics]:
    """The view as a document: one record, with the arrays in the summary."""
    profile, histogram_ = found.profile, found.histogram
    entry = found.entry
    return Records(
        command="tensor",
        record_type=TensorStatistics,
        source=found.source,
        coverage=found.coverage,
        summary={
            "start": entry.start,
            "end": entry.end,
            "histogram": None
            if histogram_ is None
            else {"edges": histogram_.edges.tolist(), "counts": histogram_.counts.tolist()},
            "rows": None if profile is None else _axis(profile.rows),
            "columns": None if profile is None else _axis(profile.columns),
            "outliers": () if profile is None else profile.outliers,
        },
        records=(found.statistics,),
        findings=found.findings,
    )


def _axis(axis: channel_sums.Axis) -> dict[str, list[float | None]]:
    return {
        field.name: [v if math.isfinite(v) else None for v in getattr(axis, field.name).tolist()]
        for field in dataclasses.fields(axis)
    }
