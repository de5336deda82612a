"""Checkpoints of a few tensors whose word vectors are known, and tokenizers of their words."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from inspector.fairness.items import WordTest
from inspector.fairness.stimuli import read

SPECIAL = ("<pad>", "<unk>", "<s>")
EMBEDDING = "model.embed_tokens.weight"
UNEMBEDDING = "lm_head.weight"


def short(test: WordTest) -> WordTest:
    """Its first eight words of each list, in lower case; flowers and insects as the control."""
    lists = {name: tuple(w.lower() for w in getattr(test, name)[:8]) for name in "xyab"}
    category = "control" if test.id == "weat-1" else test.category
    return dataclasses.replace(test, category=category, **lists)


WEAT = {test.id: short(test) for test in read("weat").items}
GENDER = ("weat-1", "weat-6")
WORDS = list(dict.fromkeys(w for n in GENDER for t in [WEAT[n]] for w in (*t.x, *t.y, *t.a, *t.b)))


def lists_of(path: Path, *names: str) -> Path:
    """Some of these tests as a file of one's own."""
    tests = {
        name: {
            "category": WEAT[name].category,
            **{part: list(getattr(WEAT[name], part.lower())) for part in "XYAB"},
        }
        for name in names
    }
    path.write_text(yaml.safe_dump(tests))
    return path


def word_level(words: Sequence[str]) -> PreTrainedTokenizerFast:
    """One token a word, in lower case."""
    known = {word: i for i, word in enumerate([*SPECIAL, *dict.fromkeys(words)])}
    made = Tokenizer(models.WordLevel(known, unk_token="<unk>"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    names = {"pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, **names)


def saved(
    folder: Path,
    rows: np.ndarray,
    tokenizer: PreTrainedTokenizerFast,
    out: np.ndarray | None = None,
    dtype: torch.dtype = torch.float32,
    more: Mapping[str, torch.Tensor] | None = None,
) -> Path:
    """A Llama-like checkpoint of nothing but its tables (`out`: an unembedding of its own)."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {EMBEDDING: torch.tensor(rows, dtype=dtype), **(more or {})}
    if out is not None:
        tensors[UNEMBEDDING] = torch.tensor(out, dtype=dtype)
    save_file(tensors, folder / "model.safetensors")
    config = {"model_type": "llama", "tie_word_embeddings": out is None}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer.save_pretrained(folder)
    return folder


def leaning(
    tokenizer: PreTrainedTokenizerFast,
    strength: Mapping[str, float],
    width: int = 24,
    seed: int = 0,
) -> np.ndarray:
    """Rows of noise; in each test, X and A lean to one side of a direction of its own, Y and B not.

    `strength`: of each test of WEAT, 0 for none, below 0 against the stereotype.
    """
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(len(tokenizer), width))
    ids = tokenizer.get_vocab()
    for name, strong in strength.items():
        test = WEAT[name]
        direction = rng.normal(size=width)
        for words, sign in ((test.x, strong), (test.y, -strong)):
            for word in words:
                rows[ids[word]] += sign * direction
        for words, sign in ((test.a, 1), (test.b, -1)):
            for word in words:
                rows[ids[word]] += sign * direction
    return rows
