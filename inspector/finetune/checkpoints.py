"""Folders that are there whole or not at all, and the newest checkpoint that is whole."""

import contextlib
import dataclasses
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from safetensors import SafetensorError

from inspector.errors import InspectorError
from inspector.results import show_plain

MANIFEST: Final = "manifest.json"
SCHEMA: Final = "inspector.checkpoint/1"
PREFIX: Final = "checkpoint-"
DRAFT: Final = ".unfinished-"
OLD: Final = ".discarded-"
BLOCK: Final = 1 << 20  # bytes that are hashed at a time


class Interrupted(KeyboardInterrupt):
    """Training that was stopped from outside, with a word on where it can go on."""


class NotSaved(InspectorError):
    """A checkpoint that could not be written; those before it are as they were."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """A checkpoint that is whole: its folder, its step and what its manifest says of the run."""

    folder: Path
    step: int
    manifest: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Refused:
    """A checkpoint that is not used, and why."""

    folder: Path
    reason: str


def draft_of(folder: Path) -> Path:
    """Where a folder is written before it is whole."""
    return folder.with_name(DRAFT + folder.name)


def begin(folder: Path) -> Path:
    """An empty draft of a folder."""
    draft = draft_of(folder)
    if draft.exists():
        shutil.rmtree(draft)
    draft.mkdir(parents=True)
    return draft


def publish(folder: Path, about: Mapping[str, Any]) -> None:
    """Turn the draft of a folder into the folder.

    Each file is hashed and on the disk before the manifest is, and the manifest before the name:
    whatever moment the machine stops, a folder of that name is whole.
    """
    draft = draft_of(folder)
    files = {str(one.relative_to(draft)): _sealed(one) for one in _files(draft)}
    write_json(draft / MANIFEST, _signed({"schema": SCHEMA, **about, "files": files}))
    for one in (draft / MANIFEST, *(one for one in draft.rglob("*") if one.is_dir()), draft):
        flush(one)
    if folder.exists():
        discard(folder)
    draft.rename(folder)
    flush(folder.parent)


@contextlib.contextmanager
def whole(folder: Path, about: Mapping[str, Any]) -> Iterator[Path]:
    """A draft to write into, that becomes the folder at the end or leaves nothing behind."""
    draft = begin(folder)
    try:
        yield draft
        publish(folder, about)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextlib.contextmanager
def told(folder: Path, last: str) -> Iterator[None]:
    """What goes wrong on the disk becomes one plain line, and the draft is taken away.

    `last` says what there still is.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        full = isinstance(error, OSError) and error.errno in (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EFBIG,
        )
        mend = "Make room" if full or "os error 28" in str(error) else "Mend this"
        raise NotSaved(
            f"{show_plain(folder.name)} could not be written: {show_plain(str(error), 300)}. "
            f"{last}. {mend}, then go on with --resume."
        ) from error
    finally:
        shutil.rmtree(draft_of(folder), ignore_errors=True)


def discard(folder: Path) -> None:
    """Take a folder away; stopped half-way, what is left of it does not look like a folder."""
    old = folder.with_name(OLD + folder.name)
    if old.exists():
        shutil.rmtree(old)
    folder.rename(old)
    shutil.rmtree(old)


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON."""
    path.write_text(_text(value), encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def fault(folder: Path) -> str | None:
    """Why a checkpoint is not whole: what is missing, cut, changed or too much; None where it is.

    Every byte of every file is read.
    """
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        manifest = json.loads(text)
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError) as error:
        return f"{MANIFEST} cannot be read: {show_plain(str(error))}"
    if not isinstance(manifest, dict) or text != _text(_signed(_unsigned(manifest))):
        return f"{MANIFEST} was changed after it was written"
    if manifest["schema"] != SCHEMA:
        return f"{MANIFEST} is of {show_plain(str(manifest['schema']))}, this reads {SCHEMA}"
    files = manifest["files"]
    for name, said in files.items():
        try:
            found = digest_of(folder / name)
        except OSError as error:
            lacks = isinstance(error, FileNotFoundError)
            return f"{name} {'is missing' if lacks else f'cannot be read: {error.strerror}'}"
        if found["bytes"] != said["bytes"]:
            return f"{name} has {found['bytes']:,} bytes, expected {said['bytes']:,}"
        if found["sha256"] != said["sha256"]:
            return f"{name} has SHA-256 {found['sha256']}, expected {said['sha256']}"
    strange = {str(one.relative_to(folder)) for one in _files(folder)} - {*files, MANIFEST}
    if strange:
        return f"{show_plain(min(strange))} is not in its manifest"
    return None


def checkpoints_of(run: Path) -> list[tuple[int, Path]]:
    """Steps and folders of the checkpoints of a run, oldest first; whole or not is not said."""
    found = []
    for folder in (run / "checkpoints").glob(f"{PREFIX}*"):
        step = folder.name.removeprefix(PREFIX)
        if folder.is_dir() and step.isascii() and step.isdigit():
            found.append((int(step), folder))
    return sorted(found)


def last_of(run: Path) -> str:
    """A word on the checkpoint that a run can go on from."""
    found = [folder.name for _, folder in checkpoints_of(run)]
    return f"{found[-1]} is kept" if found else "There is no checkpoint yet"


def newest_complete(run: Path) -> tuple[Kept | None, tuple[Refused, ...]]:
    """The newest checkpoint of a run that is whole, and those newer that are not, with reasons."""
    refused = [
        Refused(folder=one, reason="its writing was not finished")
        for one in sorted((run / "checkpoints").glob(f"{DRAFT}{PREFIX}*"))
    ]
    for step, folder in reversed(checkpoints_of(run)):
        reason = fault(folder)
        manifest = read_json(folder / MANIFEST) if reason is None else {}
        if reason is None and manifest["not_resumable"] is not None:
            reason = show_plain(str(manifest["not_resumable"]))
        if reason is None:
            return Kept(folder=folder, step=step, manifest=manifest), tuple(refused)
        refused.append(Refused(folder=folder, reason=reason))
    return None, tuple(refused)


def rotate(run: Path, keep: int, best: int | None) -> None:
    """Take away all but the newest `keep` checkpoints, the best one, and what was left unfinished.

    `best` is the step of the best one.
    """
    found = [(step, folder) for step, folder in checkpoints_of(run) if step != best]
    for _, folder in found[: max(0, len(found) - keep)]:
        discard(folder)
    for rest in (run / "checkpoints").glob(f"{OLD}*"):
        shutil.rmtree(rest)


def _files(folder: Path) -> list[Path]:
    """All files that count; hidden ones are the desktop's."""
    return sorted(one for one in folder.rglob("*") if one.is_file() and one.name[0] != ".")


def _sealed(file: Path) -> dict[str, Any]:
    """The digest of a file that is on the disk now."""
    found = digest_of(file)
    flush(file)
    return found


def digest_of(file: Path) -> dict[str, Any]:
    """The size of a file in bytes and the SHA-256 of its content."""
    hashed, size = hashlib.sha256(), 0
    with file.open("rb") as data:
        while block := data.read(BLOCK):
            hashed.update(block)
            size += len(block)
    return {"bytes": size, "sha256": hashed.hexdigest()}


def flush(path: Path) -> None:
    """Wait until a file or the names in a folder are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _text(value: Any) -> str:
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def _unsigned(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in manifest.items() if key != "sha256"}


def _signed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    text = json.dumps(manifest, sort_keys=True, allow_nan=False)
    return {**manifest, "sha256": hashlib.sha256(text.encode()).hexdigest()}
