"""Long work in processes of their own: progress, cancel, a result on disk that survives a reload.

A job is a folder named by what it computes, so that asking twice gives one job. Its worker is
`python -m inspector.jobs FOLDER`; workers take turns, as each uses all cores.
"""

import dataclasses
import fcntl
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import psutil

from inspector.engine import Progress
from inspector.errors import BadOption, InspectorError
from inspector.fairness import stored
from inspector.fairness.probes.table import stimuli_of
from inspector.model.stored import (
    ANSWERS,
    answer_key,
    prompt_questions,
    stored_answer,
    stored_prompt,
)
from inspector.results import show_plain
from inspector.weights import cache
from inspector.weights.checkpoint import Checkpoint, open_checkpoint
from inspector.weights.judgements import JUDGEMENTS
from inspector.weights.stored import scan_key, stored_scan, stored_view, view_key
from inspector.weights.stored_judgements import (
    compare_key,
    judgement_key,
    stored_compare,
    stored_judgement,
)

State = Literal["queued", "running", "done", "failed", "cancelled"]
WRITE_EVERY = 0.1  # seconds between two notes of progress
PATIENCE = 2.0  # seconds a worker has to end after being asked, before it is killed
CLOCK_DRIFT = 2.0  # seconds by which a process's time of birth may seem to move
MOST_JOBS = 100
_started: list["subprocess.Popen[bytes]"] = []  # held until they end, so that they are waited for


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One job as last noted; `done` of `total` are in bytes or elements."""

    id: str
    title: str
    state: State
    done: int
    total: int
    label: str
    error: str | None
    started: float  # seconds since 1970
    updated: float
    pid: int | None

    @property
    def active(self) -> bool:
        """Whether it may still change."""
        return self.state in ("queued", "running")

    @property
    def seconds_left(self) -> float | None:
        """At the rate so far; None before there is one."""
        if not (self.state == "running" and self.done and self.total):
            return None
        return (self.updated - self.started) * (self.total - self.done) / self.done


def _scan(progress: Progress, model: str, channels: bool) -> None:
    checkpoint = open_checkpoint(model)
    stored_scan(checkpoint, channels=channels, progress=progress)
    _check_kept(checkpoint, scan_key(checkpoint, channels=channels))


def _tensor(progress: Progress, model: str, name: str) -> None:
    checkpoint = open_checkpoint(model)
    stored_view(checkpoint, name, progress)
    _check_kept(checkpoint, view_key(checkpoint, name))


def _judge(progress: Progress, model: str, command: str) -> None:
    checkpoint = open_checkpoint(model)
    stored_judgement(checkpoint, command, progress)
    _check_kept(checkpoint, judgement_key(checkpoint, command))


def _compare(progress: Progress, base: str, model: str) -> None:
    before, after = open_checkpoint(base), open_checkpoint(model)
    stored_compare(before, after, progress)
    for checkpoint in (before, after):
        _check_kept(checkpoint, compare_key(before, after))


def _answer(progress: Progress, model: str, command: str, **question: Any) -> None:
    checkpoint = open_checkpoint(model)
    stored_answer(checkpoint, command, progress, **question)
    _check_kept(checkpoint, answer_key(checkpoint, command, **question))


def _prompt(progress: Progress, model: str, **question: Any) -> None:
    checkpoint = open_checkpoint(model)
    stored_prompt(checkpoint, progress=progress, **question)
    for command, asked in prompt_questions(**question).items():
        _check_kept(checkpoint, answer_key(checkpoint, command, **asked))


def _probe(
    progress: Progress,
    model: str,
    name: str,
    sha256: str,
    data: str | None = None,
    baseline: str | None = None,
    **question: Any,
) -> None:
    checkpoint = open_checkpoint(model)
    before = None if baseline is None else open_checkpoint(baseline)
    stored.check_same_data(sha256, stimuli_of(name, data).sha256, data)
    stored.stored_probe(checkpoint, name, data, before, progress, **question)
    key = stored.probe_key(checkpoint, name, sha256, before, **question)
    for one in (checkpoint, *([] if before is None else [before])):
        _check_kept(one, key)


def _localize(
    progress: Progress, model: str, sha256: str, data: str | None = None, **question: Any
) -> None:
    checkpoint = open_checkpoint(model)
    stored.check_same_data(sha256, stored.templates_of(data).sha256, data)
    stored.stored_localized(checkpoint, data, progress=progress, **question)
    _check_kept(checkpoint, stored.localize_key(checkpoint, sha256, **question))


def _check_kept(checkpoint: Checkpoint, key: str) -> None:
    if changed := checkpoint.changed():
        raise InspectorError(f"{show_plain(changed[0])} changed while it was read: open it again.")
    if not cache.has(key):
        raise InspectorError(
            f"The result could not be written to {cache.folder()}: free some space there, or set "
            "INSPECTOR_CACHE to another folder."
        )


WORK: dict[str, Callable[..., None]] = {
    "scan": _scan,
    "tensor": _tensor,
    "compare": _compare,
    **{command: functools.partial(_judge, command=command) for command in JUDGEMENTS},
    **{command: functools.partial(_answer, command=command) for command in ANSWERS},
    "prompt": _prompt,
    "probe": _probe,
    "localize": _localize,
}


def submit(id: str, function: str, title: str, **parameters: Any) -> Job:
    """Start the work named in WORK under `id`, unless that job is already under way."""
    if function not in WORK:
        raise BadOption(
            f"There is no work named {show_plain(function)} (known: {', '.join(WORK)})."
        )
    if (known := find(id)) is not None and known.active:
        return known
    try:
        return _start(_folder() / id, title, {"function": function, "parameters": parameters})
    except OSError as error:
        raise InspectorError(
            f"No job can be kept in {cache.folder()}: {error.strerror}. Set INSPECTOR_CACHE to a "
            "folder that can be written."
        ) from None


def _start(place: Path, title: str, spec: dict[str, Any]) -> Job:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "spec.json").write_text(json.dumps(spec))
    now = time.time()
    job = Job(
        id=place.name,
        title=title,
        state="queued",
        done=0,
        total=0,
        label="",
        error=None,
        started=now,
        updated=now,
        pid=None,
    )
    _note(job)
    with (place / "log.txt").open("wb") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "inspector.jobs", str(place)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    _started[:] = [*(other for other in _started if other.poll() is None), worker]
    born = psutil.Process(worker.pid).create_time()
    (place / "worker.json").write_text(json.dumps([worker.pid, born]))
    _prune()
    return find(place.name) or job


def asked(id: str) -> tuple[str, dict[str, Any]] | None:
    """The work in WORK a job was asked to do, and on what; None when there is no such job."""
    try:
        spec: dict[str, Any] = json.loads((_folder() / id / "spec.json").read_bytes())
    except (OSError, ValueError):
        return None
    return str(spec["function"]), dict(spec["parameters"])


def restart(id: str) -> Job | None:
    """Do a job's work again, unless it is under way; None when there is no such job."""
    job = find(id)
    if job is None:
        return None
    spec = json.loads((_folder() / id / "spec.json").read_bytes())
    return submit(id, spec["function"], job.title, **spec["parameters"])


