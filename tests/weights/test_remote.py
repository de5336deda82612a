"""Checkpoints read by byte ranges, against a server on this machine that can do wrong."""

import json
import struct
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import inspector
from inspector.errors import BadOption, CheckpointError
from inspector.weights import cache, ranges, transports
from inspector.weights import scan as scan_module
from inspector.weights.judgements import JUDGEMENTS
from inspector.weights.remote import BEGINNING, is_url, shown
from inspector.weights.storage import ByteRange
from inspector.weights.stored import stored_scan
from tests.weights.build import BITS, random_bytes, stored, write_file, write_shards
from tests.weights.range_server import Files, serving

INDEX = "model.safetensors.index.json"
SHARDS = [f"model-{i:05d}-of-00003.safetensors" for i in (1, 2, 3)]


def folder_files(folder: Path) -> dict[str, bytes]:
    return {f"/m/{path.name}": path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little patience, short pauses."""
    monkeypatch.setenv("INSPECTOR_TIMEOUT", "0.3")
    monkeypatch.setattr(ranges, "PAUSE", 0.01)


@pytest.fixture
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests and buffer so small that little files need many."""
    monkeypatch.setattr(ranges, "SEGMENT", 2**14)
    monkeypatch.setattr(ranges, "SMALL", 2**11)
    monkeypatch.setattr(ranges, "GAP", 2**8)
    monkeypatch.setattr(ranges, "HELD", 4)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of every dtype, every bit pattern; some larger than the first request."""
    shards = []
    for i in range(3):
        shard = {}
        for j, dtype in enumerate(BITS):
            rows = 300 if j == i else 8
            shape = (rows, 512)
            shard[f"s{i}.{j}.{dtype}"] = (dtype, shape, random_bytes(dtype, rows * 512, 50 * i + j))
        shard[f"s{i}.norm"] = stored("F32", np.arange(64, dtype=np.float32))
        shards.append(shard)
    folder = write_shards(tmp_path_factory.mktemp("mixed") / "m", shards)
    (folder / "config.json").write_text('{"model_type": "none"}')
    return folder


@pytest.fixture
def web(mixed: Path) -> Iterator[Files]:
    with serving(folder_files(mixed)) as served:
        yield served


@pytest.fixture(scope="module")
def near(mixed: Path) -> inspector.Records:
    """The scan of the folder itself."""
    return inspector.scan(inspector.open(mixed))


def same(far: inspector.Records, near: inspector.Records) -> None:
    def plain(records: inspector.Records) -> dict:
        document = records.to_dict()
        for key in ("model", "when", "revision"):
            del document["source"][key]
        return document

    assert plain(far) == plain(near)


def skipped(result: inspector.Records) -> dict[str, str]:
    return {one.name: one.reason for one in result.coverage.skipped}


def by_shard(result: inspector.Records) -> dict[str, int]:
    return {name: sum(r.shard == name for r in result) for name in SHARDS}


# ------------------------------------------------------------ the same numbers, few requests
def test_minilm_over_http_is_minilm(minilm: Path) -> None:
    near = inspector.scan(inspector.open(minilm))
    with serving(folder_files(minilm)) as served:
        checkpoint = inspector.open(f"{served.url}/m")
        assert [request.name for request in served.requests] == ["model.safetensors", "config.json"]
        same(inspector.scan(checkpoint), near)
        asked = served.asked("model.safetensors")
        assert len(asked) < len(checkpoint.tensors) / 3
        assert all(request.end - request.begin < ranges.SEGMENT for request in asked)
        assert sum(r.end - r.begin + 1 for r in asked[1:]) < 1.1 * near.coverage.bytes_total
        assert 2 <= served.most_at_once <= ranges.Limits().parallel
        assert checkpoint.changed() == []


@pytest.mark.parametrize("command", [c for c in JUDGEMENTS if c != "health"])
def test_judgements_from_far_away_are_the_same_in_few_requests(command: str, minilm: Path) -> None:
    measure = JUDGEMENTS[command].measure
    where = "layer.[01].|pooler"
    near = measure(inspector.open(minilm), where=where)
    with serving(folder_files(minilm)) as served:
        checkpoint = inspector.open(f"{served.url}/m")
        same(measure(checkpoint, where=where), near)
        assert len(served.asked("model.safetensors")) < near.coverage.tensors_measured


@pytest.mark.parametrize(
    ("form", "channels"),
    [("", True), ("/", False), (f"/{INDEX}", False), (f"/{SHARDS[1]}", False)],
)
def test_every_dtype_from_every_address(
    form: str, channels: bool, web: Files, mixed: Path, near: inspector.Records
) -> None:
    if channels:
        near = inspector.scan(inspector.open(mixed), channels=True)
    checkpoint = inspector.open(f"{web.url}/m{form}")
    assert checkpoint.model == f"{web.url}/m{form}"
    far = inspector.scan(checkpoint, channels=channels)
    same(far, near)
    assert far.channels.keys() == near.channels.keys()
    for name, profile in far.channels.items():
        assert np.array_equal(profile.rows.rms, near.channels[name].rows.rms, equal_nan=True)
    assert len(web.requests) < len(checkpoint.tensors)


def test_tensor_of_a_buffer_that_is_far_too_small(tmp_path: Path, small_segments: None) -> None:
    """What was let go is fetched again; never is more than the buffer held."""
    values = np.random.default_rng(0).normal(size=(400, 1000)).astype(np.float32)
    values[398, 3] = np.nan
    path = write_file(tmp_path / "model.safetensors", {"w": stored("F32", values)})
    near = inspector.scan(inspector.open(path), channels=True)
    with serving({"/m/model.safetensors": path.read_bytes()}) as served:
        checkpoint = inspector.open(f"{served.url}/m/model.safetensors")
        far = inspector.scan(checkpoint, channels=True)
    assert far.records == near.records
    assert [f.evidence for f in far.findings] == [f.evidence for f in near.findings]
    fetched = sum(request.end - request.begin + 1 for request in served.asked("model.safetensors"))
    assert 2 * values.nbytes < fetched < 8 * values.nbytes


def test_what_is_read_once_is_fetched_once(
    tmp_path: Path, small_segments: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though threads are at work on far parts of one tensor at a time."""
    monkeypatch.setattr(scan_module, "PART", 2**17)
    monkeypatch.setattr(scan_module, "CHUNK", 2**12)
    monkeypatch.setattr(ranges, "HELD", 16)  # four for each thread, as there are by default
    values = np.random.default_rng(0).normal(size=(2, 2**20)).astype(np.float16)
    tensors = {f"w{i}": stored("F16", one) for i, one in enumerate(values)}
    path = write_file(tmp_path / "model.safetensors", tensors)
    with serving({"/m/model.safetensors": path.read_bytes()}) as served:
        checkpoint = inspector.open(f"{served.url}/m")
        served.requests.clear()
        far = inspector.scan(checkpoint, workers=4)
    assert far.records == inspector.scan(inspector.open(path)).records
    fetched = sum(request.end - request.begin + 1 for request in served.requests)
    assert fetched == 2**22


def test_only_what_is_asked_for_is_fetched(web: Files) -> None:
    checkpoint = inspector.open(f"{web.url}/m")
    web.requests.clear()
    result = inspector.scan(checkpoint, where=r"^s1\.norm$")
    assert len(result) == 1
    (request,) = web.requests
    assert request.end - request.begin + 1 == 256


def test_one_request_at_a_time_where_that_is_wished(
    web: Files, near: inspector.Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSPECTOR_PARALLEL", "1")
    same(inspector.scan(inspector.open(f"{web.url}/m")), near)
    assert web.most_at_once == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("TIMEOUT", "soon"), ("TIMEOUT", "0"), ("PARALLEL", "21"), ("PARALLEL", "0")],
)
def test_settings_that_are_none(
    name: str, value: str, web: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"INSPECTOR_{name}", value)
    with pytest.raises(BadOption, match="INSPECTOR_PARALLEL"):
        inspector.open(f"{web.url}/m")


