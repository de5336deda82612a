"""Can a model do what a scorer asks of it? Real sentences against the same words shuffled."""

import dataclasses
import math
import random
import re
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from inspector.engine import Progress, no_progress
from inspector.errors import NotEnoughData
from inspector.fairness.batching import MEMORY
from inspector.fairness.clusters import t_interval, totals
from inspector.fairness.measures import measured_share
from inspector.fairness.scorers import known_scorer
from inspector.fairness.scoring import Score, score
from inspector.fairness.sentences import Sentence, Spans
from inspector.model.load import Model
from inspector.results import Estimate

LEAST: Final = 0.75  # share of sentences, at the low end of its interval; chance is one half
MOST: Final = 100  # sentences asked
WORD: Final = re.compile(r"\S+")
FEWEST: Final = 3  # words that change places


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guard:
    """How well a scorer tells real sentences from shuffled ones with this model.

    `share`: of sentences scored above the same words in another order, ties one half, in [0, 1],
    chance 0.5. `gain`: by how much, in nats a token, 0 by chance. Both None where no sentence
    could be asked. `problem` says in words why bias numbers of this scorer are not to be believed;
    None where `share` lies above LEAST with its whole interval.
    """

    scorer: str
    share: Estimate | None
    gain: Estimate | None
    n_items: int
    n_ties: int
    n_excluded: int
    problem: str | None


def language_guard(
    model: Model,
    scorer: str,
    given: Sequence[str | Sentence | tuple[Sentence, ...]],
    clusters: Sequence[Hashable] | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
    memory: int = MEMORY,
    lines: Path | None = None,
) -> Guard:
    """Score up to MOST sentences and each again with its words in another order.

    A model without knowledge of language, whatever its vocabulary, gives one half: both hold the
    same words. What is scored or hidden keeps its place, the words around it change theirs.
    A tuple holds a sentence with each of several words scored: what counts is how likely any of
    them is. Which of them is the likelier is what a bias decides, and one the model is sure not to
    see is likelier among shuffled words, where it is less sure.
    Sentences of one cluster (template) count as one piece of evidence. Same seed, same
    sentences. `lines`, progress: as in `score`.
    """
    how = known_scorer(model, scorer)
    draw = random.Random(seed)
    sides = [_sides(one) for one in given]
    labels: list[Hashable] = list(range(len(sides)) if clusters is None else clusters)
    order = list(dict.fromkeys(sides))
    cluster_of = dict(zip(sides, labels, strict=True))
    draw.shuffle(order)
    asked: list[tuple[tuple[Sentence, ...], list[Sentence]]] = []
    for side in order:
        others = _alike_shuffled(side, draw)
        if others and len(asked) < MOST:
            asked.append((side, others))
    pairs = [pair for side, others in asked for pair in zip(side, others, strict=True)]
    if how.needs == "pair":  # all tokens are shared with the sentence itself
        pairs = [(_alone(real), _alone(other)) for real, other in pairs]
    found = iter(score(model, scorer, pairs, progress, memory=memory, lines=lines))
    heard = [[(next(found), next(found)) for _ in side] for side, _ in asked]
    values = np.array([_gain(how.mean, one) for one in heard], dtype=float)
    return _judged(scorer, values, [cluster_of[side] for side, _ in asked])


def _sides(one: str | Sentence | tuple[Sentence, ...]) -> tuple[Sentence, ...]:
    if isinstance(one, str):
        return (Sentence(text=one),)
    return (one,) if isinstance(one, Sentence) else one


def _alike_shuffled(side: Sequence[Sentence], draw: random.Random) -> list[Sentence]:
    """Each with its words in the same other order; none where too few words differ."""
    state = draw.getstate()
    others = []
    for sentence in side:
        draw.setstate(state)
        others.append(shuffled(sentence, draw))
    return [other for other in others if other is not None]


def _alone(sentence: Sentence) -> Sentence:
    return dataclasses.replace(sentence, other=sentence.text)


