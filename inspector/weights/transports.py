"""One try at fetching bytes from far away: over HTTP, and from object stores through fsspec."""

import abc
import errno
import importlib
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

from inspector.errors import CheckpointError
from inspector.weights.storage import Stamp

if TYPE_CHECKING:
    import httpx2

HOPS = 5  # redirects followed for one file
REDIRECTS = (301, 302, 303, 307, 308)
MISSING = (404, 410)
REFUSED = (401, 403)
PASSING = (408, 425, 429, 500, 502, 503, 504)  # may be over at the next try
LONGEST_WAIT = 30.0  # seconds of `Retry-After` that are waited, at most
CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")
SIZE_ONLY = re.compile(r"bytes \*/(\d{1,19})")
MEBIBYTE = 2**20

CheckStamp = Callable[[Stamp], None]
"""Called with the stamp an answer bears before its bytes are used; raises when it is wrong."""


class TryAgain(OSError):
    """What another try may mend: `filled` bytes had come, `after` seconds were asked for."""

    def __init__(self, reason: str, filled: int = 0, after: float = 0.0) -> None:
        super().__init__(errno.EIO, reason)
        self.filled, self.after = filled, after


def failure(reason: str) -> OSError:
    """What no other try would mend."""
    return OSError(errno.EIO, reason)


class Transport(abc.ABC):
    """Fetches bytes of the files of one base; used by many threads."""

    @abc.abstractmethod
    def names(self) -> list[str] | None:
        """Names of the files there, sorted; None where they cannot be listed."""

    @abc.abstractmethod
    def fetch(self, name: str, begin: int, buffer: memoryview, check: CheckStamp) -> int:
        """Fill `buffer` from byte `begin` of a file on; gives the count, less only at the end.

        Raises TryAgain, or OSError for what another try would not mend.
        """

    @abc.abstractmethod
    def stamp(self, name: str) -> Stamp | None:
        """The stamp of a file asked anew; None where every answer bears one anyway."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of connections."""


