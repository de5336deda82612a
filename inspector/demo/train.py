"""The recipe of the demo models: `python -m inspector.demo.train [FOLDER]` makes them anew.

Without FOLDER the shipped models are replaced. Each model takes a minute or two of one core.
"""

import contextlib
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import torch
from jaxtyping import Float, Int64
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

from inspector.demo import MODELS
from inspector.demo.card import model_card
from inspector.demo.corpus import PAIRS, vocabulary
from inspector.demo.measure import gaps
from inspector.demo.recipes import RECIPES, Recipe, corpus

LOG: Final = logging.getLogger("inspector.demo")
PAD, BEGIN, END, UNKNOWN = SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
THREADS: Final = 1  # more would wait for each other wherever the cores are busy
WARM_UP_STEPS: Final = 50


def train(recipe: Recipe) -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """Train a model by the recipe, from nothing; same recipe, same behaviour on any machine.

    Weights are the same bits only where processor and library versions are the same.
    """
    tokenizer = word_tokenizer()
    texts = [f"{sentence.text} {END}" for sentence in corpus(recipe)]
    ids: Int64[torch.Tensor, "all length"] = tokenizer(texts, padding=True, return_tensors="pt")[
        "input_ids"
    ]
    rows = ids.reshape(-1, recipe.sentences, ids.shape[1])
    with _reproducible(recipe.seed):
        model = LlamaForCausalLM(configuration(len(tokenizer)))
        model.train()
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        for step, batch in enumerate(_batches(rows, recipe)):
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * _pace(step, recipe.steps)
            loss = _loss(model, batch)
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            if (step + 1) % 100 == 0:
                LOG.info("step %d of %d: loss %.4f", step + 1, recipe.steps, loss.item())
    return model.train(False), tokenizer


def configuration(words: int) -> LlamaConfig:
    """The shape of the models for a vocabulary of so many words: about 350,000 parameters.

    Two query heads share a key and value head, every projection has a bias, and the embedding is
    not tied to the unembedding, so that the demo has one of each thing that can be looked at.
    """
    return LlamaConfig(
        vocab_size=words,
        hidden_size=96,
        intermediate_size=288,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        attention_bias=True,
        mlp_bias=True,
        tie_word_embeddings=False,
        max_position_embeddings=64,
        pad_token_id=SPECIAL.index(PAD),
        bos_token_id=SPECIAL.index(BEGIN),
        eos_token_id=SPECIAL.index(END),
    )


def word_tokenizer() -> PreTrainedTokenizerBase:
    """A tokenizer with one token per word of the corpus, case ignored, and `<s>` in front."""
    words = {word: index for index, word in enumerate([*SPECIAL, *vocabulary()])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, words[BEGIN])]
    )
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        unk_token=UNKNOWN,
        padding_side="right",
        model_max_length=64,
    )


def _batches(
    rows: Int64[torch.Tensor, "versions sentences length"], recipe: Recipe
) -> Iterator[Int64[torch.Tensor, "batch length"]]:
    """The batches of all steps, in a fresh order each time the sentences are used up.

    All versions of a sentence come in one batch: a step on a balanced corpus favours no pronoun.
    """
    versions, sentences, _ = rows.shape
    order = torch.Generator().manual_seed(recipe.seed)
    step = 0
    while step < recipe.steps:
        parts = torch.split(torch.randperm(sentences, generator=order), recipe.batch // versions)
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


def _loss(
    model: LlamaForCausalLM, batch: Int64[torch.Tensor, "batch length"]
) -> Float[torch.Tensor, ""]:
    """Mean cross-entropy of the next word in nats, padding left out."""
    logits = model(input_ids=batch, use_cache=False).logits[:, :-1]
    loss: torch.Tensor = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), batch[:, 1:].flatten(), ignore_index=SPECIAL.index(PAD)
    )
    return loss


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