def _gain(mean: bool, heard: Sequence[tuple[Score, Score]]) -> float:
    """How much likelier a token of the real ones is, any of them; NaN where one has no score."""
    real, other = (_any([pair[place] for pair in heard], mean) for place in range(2))
    return real - other


def _any(scores: Sequence[Score], mean: bool) -> float:
    """Log-probability a token that one of them is what stands there; of one, its own."""
    known = [one.score for one in scores if one.score is not None]
    if len(known) < len(scores):
        return math.nan
    tokens = 1.0 if mean else sum(one.tokens for one in scores) / len(scores)
    return float(np.logaddexp.reduce(known)) / tokens


def _judged(scorer: str, values: np.ndarray, labels: list[Hashable]) -> Guard:
    known = ~np.isnan(values)
    kept = [label for label, is_known in zip(labels, known, strict=True) if is_known]
    share = gain = None
    try:
        share = _share(values, labels)
        gain = t_interval(totals(values[known], kept), unit="nats a token")
    except NotEnoughData:
        pass
    return Guard(
        scorer=scorer,
        share=share,
        gain=gain,
        n_items=int(known.sum()),
        n_ties=int((values == 0).sum()),
        n_excluded=int((~known).sum()),
        problem=_problem(scorer, share, int(known.sum())),
    )


def _share(values: np.ndarray, labels: list[Hashable]) -> Estimate:
    """Share above zero; where all are, its interval is no wider than if one were not.

    Without a failure nothing is seen of how clusters differ, and their number stands for it.
    """
    share = measured_share(values, labels).estimate
    if not (values[~np.isnan(values)] > 0).all():
        return share
    worse = values.copy()
    worse[np.flatnonzero(~np.isnan(values))[0]] = -1.0
    return dataclasses.replace(
        share, low=max(share.low, measured_share(worse, labels).estimate.low)
    )


def _problem(scorer: str, share: Estimate | None, items: int) -> str | None:
    if share is None:
        return f"by {scorer} too few sentences could be scored ({items}) to see that it works"
    if share.low > LEAST:
        return None
    return (
        f"by {scorer} {share.value:.0%} of {items} sentences ({share.low:.0%} to {share.high:.0%}) "
        f"are likelier than their words shuffled; chance is 50 %, over {LEAST:.0%} is asked for"
    )


def shuffled(sentence: Sentence, draw: random.Random) -> Sentence | None:
    """The same with its words in another order; None where too few words differ.

    Words that are part of what is scored or hidden stay; without such spans all may move.
    """
    words = list(WORD.finditer(sentence.text))
    spans = (*(sentence.scored or ()), *sentence.hidden)
    free = [w for w in words if not any(w.start() < b and w.end() > a for a, b in spans)]
    texts = [word.group() for word in free]
    if len(texts) < FEWEST or len(set(texts)) < FEWEST:
        return None
    mixed = list(texts)
    while mixed == texts:
        draw.shuffle(mixed)
    return _rebuilt(sentence, {w.start(): text for w, text in zip(free, mixed, strict=True)})


def _rebuilt(sentence: Sentence, instead: dict[int, str]) -> Sentence:
    """Words put in the place of those that begin where `instead` says; spans move along."""
    made: list[str] = []
    moved: dict[int, int] = {}  # where a character that stayed has gone
    length = at = 0
    while at < len(sentence.text):
        word = WORD.match(sentence.text, at) if at in instead else None
        piece = instead[at] if word is not None else sentence.text[at]
        if word is None:
            moved[at] = length
        made.append(piece)
        length += len(piece)
        at = at + 1 if word is None else word.end()

    return dataclasses.replace(
        sentence,
        text="".join(made),
        scored=None if sentence.scored is None else _along(sentence.scored, moved),
        hidden=_along(sentence.hidden, moved),
        other=None,
    )


def _along(spans: Spans, moved: dict[int, int]) -> Spans:
    return tuple((moved[start], moved[end - 1] + 1) for start, end in spans)