# ------------------------------------------------------------ laws of ranges
@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 200), st.integers(0, 90)), max_size=8)
)
def test_segments_cover_all_and_little_more(plan: list[tuple[str, int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranges, "SEGMENT", 32)
        patch.setattr(ranges, "GAP", 5)
        cut = ranges.segments([ByteRange(file, at, at + n) for file, at, n in plan])
    wanted = {(file, byte) for file, at, n in plan for byte in range(at, at + n)}
    fetched = [(file, byte) for file, begin, end in cut for byte in range(begin, end)]
    assert wanted <= set(fetched)
    assert len(fetched) == len(set(fetched))
    assert all(0 < end - begin <= 32 for _, begin, end in cut)
    extra = set(fetched) - wanted
    for file, byte in extra:  # no six bytes in a row that nobody asked for
        assert not all((file, byte + i) in extra for i in range(6))


@pytest.fixture(scope="module")
def noise() -> Iterator[tuple[bytes, str]]:
    content = np.random.default_rng(1).bytes(200_000)
    header = json.dumps(
        {"w": {"dtype": "U8", "shape": [200_000], "data_offsets": [0, 200_000]}}
    ).encode()
    with serving({"/w.safetensors": struct.pack("<Q", len(header)) + header + content}) as served:
        yield content, f"{served.url}/w.safetensors"


@settings(max_examples=15)
@given(
    plan=st.lists(st.tuples(st.integers(0, 199_999), st.integers(1, 60_000)), max_size=4),
    reads=st.lists(st.tuples(st.integers(0, 199_999), st.integers(1, 60_000)), max_size=12),
)
def test_what_is_read_is_what_lies_there(
    plan: list[tuple[int, int]], reads: list[tuple[int, int]], noise: tuple[bytes, str]
) -> None:
    """Announced or not, in whatever order, by many threads."""
    content, url = noise
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("SEGMENT", 2**14), ("SMALL", 2**11), ("GAP", 64), ("HELD", 4)):
            patch.setattr(ranges, name, value)
        checkpoint = inspector.open(url)
        start = checkpoint.tensors[0].start
        ahead = [
            ByteRange("w.safetensors", start + at, start + min(at + n, 200_000)) for at, n in plan
        ]
        wrong = []
        reader = checkpoint.storage.reader(checkpoint.stamps, ahead)
        try:

            def read(at: int, n: int) -> None:
                buffer = bytearray(min(n, 200_000 - at))
                reader.read_into("w.safetensors", start + at, memoryview(buffer))
                if buffer != content[at : at + n]:
                    wrong.append((at, n))

            threads = [threading.Thread(target=read, args=one) for one in reads]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            reader.close()
    assert wrong == []


# ------------------------------------------------------------ headers
def with_header(length: int) -> bytes:
    """A file whose header has exactly that many bytes, and one tensor of 4 zero bytes."""
    tensor = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}
    bare = len(json.dumps({"__metadata__": {"pad": ""}, "w": tensor}))
    text = json.dumps({"__metadata__": {"pad": "x" * (length - bare)}, "w": tensor}).encode()
    assert len(text) == length
    return struct.pack("<Q", length) + text + bytes(4)


