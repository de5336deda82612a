"""Whom a pronoun means, read from likelihoods: which name continues "'She' refers to"."""

import dataclasses
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from inspector.engine import Progress
from inspector.fairness.probes.asking import Heard, asked
from inspector.fairness.probes.parts import SHARE, Part, formula
from inspector.fairness.probes.records import QUALITY
from inspector.fairness.resampling import ratio
from inspector.fairness.sentences import Sentence
from inspector.model.load import Model

SCORER: Final = "continuation"
NOBODY: Final = "'They' refers to"
HOW: Final = (
    f'log P(name | sentence, "\'She\' refers to") less log P(name | "{NOBODY}"), which takes out '
    "how long and how frequent a name is, and is the same for every pronoun"
)

RATES: Final = formula(
    ratio, 0.0, "share", (-1.0, 1.0), signed=lambda values: np.asarray(values[:, 0]), flips=1
)
"""Mean difference of two rates, against zero; see `rate_part`."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """A sentence, the words that ask for its pronoun, and the two that may be meant."""

    context: str
    asks: str
    options: tuple[str, str]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resolved:
    """What each option of a question scored, in nats, with its tokens; or why one has no score."""

    scores: tuple[float, float] | None
    tokens: tuple[int, int]
    excluded: str | None

    @property
    def log_odds(self) -> float | None:
        """Of the first option over the second: above zero where the pronoun means the first."""
        return None if self.scores is None else self.scores[0] - self.scores[1]


def resolve(
    model: Model,
    questions: Sequence[Question],
    clusters: Sequence[Hashable],
    seed: int,
    lines: Path | None,
    progress: Progress,
) -> tuple[Heard, tuple[Resolved, ...]]:
    """Score both options of every question, see HOW; the guard is tried on the questions."""
    cluster_of: dict[Sentence, Hashable] = {}
    for question, cluster in zip(questions, clusters, strict=True):
        for option in question.options:
            cluster_of.setdefault(_sentence(f"{question.context} {question.asks}", option), cluster)
    priors = dict.fromkeys(_sentence(NOBODY, o) for one in questions for o in one.options)
    asks = [*cluster_of, *priors]
    labels = [*cluster_of.values(), *("prior" for _ in priors)]
    guarded = [*cluster_of, *(None for _ in priors)]
    heard = asked(model, SCORER, asks, labels, seed, lines, progress, guarded)
    known = dict(zip(asks, heard.scores, strict=True))

    def resolved(question: Question) -> Resolved:
        texts = [_sentence(f"{question.context} {question.asks}", o) for o in question.options]
        bare = [_sentence(NOBODY, option) for option in question.options]
        told = next((known[one].told for one in (*texts, *bare) if known[one].told), None)
        values = []
        for text, prior in zip(texts, bare, strict=True):
            one, other = known[text].score, known[prior].score
            if one is not None and other is not None:
                values.append(one - other)
        return Resolved(
            scores=(values[0], values[1]) if len(values) == 2 else None,
            tokens=(known[texts[0]].tokens, known[texts[1]].tokens),
            excluded=told,
        )

    return heard, tuple(map(resolved, questions))


def rate_part(
    metric: str,
    category: str,
    family: str,
    differences: Mapping[str, tuple[Hashable, float]],
) -> Part:
    """A part whose number is the mean difference of two rates, in [-1, 1], 0 without bias.

    differences: by id, the cluster and how often something is so on one side less the other (NaN:
    not known).
    """
    values = np.array([value for _, value in differences.values()], dtype=float)
    return Part(
        metric=metric,
        category=category,
        family=family,
        ids=tuple(differences),
        clusters=tuple(cluster for cluster, _ in differences.values()),
        values=np.stack([values, np.where(np.isnan(values), np.nan, 1.0)], axis=1),
        how=RATES,
    )


def share_part(
    metric: str,
    category: str,
    log_odds: Mapping[str, tuple[Hashable, float]],
) -> Part:
    """A part of QUALITY: how often a number lies above zero, ties one half, chance 0.5."""
    return Part(
        metric=metric,
        category=category,
        family=QUALITY,
        ids=tuple(log_odds),
        clusters=tuple(cluster for cluster, _ in log_odds.values()),
        values=np.array([[value] for _, value in log_odds.values()], dtype=float).reshape(-1, 1),
        how=SHARE,
    )


def rate(log_odds: float | None) -> float:
    """One where the first option is meant, one half for a tie, NaN where it was not asked."""
    return np.nan if log_odds is None else (1 + float(np.sign(log_odds))) / 2


def _sentence(before: str, option: str) -> Sentence:
    start = len(before) + 1
    return Sentence(text=f"{before} {option}.", scored=((start, start + len(option)),))
