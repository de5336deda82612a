"""How fast `inspector scan` reads a sharded bf16 checkpoint, beside other ways.

    python benchmarks/scan.py [--gigabytes 2] [--rounds 5] [--folder DIR]

Writes a checkpoint of 7B-like layer shapes (kept in --folder for the next run), reads it once so
that the page cache is warm, then runs all sides in turn, round by round, and prints medians and
ratios. Commands are timed net of start-up: the same command on a checkpoint of one number.
"""

import argparse
import json
import os
import platform
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import numpy as np
import psutil
import torch

HIDDEN, INTERMEDIATE, VOCABULARY = 4096, 11008, 32000
SHARD = 1_000_000_000  # bytes
CHUNK = 4 * 2**20
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
Tensors = dict[str, tuple[int, ...]]


def shapes(layers: int) -> Tensors:
    """The tensors of a Llama-2-7B-like model with that many layers."""
    found: Tensors = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN)}
    for layer in range(layers):
        block = f"model.layers.{layer}."
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            found[f"{block}self_attn.{name}.weight"] = (HIDDEN, HIDDEN)
        for name in ("gate_proj", "up_proj"):
            found[f"{block}mlp.{name}.weight"] = (INTERMEDIATE, HIDDEN)
        found[f"{block}mlp.down_proj.weight"] = (HIDDEN, INTERMEDIATE)
        found[f"{block}input_layernorm.weight"] = (HIDDEN,)
        found[f"{block}post_attention_layernorm.weight"] = (HIDDEN,)
    found["model.norm.weight"] = (HIDDEN,)
    return found


def size(shape: tuple[int, ...]) -> int:
    """Bytes of a bf16 tensor."""
    return 2 * int(np.prod(shape))


def write_checkpoint(folder: Path, gigabytes: float) -> int:
    """Write shards, index and config of at least that many gigabytes; returns the bytes of data."""
    layers = 1
    while sum(map(size, shapes(layers).values())) < gigabytes * 1e9:
        layers += 1
    tensors = shapes(layers)
    total = sum(map(size, tensors.values()))
    done = folder / "complete.json"
    if done.exists() and json.loads(done.read_text()) == total:
        return total
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    noise = (rng.standard_normal(2**25, dtype=np.float32) * 0.02).view(np.uint32) >> 16
    noise = noise.astype(np.uint16)
    groups: list[list[str]] = [[]]
    held = 0
    for name, shape in tensors.items():
        if held and held + size(shape) > SHARD:
            groups.append([])
            held = 0
        groups[-1].append(name)
        held += size(shape)
    weight_map = {}
    for i, names in enumerate(groups):
        file = f"model-{i + 1:05}-of-{len(groups):05}.safetensors"
        entries, offset = {}, 0
        for name in names:
            end = offset + size(tensors[name])
            entries[name] = {"dtype": "BF16", "shape": tensors[name], "data_offsets": [offset, end]}
            offset = end
            weight_map[name] = file
        header = json.dumps(entries).encode()
        with (folder / file).open("wb") as out:
            out.write(struct.pack("<Q", len(header)) + header)
            for name in names:
                left = size(tensors[name]) // 2
                start = int(rng.integers(2**20))
                while left:
                    part = noise[start : start + left]
                    out.write(part.tobytes())
                    left -= len(part)
                    start = 0
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {"model_type": "llama", "num_hidden_layers": layers, "hidden_size": HIDDEN,
              "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": VOCABULARY,
              "tie_word_embeddings": True}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    done.write_text(json.dumps(total))
    return total


def files(folder: Path) -> list[Path]:
    """The shards."""
    return sorted(folder.glob("*.safetensors"))


@numba.njit(nogil=True)
def add_up(words):
    """The sum of 64-bit words, which is as fast as memory can be read."""
    total = np.uint64(0)
    for word in words:
        total += word
    return total


