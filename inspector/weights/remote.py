"""Checkpoints far away, read by byte ranges and never downloaded: http(s), s3, gs and the Hub."""

import base64
import errno
import os
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import SplitResult, unquote, urlsplit

from inspector.errors import BadOption, CheckpointError
from inspector.results import show_plain
from inspector.weights import hub
from inspector.weights.index import INDEX_SUFFIX, MAIN_FILE, PICKLE_SUFFIXES
from inspector.weights.ranges import Limits, Line, RangeReader, versioned
from inspector.weights.storage import ByteRange, Reader, Stamp, Storage
from inspector.weights.transports import (
    STORES,
    HttpTransport,
    StoreTransport,
    Transport,
    failure,
    store,
)

BEGINNING = 128 * 2**10  # bytes: holds the headers of 97 of 100 models, and most configs
MOST_PARALLEL = 20
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
FILE_SUFFIXES = (".safetensors", INDEX_SUFFIX, *PICKLE_SUFFIXES)
SHARD = re.compile(r"(.+)-\d{5}-of-\d{5}\.safetensors")
TIMEOUT, PARALLEL = "INSPECTOR_TIMEOUT", "INSPECTOR_PARALLEL"


def is_url(model: str) -> bool:
    """Whether the text is written as a URL of whatever scheme."""
    return SCHEME.match(model) is not None


def shown(model: str) -> str:
    """A model's name as it may be shown: a URL without user, password, query and fragment."""
    if not is_url(model):
        return model
    scheme, _, rest = model.partition("://")
    place, slash, path = re.split(r"[?#]", rest, maxsplit=1)[0].partition("/")
    if scheme.lower() != "hf":  # where `@` stands before a revision
        place = place.rpartition("@")[2]
    if re.search(r":.*\D", place):  # no port: a password with signs that no URL may hold
        return f"{scheme}://…"
    return f"{scheme}://{place}{slash}{path}"


def limits() -> Limits:
    """How patient reading is, as INSPECTOR_TIMEOUT (seconds) and INSPECTOR_PARALLEL say."""
    stated = Limits()
    try:
        timeout = float(os.environ.get(TIMEOUT, stated.timeout))
        parallel = int(os.environ.get(PARALLEL, stated.parallel))
    except ValueError:
        raise BadOption(f"{TIMEOUT} and {PARALLEL} must be numbers.") from None
    if not (0 < timeout <= 3600 and 1 <= parallel <= MOST_PARALLEL):
        raise BadOption(f"{TIMEOUT} must be 0 to 3600 s, {PARALLEL} 1 to {MOST_PARALLEL}.")
    return Limits(timeout=timeout, parallel=parallel)


def locate(model: str) -> tuple["RemoteFolder", str | None, str | None]:
    """(folder, file named in it, revision) of a URL; raises CheckpointError for what is none.

    A URL may name a .safetensors file, a shard index or a folder; one that names no such file is
    a folder. `hf://owner/name[@revision][/file]`, and the addresses of the Hub's own pages, are
    read as the commit they mean now.
    """
    try:
        parts = urlsplit(model)
        parts.port  # noqa: B018 - raises where it is none
    except ValueError:
        raise CheckpointError(f"{show_plain(shown(model))}: is no URL.") from None
    scheme = parts.scheme.lower()
    if scheme == "hf":
        return _on_hub(model, model[len("hf://") :])
    if scheme in ("http", "https") and parts.hostname:
        if (pasted := hub.page(model)) is not None:
            return _on_hub(model, pasted)
        return _on_web(model, parts)
    if scheme in STORES and parts.hostname:
        return _in_store(model, parts)
    known = ", ".join(f"{one}://" for one in ("http", "https", *STORES, "hf"))
    raise CheckpointError(
        f"{show_plain(shown(model))}: is no address that is read (known: {known})."
    )


def _named(path: str) -> tuple[str, str | None]:
    """(path up to and with the last slash, file name) of a path; no name: all of it is a folder."""
    folder, _, last = path.rpartition("/")
    if last.endswith(FILE_SUFFIXES):
        return f"{folder}/", last
    return (path if path.endswith("/") else f"{path}/"), None


def _on_web(model: str, parts: SplitResult) -> tuple["RemoteFolder", str | None, None]:
    path, last = _named(parts.path)
    host = parts.netloc.rpartition("@")[2]
    headers = {}
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"
    base = f"{parts.scheme.lower()}://{host}{path}"
    query = f"?{parts.query}" if parts.query else ""
    patience = limits()

    def connect() -> Transport:
        return HttpTransport(
            base=base,
            query=query,
            headers=headers,
            scope=f" {base}",
            timeout=patience.timeout,
            connections=patience.parallel,
        )

    name = unquote(last) if last else None
    return RemoteFolder(base, name, connect, patience), name, None


def _in_store(model: str, parts: SplitResult) -> tuple["RemoteFolder", str | None, None]:
    if "@" in parts.netloc:
        raise CheckpointError(
            f"{show_plain(shown(model))}: credentials belong in the environment, not in the URL."
        )
    scheme = parts.scheme.lower()
    path, last = _named(parts.path)
    base = f"{parts.netloc}{path}"
    patience = limits()
    system, errors = store(scheme)

    def connect() -> Transport:
        return StoreTransport(system, base, errors, patience.timeout)

    return RemoteFolder(f"{scheme}://{base}", last, connect, patience), last, None


