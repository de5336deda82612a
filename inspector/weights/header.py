"""Strict pass over a safetensors header, before any library touches the file.

Stricter than the library: it also refuses duplicate names and tells a truncated file from one with
foreign bytes behind the last tensor. What is well formed in a bad file is still listed.
Format: https://huggingface.co/docs/safetensors (8-byte little-endian length, JSON, data).
"""

import dataclasses
import hashlib
import math
import re
from collections.abc import Callable
from typing import Any, TypeGuard

from inspector.results import Finding, show_plain
from inspector.weights.foreign import begins_like, foreign
from inspector.weights.header_json import Pairs, parse
from inspector.weights.problems import Log

SOFT_CAP = 25_000_000  # bytes; what the Hub's own reader takes
READ_AT_MOST = 512  # bytes looked at before the length field is believed
MOST_DIMENSIONS = 64  # numpy's limit
LARGEST_DIMENSION = 2**48
LARGEST_INTEGER = 2**64 - 1  # what the format's reference reader can hold
LONGEST_NAME = 512

# Bits per element of every dtype of safetensors 0.8.
DTYPE_BITS = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8,
    "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip

ReadAt = Callable[[int, int], bytes]
"""Called with (offset, length); gives the bytes there, fewer only at the end of the file."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TensorEntry:
    """One tensor as the header states it; `start` and `end` are offsets in `file`, end exclusive.

    `unreadable` says why its values cannot be read; None when they can.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: str
    start: int
    end: int
    unreadable: str | None = None

    @property
    def parameters(self) -> int:
        """Number of elements; 1 for a scalar."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Size in the file."""
        return self.end - self.start


@dataclasses.dataclass(frozen=True, kw_only=True)
class Header:
    """What one file says it holds. `sha256` is of the header text, None when it was not read."""

    file: str
    file_bytes: int
    sha256: str | None
    metadata: dict[str, str]
    tensors: tuple[TensorEntry, ...]
    findings: tuple[Finding, ...]


def read_header(read: ReadAt, size: int, file: str, cap: int = SOFT_CAP) -> Header:
    """Read and check the header of a file of `size` bytes; never reads more than `cap` + 520 bytes.

    Raises nothing for bad content: each problem is a Finding, and the tensors that are well
    formed are listed in file order.
    """
    log = Log()
    text, sha256 = _header_text(read, size, file, cap, log)
    pairs = parse(text, file, log) if text is not None else None
    metadata: dict[str, str] = {}
    entries: list[TensorEntry] = []
    if text is not None and pairs is not None:
        data = 8 + len(text.encode("utf-8"))
        metadata, entries = _entries(pairs, file, data, log)
        entries = _check_layout(entries, file, data, size, read, log)
    return Header(
        file=file,
        file_bytes=size,
        sha256=sha256,
        metadata=metadata,
        tensors=tuple(entries),
        findings=log.findings,
    )


def _header_text(
    read: ReadAt, size: int, file: str, cap: int, log: Log
) -> tuple[str | None, str | None]:
    """The header as text and its sha256; (None, ...) with a finding when there is no such text."""
    head = read(0, min(size, READ_AT_MOST))
    if (found := foreign(head, size)) is not None:
        id, what = found
        log.add(id, file, f"this is {what} ({size:,} bytes)", bytes=size)
        return None, None
    if len(head) < 8:
        log.add(
            "ST-SMALL",
            file,
            f"not a safetensors file: {size} bytes, at least 8 expected",
            bytes=size,
        )
        return None, None
    length = int.from_bytes(head[:8], "little")
    if length > size - 8:
        log.add(
            "ST-LENGTH",
            file,
            f"the header claims {length:,} bytes, the file has {size - 8:,} after its length "
            "field: truncated download?",
            claimed=str(length),
            available=size - 8,
        )
        return None, None
    if length > cap:
        log.add(
            "ST-CAP",
            file,
            f"the header claims {length:,} bytes (about {length // 80:,} tensors), "
            f"the limit is {cap:,}",
            claimed=length,
            cap=cap,
        )
        return None, None
    raw = read(8, length)
    sha256 = hashlib.sha256(raw).hexdigest()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        log.add(
            "ST-UTF8",
            file,
            f"the header is not UTF-8 at byte {8 + error.start}",
            byte=8 + error.start,
        )
        return None, sha256
    if text.startswith("\ufeff"):
        log.add("ST-BOM", file, "the header begins with a byte order mark", byte=8)
        return None, sha256
    if text[:1] in (" ", "\t", "\r", "\n"):
        log.add("ST-SPACE", file, "the header begins with white space", byte=8)
    return text, sha256


