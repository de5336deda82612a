"""As much of the Hub's HTTP interface as a snapshot download asks for, on 127.0.0.1."""

import contextlib
import dataclasses
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from urllib.parse import unquote, urlsplit


@dataclasses.dataclass(kw_only=True)
class Hub:
    """Repositories by id and revision; `status` and `say` make every answer an error."""

    files: dict[str, dict[str, dict[str, bytes]]]
    requests: list[str] = dataclasses.field(default_factory=list)
    tokens: set[str] = dataclasses.field(default_factory=set)
    url: str = ""
    status: int | None = None
    echo_token: bool = False
    cut_off: bool = False

    def commit(self, repository: str, revision: str) -> str | None:
        """The commit of a branch, tag or commit; None when there is none."""
        branches = self.files.get(repository, {})
        if revision in branches:
            return hashlib.sha1(f"{repository}@{revision}".encode()).hexdigest()
        return revision if revision in [self.commit(repository, b) for b in branches] else None

    def content(self, repository: str, commit: str) -> dict[str, bytes] | None:
        """The files of a commit."""
        for branch, files in self.files.get(repository, {}).items():
            if self.commit(repository, branch) == commit:
                return files
        return None

    def fetched(self) -> set[str]:
        """Names of the files of which a body was asked."""
        parts = [request.split("/resolve/") for request in self.requests]
        return {part[1].split("/", 1)[1] for part in parts if len(part) == 2}


class _Handler(http.server.BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(path)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.hub.tokens.add(token)
        if self.hub.status is not None:
            said = f"Access denied for {token}" if self.hub.echo_token else "No"
            self._send(self.hub.status, b"{}", {"X-Error-Message": said})
        elif path.startswith("/api/models/"):
            self._api(path.removeprefix("/api/models/"))
        elif "/resolve/" in path:
            repository, rest = path.removeprefix("/").split("/resolve/")
            commit, name = rest.split("/", 1)
            self._file((self.hub.content(repository, commit) or {}).get(name), commit)
        else:
            self._send(404, b"{}")

    def _api(self, path: str) -> None:
        verb = "/tree/" if "/tree/" in path else "/revision/"
        repository, revision = path.split(verb) if verb in path else (path, "main")
        if repository not in self.hub.files:
            self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
            return
        if (commit := self.hub.commit(repository, revision)) is None:
            self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return
        files = self.hub.content(repository, commit) or {}
        if verb == "/tree/":
            listing = [
                {"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                for n, c in files.items()
            ]
            self._send(200, json.dumps(listing).encode())
        else:
            siblings = [{"rfilename": name} for name in files]
            about = {"id": repository, "modelId": repository, "sha": commit, "siblings": siblings}
            self._send(200, json.dumps(about).encode())

    def _file(self, content: bytes | None, commit: str) -> None:
        if content is None:
            self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
            return
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "X-Repo-Commit": commit}
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked is None or not content:
            self._send(200, content, headers)
            return
        part = content[int(asked[1]) : int(asked[2]) + 1]
        span = f"bytes {asked[1]}-{int(asked[1]) + len(part) - 1}/{len(content)}"
        self._send(206, part, {**headers, "Content-Range": span})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "GET":
            return
        if self.hub.cut_off and "/resolve/" in self.path:
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        else:
            self.wfile.write(body)


@contextlib.contextmanager
def served(files: dict[str, dict[str, dict[str, bytes]]]) -> Iterator[Hub]:
    """A running server for repositories given as id -> revision -> file name -> content."""
    hub = Hub(files=files)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