def _on_hub(model: str, rest: str) -> tuple["RemoteFolder", str | None, str]:
    rest, last = _named(rest) if rest.endswith(FILE_SUFFIXES) else (rest, None)
    listing = hub.listing(rest.strip("/"), show_plain(model))
    patience = limits()

    def connect() -> Transport:
        return HttpTransport(
            base=listing.base,
            headers=listing.headers,
            listed=listing.names,
            scope="",  # its ETags are hashes
            timeout=patience.timeout,
            connections=patience.parallel,
        )

    place = f"hf://{listing.repository}@{listing.commit}/"
    return RemoteFolder(place, last, connect, patience), last, listing.commit


class RemoteFolder(Storage):
    """A folder that is read by ranges.

    The first bytes of each file that is looked at are held while the checkpoint is being opened,
    so that its stamp, its header and whether it is there at all are one request.
    """

    def __init__(
        self, place: str, named: str | None, connect: Callable[[], Transport], limits: Limits
    ) -> None:
        self.shown = place.rstrip("/")
        self._place, self._named, self._connect, self._limits = place, named, connect, limits
        self._line: Line | None = None
        self._listed: list[str] | None = None
        self._beginnings: dict[str, tuple[Stamp, bytes] | OSError] = {}
        self._changed: set[str] = set()

    @property
    def place(self) -> str:
        """The address without credentials."""
        return self._place

    def names(self) -> list[str]:
        """What is there; where that cannot be listed, what a model is made of by custom."""
        self._listed = self._opening().transport.names()
        if self._named is not None and not self.is_file(self._named):
            raise FileNotFoundError(errno.ENOENT, "the server has no such file")
        if self._listed is not None:
            return self._listed
        if self._named is not None:
            shard = SHARD.fullmatch(self._named)
            index = [f"{shard[1]}{INDEX_SUFFIX}"] if shard else []
            return [self._named, *filter(self.is_file, index)]
        for name in (MAIN_FILE, f"model{INDEX_SUFFIX}"):
            if self.is_file(name):
                return [name]
        raise failure(
            f"there is neither {MAIN_FILE} nor model{INDEX_SUFFIX}; give the URL of the file"
        )

    def is_file(self, name: str) -> bool:
        """False where the server says that there is none; not being let in is no such answer."""
        if self._listed is not None:
            return name in self._listed
        try:
            self._beginning(name)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return True

    def leads_out(self, name: str) -> bool:
        """Never: names are looked up by the server."""
        return False

    def expect(self, names: Sequence[str]) -> None:
        """Fetch the first bytes of the files side by side."""
        line = self._opening()
        there = names if self._listed is None else set(names).intersection(self._listed)
        missing = [name for name in there if name not in self._beginnings]
        with ThreadPoolExecutor(self._limits.parallel) as pool:
            fetched = pool.map(lambda name: _beginning(line, name), missing)
            self._beginnings.update(zip(missing, fetched, strict=True))

    def stamp(self, name: str) -> Stamp:
        """The stamp that came with the first bytes."""
        return versioned(self._beginning(name)[0])

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Bytes of a file; from the first bytes what they hold, the rest in one request."""
        stamp, held = self._beginning(name)
        length = max(min(length, stamp.bytes - offset), 0)
        start = held[offset : offset + length]
        rest = bytearray(length - len(start))
        if rest:
            line = self._opening()
            filled, _ = line.fill(name, offset + len(start), memoryview(rest), stamp)
            del rest[filled:]
        return bytes(start) + bytes(rest)

    def changed(self, stamps: Mapping[str, Stamp]) -> list[str]:
        """The files of which an answer since they were opened bore another stamp."""
        return [name for name in stamps if name in self._changed]

    def reader(self, stamps: Mapping[str, Stamp], ahead: Sequence[ByteRange]) -> Reader:
        """A reader with connections of its own."""
        line = Line(self._connect(), self._limits)
        return RangeReader(line, stamps, ahead, self._limits.parallel, self._changed.add)

    def close(self) -> None:
        """Let go of the first bytes and of the connections they came by."""
        self._beginnings.clear()
        if self._line is not None:
            self._line.close()
            self._line = None

    def _opening(self) -> Line:
        if self._line is None:
            self._line = Line(self._connect(), self._limits)
        return self._line

    def _beginning(self, name: str) -> tuple[Stamp, bytes]:
        if name not in self._beginnings:
            self._beginnings[name] = _beginning(self._opening(), name)
        found = self._beginnings[name]
        if isinstance(found, OSError):
            raise found
        return found


def _beginning(line: Line, name: str) -> tuple[Stamp, bytes] | OSError:
    """Stamp and first bytes of a file, or why there are none."""
    buffer = bytearray(BEGINNING)
    try:
        filled, stamp = line.fill(name, 0, memoryview(buffer), None)
    except OSError as error:
        return error
    return stamp, bytes(buffer[:filled])
