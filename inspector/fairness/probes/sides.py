"""What the scores of an item's two texts tell of it."""

from collections.abc import Mapping
from typing import Any, Final

from inspector.fairness.scoring import Score
from inspector.model.kinds import Kind

SCORER: Final[Mapping[Kind, str]] = {"masked": "pll-shared", "causal": "causal-sum"}
"""The usual scorer of two sentences, of each kind of model."""


def of_sides(more: Score, less: Score) -> dict[str, Any]:
    """Fields of an ItemScore from both scores: no gap where either text was left out, and why."""
    gap = None if more.score is None or less.score is None else more.score - less.score
    return {
        "gap": gap,
        "more": more.score,
        "less": less.score,
        "tokens_more": more.tokens,
        "tokens_less": less.tokens,
        "excluded": None if gap is not None else more.told or less.told,
    }