def _entries(
    pairs: Pairs, file: str, data: int, log: Log
) -> tuple[dict[str, str], list[TensorEntry]]:
    """Metadata and tensors of the header's pairs; `data` is the offset of the first data byte."""
    metadata: dict[str, str] = {}
    metadata_seen = False
    entries: dict[str, list[TensorEntry]] = {}
    for name, value in pairs:
        if name == "__metadata__":
            if metadata_seen:
                log.add("ST-META", file, "`__metadata__` stands twice")
            else:
                metadata = _metadata(value, file, log)
            metadata_seen = True
        elif (entry := _entry(name, value, file, data, log)) is not None:
            entries.setdefault(name, []).append(entry)
        else:
            entries.setdefault(name, [])
    for name, same in entries.items():
        _check_name(name, file, log)
        if len(same) > 1:
            log.add(
                "ST-DUP",
                f"{file}: {show_plain(name)}",
                f"the name stands {len(same)} times",
                entries=[f"{e.dtype} {list(e.shape)} at {e.start}-{e.end}" for e in same],
            )
            entries[name] = [
                dataclasses.replace(e, unreadable="its name stands more than once in the header")
                for e in same
            ]
    return metadata, [entry for same in entries.values() for entry in same]


def _metadata(value: Any, file: str, log: Log) -> dict[str, str]:
    if value is None:
        log.add("ST-META-NULL", file, "`__metadata__` is null")
        return {}
    if not isinstance(value, Pairs):
        log.add("ST-META", file, "`__metadata__` is not an object of strings")
        return {}
    wrong = [key for key, text in value if not isinstance(text, str)]
    if wrong:
        log.add(
            "ST-META",
            file,
            f"`__metadata__` holds something else than text under {show_plain(wrong[0])}",
        )
    if len({key for key, _ in value}) < len(value):
        log.add("ST-META", file, "`__metadata__` holds a key twice")
    return {key: text for key, text in value if isinstance(text, str)}


def _entry(name: str, value: Any, file: str, data: int, log: Log) -> TensorEntry | None:
    """One tensor; None, with a finding, when its place in the file is not stated properly."""
    where = f"{file}: {show_plain(name)}"
    fields = dict(value) if isinstance(value, Pairs) else {}
    wanted = {"dtype", "shape", "data_offsets"}
    if not isinstance(value, Pairs) or not wanted <= fields.keys() or len(fields) < len(value):
        log.add(
            "ST-ENTRY", where, "the entry does not state dtype, shape and data_offsets once each"
        )
        return None
    if extra := sorted(fields.keys() - wanted):
        log.add(
            "ST-EXTRA",
            where,
            f"the entry has fields the format does not know: {show_plain(', '.join(extra))}",
        )
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not (_are_counts(offsets) and len(offsets) == 2):
        log.add("ST-OFFSETS", where, "data_offsets must be two whole numbers, neither negative")
        return None
    start, end = offsets
    if start > end:
        log.add(
            "ST-OFFSETS",
            where,
            f"data_offsets run backwards: {start} to {end}",
            start=start,
            end=end,
        )
        return None
    unreadable = _check_shape(shape, where, log)
    if unreadable is not None:
        shape = []  # a shape that counts nothing must not be multiplied out again
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        known = ", ".join(DTYPE_BITS)
        dtype = show_plain(dtype, 30) if isinstance(dtype, str) else "(no text)"
        log.add(
            "ST-DTYPE", where, f"dtype {dtype} is not one of the format's ({known})", dtype=dtype
        )
        unreadable = f"dtype {dtype} is not known"
    if unreadable is None:
        unreadable = _check_size(dtype, shape, end - start, where, log)
    return TensorEntry(
        name=name,
        dtype=dtype,
        shape=tuple(shape),
        file=file,
        start=data + start,
        end=data + end,
        unreadable=unreadable,
    )


def _are_counts(values: object) -> TypeGuard[list[int]]:
    return type(values) is list and all(
        type(value) is int and value <= LARGEST_INTEGER for value in values
    )


