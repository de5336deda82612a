"""Reading ranges from far away: neighbours in one request, several at once, a bounded buffer."""

import bisect
import dataclasses
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from inspector.errors import CheckpointError
from inspector.results import show_plain
from inspector.weights.storage import ByteRange, Reader, Stamp
from inspector.weights.transports import Transport, TryAgain

SEGMENT = 4 * 2**20  # bytes of a request, at most
GAP = 16 * 2**10  # bytes between two ranges that cost less than a request of their own
HELD = 32  # segments kept: 128 MiB, so that what is read again is mostly still here
SMALL = SEGMENT // 8  # what is asked of a segment that was let go, and not worth all of it
PAUSE = 0.25  # seconds before the second try; doubled each time
GIVE_UP = 3  # ranges of a file that fail before the rest of it is not asked for any more
UNVERSIONED = "none stated, opened at "  # how the version of a file begins that states none


class Changed(OSError):
    """The file far away is no longer the one that was opened."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How patient reading is: seconds without an answer, tries of a request, requests at once."""

    timeout: float = 10.0
    tries: int = 3
    parallel: int = 8


class Line:
    """Fetches whole ranges: tries again where it broke off, at most `parallel` at once."""

    def __init__(self, transport: Transport, limits: Limits) -> None:
        self.transport = transport
        self._limits = limits
        self._slots = threading.BoundedSemaphore(limits.parallel)
        self._closed = threading.Event()

    def fill(
        self, name: str, begin: int, buffer: memoryview, stamp: Stamp | None
    ) -> tuple[int, Stamp]:
        """(bytes filled, fewer only at the end of the file; its stamp), which must be `stamp`.

        Raises OSError: Changed, or when the last try failed.
        """
        seen = [] if stamp is None else [stamp]

        def check(now: Stamp) -> None:
            if not seen:
                seen.append(now)
            elif not is_same(seen[0], now):
                raise Changed(None, "changed since it was opened; open it again")

        filled = 0
        for attempt in range(1, self._limits.tries + 1):
            try:
                with self._slots:
                    filled += self.transport.fetch(name, begin + filled, buffer[filled:], check)
                return filled, seen[0]
            except TryAgain as trouble:
                filled += trouble.filled
                if attempt == self._limits.tries or self._closed.is_set():
                    reason = f"{trouble.strerror} ({attempt} tries)"
                    raise OSError(trouble.errno, reason) from None
                self._closed.wait(max(trouble.after, PAUSE * 2 ** (attempt - 1)))
        raise AssertionError("there is at least one try")

    def close(self) -> None:
        """Wait no longer and let go of connections."""
        self._closed.set()
        self.transport.close()


def is_same(opened: Stamp, now: Stamp) -> bool:
    """Whether a file is still the one opened; by size alone where no version is stated."""
    same_version = opened.version == now.version or not (now.version and _version(opened))
    return opened.bytes == now.bytes and same_version


def _version(stamp: Stamp) -> str:
    return "" if stamp.version.startswith(UNVERSIONED) else stamp.version


def versioned(stamp: Stamp) -> Stamp:
    """The stamp to keep: without a version, one that tells this opening from every other."""
    version = stamp.version or f"{UNVERSIONED}{time.time_ns()}"
    return dataclasses.replace(stamp, version=version)


def segments(ranges: Sequence[ByteRange]) -> list[ByteRange]:
    """The requests that fetch all of `ranges`: sorted by file, neighbours merged, cut to size."""
    order = {file: i for i, file in enumerate(dict.fromkeys(one.file for one in ranges))}
    merged: list[ByteRange] = []
    for one in sorted(ranges, key=lambda one: (order[one.file], one.begin)):
        last = merged[-1] if merged else None
        if last and last.file == one.file and one.begin - last.end <= GAP:
            merged[-1] = last._replace(end=max(last.end, one.end))
        elif one.end > one.begin:
            merged.append(one)
    return [
        ByteRange(run.file, at, min(at + SEGMENT, run.end))
        for run in merged
        for at in range(run.begin, run.end, SEGMENT)
    ]


