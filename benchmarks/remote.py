"""How fast a checkpoint far away is scanned by byte ranges, beside downloading it first.

    python benchmarks/remote.py [--rounds 5] [--megabytes 200] [--latency 0 20] [--json FILE]

A server in a process of its own answers range requests on this machine: at once and as fast as
it can, then each request after a stated latency and each connection at a stated rate at most, which
is how far-away stores behave. Both sides run in turn, round by round, each as a new process net of
start-up: the same command on a checkpoint of one number. Downloading is one stream per file to a
folder, then the same scan there.
"""

import argparse
import contextlib
import http.server
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from scan import timed, write_checkpoint, write_tiny

RANGE = re.compile(r"bytes=(\d+)-(\d+)")
PIECE = 2**18  # bytes sent at a time
SIDES = ("start-up far", "start-up near", "by ranges", "download alone", "scan of the copy")


class Handler(http.server.BaseHTTPRequestHandler):
    """Ranges or whole files of a folder, late and no faster than told."""

    folder: Path
    latency: float
    rate: float
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        """One answer."""
        time.sleep(self.latency)
        path = self.folder / self.path.strip("/")
        if not path.is_file():
            self.send_error(404)
            return
        size = path.stat().st_size
        found = RANGE.fullmatch(self.headers.get("Range", ""))
        begin, end = (int(found[1]), min(int(found[2]) + 1, size)) if found else (0, size)
        self.send_response(206 if found else 200)
        self.send_header("Content-Length", str(end - begin))
        self.send_header("ETag", f'"{path.stat().st_mtime_ns}"')
        if found:
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{size}")
        self.end_headers()
        start, sent = time.monotonic(), 0
        with contextlib.suppress(ConnectionError), path.open("rb") as file:
            while sent < end - begin:
                sent += os.sendfile(
                    self.connection.fileno(),
                    file.fileno(),
                    begin + sent,
                    min(PIECE, end - begin - sent),
                )
                if self.rate:
                    time.sleep(max(start + sent / self.rate - time.monotonic(), 0))


def serve(folder: str, latency: str, rate: str) -> None:
    """Serve until killed; the port is the first line of stdout."""
    parts = {"folder": Path(folder), "latency": float(latency), "rate": float(rate)}
    handler = type("Told", (Handler,), parts)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


@contextlib.contextmanager
def serving(folder: Path, latency: float, rate: float) -> Iterator[str]:
    """The address of a running server."""
    command = [sys.executable, __file__, "--serve", str(folder), str(latency), str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def scan(model: str) -> None:
    """`inspector scan` as a user starts it, its output thrown away."""
    command = [sys.executable, "-m", "inspector", "scan", model, "--no-cache", "--json"]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def download(address: str, names: list[str], into: Path) -> None:
    """Every file, one stream after the other."""
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    for name in names:
        with urllib.request.urlopen(f"{address}/{name}") as answer, (into / name).open("wb") as out:
            shutil.copyfileobj(answer, out, 2**20)


def measure(
    folder: Path, tiny: Path, latency: float, rate: float, count: int
) -> dict[str, list[float]]:
    """Seconds of every side, in turn, less the median start-up of its command."""
    names = [path.name for path in folder.iterdir() if path.name != "complete.json"]
    found: dict[str, list[float]] = {side: [] for side in SIDES}
    copy = folder.parent / "copy"
    with serving(folder, latency, rate) as address, serving(tiny, latency, rate) as small:
        scan(address)  # warms the page cache
        for _ in range(count):
            found["start-up far"].append(timed(lambda: scan(f"{small}/model.safetensors")))
            found["start-up near"].append(timed(lambda: scan(str(tiny))))
            found["by ranges"].append(timed(lambda: scan(address)))
            found["download alone"].append(timed(lambda: download(address, names, copy)))
            found["scan of the copy"].append(timed(lambda: scan(str(copy))))
    shutil.rmtree(copy)
    for side, start in (("by ranges", "start-up far"), ("scan of the copy", "start-up near")):
        off = statistics.median(found[start])
        found[side] = [seconds - off for seconds in found[side]]
    parts = zip(found["download alone"], found["scan of the copy"], strict=True)
    return {**found, "download, then scan": [sum(pair) for pair in parts]}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--megabytes", type=float, default=400)
    parser.add_argument("--latency", type=float, default=20, help="milliseconds")
    parser.add_argument("--rate", type=float, default=100, help="MB/s of a connection")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "bench-remote")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    folder, tiny = asked.folder / f"{asked.megabytes:g}mb", asked.folder / "tiny"
    total = write_checkpoint(folder, asked.megabytes / 1000)
    write_tiny(tiny)
    cases = ((0.0, 0.0), (asked.latency, asked.rate))
    results = []
    print(
        f"{total / 1e6:.0f} MB of bf16, {os.cpu_count()} cores, medians of {asked.rounds} rounds, "
        "start-up of the command taken off.\n"
    )
    print("| latency | rate of a connection | by ranges | download, then scan | of which download "
          "| ratio | lowest to highest ratio |")  # fmt: skip
    print("|---|---|---|---|---|---|---|")
    for latency, rate in cases:
        seen = measure(folder, tiny, latency / 1000, rate * 1e6, asked.rounds)
        median = {side: statistics.median(seconds) for side, seconds in seen.items()}
        both = zip(seen["download, then scan"], seen["by ranges"], strict=True)
        ratios = sorted(slow / fast for slow, fast in both)
        told = f"{rate:g} MB/s" if rate else "any"
        print(
            f"| {latency:g} ms | {told} | {median['by ranges']:.2f} s "
            f"| {median['download, then scan']:.2f} s | {median['download alone']:.2f} s "
            f"| {statistics.median(ratios):.2f} | {ratios[0]:.2f} to {ratios[-1]:.2f} |",
            flush=True,
        )
        results.append({"latency_ms": latency, "rate_mb_s": rate, "bytes": total, "seconds": seen})
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*sys.argv[2:])
    else:
        main()
