"""A scan covers everything, says what it could not measure, and stays small."""

import json
import math
import os
import struct
import subprocess
import sys
import threading
import time

import numpy as np
import psutil
import pytest
from safetensors import safe_open

from inspector.errors import BadOption
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.scan import scan
from inspector.weights.statistics import TensorStatistics
from inspector.weights.stored import load_scan, scan_key, stored_scan
from tests.weights import reference
from tests.weights.build import Stored, bf16, random_bytes, stored, write_file

OVER_FINITE = [
    *("mean", "std", "skewness", "kurtosis", "min", "max", "abs_max", "l1", "l2", "rms", "zeros"),
    *("subnormals", *reference.FIELDS, "beyond_3sigma", "beyond_6sigma"),
]


def stored_as(dtype: str, x: np.ndarray) -> Stored:
    data = bf16(x) if dtype == "BF16" else x.astype(reference.ORACLES[dtype])
    return dtype, x.shape, data.tobytes()


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F32", "F64", "F8_E5M2"])
def test_not_finite_values_are_told_and_left_out(dtype, tmp_path):
    x = np.random.default_rng(0).normal(0, 0.1, (30, 7, 11))
    bad = {1234: np.nan, 77: np.inf, 2000: -np.inf, 2001: np.nan}
    clean = np.delete(x.ravel(), list(bad))
    x.flat[list(bad)] = list(bad.values())
    path = write_file(
        tmp_path / "model.safetensors",
        {
            "before": stored("F32", np.ones(3, np.float32)),
            "dirty": stored_as(dtype, x),
            "clean": stored_as(dtype, clean),
            "nothing": stored_as(dtype, np.full((2, 2), np.nan)),
        },
    )
    result = scan(open_checkpoint(path))
    before, dirty, clean_record, nothing = result
    assert (dirty.nan, dirty.inf) == (2, 2)
    for field in OVER_FINITE:
        got, want = getattr(dirty, field), getattr(clean_record, field)
        assert got == pytest.approx(want, rel=1e-12, abs=1e-12), field
    assert dirty.q50 == clean_record.q50
    told = {f.id: f for f in result.findings if f.where == "dirty"}
    for id, first in (("WT-NAN", 1234), ("WT-INF", 77)):
        index = [int(i) for i in np.unravel_index(first, x.shape)]
        assert told[id].evidence == {"count": 2, "first": index}
        assert str(index) in told[id].statement
    assert before.mean == 1.0
    assert all(
        getattr(nothing, field) is None
        for field in OVER_FINITE
        if field not in ("zeros", "subnormals")
    )
    assert nothing.nan == 4
    assert result.coverage.tensors_measured == 4


def test_the_first_bad_value_is_found_in_any_of_many_chunks(tmp_path):
    x = np.zeros(2**21 + 5, np.float16)
    x[[2**20 + 1, 2**21 + 2]] = np.nan
    x[-1] = np.inf
    path = write_file(tmp_path / "model.safetensors", {"w": stored("F16", x)})
    told = {f.id: f.evidence.get("first") for f in scan(open_checkpoint(path)).findings}
    assert told["WT-NAN"] == [2**20 + 1]
    assert told["WT-INF"] == [2**21 + 4]


@pytest.mark.parametrize("dtype", ["C64", "F6_E2M3", "F6_E3M2"])
def test_what_cannot_be_measured_is_named_with_the_reason(dtype, tmp_path):
    fine = stored("F32", np.arange(5, dtype=np.float32))
    bits = 64 if dtype == "C64" else 6
    tensors = {"a": fine, "odd": (dtype, (4, 8), bytes(4 * bits)), "z": fine}
    path = write_file(tmp_path / "model.safetensors", tensors)
    result = scan(open_checkpoint(path))
    assert [record.name for record in result] == ["a", "z"]
    (skipped,) = result.coverage.skipped
    assert skipped.name == "odd"
    assert len(skipped.reason) > 20
    (told,) = (f for f in result.findings if f.id == "WT-UNREAD")
    assert (told.where, told.severity) == ("odd", "error")
    assert skipped.reason in told.statement
    coverage = result.coverage
    assert (coverage.tensors_total, coverage.tensors_measured) == (3, 2)
    assert (coverage.parameters_total, coverage.parameters_measured) == (42, 10)
    assert (coverage.bytes_total, coverage.bytes_read) == (40 + 4 * bits, 40)