def _check_shape(shape: object, where: str, log: Log) -> str | None:
    """Why a shape is none that elements can be counted by; None when it is one."""
    if not _are_counts(shape):
        log.add("ST-SHAPE", where, "shape must be a list of whole numbers, none negative")
        return "its shape is not a list of counts"
    elements = 1
    for dimension in shape:
        if (elements := elements * dimension) > LARGEST_INTEGER:
            shown = _short(shape)
            log.add("ST-SHAPE", where, f"shape {shown} holds more elements than 64 bits can count")
            return "its shape is too large to count"
    return None


def _check_size(dtype: str, shape: list[int], actual: int, where: str, log: Log) -> str | None:
    """Why a tensor of this shape cannot be read; None when it can."""
    bits = DTYPE_BITS[dtype] * math.prod(shape)
    if bits % 8:
        log.add(
            "ST-SIZE",
            where,
            f"{dtype} {_short(shape)} is {bits} bits, which is not a whole number of bytes",
        )
        return "it does not fill whole bytes"
    if bits // 8 != actual:
        log.add(
            "ST-SIZE",
            where,
            f"{dtype} {_short(shape)} takes {bits // 8:,} bytes, its offsets span {actual:,}",
            expected=bits // 8,
            actual=actual,
        )
        return "its shape and its offsets disagree"
    if len(shape) > MOST_DIMENSIONS or max(shape, default=0) > LARGEST_DIMENSION:
        log.add(
            "ST-RANK", where, f"shape {_short(shape)} has more than 64 dimensions or one over 2^48"
        )
        return "no array can have its shape"
    return None


def _short(shape: list[int]) -> str:
    return (
        str(shape)
        if len(shape) <= 8
        else f"[{', '.join(map(str, shape[:8]))}, … {len(shape)} dimensions]"
    )


def _check_name(name: str, file: str, log: Log) -> None:
    reasons = [
        reason
        for reason, hit in (
            ("is empty", not name),
            (f"has {len(name):,} characters", len(name) > LONGEST_NAME),
            ("has control or invisible characters", not name.isprintable()),
            ("has markup characters", re.search(r"[<>`\[\]$]", name)),
            (
                "looks like a path",
                name.startswith(("/", "\\", "~")) or ".." in name.replace("\\", "/").split("/"),
            ),
        )
        if hit
    ]
    if reasons:
        log.add(
            "ST-NAME", f"{file}: {show_plain(name)}", f"the tensor's name {' and '.join(reasons)}"
        )


def _check_layout(
    entries: list[TensorEntry], file: str, data: int, size: int, read: ReadAt, log: Log
) -> list[TensorEntry]:
    """The entries in file order, those that end past the file marked; one finding per bad range."""
    entries = sorted(entries, key=lambda e: (e.start, e.end))
    position = data
    previous: TensorEntry | None = None
    for entry in entries:
        if previous and (entry.name, entry.start, entry.end) == (
            previous.name,
            previous.start,
            previous.end,
        ):
            continue  # a duplicate of one name and one place: told once, as ST-DUP
        where = f"{file}: {show_plain(entry.name)}"
        if entry.start > position:
            gap = entry.start - position
            log.add(
                "ST-HOLE",
                where,
                f"{gap:,} bytes before it belong to no tensor",
                start=position,
                end=entry.start,
            )
        elif entry.start < position:
            log.add(
                "ST-OVERLAP",
                where,
                f"it begins {position - entry.start:,} bytes before the tensors ahead of it end",
                start=entry.start,
                end=position,
            )
        position = max(position, entry.end)
        previous = entry
    if position < size:
        head = read(position, 16)
        known = begins_like(head)
        log.add(
            "ST-TRAILING",
            file,
            f"{size - position:,} extra bytes after the last tensor"
            + (f", which begin like {known}" if known else ""),
            start=position,
            end=size,
            first_bytes=head.hex(),
        )
    elif position > size:
        log.add(
            "ST-TRUNCATED",
            file,
            f"{position - size:,} bytes are missing at the end",
            expected=position,
            actual=size,
        )
    return [
        dataclasses.replace(e, unreadable=e.unreadable or "the file ends before it does")
        if e.end > size
        else e
        for e in entries
    ]
