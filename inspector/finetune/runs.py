"""What makes a run this run, and the lines that it leaves behind."""

import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from inspector.errors import BadOption
from inspector.fairness.items import DataFile
from inspector.finetune.checkpoints import Kept, Refused, checkpoints_of, digest_of
from inspector.finetune.config import Config
from inspector.finetune.features import Encoded
from inspector.results import Finding, show_plain
from inspector.weights.problems import finding

METRICS: Final = "metrics.jsonl"
MODEL: Final = "model"
FREE: Final = (  # keys that may change on the way: files are told by their content
    *("run", "model", "data.train", "data.validation", "data.test", "gate"),
    *("training.keep", "training.save_every", "training.workers", "diagnostics.track"),
)
FREE_SECTIONS: Final = tuple(f"{key}." for key in FREE)
LIBRARIES: Final = (
    *("inspector", "torch", "transformers", "accelerate", "tokenizers", "numpy", "safetensors"),
)


def claim(run: Path, resume: bool) -> None:
    """Refuse to write over a run; raises BadOption where the folder holds one."""
    held = [one for one in (METRICS, MODEL) if (run / one).exists()]
    held += [folder.name for _, folder in checkpoints_of(run)]
    if held and not resume:
        raise BadOption(
            f"run: {show_plain(str(run))} holds a run already ({', '.join(held[:3])}). Go on with "
            "it by --resume, or give another folder."
        )


def identity(
    config: Config,
    folder: Path,
    files: Sequence[DataFile],
    rows: Mapping[str, Encoded],
    processes: int,
) -> dict[str, Any]:
    """All that the numbers of a run follow from, as JSON: settings, bytes and versions.

    `folder` is that of the model before fine-tuning.
    """
    return {
        "config": config.model_dump(mode="json"),
        "model": {
            one.name: digest_of(one)["sha256"] for one in sorted(folder.glob("*.safetensors"))
        },
        "data": {one.name: one.sha256 for one in files},
        "rows": {split: _digest_of_rows(held) for split, held in rows.items()},
        "processes": processes,
        "versions": {
            "python": platform.python_version(),
            **{name: _version(name) for name in LIBRARIES},
        },
    }


def saved_identity(run: Path, start: Kept | None) -> Mapping[str, Any] | None:
    """What the folder of a run says that the run is; None where it says nothing."""
    if start is not None:
        saved: Mapping[str, Any] = start.manifest["run"]
        return saved
    try:
        with (run / METRICS).open(encoding="utf-8") as lines:
            saved = json.loads(lines.readline())["run"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return saved


def check_same(saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with a run that is another; raises BadOption with each key that differs."""
    before, after = (dict(_flat(one["config"])) for one in (saved, now))
    told = [
        f"{key} was {_shown(before.get(key))}, is {_shown(after.get(key))}"
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
        and not key.startswith(FREE_SECTIONS)
        and key not in FREE
    ]
    if saved["model"] != now["model"]:
        told.append("model: its weights are others")
    told += [
        f"{name}: its content is another (SHA-256 {now['data'].get(name, 'none')[:12]}, was "
        f"{digest[:12]})"
        for name, digest in saved["data"].items()
        if now["data"].get(name) != digest
    ]
    told += [
        f"{split}: the rows are others as the model sees them"
        for split in ("train", "validation")
        if saved["rows"].get(split) != now["rows"].get(split) and saved["data"] == now["data"]
    ]
    if saved["processes"] != now["processes"]:
        told.append(f"processes were {saved['processes']}, are {now['processes']}")
    if told:
        raise BadOption(
            f"This is not the run that the folder holds: {'; '.join(told)}. Put these back, or "
            "begin a run in another folder."
        )


def about_resuming(
    saved: Mapping[str, Any] | None,
    now: Mapping[str, Any],
    start: Kept | None,
    refused: Sequence[Refused],
) -> tuple[Finding, ...]:
    """What is to be known of where a run goes on; `saved` is what the checkpoint says of it."""
    found = [
        finding("FT-CHECKPOINT", one.folder.name, f"not used: {one.reason}", reason=one.reason)
        for one in refused
    ]
    if start is None:
        found.append(finding("FT-ANEW", "run", "no checkpoint is whole: the run begins anew"))
    elif saved is not None:
        moved = {
            name: (was, now["versions"].get(name))
            for name, was in saved["versions"].items()
            if now["versions"].get(name) != was
        }
        if moved:
            shown = ", ".join(f"{name} {was} -> {new}" for name, (was, new) in moved.items())
            found.append(
                finding("FT-VERSIONS", "run", f"it goes on with other versions: {shown}", **moved)
            )
    return tuple(found)


def kept_lines(file: Path, step: int) -> None:
    """Keep the lines of a .jsonl up to a step; those of steps that are made again go.

    A last line that was cut off goes too.
    """
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            at = json.loads(line)["step"]
        except ValueError:
            continue
        if at <= step and line.endswith("\n"):
            kept.append(line)
    draft = file.with_name(f".{file.name}")
    draft.write_text("".join(kept), encoding="utf-8")
    draft.replace(file)


def _shown(value: Any) -> str:
    return show_plain(str(value), 40)


def _flat(section: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _digest_of_rows(held: Encoded) -> str:
    hashed = hashlib.sha256()
    for row in held.rows:
        hashed.update(json.dumps(row, sort_keys=True).encode())
    return hashed.hexdigest()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
