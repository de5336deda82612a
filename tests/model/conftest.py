"""Tiny models that run, with a tokenizer of letters, for the tests of what models do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from weights.tiny_models import build

from inspector.model.load import Model, load

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {  # name: what it is a variant of, and how
    **{
        f"{name}-window": (name, {"sliding_window": 4}) for name in ("mistral", "gemma2", "gpt_oss")
    },
    "qwen2-window": (
        "qwen2",
        {"sliding_window": 4, "use_sliding_window": True, "max_window_layers": 1},
    ),
    "llama-classifier": ("llama", {"model_class": "LlamaForSequenceClassification"}),
    "gpt2-classifier": ("gpt2", {"model_class": "GPT2ForSequenceClassification"}),
    "bert-labels": (
        "bert-classifier",
        {"num_labels": 3, "problem_type": "multi_label_classification"},
    ),
    "bert-number": ("bert-classifier", {"num_labels": 1}),
    "gemma3-both-ways": (
        "gemma3_text",
        {
            **{"model_class": "Gemma3TextModel", "sliding_window": 8},
            "use_bidirectional_attention": True,
        },
    ),
    "llama-encoder": ("llama", {"model_class": "LlamaModel"}),
}
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<mask>")
WORDS = [*SPECIAL, *(chr(code) for code in range(97, 123)), *(f"w{i}" for i in range(33))]


def letters() -> PreTrainedTokenizerFast:
    """A tokenizer of 64 words split at spaces."""
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.decoder = decoders.WordPiece(prefix="##")
    names = {f"{n}_token": f"<{n}>" for n in ("pad", "unk", "mask")}
    return PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>", **names
    )


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Model]:
    """Loaded tiny models by the names in tiny_models.MODELS or VARIANTS, each made once."""
    made: dict[str, Model] = {}

    def one(name: str) -> Model:
        if name not in made:
            made[name] = load(saved(name, tmp_path_factory.mktemp(name)))
        return made[name]

    return one


def saved(name: str, folder: Path) -> Path:
    """A tiny model and its tokenizer on disk."""
    base, how = VARIANTS.get(name, (name, {}))
    build(base, folder, **how)
    letters().save_pretrained(folder)
    return folder
