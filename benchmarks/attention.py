"""Attention statistics of a GPT-2-small shape beside a plain forward and beside eager maps.

    python benchmarks/attention.py [--tokens 2048] [--rounds 5]

Random weights, one text, two threads, float32. Every side runs in a process of its own that stays
alive; the sides take turns, round by round, and medians are printed. inspector computes all its
statistics; the others only run: sdpa, and eager with output_attentions=True, whose maps nobody has
read yet. No side computes logits but the last, which is `model(ids)` as it is usually called.
Memory is the peak of a fresh process (VmHWM, Linux, default allocator) from its start, model
included, over two forwards; its median over rounds.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from typing import Any

SETUP = """
import json, re, sys, time
import torch
from transformers import GPT2Config, GPT2LMHeadModel
torch.set_num_threads(2)
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
    begin = time.perf_counter()
    run()
    took = time.perf_counter() - begin
    status = open("/proc/self/status").read() if sys.platform == "linux" else "VmHWM: 0"
    peak = int(re.search(r"VmHWM:\\s+(\\d+)", status)[1]) / 1024
    print("RESULT", json.dumps([took, peak]), flush=True)
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


class Side:
    """A process that answers each line with seconds and its peak memory."""

    def __init__(self, code: str, tokens: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", SETUP + code + ANSWER, str(tokens)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self) -> tuple[float, float]:
        """Seconds of one more run, and the peak in MiB so far."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("RESULT "):
                took, peak = json.loads(line.removeprefix("RESULT "))
                return took, peak
        raise SystemExit("a side ended without a result")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def times(tokens: int, rounds: int) -> dict[str, float]:
    """Median seconds of each side; the first round, which warms caches, is not counted."""
    sides = {name: Side(code, tokens) for name, code in SIDES.items()}
    took: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 1):
        for name, side in sides.items():
            seconds, _ = side.ask()
            if turn:
                took[name].append(seconds)
    for side in sides.values():
        side.close()
    return {name: statistics.median(one) for name, one in took.items()}


def peaks(tokens: int, rounds: int) -> dict[str, float]:
    """Median peak in MiB of fresh processes that run twice."""
    seen: dict[str, list[float]] = {name: [] for name in SIDES}
    for _ in range(rounds):
        for name, code in SIDES.items():
            side = Side(code, tokens)
            side.ask()
            seen[name].append(side.ask()[1])
            side.close()
    return {name: statistics.median(one) for name, one in seen.items()}


def table(seconds: dict[str, Any], memory: dict[str, Any]) -> list[str]:
    """Each side beside the plain forward and beside eager."""
    plain, _, eager, _ = SIDES
    lines = [
        "| what | seconds | of eager's | peak MiB | of sdpa's |",
        "|---|---|---|---|---|",
    ]
    for name in SIDES:
        lines.append(
            f"| {name} | {seconds[name]:.2f} | {seconds[name] / seconds[eager]:.2f} "
            f"| {memory[name]:.0f} | {memory[name] / max(memory[plain], 1):.2f} |"
        )
    return lines


def main() -> None:
    """Print the table and the machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(f"12 layers of 12 heads, {given.tokens} tokens\n")
    memory = peaks(given.tokens, given.rounds)
    print("\n".join(table(times(given.tokens, given.rounds), memory)))


if __name__ == "__main__":
    main()
