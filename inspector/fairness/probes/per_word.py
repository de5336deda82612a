"""Scores of candidates that differ in length: log-probability for each word."""

import re
from typing import Final

from inspector.fairness.scorer_table import SCORERS
from inspector.fairness.scoring import Score
from inspector.fairness.sentences import Sentence

WORD: Final = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")
"""A word, with what an apostrophe or a hyphen joins to it, or a mark of punctuation."""


def per_word(score: Score, sentence: Sentence) -> float | None:
    """A score in nats a word of what was scored; as it is where the scorer gives means of tokens.

    Sums favour the shorter candidate. Means of tokens favour words of many pieces, of which the
    later give nothing away; words are the same for every model.
    """
    if score.score is None or SCORERS[score.scorer].mean:
        return score.score
    spans = sentence.scored or ((0, len(sentence.text)),)
    words = sum(len(WORD.findall(sentence.text[first:last])) for first, last in spans)
    return score.score / max(words, 1)
