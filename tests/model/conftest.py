"""Tiny models that run, with a tokenizer of letters, for the tests of what models do."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from weights.tiny_models import build

from inspector.model.load import Model, load

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
    """Loaded tiny models by the names in tiny_models.MODELS, each made once."""
    made: dict[str, Model] = {}

    def one(name: str) -> Model:
        if name not in made:
            made[name] = load(saved(name, tmp_path_factory.mktemp(name)))
        return made[name]

    return one


def saved(name: str, folder: Path) -> Path:
    """A tiny model and its tokenizer on disk."""
    build(name, folder)
    letters().save_pretrained(folder)
    return folder
