"""Two tensors read side by side: large sequential reads, a chunk of values at a time."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from inspector.weights.checkpoint import Reader
from inspector.weights.codes import Packed
from inspector.weights.formats import FORMATS, decode, pattern_dtype, top
from inspector.weights.header import TensorEntry

ELEMENTS = 2**20  # of a chunk: 8 MB as float64
READ = 8 * 2**20  # bytes read at a time of each file
TURNED = "_blocks"
RUN = 4 * READ  # bytes of neighbouring tensors that one thread takes on together


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """A tensor of the base and the tensor of the tuned checkpoint that it became.

    `base_codes` and `tuned_codes` say how to read what is quantised; None for plain values.
    """

    base: TensorEntry
    tuned: TensorEntry
    base_codes: Packed | None = None
    tuned_codes: Packed | None = None

    @property
    def is_packed(self) -> bool:
        """Whether either is quantised."""
        return self.base_codes is not None or self.tuned_codes is not None

    @property
    def names(self) -> tuple[str, str]:
        """The names that an unquantised checkpoint would have."""
        return plain_name(self.base, self.base_codes), plain_name(self.tuned, self.tuned_codes)

    @property
    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of the values."""
        return plain_shape(self.base, self.base_codes), plain_shape(self.tuned, self.tuned_codes)

    @property
    def helpers(self) -> tuple["Pair", ...] | None:
        """What both are read with, side by side; None where they are not read in the same way."""
        one, other = self.base_codes, self.tuned_codes
        if one is None or other is None:
            return () if one is other else None
        if _way(one) != _way(other):
            return None
        return tuple(
            Pair(base=entry, tuned=other.helpers[use]) for use, entry in one.helpers.items()
        )


def _way(codes: Packed) -> tuple[object, ...]:
    """All that says how codes are read, but for the contents of their helpers."""
    return codes.format, codes.shape, codes.block, dict(codes.settings), set(codes.helpers)


def plain_name(entry: TensorEntry, codes: Packed | None) -> str:
    """The name that an unquantised checkpoint would have for a tensor."""
    if codes is not None and is_turned(codes):
        return codes.plain_name.removesuffix(TURNED)
    return codes.plain_name if codes else entry.name


def plain_shape(entry: TensorEntry, codes: Packed | None) -> tuple[int, ...]:
    """The shape that an unquantised checkpoint would have for a tensor."""
    if codes is None:
        return entry.shape
    *lead, rows, columns = codes.shape
    return (*lead, columns, rows) if is_turned(codes) else codes.shape


def is_turned(codes: Packed) -> bool:
    """Whether the codes lie transposed to what they stand for, as those of gpt-oss do."""
    return codes.entry.name.endswith(TURNED) and codes.problem is None


def runs(pairs: Sequence[Pair]) -> list[tuple[Pair, ...]]:
    """Pairs in file order; those that lie side by side in both files together, up to RUN bytes."""
    found: list[list[Pair]] = []
    size = 0
    for pair in sorted(pairs, key=lambda pair: (pair.base.file, pair.base.start)):
        size += pair.base.bytes
        if found and size <= RUN and _follows(found[-1][-1], pair):
            found[-1].append(pair)
        else:
            found.append([pair])
            size = pair.base.bytes
    return [tuple(run) for run in found]


def _follows(first: Pair, second: Pair) -> bool:
    return all(
        (one.file, one.end) == (other.file, other.start)
        for one, other in ((first.base, second.base), (first.tuned, second.tuned))
    )


class Window:
    """Bytes of a checkpoint's files; what follows in the run is read along and kept."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._buffer = np.empty(READ, dtype=np.uint8)
        self._file = ""
        self._start = self._stop = 0
        self.bytes_read = 0

    def bytes(self, file: str, start: int, stop: int, ahead: int) -> np.ndarray:
        """The bytes start..stop; `ahead` is where the run ends. The next call overwrites them."""
        if file != self._file or not self._start <= start <= stop <= self._stop:
            self._file = ""  # a failed read leaves nothing that may be taken for read
            last = max(stop, min(start + READ, ahead))
            if last - start > len(self._buffer):  # a row longer than a chunk
                self._buffer = np.empty(last - start, dtype=np.uint8)
            self._reader.read_into(file, start, self._buffer.data[: last - start])
            self._file, self._start, self._stop = file, start, last
            self.bytes_read += last - start
        return self._buffer[start - self._start : stop - self._start]


class SideBySide:
    """The values of both tensors of a pair; one thread's own."""

    def __init__(self, base: Reader, tuned: Reader) -> None:
        self._windows = Window(base), Window(tuned)
        self._ahead = (0, 0)

    @property
    def bytes_read(self) -> int:
        """Bytes read of both checkpoints so far."""
        return sum(window.bytes_read for window in self._windows)

    def look_ahead(self, run: Sequence[Pair]) -> None:
        """State the run that is read next."""
        self._ahead = run[-1].base.end, run[-1].tuned.end

    def same(self, pair: Pair) -> bool:
        """Whether both hold the same bytes and, where they are codes, so do their helpers."""
        helpers = pair.helpers
        if helpers is None or not self.same_bytes(pair):
            return False
        run, self._ahead = self._ahead, (0, 0)  # helpers lie elsewhere
        same = all(map(self.same_bytes, helpers))
        self._ahead = run
        return same

    def same_bytes(self, pair: Pair) -> bool:
        """Whether both hold the same bytes; reads up to the first chunk that differs."""
        if (pair.base.dtype, pair.base.shape) != (pair.tuned.dtype, pair.tuned.shape):
            return False
        for start in range(0, pair.base.bytes, READ):
            stop = min(start + READ, pair.base.bytes)
            one, other = self._bytes(pair, (start, stop), (start, stop))
            if not np.array_equal(one, other):
                return False
        return True

    def values(
        self, pair: Pair, first: int, last: int, step: int = ELEMENTS
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The values first..last of both as float64, `step` at a time."""
        base_bits, tuned_bits = (FORMATS[e.dtype].bits for e in (pair.base, pair.tuned))
        for start in range(first, last, step):
            stop = min(start + step, last)
            spans = [(start * bits // 8, -(-stop * bits // 8)) for bits in (base_bits, tuned_bits)]
            one, other = self._bytes(pair, *spans)
            yield values(pair.base.dtype, one), values(pair.tuned.dtype, other)

    def _bytes(
        self, pair: Pair, base: tuple[int, int], tuned: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        one, other = (
            window.bytes(entry.file, entry.start + start, entry.start + stop, ahead)
            for window, entry, (start, stop), ahead in zip(
                self._windows, (pair.base, pair.tuned), (base, tuned), self._ahead, strict=True
            )
        )
        return one, other


def values(dtype: str, raw: np.ndarray) -> np.ndarray:
    """Stored bytes as float64; they may lie at any address."""
    form = FORMATS[dtype]
    if form.bits == 4:
        raw = np.stack([raw & 15, raw >> 4], axis=1).ravel()  # the low nibble comes first
    patterns = raw.view(pattern_dtype(dtype))
    if form.bits <= 16:
        found: np.ndarray = np.take(top(dtype).values, patterns)
        return found
    return decode(dtype, patterns)
