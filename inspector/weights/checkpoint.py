"""Open a checkpoint, whatever form it comes in, by its headers alone."""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import os
import platform
import threading
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from inspector.errors import CheckpointError
from inspector.results import Finding, Source, SourceFile, show_plain
from inspector.weights import hub, index
from inspector.weights.architecture import Architecture, confirm_ties, place
from inspector.weights.config import read_config
from inspector.weights.header import SOFT_CAP, Header, TensorEntry, read_header
from inspector.weights.index import INDEX_SUFFIX, PICKLE_SUFFIXES, Index
from inspector.weights.problems import Log, finding

COMPARE = 2**20  # bytes of two tensors that are compared at a time
DEMO = "demo:"
DEMO_FOLDER = Path(__file__).parent.parent / "demo"
MAIN_FILE = "model.safetensors"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileStamp:
    """What tells whether a file is still the one that was opened."""

    bytes: int
    modified_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> "FileStamp":
        """The stamp of a file's status."""
        return cls(bytes=status.st_size, modified_ns=status.st_mtime_ns, inode=status.st_ino)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint of which the headers have been read; tensor values are read on demand.

    `tensors` are in file order over all shards; `findings` are those of files, index and config
    (those of the names are in `architecture.findings`).
    """

    model: str
    folder: Path
    revision: str | None
    headers: tuple[Header, ...]
    stamps: Mapping[str, FileStamp]
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
        with self.reader() as reader:
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
        """Names of files that are no longer the ones that were opened."""
        return [
            name for name, stamp in self.stamps.items() if not _is_still(self.folder / name, stamp)
        ]

    @contextlib.contextmanager
    def reader(self) -> Iterator["Reader"]:
        """The open files; closed at the end. Raises CheckpointError when one has changed since."""
        reader = Reader(self)
        try:
            yield reader
        finally:
            reader.close()


def _is_still(path: Path, stamp: FileStamp) -> bool:
    try:
        return FileStamp.of(path.stat()) == stamp
    except OSError:
        return False


class Reader:
    """Reads byte ranges of a checkpoint's files into the caller's buffer; for many threads."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._descriptors: dict[str, int] = {}
        self._lock = threading.Lock()

    def read_into(self, file: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes of `file` from `offset` on; raises CheckpointError."""
        descriptor = self._descriptor(file)
        filled = 0
        while filled < len(buffer):
            try:
                count = os.preadv(descriptor, [buffer[filled:]], offset + filled)
            except OSError as error:
                raise CheckpointError(
                    f"{show_plain(file)}: cannot be read at byte {offset + filled}: "
                    f"{error.strerror}"
                ) from None
            if count == 0:
                raise CheckpointError(
                    f"{show_plain(file)}: ends at byte {offset + filled}: it changed while being "
                    "read; open it again."
                )
            filled += count

    def _descriptor(self, file: str) -> int:
        with self._lock:
            if file not in self._descriptors:
                try:
                    descriptor = os.open(self._checkpoint.folder / file, os.O_RDONLY)
                except OSError as error:
                    raise CheckpointError(
                        f"{show_plain(file)}: cannot be opened: {error.strerror}"
                    ) from None
                if FileStamp.of(os.fstat(descriptor)) != self._checkpoint.stamps[file]:
                    os.close(descriptor)
                    raise CheckpointError(
                        f"{show_plain(file)}: changed since it was opened; open it again."
                    )
                self._descriptors[file] = descriptor
            return self._descriptors[file]

    def close(self) -> None:
        """Close every file."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])


def open_checkpoint(model: str | Path, max_header: int = SOFT_CAP) -> Checkpoint:
    """Open a file, any shard, an index, a directory, `demo:NAME` or a Hub id (`owner/name@rev`).

    Reads headers, index and config.json only. Everything wrong with them is in `findings`.
    Raises CheckpointError, with the findings, when no tensor can be listed.
    """
    log = Log()
    path, revision = _locate(str(model))
    folder, files, shard_index = _files(path, log)
    headers, stamps = [], {}
    for file in files:
        try:
            header, stamp = _read(file, max_header)
        except OSError as error:  # one bad shard does not cost the others theirs
            log.add("IX-UNREADABLE", file.name, f"the file cannot be read: {error.strerror}")
            continue
        headers.append(header)
        stamps[file.name] = stamp
        log.extend(header.findings)
    entries = [entry for header in headers for entry in header.tensors]
    if shard_index:
        index.check_against_headers(shard_index, headers, entries, log)
    entries = index.mark_twice(entries, shard_index, log)
    config = read_config(folder, log)
    if not entries and any(f.severity == "error" for f in log.findings):
        reasons = "; ".join(
            f"{f.where}: {f.statement}" for f in log.findings if f.severity == "error"
        )
        raise CheckpointError(
            f"{show_plain(str(model))}: nothing can be read. {reasons}", log.findings
        )
    return Checkpoint(
        model=str(model),
        folder=folder,
        revision=revision,
        headers=tuple(headers),
        stamps=stamps,
        tensors=tuple(entries),
        config=config,
        findings=log.findings,
    )


def _locate(model: str) -> tuple[Path, str | None]:
    """The local path of a model and its revision where it comes from the Hub."""
    if model.startswith(DEMO):
        folder = DEMO_FOLDER / model.removeprefix(DEMO)
        known = sorted(path.parent.name for path in DEMO_FOLDER.glob(f"*/{MAIN_FILE}"))
        if folder.name not in known or folder.parent != DEMO_FOLDER:
            names = ", ".join(f"{DEMO}{name}" for name in known)
            raise CheckpointError(
                f"{show_plain(model)}: there is no such demo model (known: {names})."
            )
        return folder, None
    if "\0" in model or not model.strip():
        raise CheckpointError("The model is an empty name. Give a path, a Hub id or demo:NAME.")
    try:
        path = Path(model).expanduser()
        if path.exists():
            return path, None
    except RuntimeError as error:  # ~somebody who is not known here
        raise CheckpointError(f"{show_plain(model)}: {error}") from None
    except OSError as error:  # a name longer than the file system takes
        raise CheckpointError(f"{show_plain(model)}: {error.strerror}.") from None
    if hub.is_hub_id(model) and not model.endswith(".safetensors"):
        folder = hub.fetch(model)
        return folder, folder.name
    raise CheckpointError(
        f"{show_plain(model)}: there is no such file or directory. "
        "Give a directory, a .safetensors file, an index, a Hub id (owner/name) or demo:NAME."
    )


def _files(path: Path, log: Log) -> tuple[Path, list[Path], Index | None]:
    """(directory, files to read, index followed) for a path that exists."""
    try:
        if path.is_dir():
            return _directory(path, log)
        if path.name.endswith(INDEX_SUFFIX):
            return _indexed(path, log)
        for candidate in sorted(path.parent.glob(f"*{INDEX_SUFFIX}")):
            stated = index.read_index(candidate, Log())
            if stated and path.name in stated.weight_map.values():
                return _indexed(candidate, log)
    except OSError as error:
        raise CheckpointError(
            f"{show_plain(str(path))}: cannot be read: {error.strerror}."
        ) from None
    if not path.is_file():
        raise CheckpointError(f"{show_plain(str(path))}: is neither a file nor a directory.")
    if path.suffix in PICKLE_SUFFIXES:
        _refuse_pickles(path, [path.name])
    return path.parent, [path], None


def _directory(folder: Path, log: Log) -> tuple[Path, list[Path], Index | None]:
    names = sorted(p.name for p in folder.iterdir())
    named = [n for n in names if n.endswith(".safetensors")]
    weights = [n for n in named if (folder / n).is_file()]
    indexes = [n for n in names if n.endswith(INDEX_SUFFIX)]
    pickles = [n for n in names if n.endswith(PICKLE_SUFFIXES)]
    inside = [n for n in weights if index.stays_inside(folder / n)]
    if not named and not indexes:
        if pickles:
            _refuse_pickles(folder, pickles)
        raise CheckpointError(
            f"{show_plain(str(folder))}: holds no .safetensors file. Give the directory that does."
        )
    if pickles:
        shown = [show_plain(n) for n in pickles[:20]]
        log.add(
            "PK-IGNORED", folder.name, f"{len(pickles)} pickle files are not opened", files=shown
        )
    read, stated = _chosen(folder, inside, indexes, log)
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
    return folder, [folder / name for name in read], stated


def _chosen(
    folder: Path, inside: list[str], indexes: list[str], log: Log
) -> tuple[list[str], Index | None]:
    """Which files of a directory make up its model, and the index that says so."""
    if MAIN_FILE in inside:
        if indexes:
            log.add("IX-BOTH", indexes[0], f"an index stands beside {MAIN_FILE}, which is read")
        return [MAIN_FILE], None
    if indexes:
        first = f"model{INDEX_SUFFIX}" if f"model{INDEX_SUFFIX}" in indexes else indexes[0]
        _, paths, stated = _indexed(folder / first, log)
        # an index that cannot be used leaves the shards still worth showing
        return ([path.name for path in paths], stated) if stated else (inside, None)
    if len(inside) > 1:
        told = f"{len(inside)} files and no index that says they belong together"
        log.add("IX-NONE", folder.name, told)
    return inside, None


def _indexed(path: Path, log: Log) -> tuple[Path, list[Path], Index | None]:
    stated = index.read_index(path, log)
    return path.parent, index.shards(path.parent, stated, log) if stated else [], stated


def _refuse_pickles(path: Path, names: list[str]) -> None:
    shown = ", ".join(show_plain(n, 60) for n in names[:3])
    problem = finding(
        "PK-PICKLE",
        path.name,
        f"only pickle files are here: {shown}",
        files=[show_plain(n) for n in names[:20]],
    )
    raise CheckpointError(
        f"{show_plain(str(path))}: {problem.statement}. {problem.remedy}", (problem,)
    )


def _read(path: Path, max_header: int) -> tuple[Header, FileStamp]:
    """Header and stamp of a file; raises OSError when it cannot be read."""
    with path.open("rb") as file:
        stamp = FileStamp.of(os.fstat(file.fileno()))

        def read(offset: int, length: int) -> bytes:
            file.seek(offset)
            return file.read(length)

        return read_header(read, stamp.bytes, path.name, max_header), stamp


def no_model(model: str = "") -> Source:
    """The source of records that no file was read for."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return Source(model=model, revision=None, files=(), versions=versions(), when=now)


def versions() -> dict[str, str]:
    """Versions of what makes the numbers."""
    return {
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("inspector", "numpy", "numba")},
    }