@pytest.mark.parametrize(
    "length",
    [200, 99_992, 99_993, 99_994, 100_000, 100_001, 1_000_000]
    + [BEGINNING + i for i in (-13, -12, -11, -9, -8, -7, 0, 1)],
)
def test_header_in_at_most_two_requests(length: int) -> None:
    with serving({"/w.safetensors": with_header(length)}) as served:
        checkpoint = inspector.open(f"{served.url}/w.safetensors")
        assert [f.id for f in checkpoint.findings] == ["CF-MISSING"]
        asked = served.asked("w.safetensors")
        assert len(asked) == (1 if 8 + length <= BEGINNING else 2)
        assert len(served.requests) == len(asked) + 1
        (header,) = checkpoint.headers
        assert header.sha256 is not None
        assert len(header.metadata["pad"]) > length - 150
        assert [r.max for r in inspector.scan(checkpoint)] == [0]


def test_header_that_claims_200_megabytes_is_a_finding_not_an_allocation() -> None:
    content = struct.pack("<Q", 200_000_000) + b'{"w":' + bytes(300_000)
    with serving({"/m/model.safetensors": content}) as served:
        tracemalloc.start()
        try:
            with pytest.raises(CheckpointError) as caught:
                inspector.open(f"{served.url}/m")
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert [f.id for f in caught.value.findings if f.severity == "error"] == ["ST-LENGTH"]
    assert peak < 4_000_000


