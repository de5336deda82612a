"""Statistics of every tensor in one pass over the bytes, on all cores."""

import dataclasses
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from inspector.engine import Progress, no_progress, ordered_map
from inspector.errors import BadOption, CheckpointError
from inspector.results import Coverage, Finding, Records, Skipped, show_plain
from inspector.weights import channels as channel_sums
from inspector.weights import counts as kernels
from inspector.weights.census import Census, StandOut, stand_outs
from inspector.weights.channels import ChannelProfile, ChannelSums, matrix_shape
from inspector.weights.checkpoint import Checkpoint, Reader
from inspector.weights.formats import FORMATS, UNREADABLE, decode, pattern_dtype, top
from inspector.weights.header import TensorEntry
from inspector.weights.problems import Log
from inspector.weights.statistics import TensorStatistics, findings_on, statistics
from inspector.weights.tally import Tally, tally_counts, tally_stream

CHUNK = 4 * 2**20  # bytes read at a time by each thread
PART = 64 * 2**20  # bytes of one tensor that one thread takes on: large tensors use all cores


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scan(Records[TensorStatistics]):
    """One record per tensor; `channels` holds the profiles of matrices, if asked for."""

    channels: Mapping[str, ChannelProfile]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Part:
    """A run of whole elements of one tensor (whole rows where channels are wanted)."""

    entry: TensorEntry
    start: int
    stop: int
    channels: bool
    last: bool


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Measured:
    part: _Part
    counts: np.ndarray | None = None
    tally: Tally | None = None
    sums: ChannelSums | None = None
    error: str | None = None


def scan(
    checkpoint: Checkpoint,
    where: str | None = None,
    channels: bool = False,
    progress: Progress = no_progress,
    workers: int | None = None,
) -> Scan:
    """Exact statistics of every tensor whose name the regular expression `where` finds (None: all).

    With `channels` also the profiles of rows and columns of matrices. `progress` is called with
    bytes. A tensor that cannot be measured is named in the coverage and costs no other its record.
    """
    chosen = choose(checkpoint.tensors, where)
    work = _Work(checkpoint, chosen, channels)
    measurable = [entry for entry in chosen if _why_not(entry) is None]
    total = sum(entry.bytes for entry in measurable)
    done = 0
    with checkpoint.reader(measurable) as reader:
        for measured in ordered_map(_Measure(reader), work.parts(), workers):
            work.take(measured, reader)
            done += _size(measured.part)
            progress(done, total, show_plain(measured.part.entry.name, 60))
    return work.result(where)


def choose(tensors: Sequence[TensorEntry], where: str | None) -> list[TensorEntry]:
    """The tensors whose name the regular expression finds; BadOption when it is none."""
    if where is None:
        return list(tensors)
    try:
        pattern = re.compile(where)
    except re.error as error:
        raise BadOption(f"--where {show_plain(where)} is no regular expression: {error}.") from None
    return [entry for entry in tensors if pattern.search(entry.name)]


def _size(part: _Part) -> int:
    return (part.stop - part.start) * FORMATS[part.entry.dtype].bits // 8


def _why_not(entry: TensorEntry) -> str | None:
    """Why a tensor cannot be measured; None when it can."""
    return entry.unreadable or UNREADABLE.get(entry.dtype)


