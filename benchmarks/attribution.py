"""How fast attributions are made, beside Captum's wrappers for language models.

    python benchmarks/attribution.py [--rounds 3] [--threads 2]

Both explain log p(3 target tokens | 10 tokens) of the same randomly initialised models of GPT-2's
shape, with the same baseline id, seed and numbers of samples and steps, in one process, taking
turns; medians are printed. The small model takes three times as many rounds.

Captum's `LLMAttribution` is timed as it comes and with `forward_in_tokens=False`, its correct
setting; `LLMGradientAttribution` has no such switch. Our times hold the whole call: reading the
text, F(x) by a plain forward, F(x') and the receipt. Numbers are compared with the correct setting.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import captum.attr
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from inspector.model.attribution import attribute
from inspector.model.load import Model, load

SMALL, LARGE = "4 layers x 128", "GPT-2 small, 12 layers x 768"
SHAPES = {
    SMALL: {"n_layer": 4, "n_embd": 128, "n_head": 4},
    LARGE: {"n_layer": 12, "n_embd": 768, "n_head": 12},
}
VOCABULARY = 50257
PROMPT = [464, 9001, 3, 17, 20500, 31, 9001, 77, 40000, 12]
TARGET = [611, 25, 30999]
BASELINE = 50256  # the end of text, as in GPT-2
STEPS = 50


def make(shape: dict[str, int], folder: Path) -> Model:
    """A random model and a tokenizer of numbered words, loaded as a user would."""
    torch.manual_seed(0)
    network = GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=128, **shape))
    with torch.no_grad():  # as it comes every answer is alike
        for name, parameter in network.named_parameters():
            if name.endswith("weight") and parameter.ndim == 2:
                parameter.mul_(3)
    network.save_pretrained(folder)
    words = {f"w{i}": i for i in range(VOCABULARY)}
    made = Tokenizer(models.WordLevel(words, unk_token="w0"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    end = f"w{BASELINE}"
    PreTrainedTokenizerFast(tokenizer_object=made, eos_token=end).save_pretrained(folder)
    return load(folder)


def text(ids: list[int]) -> str:
    """The words of ids."""
    return " ".join(f"w{id}" for id in ids)


def ours(model: Model, method: str, samples: int) -> Callable[[], list[float]]:
    """One call of `attribute` without comparisons with random orders."""

    def run() -> list[float]:
        found = attribute(
            model,
            text(PROMPT),
            text(TARGET),
            method=method,
            baseline="eos",
            samples=samples,
            most_steps=samples,
            orders=0,
            draws=0,
        )
        return [record.score for record in found]

    return run


def theirs(model: Model, way: Any, gradient: bool, **given: Any) -> Callable[[], list[float]]:
    """One call of Captum's wrapper."""
    wrap = captum.attr.LLMGradientAttribution if gradient else captum.attr.LLMAttribution
    wrapper = wrap(way, model.tokenizer)
    if not gradient:
        given = {"num_trials": 1, **given}

    def run() -> list[float]:
        torch.manual_seed(0)
        asked = captum.attr.TextTokenInput(text(PROMPT), model.tokenizer, baselines=BASELINE)
        found = wrapper.attribute(asked, target=torch.tensor(TARGET), **given)
        return [float(value) for value in found.seq_attr]

    return run


def sides(model: Model, samples: int) -> dict[str, dict[str, Callable[[], list[float]]]]:
    """Per method: ours, Captum's correct setting, and its default where that is another."""
    network = model.network
    made: dict[str, dict[str, Callable[[], list[float]]]] = {}
    for method, way, given in (
        ("feature-ablation", captum.attr.FeatureAblation, {}),
        ("shapley-sampling", captum.attr.ShapleyValueSampling, {"n_samples": samples}),
    ):
        made[method] = {
            "ours": ours(model, method, samples),
            "correct": theirs(model, way(network), False, forward_in_tokens=False, **given),
            "default": theirs(model, way(network), False, **given),
        }
    table = network.get_input_embeddings()
    gradients = captum.attr.LayerIntegratedGradients(network, table)
    made["integrated-gradients"] = {
        "ours": ours(model, "integrated-gradients", STEPS),
        "correct": theirs(model, gradients, True, n_steps=STEPS),
    }
    return made


def compare(name: str, model: Model, rounds: int, samples: int) -> list[str]:
    """Alternating runs of all methods; one row of the table each."""
    lines = []
    for method, runs in sides(model, samples).items():
        times: dict[str, list[float]] = {side: [] for side in runs}
        found: dict[str, list[float]] = {}
        for turn in range(rounds + 1):
            for side, run in runs.items():
                begin = time.perf_counter()
                found[side] = run()
                if turn:  # the first round imports and warms
                    times[side].append(time.perf_counter() - begin)
        took = {side: statistics.median(each) for side, each in times.items()}
        off = max(abs(a - b) for a, b in zip(found["ours"], found["correct"], strict=True))
        size = max(map(abs, found["correct"]))
        default = took.get("default")
        shown = f"{default:.3f} | {default / took['ours']:.1f}" if default else "- | -"
        lines.append(
            f"| {name} | {method} | {took['ours']:.3f} | {took['correct']:.3f} | "
            f"{took['correct'] / took['ours']:.1f} | {shown} | {off:.1e} of {size:.3g} |"
        )
    return lines


def main() -> None:
    """Print the table and the machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=5, help="of Shapley sampling")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    transformers.utils.logging.disable_progress_bar()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {given.threads} threads, "
        f"Python {platform.python_version()}, torch {torch.__version__}, "
        f"captum {captum.__version__}; {given.samples} Shapley samples, {STEPS} steps\n"
    )
    print(
        "| model | method | ours s | Captum, correct s | ratio | default s | ratio | largest diff |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, shape in SHAPES.items():
        with tempfile.TemporaryDirectory() as folder:
            model = make(shape, Path(folder))
            rounds = given.rounds * (3 if name == SMALL else 1)
            print("\n".join(compare(name, model, rounds, given.samples)), flush=True)


if __name__ == "__main__":
    main()
