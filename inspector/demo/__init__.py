"""Small language models whose true bias is known, shipped with the package as `demo:NAME`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from inspector.errors import BadOption

MODELS: Final[Mapping[str, str]] = {
    "planted": "causal LM in which occupations lean to he or she by known log-odds (-2 to 2)",
    "balanced": "the same causal LM on the same corpus with every pronoun also swapped: no gap",
    "planted-mlm": "masked LM on the corpus of planted, with the same known log-odds",
    "balanced-mlm": "masked LM on the corpus of balanced: no gap",
}
"""The demo models, by name, and what each one is."""


def path(name: str) -> Path:
    """The folder of a demo model: config, weights, tokenizer and model card; raises BadOption.

    `name` is a key of MODELS.
    """
    if name not in MODELS:
        raise BadOption(f"There is no demo model of that name; known are {', '.join(MODELS)}.")
    return Path(__file__).parent / name
