"""WEAT on what a model makes of words: alone, and in sentences that say nothing about them."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from inspector.engine import Progress, no_progress
from inspector.fairness.items import Stimuli, WordTest
from inspector.fairness.probes.effects import effect_size
from inspector.fairness.probes.records import Answers
from inspector.fairness.probes.word_tests import (
    EFFECT_SIZE,
    Space,
    all_words,
    answers,
    associated,
    one_piece,
    space_of,
)
from inspector.fairness.sentences import Excluded, Sentence
from inspector.fairness.sets.own_words import SENTENCES
from inspector.fairness.vectors import (
    POOLINGS,
    Vector,
    alone,
    filled,
    known_words,
    pooling_of,
    word_vectors,
)
from inspector.fairness.words import Word
from inspector.model.asking import source, whole
from inspector.model.load import Model

ALONE: Final = "the word alone"


def weat(
    model: Model,
    stimuli: Stimuli[WordTest],
    pooling: str | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Answers:
    """WEAT's d on words given to the model alone, with exact permutation of words.

    `pooling` of POOLINGS; None: the last piece in causal models, else the mean of the pieces.
    Source: Caliskan et al. 2017 for the test; alone, a word stands where models rarely see one.
    """
    words = known_words(model, all_words(stimuli))
    texts = {ALONE: {name: alone(model, word) for name, word in words.items() if not word.excluded}}
    return _answers("weat", model, stimuli, words, texts, pooling, seed, progress)


def seat(
    model: Model,
    stimuli: Stimuli[WordTest],
    pooling: str | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Answers:
    """SEAT's d on words in sentences: averaged over the sentences first, then words permuted.

    Sentences of one word are no exchangeable units: with 8 words in 8 sentences each, to permute
    them rejects 17 to 27 % of the time at 5 %. The summary tells d in each sentence alone.
    Source: May et al. 2019; Guo & Caliskan 2021 for the spread over contexts.
    """
    words = known_words(model, all_words(stimuli))
    texts = {
        template: {name: filled(template, name) for name, w in words.items() if not w.excluded}
        for template in SENTENCES
    }
    return _answers("seat", model, stimuli, words, texts, pooling, seed, progress)


def _answers(
    probe: str,
    model: Model,
    stimuli: Stimuli[WordTest],
    words: Mapping[str, Word],
    texts: Mapping[str, Mapping[str, Sentence]],
    pooling: str | None,
    seed: int,
    progress: Progress,
) -> Answers:
    chosen = pooling_of(model, pooling)
    asked = [(template, word) for template, some in texts.items() for word in some]
    given = [texts[template][word] for template, word in asked]
    read = dict(zip(asked, word_vectors(model, given, chosen, progress), strict=True))
    excluded = {name: word.excluded for name, word in words.items() if word.excluded is not None}
    for (_, word), vector in read.items():
        if isinstance(vector, Excluded):
            excluded[word] = vector.told if len(texts) == 1 else f"in a sentence: {vector.told}"
    by_text: dict[str, dict[str, Vector]] = {template: {} for template in texts}
    for (template, word), vector in read.items():
        if word not in excluded and not isinstance(vector, Excluded):
            by_text[template][word] = vector
    known = next(iter(by_text.values()))
    mean = {word: np.mean([some[word] for some in by_text.values()], axis=0) for word in known}
    raw = space_of(EFFECT_SIZE, "", mean, excluded, words)
    pieces = one_piece(raw)
    middle = np.mean(list(raw.vectors.values()), axis=0) if raw.vectors else 0.0
    centred = {word: vector - middle for word, vector in raw.vectors.items()}
    spaces = [
        raw,
        *([pieces] if pieces else []),
        space_of(EFFECT_SIZE, ", mean-centred", centred, raw.excluded, words),
    ]
    summary: dict[str, Any] = {"pooling": chosen}
    if len(texts) > 1:
        each = {
            text: space_of(EFFECT_SIZE, "", some, excluded, words) for text, some in by_text.items()
        }
        summary["contexts"] = _spread(each, stimuli)
    return answers(
        probe,
        stimuli,
        spaces,
        POOLINGS[chosen],
        source(model, seed),
        whole(model),
        seed,
        summary,
        model.findings,
    )


def _spread(spaces: Mapping[str, Space], stimuli: Stimuli[WordTest]) -> dict[str, Any]:
    """How far d of each test hangs on the sentence: d in each alone, and how often the sign turns.

    None where a sentence gives no number. No p: sentences of the same words are no new evidence.
    """
    told = {}
    for test in stimuli.items:
        by_text = {text: effect_size(*associated(space, test)) for text, space in spaces.items()}
        sizes = [d for d in by_text.values() if d is not None]
        told[test.id] = {
            "d": by_text,
            "lowest": min(sizes, default=None),
            "median": float(np.median(sizes)) if sizes else None,
            "highest": max(sizes, default=None),
            "above_zero": sum(d > 0 for d in sizes),
            "below_zero": sum(d < 0 for d in sizes),
        }
    return told