class HttpTransport(Transport):
    """Range requests below a base URL. Credentials go to the base's own origin only.

    `scope` is added to versions that tell the contents of files apart only in one place.
    """

    def __init__(
        self,
        *,
        base: str,
        query: str = "",
        headers: Mapping[str, str],
        listed: list[str] | None = None,
        scope: str,
        timeout: float,
        connections: int,
    ) -> None:
        import httpx2

        self._base, self._query, self._headers = base, query, dict(headers)
        self._listed, self._scope, self._timeout = listed, scope, timeout
        self._moved: dict[str, str] = {}  # where redirects led, so that they are followed once
        self._closed = threading.Event()
        self._client = httpx2.Client(
            headers={"Accept-Encoding": "identity", "User-Agent": "inspector"},
            timeout=timeout,
            limits=httpx2.Limits(
                max_connections=connections, max_keepalive_connections=connections
            ),
        )

    def names(self) -> list[str] | None:
        """The names that were listed when the base was found, if they were."""
        return self._listed

    def stamp(self, name: str) -> Stamp | None:
        """None: every answer bears it."""
        return None

    def close(self) -> None:
        """Close all connections; what is still coming in stops at its next bytes."""
        self._closed.set()
        self._client.close()

    def fetch(self, name: str, begin: int, buffer: memoryview, check: CheckStamp) -> int:
        """One range request, redirects followed to http and https only."""
        import httpx2

        home = f"{self._base}{quote(name)}{self._query}"
        url = self._moved.get(name, home)
        asked = {"Range": f"bytes={begin}-{begin + len(buffer) - 1}"}
        try:
            for _ in range(HOPS + 1):
                headers = {**(self._headers if _origin(url) == _origin(home) else {}), **asked}
                with self._client.stream("GET", url, headers=headers) as response:
                    if response.status_code not in REDIRECTS:
                        if url == self._moved.get(name) and response.status_code in (400, 401, 403):
                            del self._moved[name]  # signed addresses expire
                            raise TryAgain("the address it was redirected to has expired")
                        count = self._answer(response, begin, buffer, check)
                        if url != home:
                            self._moved[name] = url
                        return count
                    url = _redirected(url, response.headers.get("location", ""))
        except httpx2.TimeoutException:
            raise TryAgain(f"no answer within {self._timeout:g} s") from None
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise TryAgain(f"no connection ({type(error).__name__})") from None
        raise failure(f"more than {HOPS} redirects")

    def _answer(
        self, response: "httpx2.Response", begin: int, buffer: memoryview, check: CheckStamp
    ) -> int:
        expected, size = _promised(response, begin, len(buffer))
        version = response.headers.get("etag") or response.headers.get("last-modified") or ""
        check(Stamp(bytes=size, version=f"{version}{self._scope}" if version else ""))
        if response.headers.get("content-encoding", "identity") != "identity":
            raise failure("the server packs what was to be sent as it is")
        return self._fill(response, buffer[:expected])

    def _fill(self, response: "httpx2.Response", buffer: memoryview) -> int:
        """The body into the buffer; a body that ends early or stalls is to be tried again."""
        import httpx2

        filled = 0
        deadline = time.monotonic() + self._timeout * (1 + len(buffer) / MEBIBYTE)
        try:
            for piece in response.iter_raw():
                if filled + len(piece) > len(buffer):
                    raise failure("the server sends more than it promised")
                buffer[filled : filled + len(piece)] = piece
                filled += len(piece)
                if self._closed.is_set():
                    raise failure("reading was ended")
                if time.monotonic() > deadline:
                    raise TryAgain("too slow: under 1 MB in the time an answer may take", filled)
        except httpx2.TimeoutException:
            raise TryAgain(f"no answer within {self._timeout:g} s", filled) from None
        except httpx2.TransportError as error:
            reason = f"the answer broke off ({type(error).__name__})"
            raise TryAgain(reason, filled) from None
        if filled < len(buffer):
            raise TryAgain("the answer ended early", filled)
        return filled


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _redirected(url: str, location: str) -> str:
    """Where a redirect leads; raises OSError for what is not followed."""
    try:
        target = urljoin(url, location)
        scheme, host = urlsplit(target).scheme, urlsplit(target).hostname
    except ValueError:
        raise failure("the server redirects to no address") from None
    if scheme not in ("http", "https") or not host:
        raise failure("the server redirects to what is not http or https: not followed")
    if scheme == "http" and urlsplit(url).scheme == "https":
        raise failure("the server redirects from https to http: not followed")
    return target


def _promised(response: "httpx2.Response", begin: int, wanted: int) -> tuple[int, int]:
    """(bytes the answer holds, size of the file); raises for every answer that is no such range."""
    status = response.status_code
    stated = response.headers.get("content-range", "")
    if status == 206:
        if (found := CONTENT_RANGE.fullmatch(stated.strip())) is None:
            raise failure("the server does not say which range it sends")
        first, last, size = map(int, found.groups())
        if first != begin or last != min(begin + wanted, size) - 1:
            raise failure("the server sends another range than was asked for")
        return last - first + 1, size
    if status == 200:
        length = response.headers.get("content-length", "")
        if begin == 0 and length.isdecimal() and int(length) <= wanted:
            return int(length), int(length)  # all of a small file is what was asked for
        raise failure(
            "the server ignores range requests (it answers 200 with the whole file): fetch the "
            "file and open the copy"
        )
    if status == 416 and (none := SIZE_ONLY.fullmatch(stated.strip())):
        if begin == 0 and int(none[1]):
            raise failure("the server refuses the range (416)")
        return 0, int(none[1])
    if status in MISSING:
        raise FileNotFoundError(errno.ENOENT, f"the server has no such file ({status})")
    if status in REFUSED:
        raise PermissionError(errno.EACCES, f"the server refuses it ({status})")
    if status in PASSING:
        after = response.headers.get("retry-after", "")
        wait = min(float(after), LONGEST_WAIT) if re.fullmatch(r"\d{1,9}", after) else 0.0
        raise TryAgain(f"the server answers {status}", after=wait)
    raise failure(f"the server answers {status}")