def test_a_tensor_whose_entry_is_wrong_costs_no_other_its_record(tmp_path):
    header = {
        "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "wrong": {"dtype": "F32", "shape": [3], "data_offsets": [8, 16]},
        "z": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]},
    }
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + np.ones(6, np.float32).tobytes())
    result = scan(open_checkpoint(path))
    assert [record.name for record in result] == ["a", "z"]
    assert all(record.mean == 1.0 for record in result)
    assert [s.name for s in result.coverage.skipped] == ["wrong"]


@pytest.mark.parametrize("channels", [False, True])
def test_a_file_that_shrinks_meanwhile_costs_only_what_is_gone(tmp_path, channels):
    x = np.ones((300, 300), np.float32)
    x[-1, -1] = np.nan  # its place is looked for after the counts
    tensors = {f"t{i}": stored("F32", x) for i in range(6)}
    path = write_file(tmp_path / "model.safetensors", tensors)
    checkpoint = open_checkpoint(path)
    keep = checkpoint.tensors[0].end

    def shrink(done: int, _total: int, _label: str) -> None:
        if done == x.nbytes:
            time.sleep(0.3)  # what is under way has been counted
            os.truncate(path, keep)

    result = scan(checkpoint, channels=channels, progress=shrink, workers=1)
    assert [record.name for record in result] == ["t0"]
    assert [s.name for s in result.coverage.skipped] == [f"t{i}" for i in range(1, 6)]
    assert all("changed" in s.reason for s in result.coverage.skipped)
    assert result.summary["census"][0].parameters == x.size
    assert len([f for f in result.findings if f.id == "WT-UNREAD"]) >= 1
    assert set(result.channels) <= {"t0"}


@pytest.fixture
def three(tmp_path):
    tensors = {
        f"layers.{i}.w": ("BF16", (64, 1024), random_bytes("BF16", 2**16, seed=i)) for i in range(3)
    }
    return write_file(tmp_path / "model.safetensors", tensors)


def test_only_what_was_asked_for(three):
    result = scan(open_checkpoint(three), where=r"\.1\.")
    assert [record.name for record in result] == ["layers.1.w"]
    assert result.coverage.tensors_total == 1
    assert result.summary["where"] == r"\.1\."
    with pytest.raises(BadOption, match="no regular expression"):
        scan(open_checkpoint(three), where="(")


def test_nothing_chosen_is_an_empty_scan(three):
    result = scan(open_checkpoint(three), where="nowhere")
    assert len(result) == 0
    assert list(result.to_frame()) == list(TensorStatistics.__dataclass_fields__)
    json.loads(result.to_json())


def test_progress_counts_bytes_up_to_all(three):
    told = []
    scan(open_checkpoint(three), progress=lambda *step: told.append(step))
    assert [done for done, *_ in told] == sorted(done for done, *_ in told)
    assert {total for _, total, _ in told} == {3 * 2**17}
    assert told[-1] == (3 * 2**17, 3 * 2**17, "layers.2.w")


def test_progress_may_end_the_scan(three):
    class Enough(Exception):
        pass

    def stop(*_step: object) -> None:
        raise Enough

    files = psutil.Process().num_fds()
    with pytest.raises(Enough):
        scan(open_checkpoint(three), progress=stop)
    assert not [t for t in threading.enumerate() if t.name.startswith("inspector")]
    assert psutil.Process().num_fds() == files