def find(id: str) -> Job | None:
    """The job of that id as it is now; None when there is none."""
    place = _folder() / id
    try:
        job = Job(**json.loads((place / "status.json").read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    if job.active and not _alive(place):
        try:  # it may have ended between the two looks
            job = Job(**json.loads((place / "status.json").read_bytes()))
        except (OSError, ValueError, TypeError):
            return None
        if job.active:
            job = dataclasses.replace(
                job, state="failed", error="The worker process ended without a word."
            )
            _note(job)
    return job


def jobs() -> list[Job]:
    """All jobs, the newest first."""
    found = [find(path.name) for path in _folder().glob("*") if path.is_dir()]
    return sorted((job for job in found if job), key=lambda job: -job.started)


def cancel(id: str) -> Job | None:
    """End a job's process; nothing of its result is kept. Returns the job as it then is."""
    job = find(id)
    if job is None or not job.active:
        return job
    if (process := _process(_folder() / id)) is not None:
        _end(process)
    job = find(id) or job
    if job.state != "done":
        job = dataclasses.replace(job, state="cancelled", error=None, updated=time.time())
        _note(job)
    return job


def _end(process: psutil.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(PATIENCE)
            return
        except psutil.TimeoutExpired:
            continue
        except (ProcessLookupError, psutil.NoSuchProcess):
            return


def _folder() -> Path:
    return cache.folder() / "jobs"


def _process(place: Path) -> psutil.Process | None:
    """The job's worker; None when it has ended or the number now belongs to another process."""
    try:
        pid, born = json.loads((place / "worker.json").read_bytes())
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            process.wait(0)
            return None
        return process if abs(process.create_time() - born) < CLOCK_DRIFT else None
    except (OSError, ValueError, psutil.Error):
        return None


def _alive(place: Path) -> bool:
    if not (place / "worker.json").exists():  # just submitted
        return time.time() - place.stat().st_mtime < 10
    return _process(place) is not None


def _note(job: Job) -> None:
    place = _folder() / job.id
    descriptor, temporary = tempfile.mkstemp(dir=place)
    with os.fdopen(descriptor, "w") as file:
        json.dump(dataclasses.asdict(job), file)
    Path(temporary).replace(place / "status.json")


def _prune() -> None:
    for job in jobs()[MOST_JOBS:]:
        if not job.active:
            shutil.rmtree(_folder() / job.id, ignore_errors=True)


class _Noted:
    """Writes progress to the job's status, not more often than WRITE_EVERY."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, done: int, total: int, label: str) -> None:
        now = time.time()
        if now - self.job.updated >= WRITE_EVERY or done == total:
            self.job = dataclasses.replace(
                self.job, done=done, total=total, label=label, updated=now
            )
            _note(self.job)


def work(place: Path) -> None:
    """What the worker process does: wait for its turn, do the work, note how it ended."""
    spec = json.loads((place / "spec.json").read_bytes())
    job = find(place.name)
    if job is None:
        return
    with (place.parent / "turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        noted = _Noted(
            dataclasses.replace(job, state="running", started=time.time(), pid=os.getpid())
        )
        _note(noted.job)
        try:
            WORK[spec["function"]](noted, **spec["parameters"])
        except InspectorError as error:
            ended = dataclasses.replace(noted.job, state="failed", error=str(error))
        except Exception as error:
            _note(
                dataclasses.replace(noted.job, state="failed", error=f"Bug: {type(error).__name__}")
            )
            raise  # the log keeps the traceback
        else:
            ended = dataclasses.replace(noted.job, state="done", done=noted.job.total)
        _note(dataclasses.replace(ended, updated=time.time()))


if __name__ == "__main__":
    work(Path(sys.argv[1]))
