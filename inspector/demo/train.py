"""The recipe of the demo models: `python -m inspector.demo.train [FOLDER]` makes them anew.

Without FOLDER the shipped models are replaced. A causal model takes a minute or two of one core, a
masked one about five.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Int64
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from inspector.demo import MODELS
from inspector.demo.card import model_card
from inspector.demo.corpus import PAIRS
from inspector.demo.measure import gaps
from inspector.demo.networks import (
    emphasis,
    encode,
    hidden_word_loss,
    next_word_loss,
    untrained,
    word_tokenizer,
)
from inspector.demo.recipes import RECIPES, Recipe, versions

LOG: Final = logging.getLogger("inspector.demo")
THREADS: Final = 1  # more would wait for each other wherever the cores are busy
WARM_UP_STEPS: Final = 50


def train(recipe: Recipe) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Train a model by the recipe, from nothing; same recipe, same behaviour on any machine.

    Weights are the same bits only where processor and library versions are the same.
    """
    tokenizer = word_tokenizer(recipe.kind)
    texts = versions(recipe)
    ids = encode(tokenizer, recipe.kind, [text for part in texts for text in part])
    rows = ids.reshape(len(texts), -1, ids.shape[1])
    weights = emphasis(recipe)
    hiding = torch.Generator().manual_seed(recipe.seed)
    with _reproducible(recipe.seed):
        model = untrained(recipe)
        model.train()
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        for step, batch in enumerate(_batches(rows, recipe)):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * _pace(step, recipe.steps)
            loss = (
                hidden_word_loss(model, batch, weights, recipe, hiding)
                if recipe.kind == "masked"
                else next_word_loss(model, batch, weights)
            )
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            if (step + 1) % 100 == 0:
                LOG.info("step %d of %d: loss %.4f", step + 1, recipe.steps, loss.item())
    return model.train(False), tokenizer


def _batches(
    rows: Int64[torch.Tensor, "versions texts length"], recipe: Recipe
) -> Iterator[Int64[torch.Tensor, "batch length"]]:
    """The batches of all steps, in a fresh order each time the texts are used up.

    All versions of a text come in one batch: a step on a balanced corpus favours no pronoun.
    """
    copies, texts, _ = rows.shape
    order = torch.Generator().manual_seed(recipe.seed)
    step = 0
    while step < recipe.steps:
        parts = torch.split(torch.randperm(texts, generator=order), recipe.batch // copies)
        for chosen in parts[: recipe.steps - step]:
            yield rows[:, chosen].flatten(0, 1)
            step += 1


@contextlib.contextmanager
def _reproducible(seed: int) -> Iterator[None]:
    """A seed, a number of threads and deterministic kernels for a while; then all as it was."""
    threads = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(THREADS)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic)


def _pace(step: int, steps: int) -> float:
    """The share of the learning rate a step uses: a short rise, then a straight fall to 0."""
    return min((step + 1) / WARM_UP_STEPS, (steps - step) / steps)


def make(name: str, folder: Path) -> None:
    """Train the model of that name and write it with its tokenizer and model card to `folder`."""
    LOG.info("%s: %s", name, MODELS[name])
    model, tokenizer = train(RECIPES[name])
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    recovered = {pair: gaps(model, tokenizer, pair) for pair in PAIRS}
    (folder / "README.md").write_text(model_card(name, recovered), encoding="utf-8")


def main(folder: Path) -> None:
    """Make every model, each in a subfolder of its name."""
    for name in RECIPES:
        make(name, folder / name)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