def test_all_of_a_real_checkpoint(minilm):
    checkpoint = open_checkpoint(minilm)
    result = scan(checkpoint)
    coverage = result.coverage
    assert coverage.tensors_measured == coverage.tensors_total == len(result)
    assert coverage.parameters_measured == coverage.parameters_total
    assert coverage.bytes_read == coverage.bytes_total
    assert coverage.skipped == ()
    with safe_open(minilm / "model.safetensors", framework="np") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        assert {record.name: record.shape for record in result} == shapes
        assert sum(record.parameters for record in result) == sum(map(math.prod, shapes.values()))
        assert coverage.parameters_total == sum(map(math.prod, shapes.values()))
        for record in result:
            if record.parameters < 200_000:
                x = file.get_tensor(record.name)
                dtype = {"f": "F", "i": "I"}[x.dtype.kind] + str(8 * x.itemsize)
                reference.assert_is(record, stored(dtype, x))
    census = result.summary["census"]
    measured = sum(r.parameters for r in result if r.kind not in ("buffer", "scale"))
    assert census[0].parameters == measured
    json.loads(result.to_json(), parse_constant=pytest.fail)


MEASURE = """
import sys, threading, time, psutil
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.scan import scan

def private():
    return psutil.Process().memory_full_info().uss

scan(open_checkpoint(sys.argv[1]))
before = most = private()
ended = threading.Event()

def watch():
    global most
    while not ended.wait(0.002):
        most = max(most, private())

watcher = threading.Thread(target=watch)
watcher.start()
record = scan(open_checkpoint(sys.argv[2]), channels=sys.argv[3] == "channels")[0]
ended.set()
watcher.join()
print(record.zeros, max(most, private()) - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("what", ["plain", "channels"])
def test_memory_does_not_grow_with_the_tensor(tmp_path, what, three):
    n = 2**29  # a gigabyte of bfloat16 zeros, none of which takes room on disk
    header = {"w": {"dtype": "BF16", "shape": [2**15, 2**14], "data_offsets": [0, 2 * n]}}
    text = json.dumps(header).encode()
    path = tmp_path / "large.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    os.truncate(path, 8 + len(text) + 2 * n)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(three), str(path), what],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    zeros, grown = map(int, done.stdout.split())
    assert zeros == n
    assert grown < 200e6


def test_a_file_written_to_while_it_is_read_is_told_and_not_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "cache"))
    path = write_file(tmp_path / "model.safetensors", {"w": ("F32", (4,), bytes(16))})

    def write(*_progress) -> None:
        with path.open("r+b") as file:  # in place: same size, same inode
            file.seek(-1, 2)
            file.write(b"\x3f")

    checkpoint = open_checkpoint(path)
    found = stored_scan(checkpoint, progress=write)
    assert [f.id for f in found.findings if f.severity == "error"] == ["WT-CHANGED"]
    assert load_scan(scan_key(checkpoint)) is None
    assert "WT-CHANGED" not in {f.id for f in stored_scan(open_checkpoint(path)).findings}


def test_what_a_cut_file_lost_counts_in_the_coverage(tmp_path):
    """A tensor that the header states and the file does not hold lowers the share."""
    whole = {"a": ("F32", (4,), bytes(16)), "b": ("F32", (12,), bytes(48))}
    path = write_file(tmp_path / "model.safetensors", whole)
    os.truncate(path, path.stat().st_size - 4)
    seen: list[tuple[int, int]] = []
    coverage = scan(open_checkpoint(path), progress=lambda d, t, _: seen.append((d, t))).coverage
    assert (coverage.tensors_total, coverage.tensors_measured) == (2, 1)
    assert (coverage.parameters_total, coverage.parameters_measured) == (16, 4)
    assert (coverage.bytes_total, coverage.bytes_read) == (64, 16)
    assert [one.name for one in coverage.skipped] == ["b"]
    assert seen[-1] == (16, 16)  # progress ends: it counts what there is to do
