"""Tiny models of words, and rows of which they can learn."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from inspector.finetune.config import Config

SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")
GOOD, BAD = ("fine", "good", "lovely", "great"), ("awful", "bad", "poor", "sad")
REST = ("the", "a", "was", "is", "day", "meal", "room", "film", "he", "she", "and", "very")
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL: dict[str, dict[str, Any]] = {
    "bert": {**SIZES, "intermediate_size": 24},
    "roberta": {**SIZES, "intermediate_size": 24, "type_vocab_size": 1},
    "distilbert": {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 24},
    "electra": {**SIZES, "intermediate_size": 24, "embedding_size": 16},
    "gpt2": {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32},
    "llama": {**SIZES, "intermediate_size": 24, "num_key_value_heads": 2},
    "qwen2": {**SIZES, "intermediate_size": 24, "num_key_value_heads": 2},
}


def words() -> list[str]:
    return [*SPECIAL, *GOOD, *BAD, *REST]


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a word, [CLS] in front and [SEP] behind."""
    index = {word: i for i, word in enumerate(words())}
    made = Tokenizer(models.WordLevel(index, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = ("pad", "cls", "sep", "unk", "mask")
    special = {f"{name}_token": SPECIAL[i] for i, name in enumerate(names)}
    return PreTrainedTokenizerFast(tokenizer_object=made, padding_side="right", **special)


def saved(folder: Path, family: str, seed: int = 0, kind: str = "base", **more: Any) -> Path:
    """A random model of a family as a folder: base, causal or masked."""
    torch.manual_seed(seed)
    config = transformers.AutoConfig.for_model(
        family, vocab_size=len(words()), pad_token_id=0, **{**SMALL[family], **more}
    )
    maker = {
        "base": transformers.AutoModel,
        "causal": transformers.AutoModelForCausalLM,
        "masked": transformers.AutoModelForMaskedLM,
    }[kind]
    network = maker.from_config(config)
    assert network.num_parameters() < 20_000
    network.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Sentences with a good or a bad word, their label, their group and one label a word."""
    draw = torch.Generator().manual_seed(seed)
    found = []
    for i in range(count):
        good = bool(torch.randint(2, (), generator=draw))
        word = (GOOD if good else BAD)[int(torch.randint(4, (), generator=draw))]
        who = ("he", "she")[int(torch.randint(2, (), generator=draw))]
        long = ["the", "day", "was", "and"] * int(torch.randint(1, 4, (), generator=draw))
        text = [*long, who, "was", *["very"] * int(torch.randint(3, (), generator=draw)), word]
        found.append(
            {
                "text": " ".join(text),
                "label": "good" if good else "bad",
                "number": len(text) / 10,
                "group": who,
                "origin": f"o{i // 2}",
                "several": "|".join(["long"] * (len(long) > 4) + ["good"] * good),
                "words": text,
                "tags": ["O"] * (len(text) - 1) + ["X" if good else "Y"],
            }
        )
    return found


def written(path: Path, found: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in found))
    return path


COLUMNS: dict[str, dict[str, str]] = {
    "sequence-classification": {},
    "multi-label-classification": {"label": "several"},
    "regression": {"label": "number"},
    "token-classification": {"text": "words", "label": "tags"},
    "causal-lm": {},
    "masked-lm": {},
}


@pytest.fixture
def made(tmp_path) -> Callable[..., Config]:
    """A configuration of a task on a tiny model of a family; sections are given as mappings."""

    def make(
        task: str = "sequence-classification",
        family: str = "bert",
        count: int = 48,
        **sections: Any,
    ) -> Config:
        kind = {"causal-lm": "causal", "masked-lm": "masked"}.get(task, "base")
        model, sizes = tmp_path / f"{family}-{kind}", sections.pop("sizes", {})
        if not model.exists():
            saved(model, family, kind=kind, **sizes)
        train = written(tmp_path / "train.jsonl", rows(count))
        validation = written(tmp_path / "validation.jsonl", rows(24, seed=1))
        given: dict[str, Any] = {
            "model": str(model),
            "task": task,
            "run": str(tmp_path / "run"),
            "data": {"train": str(train), "validation": str(validation), **COLUMNS[task]},
            "training": {"epochs": 1, "batch": 8, "device": "cpu"},
        }
        for name, value in sections.items():
            both = isinstance(value, dict) and name in given
            given[name] = {**given[name], **value} if both else value
        return Config.model_validate(given)

    return make
