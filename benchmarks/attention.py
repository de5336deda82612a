"""Attention statistics of a GPT-2-small shape beside a plain forward and beside eager maps.

    python benchmarks/attention.py [--tokens 2048] [--rounds 3] [--repeats 2] [--threads 2]

Random weights, one text, float32. Every side runs in a process of its own that stays alive; the
sides take turns, round by round, and medians are printed. inspector computes all its statistics;
the others only run: sdpa, and eager with output_attentions=True, whose maps nobody has read yet. No
side computes logits but the last, which is `model(ids)` as it is usually called.

Seconds are those on the clock and those of processors, which on shared cores say more (with one
thread: idle ones spin). Memory is the peak of such a process (VmHWM, Linux, default allocator) from
its start to its last forward, model included. `--repeats` starts all processes anew; medians are
over all.
"""

import argparse
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version

SETUP = """
import json, re, sys, time
import torch
from transformers import GPT2Config, GPT2LMHeadModel
torch.set_num_threads(int(sys.argv[2]))
torch.manual_seed(0)
TOKENS = int(sys.argv[1])
network = GPT2LMHeadModel(GPT2Config(n_positions=TOKENS)).eval()
ids = torch.randint(0, network.config.vocab_size, (1, TOKENS))
def by(implementation, **more):
    network.set_attn_implementation(implementation)
    with torch.no_grad():
        network.base_model(ids, use_cache=False, **more)
"""
ANSWER = """
for _ in sys.stdin:
    begin, busy = time.perf_counter(), time.process_time()
    run()
    took, busy = time.perf_counter() - begin, time.process_time() - busy
    status = open("/proc/self/status").read() if sys.platform == "linux" else "VmHWM: 0"
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024
    print("RESULT", json.dumps([took, busy, peak]), flush=True)
"""
STREAM = """
from inspector.model.attention import measured
from inspector.model.load import Model
from inspector.model.places import find_blocks
from inspector.model.texts import Batch
model = Model(checkpoint=None, network=network, tokenizer=None, kind="causal",
              blocks=find_blocks(network), checks=(), findings=())
batch = Batch(ids=ids, real=torch.ones_like(ids, dtype=torch.bool))
def run():
    measured(model, batch, "streaming")
"""
SIDES = {
    "sdpa, no statistics": "def run():\n    by('sdpa')\n",
    "inspector, all statistics": STREAM,
    "eager with its maps, no statistics": "def run():\n    by('eager', output_attentions=True)\n",
    "sdpa with logits": "def run():\n    with torch.no_grad():\n        network(ids)\n",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """What was measured of a side: seconds of its runs, and the peak in MiB of each process.

    `busy` are seconds of processors, which on shared cores say more than those on the clock.
    """

    seconds: list[float] = dataclasses.field(default_factory=list)
    busy: list[float] = dataclasses.field(default_factory=list)
    peaks: list[float] = dataclasses.field(default_factory=list)


class Side:
    """A process that answers each line with seconds, those of processors, and its peak memory."""

    def __init__(self, code: str, tokens: int, threads: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SETUP + code + ANSWER, str(tokens), str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self) -> tuple[float, float, float]:
        """Seconds and processor seconds of one more run, and the peak in MiB so far."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("RESULT "):
                took, busy, peak = json.loads(line.removeprefix("RESULT "))
                return took, busy, peak
        raise SystemExit("a side ended without a result")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def measure(tokens: int, threads: int, rounds: int, seen: dict[str, Seen]) -> None:
    """Add the seconds and the peak of fresh processes that take turns; the first one warms up."""
    sides = {name: Side(code, tokens, threads) for name, code in SIDES.items()}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            seconds, busy, peak = side.ask()
            if turn:
                seen[name].busy.append(busy)
                seen[name].seconds.append(seconds)
            if turn == rounds:
                seen[name].peaks.append(peak)
    for side in sides.values():
        side.close()


def table(seen: dict[str, Seen]) -> list[str]:
    """Each side beside the plain forward and beside eager."""
    plain, _, eager, _ = SIDES
    seconds = {name: statistics.median(one.seconds) for name, one in seen.items()}
    busy = {name: statistics.median(one.busy) for name, one in seen.items()}
    memory = {name: statistics.median(one.peaks) for name, one in seen.items()}
    lines = [
        "| what | seconds | of eager's | of processors | of eager's | peak MiB | of sdpa's |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in seen:
        lines.append(
            f"| {name} | {seconds[name]:.2f} | {seconds[name] / seconds[eager]:.2f} "
            f"| {busy[name]:.2f} | {busy[name] / busy[eager]:.2f} "
            f"| {memory[name]:.0f} | {memory[name] / max(memory[plain], 1):.2f} |"
        )
    return lines


def main() -> None:
    """Print the table and the machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {given.threads} threads, "
        f"Python {platform.python_version()}, torch {version('torch')}"
    )
    print(f"12 layers of 12 heads, {given.tokens} tokens\n")
    seen = {name: Seen() for name in SIDES}
    for _ in range(given.repeats):
        measure(given.tokens, given.threads, given.rounds, seen)
    print("\n".join(table(seen)))


if __name__ == "__main__":
    main()
