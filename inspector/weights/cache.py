"""Results kept on disk: found again while files, options and code are the same, never after."""

import dataclasses
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from inspector.weights.checkpoint import Checkpoint, versions

MOST_ENTRIES = 500
FORMAT = 1  # raise it when what is stored changes its shape


def folder() -> Path:
    """Where results and jobs are kept: INSPECTOR_CACHE, else the user's cache directory."""
    return Path(os.environ.get("INSPECTOR_CACHE") or platformdirs.user_cache_dir("inspector"))


def key(checkpoint: Checkpoint, command: str, **options: Any) -> str:
    """A name for a result: changes with any header, file identity, option or code version."""
    identity = {
        "format": FORMAT,
        "version": versions()["inspector"],
        "command": command,
        "options": options,
        "folder": checkpoint.storage.place,
        "headers": [[header.file, header.sha256] for header in checkpoint.headers],
        "stamps": {name: dataclasses.asdict(stamp) for name, stamp in checkpoint.stamps.items()},
        "config": checkpoint.config,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def store(name: str, document: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Keep a result; a reader sees all of it or nothing. A full or read-only disk keeps nothing."""
    place = folder() / "results"
    try:
        place.mkdir(parents=True, exist_ok=True)
        if arrays:
            save: Any = np.savez  # its stub takes the names of arrays for its own options
            _replace(place / f"{name}.npz", lambda file: save(file, **arrays))
        text = json.dumps(document).encode()
        _replace(place / f"{name}.json", lambda file: file.write(text))
        _prune(place)
    except OSError:
        return


def has(name: str) -> bool:
    """Whether a result is kept under that name."""
    return (folder() / "results" / f"{name}.json").is_file()


def load(name: str) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """A kept result and its arrays; None when there is none that can be read."""
    place = folder() / "results"
    try:
        document = json.loads((place / f"{name}.json").read_bytes())
        (place / f"{name}.json").touch()  # what is used is pruned last
        arrays: dict[str, np.ndarray] = {}
        if (place / f"{name}.npz").exists():
            with np.load(place / f"{name}.npz", allow_pickle=False) as file:
                arrays = dict(file)
    except (OSError, ValueError):
        return None
    return document, arrays


def _replace(path: Path, write: Any) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            write(file)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _prune(place: Path) -> None:
    kept = sorted(place.glob("*.json"), key=lambda path: -path.stat().st_mtime)
    for path in kept[MOST_ENTRIES:]:
        path.unlink(missing_ok=True)
        path.with_suffix(".npz").unlink(missing_ok=True)