def test_empty_file_and_nothing_at_all() -> None:
    with serving({"/m/model.safetensors": b""}) as served:
        with pytest.raises(CheckpointError, match="0 bytes"):
            inspector.open(f"{served.url}/m")
        with pytest.raises(CheckpointError, match="neither model.safetensors nor"):
            inspector.open(f"{served.url}/none")
        with pytest.raises(CheckpointError, match="no such file"):
            inspector.open(f"{served.url}/m/gone.safetensors")


# ------------------------------------------------------------ trouble
def test_server_that_ignores_ranges_is_told_from_one_that_does_not(web: Files) -> None:
    web.ignore_range = True
    with pytest.raises(CheckpointError, match="ignores range requests") as caught:
        inspector.open(f"{web.url}/m/{SHARDS[0]}")
    assert len(web.asked(SHARDS[0])) == 1  # asking again would not help
    assert "\n" not in str(caught.value)


def test_another_range_than_asked_for_is_no_answer(web: Files) -> None:
    checkpoint = inspector.open(f"{web.url}/m")
    web.shift = 1
    result = inspector.scan(checkpoint)
    assert len(result) == 0
    assert all("another range" in reason for reason in skipped(result).values())
    assert len(skipped(result)) == len(checkpoint.tensors)


def test_trouble_that_passes_leaves_no_trace(
    web: Files, near: inspector.Records, quick: None
) -> None:
    web.status = {SHARDS[0]: (500, 2), SHARDS[1]: (503, 1), INDEX: (429, 1)}
    checkpoint = inspector.open(f"{web.url}/m")
    web.cut, web.stall, web.after = {SHARDS[0]: 2, SHARDS[1]: 1}, {SHARDS[2]: 1}, 1000
    same(inspector.scan(checkpoint), near)


def test_broken_answer_is_taken_up_where_it_ended(web: Files, quick: None) -> None:
    checkpoint = inspector.open(f"{web.url}/m")
    web.requests.clear()
    web.cut, web.after = {SHARDS[1]: 1}, 5000
    assert skipped(inspector.scan(checkpoint, where=r"^s1\.")) == {}
    ends: dict[int, list[int]] = {}
    for request in web.asked(SHARDS[1]):
        ends.setdefault(request.end, []).append(request.begin)
    (begins,) = [sorted(set(begins)) for begins in ends.values() if len(set(begins)) > 1]
    assert 0 < begins[1] - begins[0] <= 5000


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("stall", "no answer within 0.3 s (3 tries)"),
        ("cut", "broke off"),
        ("status", "answers 500"),
    ],
)
def test_one_bad_shard_costs_the_others_nothing(
    trouble: str, told: str, web: Files, near: inspector.Records, quick: None
) -> None:
    checkpoint = inspector.open(f"{web.url}/m")
    bad = SHARDS[1]
    setattr(web, trouble, {bad: (500, 1000) if trouble == "status" else 1000})
    begin = time.monotonic()
    far = inspector.scan(checkpoint)
    assert time.monotonic() - begin < 25  # of patience, one stall would take 30
    assert by_shard(far) == {**by_shard(near), bad: 0}
    assert [r for r in near if r.shard != bad] == list(far.records)
    assert all(told in reason for reason in skipped(far).values())
    assert len(skipped(far)) == by_shard(near)[bad]
    assert {f.id for f in far.findings if told in f.statement} == {"WT-UNREAD"}
    assert far.coverage.tensors_total == len(checkpoint.tensors)


