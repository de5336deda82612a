"""The app's server keeps to this machine, from whatever directory and however it is started."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from inspector.doctor import streamlit_command

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 180.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def by_hand(port: int) -> list[str]:
    script = str(ROOT / "app.py")
    return [sys.executable, "-m", "streamlit", "run", script, f"--server.port={port}"]


@pytest.fixture(scope="module", params=[streamlit_command, by_hand], ids=["command", "by hand"])
def server(request, tmp_path_factory) -> Iterator[tuple[subprocess.Popen, int]]:
    """A server as a new user starts it: no settings of theirs, a terminal that could answer."""
    port, home = free_port(), tmp_path_factory.mktemp("home")
    environment = {**os.environ, "HOME": str(home), "DISPLAY": ":99", "BROWSER": "true"}
    command = request.param(port)
    with subprocess.Popen(command, cwd=home, env=environment, stdin=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + PATIENCE
            while not healthy(port):
                assert process.poll() is None, "the server ended"
                assert time.monotonic() < end, "the server did not start"
                time.sleep(0.1)
            yield process, port
        finally:
            process.terminate()


def healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health") as answer:
            return answer.read() == b"ok"
    except urllib.error.URLError:
        return False


def upgrade(port: int, host: str) -> int:
    """The status that a request for a WebSocket gets when it names this host."""
    lines = (
        "GET /_stcore/stream HTTP/1.1",
        f"Host: {host}",
        f"Origin: http://{host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall("\r\n".join((*lines, "", "")).encode())
        return int(connection.recv(1024).split()[1])


def test_it_listens_on_loopback_only(server):
    process, port = server
    listening = [
        c.laddr for c in psutil.Process(process.pid).net_connections() if c.status == "LISTEN"
    ]
    assert {address.ip for address in listening} <= {"127.0.0.1", "::1"}
    assert port in {address.port for address in listening}


def test_other_host_names_are_refused(server):
    _, port = server
    assert upgrade(port, f"localhost:{port}") == 101
    assert upgrade(port, "evil.example") == 403
