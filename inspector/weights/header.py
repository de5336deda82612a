"""Strict pass over a safetensors header, before any library touches the file.

Stricter than the library: it also refuses duplicate names and tells a truncated file from one with
foreign bytes behind the last tensor. What is well formed in a bad file is still listed.
Format: https://huggingface.co/docs/safetensors (8-byte little-endian length, JSON, data).
"""

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable
from typing import Any

from inspector.results import Finding, show_plain
from inspector.weights.problems import Log

SOFT_CAP = 25_000_000  # bytes; what the Hub's own reader takes
READ_AT_MOST = 512  # bytes looked at before the length field is believed
MOST_DIMENSIONS = 64  # numpy's limit
LARGEST_DIMENSION = 2**48
LARGEST_INTEGER = 2**64 - 1  # what the format's reference reader can hold
DEEPEST = 100  # the reference reader stops at 128
LONGEST_NUMBER = 300  # digits; more than this is infinite for the reference reader
LONGEST_NAME = 512

# Bits per element of every dtype of safetensors 0.8.
DTYPE_BITS = {
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8,
    "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip

MAGIC = {  # first bytes of what is sent under the wrong name
    b"version https://git-lfs": ("ST-LFS", "a Git-LFS pointer, not the file it points to"),
    b"PK\x03\x04": ("PK-PICKLE", "a zip archive: the usual shape of a torch pickle"),
    b"\x80\x02": ("PK-PICKLE", "a pickle"),
    b"\x80\x03": ("PK-PICKLE", "a pickle"),
    b"\x80\x04": ("PK-PICKLE", "a pickle"),
    b"\x80\x05": ("PK-PICKLE", "a pickle"),
    b"GGUF": ("ST-FOREIGN", "a GGUF file"),
    b"\x89HDF": ("ST-FOREIGN", "an HDF5 file"),
    b"\x93NUMPY": ("ST-FOREIGN", "a NumPy array file"),
    b"<!DOCTYPE": ("ST-FOREIGN", "a web page"),
    b"<html": ("ST-FOREIGN", "a web page"),
}

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
    if text is None:
        return Header(
            file=file, file_bytes=size, sha256=sha256, metadata={}, tensors=(), findings=log.findings
        )
    length = len(text.encode("utf-8"))
    metadata, entries = _entries(_parse(text, file, log), file, 8 + length, log)
    entries = _check_layout(entries, file, 8 + length, size, read, log)
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
    length = int.from_bytes(head[:8], "little") if len(head) >= 8 else None
    plausible = length is not None and length <= size - 8 and head[8:9] in b"{ \t\r\n"
    for magic, (id, what) in MAGIC.items():
        if not plausible and head.startswith(magic):
            log.add(id, file, f"this is {what} ({size:,} bytes)", bytes=size)
            return None, None
    if length is None:
        log.add("ST-SMALL", file, f"not a safetensors file: {size} bytes, at least 8 expected", bytes=size)
        return None, None
    if length > size - 8:
        log.add(
            "ST-LENGTH",
            file,
            f"the header claims {length:,} bytes, the file has {size - 8:,} after its length field: "
            "truncated download?",
            claimed=str(length),
            available=size - 8,
        )
        return None, None
    if length > cap:
        log.add(
            "ST-CAP",
            file,
            f"the header claims {length:,} bytes (about {length // 80:,} tensors), the limit is {cap:,}",
            claimed=length,
            cap=cap,
        )
        return None, None
    raw = read(8, length)
    sha256 = hashlib.sha256(raw).hexdigest()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        log.add("ST-UTF8", file, f"the header is not UTF-8 at byte {8 + error.start}", byte=8 + error.start)
        return None, sha256
    if text.startswith("\ufeff"):
        log.add("ST-BOM", file, "the header begins with a byte order mark", byte=8)
        return None, sha256
    if text[:1] in (" ", "\t", "\r", "\n"):
        log.add("ST-SPACE", file, "the header begins with white space", byte=8)
    return text, sha256


class _Object(list[tuple[str, Any]]):
    """A JSON object as its pairs, so that duplicate names stay visible."""


class _OtherNumber:
    """A JSON number that is no count: negative or with a fraction. Fit for no field we use."""


class _NumberError(ValueError):
    """A number that the reference reader cannot hold."""


def _parse_integer(text: str) -> int | _OtherNumber:
    if len(text) > LONGEST_NUMBER:
        raise _NumberError(f"a number of {len(text)} digits")
    return _OtherNumber() if text.startswith("-") else int(text)


def _parse_float(text: str) -> _OtherNumber:
    if len(text) > LONGEST_NUMBER or math.isinf(float(text)):
        raise _NumberError(f"the number {show_plain(text, 20)}, which is too large")
    return _OtherNumber()


def _parse_constant(text: str) -> None:
    raise _NumberError(f"{text}, which is not JSON")


def _parse(text: str, file: str, log: Log) -> _Object:
    """The header's pairs; empty, with a finding, when it is not a JSON object."""
    nothing = _Object()
    try:
        document = json.loads(
            text,
            object_pairs_hook=_Object,
            parse_int=_parse_integer,
            parse_float=_parse_float,
            parse_constant=_parse_constant,
        )
    except json.JSONDecodeError as error:
        byte = 8 + len(text[: error.pos].encode("utf-8"))
        log.add("ST-JSON", file, f"the header is not JSON at byte {byte}: {error.msg}", byte=byte)
        return nothing
    except RecursionError:
        log.add("ST-NESTED", file, f"the header is nested deeper than {DEEPEST} levels")
        return nothing
    except _NumberError as error:
        log.add("ST-NUMBER", file, f"the header holds {error}")
        return nothing
    if not isinstance(document, _Object):
        log.add("ST-NOTOBJECT", file, f"the header is a JSON {type(document).__name__}, not an object")
        return nothing
    if "\\u" in text and (name := _lone_surrogate(document)) is not None:
        log.add("ST-UTF8", file, f"the header holds half a surrogate pair in {show_plain(name)}")
        return nothing
    if _depth(document) > DEEPEST:
        log.add("ST-NESTED", file, f"the header is nested deeper than {DEEPEST} levels")
        return nothing
    return document


def _children(value: object) -> list[Any]:
    if isinstance(value, _Object):
        return [part for pair in value for part in pair]
    return value if isinstance(value, list) else []


def _lone_surrogate(document: _Object) -> str | None:
    """A string that UTF-8 cannot hold, if the document has one."""
    level: list[Any] = [document]
    while level:
        for value in level:
            if isinstance(value, str) and re.search(r"[\ud800-\udfff]", value):
                return value
        level = [child for value in level for child in _children(value)]
    return None


def _depth(document: _Object) -> int:
    """How deep the document nests; stops counting just past DEEPEST."""
    level: list[Any] = [document]
    depth = 0
    while level and depth <= DEEPEST:
        depth += 1
        level = [child for value in level for child in _children(value) if isinstance(child, list)]
    return depth


def _entries(
    pairs: _Object, file: str, data: int, log: Log
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
                dataclasses.replace(e, unreadable="its name stands more than once in the header") for e in same
            ]
    return metadata, [entry for same in entries.values() for entry in same]


def _metadata(value: Any, file: str, log: Log) -> dict[str, str]:
    if value is None:
        log.add("ST-META-NULL", file, "`__metadata__` is null")
        return {}
    if not isinstance(value, _Object):
        log.add("ST-META", file, f"`__metadata__` is a {type(value).__name__}, not an object of strings")
        return {}
    wrong = [key for key, text in value if not isinstance(text, str)]
    if wrong:
        log.add("ST-META", file, f"`__metadata__` holds something else than text under {show_plain(wrong[0])}")
    if len({key for key, _ in value}) < len(value):
        log.add("ST-META", file, "`__metadata__` holds a key twice")
    return {key: text for key, text in value if isinstance(text, str)}


def _entry(name: str, value: Any, file: str, data: int, log: Log) -> TensorEntry | None:
    """One tensor; None, with a finding, when its place in the file is not stated properly."""
    where = f"{file}: {show_plain(name)}"
    fields = dict(value) if isinstance(value, _Object) else {}
    wanted = {"dtype", "shape", "data_offsets"}
    if not isinstance(value, _Object) or not wanted <= fields.keys() or len(fields) < len(value):
        log.add("ST-ENTRY", where, "the entry does not state dtype, shape and data_offsets once each")
        return None
    if extra := sorted(fields.keys() - wanted):
        log.add("ST-EXTRA", where, f"the entry has fields the format does not know: {show_plain(', '.join(extra))}")
    dtype, shape, offsets = fields["dtype"], fields["shape"], fields["data_offsets"]
    if not (type(offsets) is list and len(offsets) == 2 and all(_is_count(o) for o in offsets)):
        log.add("ST-OFFSETS", where, "data_offsets must be two whole numbers, neither negative")
        return None
    start, end = offsets
    if start > end:
        log.add("ST-OFFSETS", where, f"data_offsets run backwards: {start} to {end}", start=start, end=end)
        return None
    if not (type(shape) is list and all(_is_count(d) for d in shape)):
        log.add("ST-SHAPE", where, "shape must be a list of whole numbers, none negative")
        return _placed(name, str(dtype), (), file, data, start, end, "its shape is not a list of counts")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        shown = show_plain(str(dtype), 30)
        log.add("ST-DTYPE", where, f"dtype {shown} is not one of the format's ({', '.join(DTYPE_BITS)})", dtype=shown)
        return _placed(name, shown, tuple(shape), file, data, start, end, f"dtype {shown} is not known")
    unreadable = _check_shape(dtype, shape, end - start, where, log)
    return _placed(name, dtype, tuple(shape), file, data, start, end, unreadable)


def _is_count(value: object) -> bool:
    return type(value) is int and value <= LARGEST_INTEGER


def _placed(
    name: str, dtype: str, shape: tuple[int, ...], file: str, data: int, start: int, end: int, unreadable: str | None
) -> TensorEntry:
    return TensorEntry(
        name=name, dtype=dtype, shape=shape, file=file, start=data + start, end=data + end, unreadable=unreadable
    )


def _check_shape(dtype: str, shape: list[int], actual: int, where: str, log: Log) -> str | None:
    """Why a tensor of this shape cannot be read; None when it can."""
    bits = DTYPE_BITS[dtype]
    for dimension in shape:
        if (bits := bits * dimension) > LARGEST_INTEGER:
            log.add("ST-SHAPE", where, f"shape {_short(shape)} holds more elements than 64 bits can count")
            return "its shape is too large to count"
    if bits % 8:
        log.add("ST-SIZE", where, f"{dtype} {_short(shape)} is {bits} bits, which is not a whole number of bytes")
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
        log.add("ST-RANK", where, f"shape {_short(shape)} has more than 64 dimensions or one over 2^48")
        return "no array can have its shape"
    return None


def _short(shape: list[int]) -> str:
    return str(shape) if len(shape) <= 8 else f"[{', '.join(map(str, shape[:8]))}, … {len(shape)} dimensions]"


def _check_name(name: str, file: str, log: Log) -> None:
    reasons = [
        reason
        for reason, hit in (
            ("is empty", not name),
            (f"has {len(name):,} characters", len(name) > LONGEST_NAME),
            ("has control or invisible characters", not name.isprintable()),
            ("has markup characters", re.search(r"[<>`\[\]$]", name)),
            ("looks like a path", name.startswith(("/", "\\", "~")) or ".." in name.replace("\\", "/").split("/")),
        )
        if hit
    ]
    if reasons:
        log.add("ST-NAME", f"{file}: {show_plain(name)}", f"the tensor's name {' and '.join(reasons)}")


def _check_layout(
    entries: list[TensorEntry], file: str, data: int, size: int, read: ReadAt, log: Log
) -> list[TensorEntry]:
    """The entries in file order, those that end past the file marked; one finding per bad range."""
    entries = sorted(entries, key=lambda e: (e.start, e.end))
    position = data
    previous: TensorEntry | None = None
    for entry in entries:
        if previous and (entry.name, entry.start, entry.end) == (previous.name, previous.start, previous.end):
            continue  # a duplicate of one name and one place: told once, as ST-DUP
        where = f"{file}: {show_plain(entry.name)}"
        if entry.start > position:
            gap = entry.start - position
            log.add("ST-HOLE", where, f"{gap:,} bytes before it belong to no tensor", start=position, end=entry.start)
        elif entry.start < position:
            log.add(
                "ST-OVERLAP",
                where,
                f"it begins {position - entry.start:,} bytes before the end of the tensors ahead of it",
                start=entry.start,
                end=position,
            )
        position = max(position, entry.end)
        previous = entry
    if position < size:
        head = read(position, 16)
        known = next((what for magic, (_, what) in MAGIC.items() if head.startswith(magic)), None)
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
        log.add("ST-TRUNCATED", file, f"{position - size:,} bytes are missing at the end", expected=position, actual=size)
    return [
        dataclasses.replace(e, unreadable=e.unreadable or "the file ends before it does") if e.end > size else e
        for e in entries
    ]
