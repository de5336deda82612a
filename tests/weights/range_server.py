"""A file server on 127.0.0.1 that answers range requests, and does wrong what it is told to."""

import contextlib
import dataclasses
import functools
import hashlib
import http.server
import re
import threading
from collections.abc import Iterator, Mapping
from urllib.parse import unquote, urlsplit

RANGE = re.compile(r"bytes=(\d+)-(\d+)")


@dataclasses.dataclass(frozen=True)
class Request:
    """One request as it came: path with query, asked range, Authorization."""

    path: str
    begin: int
    end: int
    authorization: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return urlsplit(self.path).path.rsplit("/", 1)[-1]


@dataclasses.dataclass(kw_only=True)
class Files:
    """What is served by path, every request so far, and what goes wrong, by file name.

    `status`: (code, how many answers are that code); `cut` and `stall`: that many answers break
    off, or wait for good, after `after` bytes of the body; `redirect`: where a path leads.
    """

    files: dict[str, bytes]
    url: str = ""
    requests: list[Request] = dataclasses.field(default_factory=list)
    status: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    cut: dict[str, int] = dataclasses.field(default_factory=dict)
    stall: dict[str, int] = dataclasses.field(default_factory=dict)
    after: int = 0
    beyond: int = 0  # only answers from this byte on stall or break off
    redirect: dict[str, str] = dataclasses.field(default_factory=dict)
    ignore_range: bool = False
    shift: int = 0
    etag: bool = True
    wants: str = ""  # the Authorization without which the answer is 401
    latency: float = 0.0
    most_at_once: int = 0
    ended: threading.Event = dataclasses.field(default_factory=threading.Event)

    def asked(self, name: str) -> list[Request]:
        """The requests for a file of that name."""
        return [request for request in self.requests if request.name == name]


@functools.cache
def _etag(content: bytes) -> str:
    return f'"{hashlib.sha1(content).hexdigest()}"'


class _Handler(http.server.BaseHTTPRequestHandler):
    files: Files
    lock = threading.Lock()
    under_way: set[int]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        cls = type(self)
        with self.lock:
            cls.under_way.add(id(self))
            self.files.most_at_once = max(self.files.most_at_once, len(cls.under_way))
        try:
            self.files.ended.wait(self.files.latency)
            self._get()
        finally:
            self._over()

    def _over(self) -> None:
        with self.lock:
            type(self).under_way.discard(id(self))

    def _get(self) -> None:
        files = self.files
        found = RANGE.fullmatch(self.headers.get("Range", ""))
        begin, end = (int(found[1]), int(found[2])) if found else (0, 0)
        given = self.headers.get("Authorization", "")
        request = Request(self.path, begin, end, given)
        files.requests.append(request)
        path = unquote(urlsplit(self.path).path)
        if path in files.redirect:
            self._send(302, b"", {"Location": files.redirect[path]})
        elif files.wants and given != files.wants:
            self._send(401, b"no")
        elif self._counts_down(files.status, request.name):
            self._send(files.status[request.name][0], b"no", files.headers)
        elif path not in files.files:
            self._send(404, b"no")
        else:
            self._content(request, files.files[path])

    def _counts_down(self, left: dict[str, tuple[int, int]], name: str) -> bool:
        with self.lock:
            code, count = left.get(name, (0, 0))
            if count:
                left[name] = (code, count - 1)
            return count > 0

    def _content(self, request: Request, content: bytes) -> None:
        files = self.files
        headers = {"ETag": _etag(content)} if files.etag else {}
        if files.ignore_range:
            self._send(200, content, headers)
            return
        first, last = request.begin + files.shift, min(request.end, len(content) - 1)
        if first > last:
            self._send(416, b"", {**headers, "Content-Range": f"bytes */{len(content)}"})
            return
        headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self._send(206, content[first : last + 1], headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] = {}) -> None:
        files, name = self.files, urlsplit(self.path).path.rsplit("/", 1)[-1]
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        found = RANGE.fullmatch(self.headers.get("Range", ""))
        late = found is not None and int(found[1]) >= files.beyond
        for trouble in (files.cut, files.stall):
            if status == 206 and late and trouble.get(name, 0) > 0:
                trouble[name] -= 1
                self.wfile.write(body[: files.after])
                self.wfile.flush()
                self.close_connection = True
                if trouble is files.stall:
                    files.ended.wait(60)
                return
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body[:-1])
            self._over()  # before the client has it all, and asks for more
            self.wfile.write(body[-1:])


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no fault of the server."""


@contextlib.contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[Files]:
    """A running server of files given as path (`/folder/name`) -> content."""
    served = Files(files=dict(files))
    handler = type("Handler", (_Handler,), {"files": served, "under_way": set()})
    server = _Server(("127.0.0.1", 0), handler)
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield served
    finally:
        served.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()
        _etag.cache_clear()
