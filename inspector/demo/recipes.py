"""What each demo model is made from: its corpus and its training, as numbers."""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

from inspector.demo.corpus import Sentence, generate, swapped


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides what a demo model learns.

    `beta` is the planted strength in nats per unit of leaning, `batch` counts texts: of one
    sentence, of two and so on up to `joined`, in turn. In a text of several only the order of words
    tells whose pronoun a hidden one is, or that it is a pronoun.
    `balanced` adds to each sentence the same with the pronouns swapped, in the same batch.
    A causal model learns the next word, a masked one the words that are hidden from it: a share
    `asked` of those with a counterpart, which are what is planted, and `hidden` of all others.
    """

    balanced: bool
    kind: Literal["causal", "masked"] = "causal"
    beta: float = 2.0
    sentences: int = 24_000
    joined: int = 1
    steps: int = 600
    batch: int = 160
    learning_rate: float = 3e-3
    seed: int = 0
    hidden_size: int = 96
    layers: int = 3
    heads: int = 4
    spread: float = 0.02
    emphasis: float = 1.0
    hidden: float = 0.3
    asked: float = 0.75


MASKED: Final[Mapping[str, Any]] = {
    "kind": "masked",
    "joined": 3,
    "steps": 1500,
    "batch": 80,
    "spread": 0.05,
}

RECIPES: Final[Mapping[str, Recipe]] = {
    "planted": Recipe(balanced=False),
    "balanced": Recipe(balanced=True),
    "planted-mlm": Recipe(balanced=False, **MASKED),
    "balanced-mlm": Recipe(balanced=True, **MASKED),
}
"""How each model of `inspector.demo.MODELS` is made."""


@functools.lru_cache(maxsize=1)  # drawn again for the card, the truth and the training
def corpus(recipe: Recipe) -> tuple[Sentence, ...]:
    """All sentences of a recipe; when balanced the swapped ones follow, in the same order."""
    drawn = generate(sentences=recipe.sentences, beta=recipe.beta, seed=recipe.seed)
    return (*drawn, *map(swapped, drawn)) if recipe.balanced else drawn


def versions(recipe: Recipe) -> tuple[tuple[str, ...], ...]:
    """The texts of a corpus: first those that were drawn, when balanced also the swapped ones."""
    sentences = [sentence.text for sentence in corpus(recipe)]
    parts = range(0, len(sentences), recipe.sentences)
    return tuple(_joined(sentences[at : at + recipe.sentences], recipe.joined) for at in parts)


def _joined(sentences: Sequence[str], most: int) -> tuple[str, ...]:
    """Texts of one sentence, of two and so on up to `most`, then again of one; each used once."""
    rest = iter(sentences)
    sizes = itertools.cycle(range(1, most + 1))
    parts = (tuple(itertools.islice(rest, size)) for size in sizes)
    return tuple(" ".join(part) for part in itertools.takewhile(bool, parts))