def test_stalled_header_is_a_finding_and_the_others_are_shown(web: Files, quick: None) -> None:
    web.stall = {SHARDS[1]: 1000}
    checkpoint = inspector.open(f"{web.url}/m")
    told = [f for f in checkpoint.findings if f.id == "IX-UNREADABLE"]
    assert [f.where for f in told] == [SHARDS[1]]
    assert "no answer within 0.3 s" in told[0].statement
    assert {t.file for t in checkpoint.tensors} == {SHARDS[0], SHARDS[2]}


def test_file_that_fails_again_and_again_is_given_up(
    web: Files, quick: None, small_segments: None
) -> None:
    checkpoint = inspector.open(f"{web.url}/m")
    web.requests.clear()
    web.status = {SHARDS[0]: (500, 10_000)}
    result = inspector.scan(checkpoint, where=r"^s0\.")
    assert len(result) == 0
    assert any("given up" in reason for reason in skipped(result).values())
    assert len(web.requests) <= 3 * (ranges.GIVE_UP + 8 + 2)


def test_missing_shard_and_refused_config(web: Files, quick: None) -> None:
    del web.files[f"/m/{SHARDS[2]}"]
    web.status = {"config.json": (403, 1000)}
    checkpoint = inspector.open(f"{web.url}/m")
    told = {f.id: f.statement for f in checkpoint.findings}
    assert told.keys() == {"IX-MISSING-SHARD", "CF-UNREADABLE"}
    assert "403" in told["CF-UNREADABLE"]
    assert {t.file for t in checkpoint.tensors} == set(SHARDS[:2])


def test_index_that_leads_away_is_not_followed(web: Files) -> None:
    weight_map = {"a": "../secret.safetensors", "b": "http://evil/x.safetensors", "c": "x.bin"}
    web.files[f"/m/{INDEX}"] = json.dumps({"weight_map": weight_map}).encode()
    with pytest.raises(CheckpointError) as caught:
        inspector.open(f"{web.url}/m")
    assert [f.id for f in caught.value.findings if f.id != "IX-NO-METADATA"] == [
        "IX-TARGET",
        "IX-TARGET",
        "IX-PICKLE",
    ]
    assert {r.name for r in web.requests} == {"model.safetensors", INDEX, "config.json"}


def test_pickle_by_url_is_refused(web: Files) -> None:
    web.files["/m/pytorch_model.bin"] = b"\x80\x02never"
    with pytest.raises(CheckpointError, match="pickle"):
        inspector.open(f"{web.url}/m/pytorch_model.bin")


@pytest.mark.parametrize("size_too", [False, True])
def test_file_that_changes_is_noticed_and_not_kept(size_too: bool, web: Files) -> None:
    checkpoint = inspector.open(f"{web.url}/m")
    path = f"/m/{SHARDS[1]}"
    content = web.files[path]
    web.files[path] = content[:-1] + bytes([content[-1] ^ 1]) + (b"more" if size_too else b"")
    result = stored_scan(checkpoint)
    assert {r.shard for r in result} == {SHARDS[0], SHARDS[2]}
    assert all("changed since it was opened" in reason for reason in skipped(result).values())
    assert [f.where for f in result.findings if f.id == "WT-CHANGED"] == [SHARDS[1]]
    assert checkpoint.changed() == [SHARDS[1]]
    assert not cache.has(cache.key(checkpoint, "scan", where=None, channels=False))


