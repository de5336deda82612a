"""Where a checkpoint's files lie: a folder here or a base far away, both read in the same way."""

import abc
import dataclasses
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from inspector.errors import CheckpointError
from inspector.results import show_plain


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stamp:
    """What tells whether a file is still the one that was opened: size and version.

    The version is the time and inode of a local file, the ETag or date of a remote one.
    """

    bytes: int
    version: str

    @classmethod
    def of(cls, status: os.stat_result) -> "Stamp":
        """The stamp of a local file's status."""
        return cls(bytes=status.st_size, version=f"{status.st_mtime_ns} {status.st_ino}")


class ByteRange(NamedTuple):
    """Bytes begin..end of a file, end exclusive."""

    file: str
    begin: int
    end: int


class Reader(abc.ABC):
    """Reads byte ranges of a checkpoint's files into the caller's buffer; for many threads."""

    @abc.abstractmethod
    def read_into(self, file: str, offset: int, buffer: memoryview) -> None:
        """Fill `buffer` with the bytes of `file` from `offset` on; raises CheckpointError."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of every file."""


class Storage(abc.ABC):
    """A folder of files; names are plain file names in it. What goes wrong is an OSError.

    `shown` is how people know it, without credentials.
    """

    shown: str

    @property
    @abc.abstractmethod
    def place(self) -> str:
        """What tells this folder from every other, without credentials."""

    @abc.abstractmethod
    def names(self) -> list[str]:
        """Names of what is in the folder, as far as it can be listed, sorted."""

    @abc.abstractmethod
    def is_file(self, name: str) -> bool:
        """Whether there is a file of that name; True also where that cannot be found out."""

    @abc.abstractmethod
    def leads_out(self, name: str) -> bool:
        """Whether the name is a link to something outside the folder."""

    @abc.abstractmethod
    def expect(self, names: Sequence[str]) -> None:
        """Say which files are looked at next, so that waiting for them is done side by side."""

    @abc.abstractmethod
    def stamp(self, name: str) -> Stamp:
        """The stamp of a file as it is now."""

    @abc.abstractmethod
    def read(self, name: str, offset: int, length: int) -> bytes:
        """Bytes of a file; fewer only at its end."""

    @abc.abstractmethod
    def changed(self, stamps: Mapping[str, Stamp]) -> list[str]:
        """Names of the files that are known not to be the stamped ones any more."""

    @abc.abstractmethod
    def reader(self, stamps: Mapping[str, Stamp], ahead: Sequence[ByteRange]) -> Reader:
        """A reader of the stamped files; `ahead` are the ranges to be read, in about that order."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of what names, stamps and first reads needed; a reader can be had again."""


class LocalFolder(Storage):
    """A directory of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shown = str(folder)

    @property
    def place(self) -> str:
        """The directory, links resolved."""
        return str(self.folder.resolve())

    def names(self) -> list[str]:
        """Every name in the directory."""
        return sorted(path.name for path in self.folder.iterdir())

    def is_file(self, name: str) -> bool:
        """Whether it is a regular file, links followed."""
        return (self.folder / name).is_file()

    def leads_out(self, name: str) -> bool:
        """Whether a link ends outside the directory and outside its Hub cache's blobs."""
        try:
            folder, target = self.folder.resolve(), (self.folder / name).resolve()
        except RuntimeError:  # links that lead round in a circle
            return True
        if target.is_relative_to(folder):
            return False
        return folder.parent.name != "snapshots" or not target.is_relative_to(
            folder.parent.parent / "blobs"
        )

    def expect(self, names: Sequence[str]) -> None:
        """Nothing: a disk is not waited for."""

    def stamp(self, name: str) -> Stamp:
        """The stamp of a file as it is now."""
        return Stamp.of((self.folder / name).stat())

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Bytes of a file; fewer only at its end."""
        with (self.folder / name).open("rb") as file:
            file.seek(offset)
            return file.read(length)

    def changed(self, stamps: Mapping[str, Stamp]) -> list[str]:
        """Names of the files whose status is another, or which are gone."""
        return [name for name, stamp in stamps.items() if not self._is_still(name, stamp)]

    def _is_still(self, name: str, stamp: Stamp) -> bool:
        try:
            return self.stamp(name) == stamp
        except OSError:
            return False

    def reader(self, stamps: Mapping[str, Stamp], ahead: Sequence[ByteRange]) -> Reader:
        """A reader of the files; the system reads ahead by itself."""
        return LocalReader(self.folder, stamps)

    def close(self) -> None:
        """Nothing is held."""


class LocalReader(Reader):
    """Reads open files at any offset; each is opened once, and must then have its stamp."""

    def __init__(self, folder: Path, stamps: Mapping[str, Stamp]) -> None:
        self._folder, self._stamps = folder, stamps
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
                    descriptor = os.open(self._folder / file, os.O_RDONLY)
                except OSError as error:
                    raise CheckpointError(
                        f"{show_plain(file)}: cannot be opened: {error.strerror}"
                    ) from None
                if Stamp.of(os.fstat(descriptor)) != self._stamps[file]:
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
