"""Random safetensors files, well formed and damaged, built byte by byte."""

import copy
import json
import struct
from typing import Any

from hypothesis import strategies as st

from inspector.weights.header import DTYPE_BITS

SMALL_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = SMALL_TEXT.filter(lambda name: name != "__metadata__")


@st.composite
def headers(draw: st.DrawFn, most: int = 6) -> dict[str, Any]:
    """The header of a well-formed file as an object, entries in any order."""
    places = []
    end = 0
    for name in draw(st.lists(NAMES, max_size=most, unique=True)):
        dtype = draw(st.sampled_from(sorted(DTYPE_BITS)))
        shape = draw(st.lists(st.integers(0, 5), max_size=4))
        if DTYPE_BITS[dtype] % 8:
            shape.append(4 * draw(st.integers(0, 3)))  # 4 x 6 bits and 2 x 4 bits fill whole bytes
        bits = DTYPE_BITS[dtype]
        for dimension in shape:
            bits *= dimension
        start, end = end, end + bits // 8
        places.append((name, {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}))
    header: dict[str, Any] = dict(draw(st.permutations(places)))
    if draw(st.booleans()):
        header["__metadata__"] = draw(st.dictionaries(SMALL_TEXT, SMALL_TEXT, max_size=3))
    return header


def data_bytes(header: dict[str, Any]) -> int:
    return max((e["data_offsets"][1] for n, e in header.items() if n != "__metadata__"), default=0)


@st.composite
def well_formed(draw: st.DrawFn) -> bytes:
    """A whole well-formed file, its JSON laid out in any way the grammar allows."""
    header = draw(headers())
    text = json.dumps(
        header, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, None, 1]))
    ).encode()
    text = b" " * draw(st.integers(0, 2)) + text + b" " * draw(st.integers(0, 9))
    size = data_bytes(header)
    data = draw(st.binary(min_size=size, max_size=size)) if size < 64 else bytes(size)
    return struct.pack("<Q", len(text)) + text + data


ODD_VALUES = st.one_of(
    st.sampled_from(
        [None, True, False, 0, 1, -1, 0.0, 1.5, "", "F32", "f32", "BF16", "Q4_K", [], {}, [[]]]
    ),
    st.sampled_from([2**31, 2**32, 2**48, 2**48 + 1, 2**62, 2**63, 2**64 - 1, 2**64, 10**310]),
    st.integers(-4, 64),
    st.lists(st.integers(0, 8), max_size=3),
    st.lists(st.sampled_from([0, 1, 2, 2**32, 2**63, 2**64 - 1]), max_size=4),
    st.dictionaries(SMALL_TEXT, st.integers(0, 3) | SMALL_TEXT, max_size=2),
    st.floats(),
)  # fmt: skip


@st.composite
def edited(draw: st.DrawFn) -> bytes:
    """A well-formed file after one to three edits of its header as JSON; data often made to fit."""
    header = draw(headers(most=3))
    size = data_bytes(header)
    for _ in range(draw(st.integers(1, 3))):
        _edit(draw, header)
    text = json.dumps(header).encode()
    size = max(0, size + draw(st.sampled_from([0, 0, 0, 0, 1, -1])))
    return struct.pack("<Q", len(text)) + text + bytes(size)


def _edit(draw: st.DrawFn, header: dict[str, Any]) -> None:
    value = copy.deepcopy(draw(ODD_VALUES))  # it may be edited in its turn
    if not header or draw(st.integers(0, 5)) == 0:
        header[draw(NAMES | st.just("__metadata__"))] = value
        return
    name = draw(st.sampled_from(sorted(header)))
    entry = header[name]
    if not isinstance(entry, dict) or draw(st.integers(0, 5)) == 0:
        header[name] = value
        return
    key = draw(st.sampled_from(["dtype", "shape", "data_offsets", "more"]))
    old = entry.get(key)
    if isinstance(old, list) and old and draw(st.booleans()):
        old[draw(st.integers(0, len(old) - 1))] = value
    elif key in entry and draw(st.integers(0, 5)) == 0:
        del entry[key]
    else:
        entry[key] = value


SNIPPETS = [
    b"", b" ", b"\n", b"\t", b"\0", b",", b":", b"{", b"}", b"[", b"]", b'"', b"\\", b"\\u0000",
    b"\\ud83d", b"\\ude00", b"\xff", b"\xef\xbb\xbf", b"-", b"-0", b"1e2", b"1E400", b".5", b"01",
    b"NaN", b"null", b"true", b"//", b"/**/", b"'", b"\x0b", b"\xc2\xa0", b'"x":1,',
    b'"x":{"y":[]},', b'"dtype":"F32",',
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A well-formed file after edits of its bytes; the length field often made to fit again."""
    whole = draw(well_formed())
    length = int.from_bytes(whole[:8], "little")
    text, data = bytearray(whole[8 : 8 + length]), whole[8 + length :]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.sampled_from([0, 0, 1, 1, 2, 5]))
        text[at : at + cut] = draw(
            st.sampled_from(SNIPPETS) | st.binary(max_size=2) | st.just(bytes(text[at : at + 8]))
        )
    if draw(st.integers(0, 9)) == 0:
        length = draw(st.integers(0, len(text) + 9) | st.integers(0, 2**64 - 1))
    else:
        length = len(text)
    return struct.pack("<Q", length) + bytes(text) + data


@st.composite
def flipped(draw: st.DrawFn) -> bytes:
    """A well-formed file with single bytes changed anywhere."""
    whole = bytearray(draw(well_formed()))
    for _ in range(draw(st.integers(1, 3))):
        whole[draw(st.integers(0, len(whole) - 1))] = draw(st.integers(0, 255))
    return bytes(whole)


@st.composite
def random_bytes(draw: st.DrawFn) -> bytes:
    """Any bytes; half of them with a length field that fits what follows."""
    body = draw(st.binary(max_size=64) | SMALL_TEXT.map(str.encode))
    if draw(st.booleans()):
        return struct.pack("<Q", draw(st.integers(0, len(body)))) + body
    return body