STORES = {  # scheme: (library, errors of its own that are no OSError)
    "s3": (
        "s3fs",
        ("botocore.exceptions.BotoCoreError", "botocore.exceptions.ClientError",
         "aiohttp.ClientError"),
    ),
    "gs": (
        "gcsfs",
        ("google.auth.exceptions.GoogleAuthError", "gcsfs.retry.HttpError", "aiohttp.ClientError"),
    ),
}  # fmt: skip
VERSIONS = ("ETag", "etag", "generation", "LastModified", "mtime", "created")


def store(scheme: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """The file system of an object store and its errors; CheckpointError without its library.

    Credentials, endpoint and anonymous access are as its library takes them from the environment.
    """
    import fsspec

    library, names = STORES[scheme]
    try:
        importlib.import_module(library)
    except ImportError:
        raise CheckpointError(
            f"{scheme}:// needs {library}, which is not installed: pip install 'inspector[remote]'."
        ) from None
    errors = []
    for name in names:
        module, _, cls = name.rpartition(".")
        errors.append(getattr(importlib.import_module(module), cls))
    try:
        return fsspec.filesystem(scheme), tuple(errors)
    except (OSError, ValueError, *errors) as error:
        raise CheckpointError(f"{scheme}:// cannot be used: {type(error).__name__}.") from None


class StoreTransport(Transport):
    """Ranges of the objects below a prefix of an fsspec file system."""

    def __init__(
        self, system: Any, base: str, errors: tuple[type[Exception], ...], timeout: float
    ) -> None:
        self._system, self._base, self._timeout = system, base, timeout
        self._errors: tuple[type[Exception], ...] = (OSError, *errors)
        self._stamps: dict[str, Stamp] = {}

    def names(self) -> list[str] | None:
        """The objects directly below the prefix."""
        self._system.invalidate_cache()
        try:
            listed = self._asked("ls", self._base, detail=True)
        except FileNotFoundError:
            return []
        return sorted(one["name"].rsplit("/", 1)[-1] for one in listed if one["type"] == "file")

    def fetch(self, name: str, begin: int, buffer: memoryview, check: CheckStamp) -> int:
        """One range of an object."""
        if name not in self._stamps:
            self._stamps[name] = self._stamp(self._asked("info", self._base + name))
        stamp = self._stamps[name]
        check(stamp)
        end = min(begin + len(buffer), stamp.bytes)
        if end <= begin:
            return 0
        data = self._asked("cat_file", self._base + name, start=begin, end=end)
        if len(data) != end - begin:
            raise TryAgain(f"{len(data):,} bytes came where {end - begin:,} were asked for")
        buffer[: len(data)] = data
        return len(data)

    def stamp(self, name: str) -> Stamp | None:
        """The stamp of an object asked anew: what it sends bears none."""
        self._system.invalidate_cache()
        return self._stamp(self._asked("info", self._base + name))

    def close(self) -> None:
        """Nothing: the library keeps its connections."""

    def _asked(self, method: str, *arguments: Any, **named: Any) -> Any:
        """A call of the file system, ended after the timeout where the library can end it."""
        from fsspec.asyn import AsyncFileSystem, sync
        from fsspec.exceptions import FSTimeoutError

        try:
            if isinstance(self._system, AsyncFileSystem):
                call = getattr(self._system, f"_{method}")
                return sync(self._system.loop, call, *arguments, timeout=self._timeout, **named)
            return getattr(self._system, method)(*arguments, **named)
        except (FileNotFoundError, PermissionError):
            raise
        except (FSTimeoutError, TimeoutError):
            raise TryAgain(f"no answer within {self._timeout:g} s") from None
        except self._errors as error:
            raise TryAgain(f"the store answers {type(error).__name__}") from None

    def _stamp(self, info: Mapping[str, Any]) -> Stamp:
        size = info.get("size")
        if not isinstance(size, int):
            raise failure("the store does not say how large it is")
        version = next((f"{info[key]} {self._base}" for key in VERSIONS if info.get(key)), "")
        return Stamp(bytes=size, version=version)