def _parts(entry: TensorEntry, channels: bool) -> Iterator[_Part]:
    """A tensor cut into what one thread takes on; wide formats need all of it in one hand."""
    n = entry.parameters
    channels = channels and channel_sums.why_not(entry.dtype, entry.shape) is None
    if FORMATS[entry.dtype].bits > 16 or n == 0:
        step = max(n, 1)
    else:
        step = PART * 8 // FORMATS[entry.dtype].bits
        if channels:
            step = max(step // entry.shape[-1], 1) * entry.shape[-1]
    for start in range(0, max(n, 1), step):
        stop = min(start + step, n)
        yield _Part(entry=entry, start=start, stop=stop, channels=channels, last=stop == n)


class _Measure:
    """What a thread does with a part; each thread reads into one buffer of its own."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._mine = threading.local()

    def __call__(self, part: _Part) -> _Measured:
        try:
            return self._measure(part)
        except CheckpointError as error:
            return _Measured(part=part, error=str(error))

    def _measure(self, part: _Part) -> _Measured:
        form = FORMATS[part.entry.dtype]
        sums = None
        if part.channels:
            columns = part.entry.shape[-1]
            rows = (part.stop - part.start) // columns
            sums = ChannelSums(part.entry.dtype, part.start // columns, rows, columns)
        if form.bits > 16:
            tally = tally_stream(part.entry.dtype, lambda: self._chunks(part))
            if sums:
                row = 0
                for patterns in self._chunks(part):
                    sums.add(patterns, row)
                    row += len(patterns) // columns
            return _Measured(part=part, tally=tally, sums=sums)
        counts = np.zeros(1 << form.bits, dtype=np.uint32)  # PART has far fewer than 2**32 elements
        row = part.start
        for patterns in self._chunks(part):
            if form.bits == 4:
                kernels.count_nibbles(patterns, counts)
            else:
                kernels.count_patterns(patterns, counts)
            if sums:
                sums.add(patterns, row // columns)
                row += len(patterns)
        return _Measured(part=part, counts=counts, sums=sums)

    def _chunks(self, part: _Part) -> Iterator[np.ndarray]:
        """The patterns of a part, a chunk at a time; each chunk is overwritten by the next."""
        bits = FORMATS[part.entry.dtype].bits
        chunk = CHUNK
        if part.channels:
            row = part.entry.shape[-1] * bits // 8
            chunk = max(CHUNK // row, 1) * row
        if len(getattr(self._mine, "buffer", ())) < chunk:
            self._mine.buffer = np.empty(chunk, dtype=np.uint8)
        begin = part.entry.start + part.start * bits // 8
        end = part.entry.start + part.stop * bits // 8
        for offset in range(begin, end, chunk):
            raw = self._mine.buffer[: min(chunk, end - offset)]
            self._reader.read_into(part.entry.file, offset, memoryview(raw))
            yield raw.view(pattern_dtype(part.entry.dtype))


class _Work:
    """Puts parts together into records, census, coverage and findings."""

    def __init__(
        self, checkpoint: Checkpoint, chosen: Sequence[TensorEntry], channels: bool
    ) -> None:
        self._checkpoint, self._chosen, self._channels = checkpoint, chosen, channels
        self._placements = checkpoint.architecture.placements
        self._counts: np.ndarray | None = None
        self._sums: ChannelSums | None = None
        self._failed: str | None = None
        self._records: list[TensorStatistics] = []
        self._census = Census()
        self._profiles: dict[str, ChannelProfile] = {}
        self._skipped: list[Skipped] = []
        self._log = Log()
        self._more: list[Finding] = []

    def parts(self) -> Iterator[_Part]:
        """The parts of every tensor that can be measured; the others are noted."""
        for entry in self._chosen:
            if (why := _why_not(entry)) is None:
                yield from _parts(entry, self._channels)
            else:
                self._skip(entry, why)

    def _skip(self, entry: TensorEntry, why: str) -> None:
        name = show_plain(entry.name)
        self._skipped.append(Skipped(name=name, reason=why))
        if entry.unreadable is None:  # else the finding that made it so says why
            self._log.add("WT-UNREAD", name, f"not measured: {why}", dtype=entry.dtype)

    def take(self, measured: _Measured, reader: Reader) -> None:
        """Add a part; the last part of a tensor makes its record."""
        part = measured.part
        self._failed = self._failed or measured.error
        if measured.counts is not None:
            if self._counts is None:  # a tensor in one part, as most are, needs no adding
                self._counts = measured.counts if part.last else measured.counts.astype(np.uint64)
            else:
                self._counts += measured.counts
        if measured.sums is not None:
            if self._sums is None:
                rows, columns = matrix_shape(part.entry.shape)
                self._sums = ChannelSums(part.entry.dtype, 0, rows, columns)
            self._sums.merge(measured.sums)
        if part.last:
            if self._failed is not None:
                self._skip(part.entry, self._failed)
            else:
                tally = measured.tally
                if tally is None:
                    assert self._counts is not None
                    tally = tally_counts(part.entry.dtype, self._counts)
                try:
                    self._finish(part.entry, tally, reader)
                except CheckpointError as error:  # the file went away since
                    self._skip(part.entry, str(error))
            self._counts = self._sums = self._failed = None

    def _finish(self, entry: TensorEntry, tally: Tally, reader: Reader) -> None:
        placement = self._placements[entry.name]
        record = statistics(entry, placement, tally)
        first = first_not_finite(entry, reader) if record.nan or record.inf else {}
        if self._sums is not None:
            rows, columns = self._sums.axes()

            def read_row(row: int) -> np.ndarray:
                return read_values(
                    entry, reader, row * entry.shape[-1], (row + 1) * entry.shape[-1]
                )

            found = channel_sums.outliers(rows, read_row, record.mean or 0.0, record.std or 0.0)
            self._profiles[entry.name] = ChannelProfile(rows=rows, columns=columns, outliers=found)
        self._records.append(record)
        self._census.add(entry, placement, tally)
        self._more += findings_on(record, first)

    def result(self, where: str | None) -> Scan:
        """The finished scan."""
        architecture = self._checkpoint.architecture
        census = self._census.records()
        far = stand_outs(self._records, self._placements)
        for name in self._checkpoint.changed():
            self._log.add("WT-CHANGED", show_plain(name), "the file changed while it was read")
        for one in far:
            self._log.add("WT-OUTLIER", show_plain(one.name), _told(one))
        summary: dict[str, Any] = {
            "family": architecture.family,
            "layers": architecture.layers,
            "census": census,
            "stand_outs": far,
            "where": where,
        }
        if self._channels:
            summary["channels"] = [_outline(name, p) for name, p in self._profiles.items()]
        return Scan(
            command="scan",
            record_type=TensorStatistics,
            source=self._checkpoint.source(),
            coverage=Coverage(
                tensors_total=len(self._chosen),
                tensors_measured=len(self._records),
                parameters_total=sum(entry.parameters for entry in self._chosen),
                parameters_measured=sum(r.parameters for r in self._records),
                bytes_total=sum(entry.bytes for entry in self._chosen),
                bytes_read=sum(r.bytes for r in self._records),
                skipped=tuple(self._skipped),
            ),
            summary=summary,
            records=tuple(self._records),
            findings=(
                *self._checkpoint.findings,
                *architecture.findings,
                *self._more,
                *self._log.findings,
            ),
            channels=self._profiles,
        )


def _told(one: StandOut) -> str:
    side = "above" if one.value > one.median else "below"
    return (
        f"{one.measure} is {one.value:.4g}, {side} the {one.median:.4g} that is the median of "
        f"{one.role} {one.kind}s in {one.peers + 1} layers"
    )


def _outline(name: str, profile: ChannelProfile) -> dict[str, Any]:
    """A profile in a few numbers: the extreme rows and columns, and the outliers."""
    axes = {}
    for axis_name, axis in (("rows", profile.rows), ("columns", profile.columns)):
        known = np.flatnonzero(np.isfinite(axis.rms))
        if len(known):
            low, high = known[axis.rms[known].argmin()], known[axis.rms[known].argmax()]
            axes[axis_name] = {
                "rms_min": float(axis.rms[low]),
                "rms_min_at": int(low),
                "rms_median": float(np.median(axis.rms[known])),
                "rms_max": float(axis.rms[high]),
                "rms_max_at": int(high),
            }
    return {"name": name, **axes, "outliers": profile.outliers}


def read_patterns(entry: TensorEntry, reader: Reader, start: int, stop: int) -> np.ndarray:
    """The stored patterns of elements start..stop, one per element."""
    bits = FORMATS[entry.dtype].bits
    begin, end = start * bits // 8, -(-stop * bits // 8)
    raw = np.empty(end - begin, dtype=np.uint8)
    reader.read_into(entry.file, entry.start + begin, raw.data)
    if bits == 4:
        both = np.stack([raw & 15, raw >> 4], axis=1).ravel()  # the low nibble comes first
        return both[start % 2 : start % 2 + stop - start]
    return raw.view(pattern_dtype(entry.dtype))


def read_values(entry: TensorEntry, reader: Reader, start: int, stop: int) -> np.ndarray:
    """The values of elements start..stop as float64 (see formats.decode)."""
    patterns = read_patterns(entry, reader, start, stop)
    if FORMATS[entry.dtype].bits <= 16:
        values: np.ndarray = top(entry.dtype).values[patterns]
        return values
    return decode(entry.dtype, patterns)


def first_not_finite(entry: TensorEntry, reader: Reader) -> dict[str, int]:
    """Flat index of the first "NaN" and of the first "infinite" value, where there are any."""
    first: dict[str, int] = {}
    step = 2**20
    for start in range(0, entry.parameters, step):
        values = read_values(entry, reader, start, min(start + step, entry.parameters))
        for what, test in (("NaN", np.isnan), ("infinite", np.isinf)):
            if what not in first and (hits := np.flatnonzero(test(values))).size:
                first[what] = start + int(hits[0])
        if len(first) == 2:
            break
    return first
