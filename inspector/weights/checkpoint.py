"""Open a checkpoint, whatever form it comes in, by its headers alone."""

import contextlib
import dataclasses
import datetime
import functools
import importlib.metadata
import platform
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from inspector.errors import CheckpointError
from inspector.results import Finding, Source, SourceFile, show_plain
from inspector.weights import hub, index, remote
from inspector.weights.architecture import Architecture, confirm_ties, place
from inspector.weights.config import read_config
from inspector.weights.header import SOFT_CAP, Header, TensorEntry, read_header
from inspector.weights.index import INDEX_SUFFIX, MAIN_FILE, PICKLE_SUFFIXES, Index
from inspector.weights.problems import Log, finding
from inspector.weights.ranges import UNVERSIONED
from inspector.weights.storage import ByteRange, LocalFolder, Stamp, Storage
from inspector.weights.storage import Reader as Reader

COMPARE = 2**20  # bytes of two tensors that are compared at a time
DEMO = "demo:"
DEMO_FOLDER = Path(__file__).parent.parent / "demo"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint of which the headers have been read; tensor values are read on demand.

    `tensors` are in file order over all shards; `findings` are those of files, index and config
    (those of the names are in `architecture.findings`). `model` is as it was given, less the
    credentials of a URL.
    """

    model: str
    storage: Storage
    revision: str | None
    headers: tuple[Header, ...]
    stamps: Mapping[str, Stamp]
    tensors: tuple[TensorEntry, ...]
    config: Mapping[str, Any] | None
    findings: tuple[Finding, ...]

    @cached_property
    def architecture(self) -> Architecture:
        """Layer, role and kind of every tensor, from names, shapes and the config.

        Where both ends of a tie are stored, their bytes are compared, up to the first difference.
        """
        return confirm_ties(place(self.tensors, self.config), self._same_bytes)

    def _same_bytes(self, one: str, other: str) -> bool:
        """Whether two tensors hold the same bytes; what cannot be read is not the same."""
        first, second = self.tensor(one), self.tensor(other)
        if first.unreadable or second.unreadable:
            return False
        if (first.dtype, first.shape) != (second.dtype, second.shape):
            return False
        with self.reader([first, second]) as reader:
            for begin in range(0, first.bytes, COMPARE):
                length = min(COMPARE, first.bytes - begin)
                parts = bytearray(length), bytearray(length)
                try:
                    for entry, part in zip((first, second), parts, strict=True):
                        reader.read_into(entry.file, entry.start + begin, memoryview(part))
                except CheckpointError:
                    return False
                if parts[0] != parts[1]:
                    return False
        return True

    @cached_property
    def _by_name(self) -> dict[str, TensorEntry]:
        return {t.name: t for t in sorted(self.tensors, key=lambda t: t.unreadable is None)}

    def tensor(self, name: str) -> TensorEntry:
        """The tensor of that name; raises CheckpointError, with the nearest names, if none."""
        import difflib

        if (entry := self._by_name.get(name)) is not None:
            return entry
        near = difflib.get_close_matches(name, list(self._by_name)[:20_000], n=3)
        hint = f" Did you mean {', '.join(show_plain(n) for n in near)}?" if near else ""
        raise CheckpointError(
            f"{show_plain(self.model)}: there is no tensor {show_plain(name)}.{hint}"
        )

    def source(self) -> Source:
        """Which bytes and which versions numbers from this checkpoint come from, as of now."""
        return Source(
            model=show_plain(self.model, 1000),
            revision=self.revision,
            files=tuple(
                SourceFile(
                    name=show_plain(h.file, 1000), bytes=h.file_bytes, header_sha256=h.sha256
                )
                for h in self.headers
            ),
            versions=versions(),
            device="cpu",
            when=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        )

    def changed(self) -> list[str]:
        """Names of files that are no longer the ones that were opened.

        Of files far away those of which an answer said so; nobody is asked.
        """
        return self.storage.changed(self.stamps)

    @contextlib.contextmanager
    def reader(self, ahead: Sequence[TensorEntry] = ()) -> Iterator[Reader]:
        """The open files; closed at the end. Raises CheckpointError when one has changed since.

        `ahead` are the tensors that will be read, in about that order: far away, neighbours come
        in one request and several requests are under way at once.
        """
        ranges = [ByteRange(entry.file, entry.start, entry.end) for entry in ahead]
        reader = self.storage.reader(self.stamps, ranges)
        try:
            yield reader
        finally:
            reader.close()


def open_checkpoint(model: str | Path, max_header: int = SOFT_CAP) -> Checkpoint:
    """Open a file, any shard, an index, a directory, `demo:NAME`, a Hub id or a URL.

    A Hub id (`owner/name[@revision]`) is fetched into the Hub's cache; http(s)://, s3://, gs://
    and hf://owner/name[@revision] are read by byte ranges and leave nothing here.
    Reads headers, index and config.json only. Everything wrong with them is in `findings`.
    Raises CheckpointError, with the findings, when no tensor can be listed.
    """
    model = str(model)
    storage, named, revision = _locate(model)
    with contextlib.closing(storage):
        return _open(remote.shown(model), storage, named, revision, max_header)


def _open(
    model: str, storage: Storage, named: str | None, revision: str | None, max_header: int
) -> Checkpoint:
    log = Log()
    files, shard_index = _files(storage, named, model, log)
    storage.expect([*files, "config.json"])
    headers, stamps = [], {}
    for file in files:
        try:
            header, stamp = _read(storage, file, max_header)
        except OSError as error:  # one bad shard does not cost the others theirs
            log.add("IX-UNREADABLE", file, f"the file cannot be read: {error.strerror}")
            continue
        headers.append(header)
        stamps[file] = stamp
        log.extend(header.findings)
        if stamp.version.startswith(UNVERSIONED):
            told = "the server states neither ETag nor date: a change while it is read shows only"
            log.add("RM-VERSION", file, f"{told} in its size")
    entries = [entry for header in headers for entry in header.tensors]
    if shard_index:
        index.check_against_headers(shard_index, headers, entries, log)
    entries = index.mark_twice(entries, shard_index, log)
    config = read_config(storage, log)
    if not entries and any(f.severity == "error" for f in log.findings):
        reasons = "; ".join(
            f"{f.where}: {f.statement}" for f in log.findings if f.severity == "error"
        )
        raise CheckpointError(f"{show_plain(model)}: nothing can be read. {reasons}", log.findings)
    return Checkpoint(
        model=model,
        storage=storage,
        revision=revision,
        headers=tuple(headers),
        stamps=stamps,
        tensors=tuple(entries),
        config=config,
        findings=log.findings,
    )


def _locate(model: str) -> tuple[Storage, str | None, str | None]:
    """(folder, file in it that is meant, revision) of a model."""
    if model.startswith(DEMO):
        folder = DEMO_FOLDER / model.removeprefix(DEMO)
        known = sorted(path.parent.name for path in DEMO_FOLDER.glob(f"*/{MAIN_FILE}"))
        if folder.name not in known or folder.parent != DEMO_FOLDER:
            names = ", ".join(f"{DEMO}{name}" for name in known)
            raise CheckpointError(
                f"{show_plain(model)}: there is no such demo model (known: {names})."
            )
        return LocalFolder(folder), None, None
    if "\0" in model or not model.strip():
        raise CheckpointError("The model is an empty name. Give a path, a Hub id or demo:NAME.")
    if remote.is_url(model):
        return remote.locate(model)
    try:
        path = Path(model).expanduser()
        if path.is_dir():
            return LocalFolder(path), None, None
        if path.exists():
            return LocalFolder(path.parent), path.name, None
    except RuntimeError as error:  # ~somebody who is not known here
        raise CheckpointError(f"{show_plain(model)}: {error}") from None
    except OSError as error:  # a name longer than the file system takes
        raise CheckpointError(f"{show_plain(model)}: {error.strerror}.") from None
    if hub.is_hub_id(model) and not model.endswith(".safetensors"):
        folder = hub.fetch(model)
        return LocalFolder(folder), None, folder.name
    raise CheckpointError(
        f"{show_plain(model)}: there is no such file or directory. "
        "Give a directory, a .safetensors file, an index, a URL, a Hub id (owner/name) or "
        "demo:NAME."
    )


def _files(
    storage: Storage, named: str | None, model: str, log: Log
) -> tuple[list[str], Index | None]:
    """(files to read, index followed) of a folder, or of a file in it."""
    try:
        names = storage.names()
        if named is None:
            return _directory(storage, names, log)
        if named.endswith(INDEX_SUFFIX):
            return _indexed(storage, named, log)
        for candidate in names:
            if candidate.endswith(INDEX_SUFFIX):
                stated = index.read_index(storage, candidate, Log())
                if stated and named in stated.weight_map.values():
                    return _indexed(storage, candidate, log)
        if not storage.is_file(named):
            raise CheckpointError(f"{show_plain(model)}: is neither a file nor a directory.")
    except OSError as error:
        raise CheckpointError(f"{show_plain(model)}: cannot be read: {error.strerror}.") from None
    if named.endswith(PICKLE_SUFFIXES):
        _refuse_pickles(model, named, [named])
    return [named], None


def _directory(storage: Storage, names: list[str], log: Log) -> tuple[list[str], Index | None]:
    label = storage.shown.rsplit("/", 1)[-1]
    named = [n for n in names if n.endswith(".safetensors")]
    weights = [n for n in named if storage.is_file(n)]
    indexes = [n for n in names if n.endswith(INDEX_SUFFIX)]
    pickles = [n for n in names if n.endswith(PICKLE_SUFFIXES)]
    inside = [n for n in weights if not storage.leads_out(n)]
    if not named and not indexes:
        if pickles:
            _refuse_pickles(storage.shown, label, pickles)
        raise CheckpointError(
            f"{show_plain(storage.shown)}: holds no .safetensors file. Give the directory that "
            "does."
        )
    if pickles:
        shown = [show_plain(n) for n in pickles[:20]]
        log.add("PK-IGNORED", label, f"{len(pickles)} pickle files are not opened", files=shown)
    read, stated = _chosen(storage, label, inside, indexes, log)
    listed = set(stated.weight_map.values()) if stated else set()
    # what the index lists is told with the index
    for name in sorted(set(weights) - set(inside) - listed):
        log.add("IX-TARGET", name, "the file is a link that leads out of the directory")
    broken = set(named) - set(weights) - listed
    followed = stated is not None or MAIN_FILE in read
    for name in sorted(set() if followed else broken):
        log.add("IX-UNREADABLE", name, "the file is a broken link or no regular file")
    for name in sorted((set(inside) | (broken if followed else set())) - set(read)):
        log.add("IX-UNLISTED-SHARD", name, "the file is not part of the model and is not read")
    return read, stated


def _chosen(
    storage: Storage, label: str, inside: list[str], indexes: list[str], log: Log
) -> tuple[list[str], Index | None]:
    """Which files of a directory make up its model, and the index that says so."""
    if MAIN_FILE in inside:
        if indexes:
            log.add("IX-BOTH", indexes[0], f"an index stands beside {MAIN_FILE}, which is read")
        return [MAIN_FILE], None
    if indexes:
        first = f"model{INDEX_SUFFIX}" if f"model{INDEX_SUFFIX}" in indexes else indexes[0]
        files, stated = _indexed(storage, first, log)
        # an index that cannot be used leaves the shards still worth showing
        return (files, stated) if stated else (inside, None)
    if len(inside) > 1:
        told = f"{len(inside)} files and no index that says they belong together"
        log.add("IX-NONE", label, told)
    return inside, None


def _indexed(storage: Storage, name: str, log: Log) -> tuple[list[str], Index | None]:
    stated = index.read_index(storage, name, log)
    return index.shards(storage, stated, log) if stated else [], stated


def _refuse_pickles(model: str, where: str, names: list[str]) -> None:
    shown = ", ".join(show_plain(n, 60) for n in names[:3])
    problem = finding(
        "PK-PICKLE",
        where,
        f"only pickle files are here: {shown}",
        files=[show_plain(n) for n in names[:20]],
    )
    raise CheckpointError(f"{show_plain(model)}: {problem.statement}. {problem.remedy}", (problem,))


def _read(storage: Storage, file: str, max_header: int) -> tuple[Header, Stamp]:
    """Header and stamp of a file; raises OSError when it cannot be read."""
    stamp = storage.stamp(file)

    def read(offset: int, length: int) -> bytes:
        return storage.read(file, offset, length)

    return read_header(read, stamp.bytes, file, max_header), stamp


def no_model(model: str = "") -> Source:
    """The source of records that no file was read for."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Source(model=remote.shown(model), revision=None, files=(), versions=versions(), when=now)


_version = functools.cache(importlib.metadata.version)  # it reads a file


def versions() -> dict[str, str]:
    """Versions of what makes the numbers."""
    return {
        "python": platform.python_version(),
        **{name: _version(name) for name in ("inspector", "numpy", "numba")},
    }