def test_key_of_a_result_follows_the_version(web: Files) -> None:
    def key() -> str:
        return cache.key(inspector.open(f"{web.url}/m"), "scan")

    first = key()
    assert key() == first
    path = f"/m/{SHARDS[1]}"
    web.files[path] = web.files[path][:-1] + b"?"
    second = key()
    assert key() == second != first
    web.etag = False
    checkpoint = inspector.open(f"{web.url}/m")
    assert {f.id for f in checkpoint.findings} == {"RM-VERSION"}
    assert key() != key()  # nothing tells whether it is the same file
    assert skipped(inspector.scan(checkpoint)) == {}


def test_scan_that_is_ended_leaves_no_threads(web: Files) -> None:
    web.latency = 0.05

    def stop(_done: int, _total: int, _label: str) -> None:
        raise KeyError("stop")

    checkpoint = inspector.open(f"{web.url}/m")
    with pytest.raises(KeyError, match="stop"):
        inspector.scan(checkpoint, progress=stop)
    assert not [t for t in threading.enumerate() if t.name.startswith("inspector-fetch")]


# ------------------------------------------------------------ redirects
def test_redirect_is_followed_once_and_credentials_stay(
    web: Files, near: inspector.Records
) -> None:
    with serving({}) as other:
        for path in web.files:
            other.redirect[path] = f"{web.url}{path}"
        address = other.url.replace("://", "://ann:secret@")
        checkpoint = inspector.open(f"{address}/m/{INDEX}")
        same(inspector.scan(checkpoint), near)
    assert {request.authorization for request in other.requests} == {"Basic YW5uOnNlY3JldA=="}
    assert {request.authorization for request in web.requests} == {""}
    assert len(other.requests) <= 2 * len(web.files)  # once opening, once reading
    assert len(web.requests) > len(other.requests) - len(web.files)


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http:///x", "//", "/m/loop", "gopher:"]
)
def test_redirect_elsewhere_is_not_followed(target: str) -> None:
    with serving({}) as served:
        served.redirect = {"/m/model.safetensors": target, "/m/loop": "/m/loop"}
        with pytest.raises(CheckpointError, match=r"redirect|no such file"):
            inspector.open(f"{served.url}/m/model.safetensors")


def test_expired_address_is_asked_for_again(web: Files, quick: None) -> None:
    path = f"/m/{SHARDS[0]}"
    web.files["/signed/1"] = web.files["/signed/2"] = web.files.pop(path)
    web.redirect[path] = "/signed/1"
    checkpoint = inspector.open(f"{web.url}/m")
    with checkpoint.reader() as reader:
        buffer = bytearray(10)
        reader.read_into(SHARDS[0], 100, memoryview(buffer))
        web.redirect[path], web.status = "/signed/2", {"1": (403, 1000)}
        reader.read_into(SHARDS[0], 100, memoryview(buffer))
        assert buffer == web.files["/signed/2"][100:110]


# ------------------------------------------------------------ credentials
def test_credentials_are_sent_and_never_shown(
    web: Files, near: inspector.Records, capfd: pytest.CaptureFixture[str]
) -> None:
    web.wants = "Basic enphbm46cHctMTIz"
    address = f"{web.url.replace('://', '://zzann:pw-123@')}/m/{INDEX}?sig=tok-456#f-789"
    checkpoint = inspector.open(address)
    result = stored_scan(checkpoint)
    same(result, near)
    assert checkpoint.model == result.source.model == f"{web.url}/m/{INDEX}"
    assert all("?sig=tok-456" in request.path for request in web.requests)
    web.wants = "other"
    with pytest.raises(CheckpointError) as caught:
        inspector.open(address)
    assert "401" in str(caught.value)
    told = [result.to_json(), str(caught.value), repr(caught.value.findings), repr(checkpoint)]
    kept = [path.read_text() for path in (cache.folder() / "results").glob("*.json")]
    for text in (*told, *kept, *capfd.readouterr()):
        for secret in ("zzann", "pw-123", "tok-456", "enphbm"):
            assert secret not in text