def on_all_cores(folder: Path, use: Callable[[np.ndarray], object]) -> None:
    """Read every byte in chunks on all cores and hand each chunk to `use`."""
    cores = os.cpu_count() or 1
    pieces = [(path, at) for path in files(folder) for at in range(0, path.stat().st_size, CHUNK)]

    def work(core: int) -> None:
        buffer = np.empty(CHUNK, dtype=np.uint8)
        handles = {path: path.open("rb", buffering=0) for path in files(folder)}
        for path, at in pieces[core::cores]:
            count = os.preadv(handles[path].fileno(), [memoryview(buffer)], at)
            use(buffer[: count // 8 * 8].view(np.uint64))
        for handle in handles.values():
            handle.close()

    with ThreadPoolExecutor(cores) as pool:
        list(pool.map(work, range(cores)))


def torch_way(folder: Path, quantiles: bool) -> None:
    """Mean, std, min, max and kurtosis of each tensor in float32, and seven quantiles by sort."""
    from safetensors import safe_open

    for path in files(folder):
        with safe_open(path, "pt") as handle:
            for name in handle.keys():  # noqa: SIM118 - no mapping
                x = handle.get_tensor(name).float().flatten()
                mean, std = x.mean(), x.std(correction=0)
                for number in (x.min(), x.max(), (((x - mean) / std) ** 4).mean()):
                    number.item()
                if quantiles:
                    ordered = x.sort().values
                    [ordered[int(q * (len(x) - 1))].item() for q in QUANTILES]


def command(folder: Path, *flags: str) -> list[str]:
    """`inspector scan` as a user starts it."""
    return [sys.executable, "-m", "inspector", "scan", str(folder), "--no-cache", "--json", *flags]


def run(folder: Path, *flags: str) -> None:
    """The command, its output thrown away."""
    subprocess.run(command(folder, *flags), stdout=subprocess.DEVNULL, check=True)


def private(process: psutil.Process) -> int:
    """Bytes only this process holds; 0 once it has ended."""
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return 0


def timed(work: Callable[[], object]) -> float:
    """Seconds of wall clock."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def rounds(folder: Path, tiny: Path, count: int) -> Iterator[dict[str, float]]:
    """Seconds of every side, in turn; the sort, which takes minutes, only in the first round."""
    for i in range(count):
        found = {
            "read": timed(lambda: on_all_cores(folder, lambda _words: None)),
            "sum": timed(lambda: on_all_cores(folder, add_up)),
            "start-up of scan": timed(lambda: run(tiny)),
            "start-up of scan --channels": timed(lambda: run(tiny, "--channels")),
            "scan": timed(lambda: run(folder)),
            "scan --channels": timed(lambda: run(folder, "--channels")),
            "torch": timed(lambda: torch_way(folder, quantiles=False)),
        }
        if i == 0:
            found["torch with quantiles"] = timed(lambda: torch_way(folder, quantiles=True))
        yield found


def write_tiny(folder: Path) -> None:
    """A checkpoint of one number, whose scan is all start-up."""
    header = json.dumps({"x": {"dtype": "BF16", "shape": [1, 1], "data_offsets": [0, 2]}}).encode()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(
        struct.pack("<Q", len(header)) + header + b"\x80\x3f"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "inspector-bench"
    )
    asked = parser.parse_args()
    folder = asked.folder / f"{asked.gigabytes:g}gb"
    tiny = asked.folder / "tiny"
    total = write_checkpoint(folder, asked.gigabytes)
    write_tiny(tiny)
    on_all_cores(folder, add_up)  # warms the page cache and compiles
    run(folder, "--channels")
    seen = list(rounds(folder, tiny, asked.rounds))
    median = {side: statistics.median(s[side] for s in seen if side in s) for side in seen[0]}
    for side in ("scan", "scan --channels"):
        median[side] -= median[f"start-up of {side}"]
    memory = {
        side: watch(folder, *flags)
        for side, flags in (("scan", ()), ("scan --channels", ("--channels",)))
    }
    report(total, median, memory, asked.rounds)


def watch(folder: Path, *flags: str) -> float:
    """Peak private megabytes of a run of its own, since looking slows it down."""
    peak = 0
    with subprocess.Popen(command(folder, *flags), stdout=subprocess.DEVNULL) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, private(watched))
            time.sleep(0.02)
    return peak / 1e6


def report(total: int, median: dict[str, float], memory: dict[str, float], count: int) -> None:
    """The table, as Markdown."""
    print(
        f"{total / 1e9:.2f} GB of bf16, {os.cpu_count()} cores ({platform.machine()}), "
        f"torch {torch.__version__}, warm page cache, medians of {count} rounds; "
        f"start-up of a command, taken off: {median['start-up of scan']:.2f} s, with --channels "
        f"{median['start-up of scan --channels']:.2f} s.\n"
    )
    print("| side | seconds | GB/s | times the torch way | of the sum's rate | private MB |")
    print("|---|---|---|---|---|---|")
    for side in ("read", "sum", "scan", "scan --channels", "torch", "torch with quantiles"):
        seconds = median[side]
        mega = f"{memory[side]:.0f}" if side in memory else ""
        print(
            f"| {side} | {seconds:.3f} | {total / seconds / 1e9:.2f} "
            f"| {median['torch'] / seconds:.1f} | {median['sum'] / seconds:.2f} | {mega} |"
        )
    print()
    scan = median["scan"]
    for name, ratio, wanted in (
        ("scan against the torch way without quantiles", median["torch"] / scan, ">= 25"),
        ("scan against the torch way with them", median["torch with quantiles"] / scan, ">= 250"),
        ("scan against the sum of the same bytes", median["sum"] / scan, ">= 0.25"),
        ("--channels against plain", median["scan --channels"] / scan, "<= 3"),
        ("private memory, MB", max(memory.values()), "< 600"),
    ):
        print(f"- {name}: {ratio:.2f} (to reach: {wanted})")


if __name__ == "__main__":
    main()
