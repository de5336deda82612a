"""The header pass against the format's own library: laws over random and damaged files."""

import hashlib
import json
import math
import struct
from pathlib import Path

import hypothesis
import pytest
import safetensors
from hypothesis import strategies as st

from inspector.weights.header import DTYPE_BITS, SOFT_CAP, Header, read_header
from tests.weights import header_strategies as made
from tests.weights.bad_files import GOOD, entry, packed, raw

ANY_FILE = (
    made.well_formed() | made.edited() | made.damaged() | made.flipped() | made.random_bytes()
)
FEW = hypothesis.settings(max_examples=400, deadline=None)
MANY = hypothesis.settings(
    max_examples=20_000,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)


def header_of(content: bytes, cap: int = SOFT_CAP) -> Header:
    return read_header(lambda at, n: content[at : at + n], len(content), "x.safetensors", cap)


def errors(header: Header) -> list[str]:
    return [finding.id for finding in header.findings if finding.severity == "error"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("header") / "x.safetensors"


def what_we_call_valid_the_library_opens(content: bytes, file: Path) -> None:
    header = header_of(content)
    if errors(header):
        return
    file.write_bytes(content)
    with safetensors.safe_open(file, framework="numpy") as library:
        stated = {name: library.get_slice(name) for name in library.keys()}  # noqa: SIM118
        assert (library.metadata() or {}) == header.metadata
        assert {t.name for t in header.tensors} == set(stated)
        for tensor in header.tensors:
            assert stated[tensor.name].get_dtype() == tensor.dtype
            assert tuple(stated[tensor.name].get_shape()) == tensor.shape
    by_place = sorted(header.tensors, key=lambda t: t.start)
    library_bytes = dict(safetensors.deserialize(content))
    for tensor in by_place:
        assert bytes(library_bytes[tensor.name]["data"]) == content[tensor.start : tensor.end]


def what_is_well_formed_is_valid(content: bytes, file: Path) -> None:
    assert errors(header_of(content)) == []
    what_we_call_valid_the_library_opens(content, file)


@FEW
@hypothesis.given(content=ANY_FILE)
def test_what_we_call_valid_the_library_opens(content: bytes, file: Path) -> None:
    what_we_call_valid_the_library_opens(content, file)


@FEW
@hypothesis.given(content=made.well_formed())
def test_what_is_well_formed_is_valid(content: bytes, file: Path) -> None:
    what_is_well_formed_is_valid(content, file)


@pytest.mark.soak
@MANY
@hypothesis.given(content=ANY_FILE)
def test_what_we_call_valid_the_library_opens_soak(content: bytes, file: Path) -> None:
    what_we_call_valid_the_library_opens(content, file)


@pytest.mark.soak
@MANY
@hypothesis.given(content=made.well_formed())
def test_what_is_well_formed_is_valid_soak(content: bytes, file: Path) -> None:
    what_is_well_formed_is_valid(content, file)


@pytest.mark.parametrize("kind", ["edited", "damaged", "flipped"])
def test_damage_leaves_enough_files_valid(kind: str) -> None:
    """The comparison with the library is empty unless some damaged files are still valid."""
    valid = []

    @hypothesis.settings(max_examples=200, deadline=None, derandomize=True, database=None)
    @hypothesis.given(content=getattr(made, kind)())
    def count(content: bytes) -> None:
        valid.append(not errors(header_of(content)))

    count()
    assert 0.02 < sum(valid) / len(valid) < 0.98


@FEW
@hypothesis.given(content=made.well_formed(), keep=st.floats(0, 1, exclude_max=True))
def test_cut_anywhere_is_one_finding_that_says_so(content: bytes, keep: float) -> None:
    cut = content[: int(keep * len(content))]
    allowed = {"ST-SMALL"} if len(cut) < 8 else {"ST-LENGTH", "ST-TRUNCATED"}
    header = header_of(cut)
    assert len(errors(header)) == 1
    assert set(errors(header)) <= allowed
    whole = {t.name: t for t in header_of(content).tensors}
    for tensor in header.tensors:
        assert tensor.start == whole[tensor.name].start
        assert (tensor.unreadable is None) == (tensor.end <= len(cut))


@FEW
@hypothesis.given(content=made.well_formed(), more=st.binary(min_size=1, max_size=40))
def test_bytes_behind_the_data_are_one_finding(content: bytes, more: bytes) -> None:
    header = header_of(content + more)
    assert errors(header) == ["ST-TRAILING"]
    finding = next(f for f in header.findings if f.id == "ST-TRAILING")
    assert finding.evidence["start"] == len(content)
    assert finding.evidence["end"] - finding.evidence["start"] == len(more)
    assert all(tensor.unreadable is None for tensor in header.tensors)


@FEW
@hypothesis.given(content=made.well_formed())
def test_tensors_cover_the_data_in_file_order(content: bytes) -> None:
    header = header_of(content)
    length = int.from_bytes(content[:8], "little")
    assert header.sha256 == hashlib.sha256(content[8 : 8 + length]).hexdigest()
    position = 8 + length
    for tensor in header.tensors:
        assert tensor.start == position
        assert tensor.bytes * 8 == tensor.parameters * DTYPE_BITS[tensor.dtype]
        position = tensor.end
    assert position == len(content) == header.file_bytes


@pytest.mark.parametrize("dtype", DTYPE_BITS)
def test_every_dtype_takes_as_many_bytes_as_the_library_says(dtype: str, file: Path) -> None:
    for shape in ([], [0], [4], [2, 3, 4], [0, 5], [1, 1, 4]):
        bits = DTYPE_BITS[dtype] * math.prod(shape)
        if bits % 8 == 0:
            good = packed({"a": entry(dtype, shape, 0, bits // 8)})
            what_is_well_formed_is_valid(good, file)
        wrong = packed({"a": entry(dtype, shape, 0, bits // 8 + 1)})
        assert errors(header_of(wrong)) == ["ST-SIZE"]


@pytest.mark.parametrize("size", [99_993, 99_994, 100_000, 100_001, 1_000_000])
def test_headers_around_the_size_of_a_first_request(size: int) -> None:
    content = raw(json.dumps(GOOD).encode().ljust(size), bytes(32))
    header = header_of(content)
    assert header.findings == ()
    assert [(t.name, t.start, t.end) for t in header.tensors] == [
        ("a", 8 + size, 24 + size),
        ("b", 24 + size, 40 + size),
    ]


@pytest.mark.parametrize("claimed", [3, 10**4, 200_000_000, 2**40, 2**63, 2**64 - 1])
def test_a_claimed_length_is_not_believed(claimed: int) -> None:
    asked = []

    def read(at: int, n: int) -> bytes:
        asked.append(n)
        return (struct.pack("<Q", claimed) + b"{}")[at : at + n]

    header = read_header(read, 10, "x", SOFT_CAP)
    assert errors(header) == ["ST-LENGTH"]
    assert sum(asked) <= 10
    assert str(claimed) in header.findings[0].evidence["claimed"]


def test_a_header_over_the_cap_is_not_read() -> None:
    asked = []

    def read(at: int, n: int) -> bytes:
        asked.append(n)
        return (struct.pack("<Q", 2**30) + b"{" + bytes(600))[at : at + n]

    assert errors(read_header(read, 2**40, "x", cap=2**20)) == ["ST-CAP"]
    assert sum(asked) <= 520


def test_only_the_header_is_read_of_a_large_file() -> None:
    text = json.dumps({"a": entry("U8", [2**40], 0, 2**40)}).encode()
    start = struct.pack("<Q", len(text)) + text
    asked = []

    def read(at: int, n: int) -> bytes:
        asked.append(at + n)
        return start[at : at + n].ljust(n, b"\0")

    header = read_header(read, len(start) + 2**40, "x")
    assert header.findings == ()
    assert header.tensors[0].parameters == 2**40
    assert max(asked) <= 520


def test_a_hundred_dimensions_more_than_arrays_have() -> None:
    """Rank 64 is read, rank 65 is a warning and not read."""
    for rank, ids in ((64, []), (65, ["ST-RANK"])):
        header = header_of(packed({"a": entry("F32", [1] * rank, 0, 4)}))
        assert [f.id for f in header.findings] == ids
        assert (header.tensors[0].unreadable is None) == (rank == 64)
