"""Malformed checkpoints, each made by a small function: what is wrong, and what must be said of it.

`raw` writes a header as bytes, so that a header no library would write can be made too.
"""

import dataclasses
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Builder = Callable[[Path], Path]
"""Makes the bad input in an empty folder and gives the path to open."""

UNREADABLE, WITH_ERRORS, READABLE = 2, 1, 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """One bad input; `ids` are all findings of opening it, in any order."""

    name: str
    build: Builder
    ids: tuple[str, ...]
    code: int
    measured: int = 0  # tensors of which a record is still made


CASES: list[Case] = []


def bad(ids: str, code: int, measured: int = 0) -> Callable[[Builder], Builder]:
    """Enter a builder into CASES under its own name."""

    def enter(build: Builder) -> Builder:
        name = build.__name__
        CASES.append(
            Case(name=name, build=build, ids=tuple(ids.split()), code=code, measured=measured)
        )
        return build

    return enter


def raw(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A file of this header text and data; `length` lies about the header's length."""
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def entry(dtype: str, shape: Sequence[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def packed(header: Mapping[str, Any], data: bytes | None = None) -> bytes:
    """A file of this header; `data` is made of ones in float32 as far as the offsets reach."""
    ends = [e["data_offsets"][1] for n, e in header.items() if n != "__metadata__"]
    if data is None:
        data = (np.ones(max(ends, default=0) // 4 + 1, np.float32).tobytes())[
            : max(ends, default=0)
        ]
    return raw(json.dumps(header).encode(), data)


def config(folder: Path, text: bytes = b'{"model_type": "none"}') -> None:
    (folder / "config.json").write_bytes(text)


def one(folder: Path, content: bytes, name: str = "model.safetensors") -> Path:
    """A file beside a config.json with nothing wrong in it."""
    folder.mkdir(parents=True, exist_ok=True)
    config(folder)
    (folder / name).write_bytes(content)
    return folder / name


GOOD = {"a": entry("F32", [2, 2], 0, 16), "b": entry("F32", [4], 16, 32)}


def with_header(text: bytes, data: bytes = b"") -> Builder:
    return lambda folder: one(folder, raw(text, data))


def with_entries(header: Mapping[str, Any], data: bytes | None = None) -> Builder:
    return lambda folder: one(folder, packed(header, data))


def table(rows: Sequence[tuple[str, Builder, str, int, int]]) -> None:
    for name, build, ids, code, measured in rows:
        CASES.append(
            Case(name=name, build=build, ids=tuple(ids.split()), code=code, measured=measured)
        )


def plain_file(content: bytes) -> Builder:
    return lambda folder: one(folder, content)


# ------------------------------------------------------------ 1-3: no header to speak of
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 90868376\n"
)
table(
    [
        ("empty file", plain_file(b""), "ST-SMALL", 2, 0),
        ("seven bytes", plain_file(b"\x02\0\0\0\0\0\0"), "ST-SMALL", 2, 0),
        ("eight zero bytes", plain_file(bytes(8)), "ST-JSON", 2, 0),
        ("lfs pointer", plain_file(POINTER), "ST-LFS", 2, 0),
        ("web page", plain_file(b"<!DOCTYPE html><p>404 not found</p>"), "ST-FOREIGN", 2, 0),
        ("gguf", plain_file(b"GGUF\x03" + bytes(60)), "ST-FOREIGN", 2, 0),
        ("numpy file", plain_file(b"\x93NUMPY\x01\x00" + bytes(60)), "ST-FOREIGN", 2, 0),
        ("length 2^64-1", plain_file(raw(b"{}", length=2**64 - 1)), "ST-LENGTH", 2, 0),
        ("length 2^63", plain_file(raw(b"{}", length=2**63)), "ST-LENGTH", 2, 0),
        ("length 100000001", plain_file(raw(b"{}", length=100_000_001)), "ST-LENGTH", 2, 0),
        ("length one too long", plain_file(raw(b"{}", length=3)), "ST-LENGTH", 2, 0),
        ("length one too short", plain_file(raw(b"{}", length=1)), "ST-JSON", 2, 0),
        ("cut off inside the header", plain_file(packed(GOOD)[:40]), "ST-LENGTH", 2, 0),
        (
            "cut off header of 640 bytes",  # 0x280: its first bytes are also those of a pickle
            plain_file(raw(json.dumps(GOOD).encode().ljust(640))[:300]),
            "ST-LENGTH",
            2,
            0,
        ),
    ]
)


@bad("ST-CAP", UNREADABLE)
def header_over_the_cap(folder: Path) -> Path:
    path = one(folder, struct.pack("<Q", 90_000_000) + b"{")
    with path.open("r+b") as file:
        file.truncate(100_000_000)  # sparse: takes no room on the disk
    return path


# ------------------------------------------------------------ 5: a header that is not JSON
def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * depth + b"]" * depth + b"}"


table(
    [
        ("not utf-8", with_header(b'{"\xff":1}'), "ST-UTF8", 2, 0),
        ("utf-16", with_header("{}".encode("utf-16")), "ST-UTF8", 2, 0),
        ("half a surrogate pair", with_header(b'{"\\ud800":{}}'), "ST-UTF8", 2, 0),
        ("byte order mark", with_header(b"\xef\xbb\xbf{}"), "ST-BOM", 2, 0),
        ("padded with NUL", with_header(b"{}\0\0\0\0\0\0"), "ST-JSON", 2, 0),
        ("a list", with_header(b"[]"), "ST-NOTOBJECT", 2, 0),
        ("null", with_header(b"null"), "ST-NOTOBJECT", 2, 0),
        ("plain text", with_header(b"hello"), "ST-JSON", 2, 0),
        ("two documents", with_header(b"{}{}"), "ST-JSON", 2, 0),
        ("cut off JSON", with_header(b'{"a":{"dtype"'), "ST-JSON", 2, 0),
        ("trailing comma", with_header(b'{"a":1,}'), "ST-JSON", 2, 0),
        ("100000 nested", with_header(nested(100_000)), "ST-NESTED", 2, 0),
        ("120 nested", with_header(nested(120)), "ST-NESTED", 2, 0),
        ("5000 digits", with_header(b'{"a":' + b"9" * 5000 + b"}"), "ST-NUMBER", 2, 0),
        ("1e999", with_header(b'{"a":1e999}'), "ST-NUMBER", 2, 0),
        ("NaN", with_header(b'{"a":NaN}'), "ST-NUMBER", 2, 0),
        ("-Infinity", with_header(b'{"a":-Infinity}'), "ST-NUMBER", 2, 0),
    ]
)

# ------------------------------------------------------------ 6-7: names and metadata
A, B = json.dumps(GOOD["a"]).encode(), json.dumps(GOOD["b"]).encode()
DATA = np.arange(8, dtype=np.float32).tobytes()


def with_metadata(value: bytes) -> Builder:
    return with_header(b'{"__metadata__":' + value + b',"a":' + A + b',"b":' + B + b"}", DATA)


table(
    [
        ("duplicate name", with_header(b'{"a":' + A + b',"b":' + B + b',"a":' + A + b"}", DATA),
         "ST-DUP", 1, 1),
        ("duplicate name, two places", with_header(b'{"a":' + A + b',"a":' + B + b"}", DATA),
         "ST-DUP", 1, 0),
        ("duplicate metadata",
         with_header(b'{"__metadata__":{},"a":' + A + b',"b":' + B + b',"__metadata__":{}}', DATA),
         "ST-META", 1, 2),
        ("metadata with a number", with_metadata(b'{"n":1}'), "ST-META", 1, 2),
        ("metadata with null", with_metadata(b'{"n":null}'), "ST-META", 1, 2),
        ("metadata with an object", with_metadata(b'{"n":{"m":"x"}}'), "ST-META", 1, 2),
        ("metadata is a list", with_metadata(b'["x"]'), "ST-META", 1, 2),
        ("metadata is text", with_metadata(b'"x"'), "ST-META", 1, 2),
        ("metadata key twice", with_metadata(b'{"n":"1","n":"2"}'), "ST-META", 1, 2),
        ("metadata is null", with_metadata(b"null"), "ST-META-NULL", 0, 2),
    ]
)  # fmt: skip


# ------------------------------------------------------------ 8-12: places, shapes, dtypes
def second(value: Any) -> Builder:
    """A good tensor `a`, then `b` with one thing changed; the data still fits `b` as it was."""
    header = {"a": GOOD["a"], "b": value}
    return lambda folder: one(folder, raw(json.dumps(header).encode(), DATA))


def of_b(**fields: Any) -> Builder:
    return second({**GOOD["b"], **fields})


table(
    [
        ("overlap", with_entries({"a": entry("F32", [2, 2], 0, 16), "b": entry("F32", [4], 8, 24)}),
         "ST-OVERLAP", 1, 2),
        ("same place under two names",
         with_entries({"a": entry("F32", [4], 0, 16), "b": entry("F32", [4], 0, 16)}),
         "ST-OVERLAP", 1, 2),
        ("empty tensor inside another",
         with_entries({"a": entry("F32", [4], 0, 16), "b": entry("F32", [0], 8, 8)}),
         "ST-OVERLAP", 1, 2),
        ("hole", with_entries({"a": GOOD["a"], "b": entry("F32", [4], 20, 36)}), "ST-HOLE", 1, 2),
        ("hole at the start", with_entries({"a": entry("F32", [4], 4, 20)}), "ST-HOLE", 1, 1),
        ("two holes", with_entries({"a": entry("F32", [4], 4, 20), "b": entry("F32", [4], 24, 40)}),
         "ST-HOLE ST-HOLE", 1, 2),
        ("trailing zip", plain_file(packed(GOOD) + b"PK\x03\x04" + bytes(30)), "ST-TRAILING", 1, 2),
        ("one trailing byte", plain_file(packed(GOOD) + b"\0"), "ST-TRAILING", 1, 2),
        ("data and no tensors", with_header(b"{}", b"data"), "ST-TRAILING", 2, 0),
        ("truncated by two bytes", plain_file(packed(GOOD)[:-2]), "ST-TRUNCATED", 1, 1),
        ("no data at all", with_header(json.dumps(GOOD).encode()), "ST-TRUNCATED", 1, 0),
        ("offsets reversed", of_b(data_offsets=[32, 16]), "ST-OFFSETS ST-TRAILING", 1, 1),
        ("negative offset", of_b(data_offsets=[-16, 32]), "ST-OFFSETS ST-TRAILING", 1, 1),
        ("fractional offset", of_b(data_offsets=[16.0, 32]), "ST-OFFSETS ST-TRAILING", 1, 1),
        ("boolean offset", of_b(data_offsets=[True, 32]), "ST-OFFSETS ST-TRAILING", 1, 1),
        ("three offsets", of_b(data_offsets=[16, 24, 32]), "ST-OFFSETS ST-TRAILING", 1, 1),
        ("offsets past 2^64", of_b(data_offsets=[16, 2**64]), "ST-OFFSETS ST-TRAILING", 1, 1),
        ("offset 2^64-1", of_b(data_offsets=[16, 2**64 - 1]), "ST-SIZE ST-TRUNCATED", 1, 1),
        ("shape larger than range", of_b(shape=[5]), "ST-SIZE", 1, 1),
        ("shape smaller than range", of_b(shape=[3]), "ST-SIZE", 1, 1),
        ("shape that overflows", of_b(shape=[2, 2**64 - 2]), "ST-SHAPE", 1, 1),
        ("shape that wraps to 4", of_b(shape=[2**62, 2, 2, 2, 2]), "ST-SHAPE", 1, 1),
        ("rank 100001 of large ones", of_b(shape=[2**63] * 100_001), "ST-SHAPE", 1, 1),
        ("negative dimension", of_b(shape=[-4]), "ST-SHAPE", 1, 1),
        ("fractional dimension", of_b(shape=[4.0]), "ST-SHAPE", 1, 1),
        ("boolean dimension", of_b(shape=[True, 4]), "ST-SHAPE", 1, 1),
        ("shape is a number", of_b(shape=4), "ST-SHAPE", 1, 1),
        ("shape is null", of_b(shape=None), "ST-SHAPE", 1, 1),
        ("rank 100001", of_b(shape=[1] * 100_000 + [4]), "ST-RANK", 1, 1),
        ("dimension 2^63 of an empty one",
         with_entries({"a": GOOD["a"], "b": entry("F32", [0, 2**63], 16, 16)}), "ST-RANK", 1, 1),
        ("dtype Q4_K", of_b(dtype="Q4_K"), "ST-DTYPE", 1, 1),
        ("dtype f32", of_b(dtype="f32"), "ST-DTYPE", 1, 1),
        ("dtype of markup", of_b(dtype="<img src=x>\x1b[2J"), "ST-DTYPE", 1, 1),
        ("dtype is a number", of_b(dtype=32), "ST-DTYPE", 1, 1),
        ("dtype is an object", of_b(dtype={"a": []}), "ST-DTYPE", 1, 1),
        ("dtype unknown, shape absurd", of_b(dtype="Q4", shape=[2**64 - 1] * 9000),
         "ST-DTYPE ST-SHAPE", 1, 1),
        ("odd count of F4", with_entries({"a": GOOD["a"], "b": entry("F4", [3], 16, 18)}),
         "ST-SIZE", 1, 1),
        ("entry is null", second(None), "ST-ENTRY ST-TRAILING", 1, 1),
        ("entry is a list", second(["F32", [4], [16, 32]]), "ST-ENTRY ST-TRAILING", 1, 1),
        ("entry without dtype", second({"shape": [4], "data_offsets": [16, 32]}),
         "ST-ENTRY ST-TRAILING", 1, 1),
        ("entry without offsets", second({"shape": [4], "dtype": "F32"}),
         "ST-ENTRY ST-TRAILING", 1, 1),
        ("entry with dtype twice",
         with_header(b'{"a":' + A + b',"b":{"dtype":"F32",' + B[1:] + b"}", DATA),
         "ST-ENTRY ST-TRAILING", 1, 1),
    ]
)  # fmt: skip

# ------------------------------------------------------------ 13: names
HOSTILE_NAMES = {
    "empty": "",
    "markup": "<img src=x onerror=alert(1)>",
    "traversal": "../../etc/passwd",
    "NUL": "a\0b",
    "bidi": "safe\u202egnp.exe",
    "ANSI": "\x1b[2J\x1b]0;owned\x07",
    "newline": "a\nb",
    "one megabyte": "x" * 1_000_000,
    "markdown": "[click](javascript:alert(1))",
    "math": "$$\\frac{a}{b}$$",
    "absolute": "/etc/passwd",
}
table(
    [
        (f"name {what}", with_entries({name: GOOD["a"]}), "ST-NAME", 0, 1)
        for what, name in HOSTILE_NAMES.items()
    ]
)


# ------------------------------------------------------------ 14: values
def with_values(*values: float) -> Builder:
    data = np.array(values, np.float32)
    header = {
        "a": entry("F32", [len(data)], 0, data.nbytes),
        "b": entry("F32", [], data.nbytes, data.nbytes + 4),
    }
    return with_entries(header, data.tobytes() + bytes(4))


table(
    [
        ("a NaN among the values", with_values(1, float("nan"), 2), "", 1, 2),
        ("infinities among the values", with_values(1, float("inf"), -float("inf")), "", 1, 2),
        ("all zero", with_values(0, 0, 0), "", 0, 2),
        ("subnormal values", with_values(1e-42, -1e-40, 0), "", 0, 2),
    ]
)


# ------------------------------------------------------------ nothing wrong, or nothing to tell
VALID: dict[str, bytes] = {
    "no tensors": raw(b"{}"),
    "leading spaces": raw(b"  " + json.dumps(GOOD).encode(), DATA),
    "trailing spaces": raw(json.dumps(GOOD).encode() + b"     ", DATA),
    "spaces everywhere": raw(json.dumps(GOOD, indent=3).encode(), DATA),
    "scalar": packed({"a": entry("F32", [], 0, 4)}),
    "empty tensor": packed({"a": entry("F32", [2, 0], 0, 0)}),
    "unsorted header": packed({"b": GOOD["b"], "a": GOOD["a"]}),
    "extra field": packed({"a": {**GOOD["a"], "comment": [1.5, None, "x"]}}),
    "complex": packed({"a": entry("C64", [2], 0, 16)}),
    "no metadata": packed(GOOD),
    "metadata": packed({"__metadata__": {"format": "pt"}, **GOOD}),
    "metadata null": raw(b'{"__metadata__":null,"a":' + A + b',"b":' + B + b"}", DATA),
    "empty between others": packed(
        {"a": GOOD["a"], "e": entry("F32", [0], 16, 16), "b": GOOD["b"]}
    ),
    "escaped name": raw(b'{"\\u0061\\ud83d\\ude00":' + A + b"}", DATA[:16]),
    "64 dimensions": packed({"a": entry("F32", [1] * 62 + [2, 2], 0, 16)}),
    "misaligned": packed({"a": entry("U8", [3], 0, 3), "b": entry("F32", [2], 3, 11)}),
}
