"""What each demo model is made from: its corpus and its training, as numbers."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Final, Literal

from inspector.demo.corpus import Sentence, generate, swapped


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """All that decides what a demo model learns.

    `beta` is the planted strength in nats per unit of leaning, `batch` counts sentences.
    `balanced` adds to each sentence the same with the pronouns swapped, in the same batch.
    A causal model learns the next word, a masked one the words that are hidden from it.
    """

    balanced: bool
    kind: Literal["causal", "masked"] = "causal"
    beta: float = 2.0
    sentences: int = 24_000
    steps: int = 600
    batch: int = 160
    learning_rate: float = 3e-3
    seed: int = 0
    hidden_size: int = 96
    layers: int = 3
    heads: int = 4
    spread: float = 0.02
    emphasis: float = 1.0


RECIPES: Final[Mapping[str, Recipe]] = {
    "planted": Recipe(balanced=False),
    "balanced": Recipe(balanced=True),
    "planted-mlm": Recipe(balanced=False, kind="masked", steps=1200, spread=0.1),
    "balanced-mlm": Recipe(balanced=True, kind="masked", steps=1200, spread=0.1),
}
"""How each model of `inspector.demo.MODELS` is made."""


@functools.lru_cache(maxsize=1)  # drawn again for the card, the truth and the training
def corpus(recipe: Recipe) -> tuple[Sentence, ...]:
    """All sentences of a recipe; when balanced the swapped ones follow, in the same order."""
    drawn = generate(sentences=recipe.sentences, beta=recipe.beta, seed=recipe.seed)
    return (*drawn, *map(swapped, drawn)) if recipe.balanced else drawn
