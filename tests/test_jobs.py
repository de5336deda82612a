"""Jobs: real worker processes that end, are cancelled, die, and are shared."""

import contextlib
import json
import os
import shutil
import signal
import struct
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from safetensors.numpy import save_file

from inspector import jobs
from inspector.errors import BadOption, InspectorError
from inspector.weights import cache
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.scan import scan
from inspector.weights.stored import load_scan, load_view, scan_key, stored_view, view_key
from inspector.weights.tensor import view


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def small(tmp_path) -> Path:
    values = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    values[0, 0] = np.nan
    save_file({"layers.0.mlp.up_proj.weight": values}, tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


@pytest.fixture
def slow(tmp_path) -> Path:
    """Tens of seconds of work in a sparse file that takes no space: 64-bit zeros are sorted."""
    path = tmp_path / "slow.safetensors"
    n = 2**27
    entries = {
        f"w{i}": {"dtype": "F64", "shape": [n], "data_offsets": [8 * n * i, 8 * n * (i + 1)]}
        for i in range(8)
    }
    header = json.dumps(entries).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    os.truncate(path, 8 + len(header) + 8 * n * 8)
    return path


def until(condition, seconds: float = 180.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def start(path: Path) -> jobs.Job:
    id = scan_key(open_checkpoint(path))
    return jobs.submit(id, "scan", "a scan", model=str(path), channels=False)


def worker_pid(id: str) -> int:
    pid, _ = json.loads((cache.folder() / "jobs" / id / "worker.json").read_bytes())
    return int(pid)


def worker(id: str) -> psutil.Process:
    return psutil.Process(worker_pid(id))


def ended(id: str) -> jobs.Job | None:
    job = jobs.find(id)
    return job if job and not job.active else None


def test_a_job_gives_what_the_function_gives(small):
    job = start(small)
    done = until(lambda: ended(job.id))
    assert (done.state, done.error) == ("done", None)
    assert done.done == done.total == small.stat().st_size - 8 - _header_bytes(small)
    kept = load_scan(job.id)
    direct = scan(open_checkpoint(small))
    assert kept is not None and kept.records == direct.records
    assert kept.findings == direct.findings and kept.coverage == direct.coverage
    assert kept.to_dict()["summary"] == direct.to_dict()["summary"]


def _header_bytes(path: Path) -> int:
    return int.from_bytes(path.read_bytes()[:8], "little")


def test_a_view_comes_back_from_disk_as_it_was(small):
    checkpoint = open_checkpoint(small)
    name = "layers.0.mlp.up_proj.weight"
    first = stored_view(checkpoint, name)
    again = load_view(checkpoint, view_key(checkpoint, name), name)
    assert again is not None
    assert again.statistics == first.statistics == view(checkpoint, name).statistics
    assert again.findings == first.findings and again.coverage == first.coverage
    np.testing.assert_array_equal(again.histogram.counts, first.histogram.counts)
    np.testing.assert_array_equal(again.picture.cells, first.picture.cells)
    assert again.picture.reduction == first.picture.reduction
    np.testing.assert_array_equal(again.profile.rows.rms, first.profile.rows.rms)
    assert again.profile.outliers == first.profile.outliers


def test_cancel_ends_the_process_and_keeps_nothing(slow):
    job = start(slow)
    until(lambda: (found := jobs.find(job.id)) and found.state == "running" and found.done)
    process = worker(job.id)
    begun = time.monotonic()
    cancelled = jobs.cancel(job.id)
    assert time.monotonic() - begun < 10  # 2 of them are the patience of `cancel`
    assert cancelled is not None and cancelled.state == "cancelled"
    assert not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    assert load_scan(job.id) is None
    assert not list((cache.folder() / "results").glob("*"))
    again = jobs.restart(job.id)
    assert again is not None and again.active
    jobs.cancel(job.id)


def test_asking_twice_is_one_job(slow):
    first = start(slow)
    until(lambda: (found := jobs.find(first.id)) and found.state == "running")
    process = worker(first.id)
    second = start(slow)
    assert second.id == first.id and worker(first.id) == process
    assert [job.id for job in jobs.jobs()] == [first.id]
    jobs.cancel(first.id)


def test_a_killed_worker_is_a_failed_job_that_can_be_restarted(slow):
    job = start(slow)
    until(lambda: (found := jobs.find(job.id)) and found.state == "running")
    os.kill(worker(job.id).pid, signal.SIGKILL)
    failed = until(lambda: ended(job.id))
    assert failed.state == "failed" and "without a word" in (failed.error or "")


def test_workers_take_turns(slow, small):
    first = start(slow)
    until(lambda: (found := jobs.find(first.id)) and found.state == "running")
    second = start(small)
    time.sleep(1.5)
    waiting = jobs.find(second.id)
    assert waiting is not None and waiting.state == "queued"
    jobs.cancel(first.id)
    assert until(lambda: ended(second.id)).state == "done"


def test_a_file_that_goes_away_is_told_in_words(small):
    id = scan_key(open_checkpoint(small))
    small.unlink()
    jobs.submit(id, "scan", "gone", model=str(small), channels=False)
    failed = until(lambda: ended(id))
    assert failed.state == "failed" and "no such file" in (failed.error or "")


def test_a_changed_file_is_another_job(small):
    before = scan_key(open_checkpoint(small))
    data = small.read_bytes()
    small.write_bytes(data[:-4] + b"\0\0\0\0")
    assert scan_key(open_checkpoint(small)) != before


def test_unknown_work_and_unwritable_folders_are_told(tmp_path, monkeypatch):
    with pytest.raises(BadOption, match="no work named"):
        jobs.submit("x", "nothing", "title")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "file"))
    with pytest.raises(InspectorError, match="INSPECTOR_CACHE"):
        jobs.submit("x", "scan", "title")


def test_a_damaged_result_is_measured_again(small):
    checkpoint = open_checkpoint(small)
    name = "layers.0.mlp.up_proj.weight"
    stored_view(checkpoint, name)
    key = view_key(checkpoint, name)
    (cache.folder() / "results" / f"{key}.json").write_text("{")
    assert load_view(checkpoint, key, name) is None
    assert stored_view(checkpoint, name).statistics.nan == 1


@pytest.mark.soak
def test_whenever_a_worker_is_killed_a_result_is_whole_or_absent(tmp_path):
    """A series of kill -9 over the whole life of a job, the writing of its result included."""
    rng = np.random.default_rng(0)
    path = tmp_path / "model.safetensors"
    save_file({f"w{i}": rng.normal(size=(64, 64)).astype(np.float32) for i in range(400)}, path)
    direct = scan(open_checkpoint(path)).records
    begun = time.monotonic()
    whole = start(path)
    until(lambda: ended(whole.id))
    life = time.monotonic() - begun
    outcomes = {"done": 0, "failed": 0}
    for _ in range(100):
        shutil.rmtree(cache.folder())
        job = start(path)
        time.sleep(life * rng.uniform(0, 1.1))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker_pid(job.id), signal.SIGKILL)
        last = until(lambda id=job.id: ended(id))
        kept = load_scan(job.id)
        assert kept is None or kept.records == direct
        assert (last.state == "done") <= (kept is not None)
        outcomes[last.state] += 1
    print(f"killed workers: {outcomes}")  # noqa: T201 - the campaign's table
    assert all(outcomes.values())