def test_how_a_model_is_shown() -> None:
    for model, wanted in {
        "https://h.org/a/b.safetensors": "https://h.org/a/b.safetensors",
        "https://u:p@h.org:8080/a?x=1#y": "https://h.org:8080/a",
        "https://tok@h.org": "https://h.org",
        "HTTPS://u@h@h.org/a@b": "HTTPS://h.org/a@b",
        "http://u:p#s@h.org/a": "http://…",
        "http://u:p/s@h.org/a": "http://…",
        "hf://o/n@main": "hf://o/n@main",
        "hf://gpt2@main/model.safetensors": "hf://gpt2@main/model.safetensors",
        "s3://bucket/a?b": "s3://bucket/a",
        "/a/b?c#d": "/a/b?c#d",
        "owner/name@v1": "owner/name@v1",
    }.items():
        assert shown(model) == wanted
        assert is_url(model) == ("://" in model)


@pytest.mark.parametrize(
    "model",
    ["file:///etc/passwd", "ftp://h/x", "memory://a/b", "http://", "http://h:port/x", "http://[/x"]
    + ["hf://", "hf://a/b/c/d", "hf://../x", "s3://", "s3://key:pw-123@bucket/x", "x-y+z://a"],
)
def test_other_addresses_are_refused_in_one_line(model: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        inspector.open(model)
    assert "\n" not in str(caught.value)
    assert "pw-123" not in str(caught.value)


# ------------------------------------------------------------ object stores
@pytest.fixture
def bucket(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, bytes], None]]:
    """fsspec's file system in memory under the name of a store; gives a way to write to it."""
    fsspec = pytest.importorskip("fsspec")
    monkeypatch.setitem(transports.STORES, "memory", ("fsspec", ()))
    system = fsspec.filesystem("memory")
    for path in mixed.iterdir():
        system.pipe_file(f"/bucket/m/{path.name}", path.read_bytes())
    yield lambda name, content: system.pipe_file(f"/bucket/m/{name}", content)
    system.rm("/bucket", recursive=True)


@pytest.mark.parametrize("form", ["", "/", f"/{INDEX}", f"/{SHARDS[1]}"])
def test_store_is_read_like_a_folder(
    form: str, bucket: Callable[[str, bytes], None], near: inspector.Records
) -> None:
    far = inspector.scan(inspector.open(f"memory://bucket/m{form}"))
    same(far, near)


def test_object_that_changes_while_it_is_read(bucket: Callable[[str, bytes], None]) -> None:
    """A store's answers bear no version: it is asked again at the end."""
    checkpoint = inspector.open("memory://bucket/m")
    content = checkpoint.storage.read(SHARDS[0], 0, 10**9)
    checkpoint.storage.close()
    done = []

    def change(_done: int, _total: int, _label: str) -> None:
        if not done:
            bucket(SHARDS[0], content)
            done.append(True)

    result = inspector.scan(checkpoint, progress=change)
    assert [f.where for f in result.findings if f.id == "WT-CHANGED"] == [SHARDS[0]]
    assert checkpoint.changed() == [SHARDS[0]]


def test_store_without_anything(bucket: Callable[[str, bytes], None]) -> None:
    with pytest.raises(CheckpointError, match="no .safetensors file"):
        inspector.open("memory://bucket/none")
    with pytest.raises(CheckpointError, match="no such file"):
        inspector.open("memory://bucket/m/gone.safetensors")


def test_store_whose_library_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(transports.STORES, "s3", ("no_such_library", ()))
    with pytest.raises(CheckpointError, match=r"pip install 'inspector\[remote\]'"):
        inspector.open("s3://bucket/model")
