"""Which files of a directory make up the checkpoint: the index, checked before any is opened."""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from inspector.results import show_plain, worst
from inspector.weights.header import Header, TensorEntry
from inspector.weights.problems import Log
from inspector.weights.storage import Storage

LONGEST_FILE_NAME = 255  # bytes
MAIN_FILE = "model.safetensors"
INDEX_SUFFIX = ".safetensors.index.json"
INDEX_CAP = 64_000_000  # bytes; several times the largest published
PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Index:
    """A shard index: tensor name -> file name as the author states it, and the stated total."""

    file: str
    weight_map: dict[str, str]
    total_size: Any


def read_index(storage: Storage, name: str, log: Log) -> Index | None:
    """The index of that name; None, with a finding, when it maps no names to files."""
    if not storage.is_file(name) or storage.leads_out(name):
        log.add("IX-TARGET", name, "the index is no regular file of its directory")
        return None
    try:
        if (size := storage.stamp(name).bytes) > INDEX_CAP:
            log.add("IX-CAP", name, f"the index has {size:,} bytes, the limit is {INDEX_CAP:,}")
            return None
        document = json.loads(storage.read(name, 0, size))
    except OSError as error:
        log.add("IX-UNREADABLE", name, f"the index cannot be read: {error.strerror}")
        return None
    except (ValueError, RecursionError) as error:  # ValueError: bad UTF-8, bad JSON, 4301 digits
        log.add("IX-JSON", name, f"the index is not JSON: {show_plain(str(error))}")
        return None
    stated = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(stated, dict) or not stated or not _all_text(stated.values()):
        log.add("IX-MAP", name, "`weight_map` does not map tensor names to file names")
        return None
    metadata = document.get("metadata")
    if not isinstance(metadata, dict):
        log.add("IX-NO-METADATA", name, "the index states no `metadata`")
        metadata = {}
    return Index(file=name, weight_map=stated, total_size=metadata.get("total_size"))


def _all_text(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)


def shards(storage: Storage, index: Index, log: Log) -> list[str]:
    """The files the index points to that are safe to open and are there, in name order."""
    stated = sorted(Counter(index.weight_map.values()).items())
    refused = {target: _refusal(storage, target) for target, _ in stated}
    storage.expect([target for target, why in refused.items() if why is None])
    safe = []
    for target, tensors in stated:
        where = f"{index.file}: {show_plain(target)}"
        if (why := refused[target]) is not None:
            id, statement = why
            log.add(
                id, where, f"{statement}; {tensors} tensors are said to be in it", tensors=tensors
            )
        elif not storage.is_file(target):
            log.add(
                "IX-MISSING-SHARD",
                where,
                f"the file is not there; {tensors} tensors are said to be in it",
                tensors=tensors,
            )
        else:
            safe.append(target)
    return safe


def _refusal(storage: Storage, target: str) -> tuple[str, str] | None:
    """(finding id, reason) why an index target is not opened; None when it may be."""
    if re.search(r"[\0\\:\ud800-\udfff]", target) or target != Path(target).name:
        return "IX-TARGET", "the target is not a plain file name of this directory"
    if len(target.encode()) > LONGEST_FILE_NAME:
        return "IX-TARGET", "the target is longer than a file name can be"
    if target.endswith(PICKLE_SUFFIXES):
        return "IX-PICKLE", "the target is a pickle, which can run code when opened"
    if not target.endswith(".safetensors"):
        return "IX-TARGET", "the target is not a .safetensors file"
    if storage.leads_out(target):
        return "IX-TARGET", "the target is a link that leads out of the directory"
    return None


def check_against_headers(
    index: Index, headers: list[Header], entries: list[TensorEntry], log: Log
) -> None:
    """One finding per disagreement between the index and the headers of the shards here."""
    read = {
        header.file for header in headers if header.tensors or worst(header.findings) != "error"
    }
    found: dict[str, set[str]] = {}
    for entry in entries:
        found.setdefault(entry.name, set()).add(entry.file)
    for name, files in found.items():
        stated = index.weight_map.get(name)
        where = f"{index.file}: {show_plain(name)}"
        if stated is None:
            log.add(
                "IX-UNLISTED-TENSOR",
                where,
                f"{show_plain(min(files))} holds it, the index does not list it",
            )
        elif stated not in files:
            log.add(
                "IX-MOVED-TENSOR",
                where,
                f"the index puts it in {show_plain(stated)}, it is in {show_plain(min(files))}",
            )
    for name, stated in index.weight_map.items():
        if stated in read and name not in found:
            log.add(
                "IX-MISSING-TENSOR",
                f"{index.file}: {show_plain(name)}",
                f"the index puts it in {show_plain(stated)}, no file holds it",
            )
    actual = sum(entry.bytes for entry in entries)
    complete = read == set(index.weight_map.values())
    stated_total = show_plain(str(index.total_size), 30)
    if complete and index.total_size is not None and index.total_size != actual:
        log.add(
            "IX-TOTAL",
            index.file,
            f"the index states {stated_total} bytes in all, the headers add up to {actual:,}",
            stated=stated_total,
            actual=actual,
        )


def mark_twice(entries: list[TensorEntry], index: Index | None, log: Log) -> list[TensorEntry]:
    """Of tensors that several files hold, all but the one the index (or order) means, marked."""
    weight_map = index.weight_map if index else {}
    files: dict[str, list[str]] = {}
    for entry in entries:
        if entry.file not in files.setdefault(entry.name, []):
            files[entry.name].append(entry.file)
    meant = {}
    for name, holders in files.items():
        stated = weight_map.get(name)
        meant[name] = stated if stated in holders else holders[0]
        if len(holders) > 1:
            log.add(
                "IX-TWICE",
                show_plain(name),
                f"{len(holders)} files hold it; {show_plain(meant[name])} is read",
                files=[show_plain(file) for file in holders[:20]],
            )
    return [
        entry
        if entry.file == meant[entry.name]
        else dataclasses.replace(
            entry, unreadable=f"{show_plain(meant[entry.name])} holds a tensor of the same name"
        )
        for entry in entries
    ]