class RangeReader(Reader):
    """Reads what was announced through segments fetched ahead; all else as it is asked for.

    About HELD segments are held, never more than twice that. One that was let go is fetched again,
    so that a tensor larger than the buffer costs its bytes once per pass.
    """

    def __init__(
        self,
        line: Line,
        stamps: Mapping[str, Stamp],
        ahead: Sequence[ByteRange],
        parallel: int,
        changed: Callable[[str], None],
    ) -> None:
        self._line, self._stamps, self._changed = line, stamps, changed
        self._segments = segments(ahead)
        self._of_file: dict[str, list[int]] = {}
        for i, segment in enumerate(self._segments):
            self._of_file.setdefault(segment.file, []).append(i)
        self._begins = {
            file: [self._segments[i].begin for i in own] for file, own in self._of_file.items()
        }
        self._parallel = parallel
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="inspector-fetch")
        self._lock = threading.Lock()
        self._held: OrderedDict[int, Future[bytearray]] = OrderedDict()
        self._begun: set[int] = set()
        self._again: set[int] = set()  # fetched more than once: the same bytes are read anew
        self._read: set[int] = set()
        self._failures: dict[str, list[str]] = {}
        self._files: set[str] = set()

    def read_into(self, file: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes of `file` from `offset` on; raises CheckpointError."""
        try:
            for index, at, part in self._pieces(file, offset, buffer):
                if index is None:
                    self._directly(file, at, part)
                else:
                    begin = at - self._segments[index].begin
                    part[:] = self._segment(index)[begin : begin + len(part)]
                    if at + len(part) == self._segments[index].end:
                        self._read.add(index)
        except OSError as error:
            raise CheckpointError(f"{show_plain(file)}: {error.strerror}.") from None

    def _pieces(
        self, file: str, offset: int, buffer: memoryview
    ) -> Iterator[tuple[int | None, int, memoryview]]:
        """(segment or None, offset, part of the buffer) for each run of the asked bytes."""
        begins, own = self._begins.get(file, []), self._of_file.get(file, [])
        end = offset + len(buffer)
        at = offset
        while at < end:
            place = bisect.bisect_right(begins, at) - 1
            index = own[place] if place >= 0 else None
            if index is not None and at < self._segments[index].end:
                stop = min(end, self._segments[index].end)
                if stop - at < SMALL and index in self._begun and index not in self._held:
                    index = None
            else:
                index = None
                stop = min(end, begins[place + 1]) if place + 1 < len(begins) else end
            yield index, at, buffer[at - offset : stop - offset]
            at = stop

    def _segment(self, index: int) -> bytearray:
        with self._lock:
            self._make_room()
            future = self._begin(index)
            self._held.move_to_end(index)
            last = min(index + self._parallel, len(self._segments) - 1)
            for following in range(index + 1, last + 1):
                if following in self._begun and index not in self._again:
                    continue  # another thread has been there
                self._make_room()
                if len(self._held) < HELD:
                    self._begin(following)
        return future.result()

    def _begin(self, index: int) -> Future[bytearray]:
        if index not in self._held:
            (self._again if index in self._begun else self._begun).add(index)
            self._read.discard(index)
            self._held[index] = self._pool.submit(self._fetched, self._segments[index])
        return self._held[index]

    def _make_room(self) -> None:
        """Drop what was used least lately of what has been read to its end; in need, of all."""
        for index, future in list(self._held.items()):
            if len(self._held) < HELD:
                return
            if future.done() and (index in self._read or len(self._held) >= 2 * HELD):
                del self._held[index]

    def _fetched(self, segment: ByteRange) -> bytearray:
        data = bytearray(segment.end - segment.begin)
        self._fill(segment.file, segment.begin, memoryview(data))
        return data

    def _directly(self, file: str, offset: int, buffer: memoryview) -> None:
        parts = [buffer[at : at + SEGMENT] for at in range(0, len(buffer), SEGMENT)]
        if len(parts) == 1:
            self._fill(file, offset, parts[0])
            return
        futures = [
            self._pool.submit(self._fill, file, offset + i * SEGMENT, part)
            for i, part in enumerate(parts)
        ]
        for future in futures:
            future.result()

    def _fill(self, file: str, offset: int, buffer: memoryview) -> None:
        """Fetch a range; a file of which several ranges failed is not waited for again."""
        failures = self._failures.setdefault(file, [])
        if len(failures) >= GIVE_UP:
            raise OSError(None, f"given up after {GIVE_UP} failures: {failures[0]}")
        self._files.add(file)
        try:
            filled, _ = self._line.fill(file, offset, buffer, self._stamps[file])
            if filled < len(buffer):
                raise OSError(None, f"the file ends at byte {offset + filled}")
        except Changed:
            self._changed(file)
            raise
        except OSError as error:
            failures.append(error.strerror or type(error).__name__)
            raise

    def close(self) -> None:
        """End what is under way, and ask once more where answers bear no version."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        for file in self._files:
            try:
                now = self._line.transport.stamp(file)
            except OSError:
                now = None
            if now is not None and not is_same(self._stamps[file], now):
                self._changed(file)
        self._line.close()
        self._pool.shutdown(wait=True)
