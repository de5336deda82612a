"""Contrasts as a model reads them: a sentence with the target facing one with the neutral text."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from inspector.fairness.items import Contrast
from inspector.fairness.probes.contrasted import SCORER, WORDS_FIRST, Four
from inspector.fairness.probes.counterfactual_gap import sentences
from inspector.fairness.scorer_table import SCORERS
from inspector.fairness.scorers import Plan, plan
from inspector.fairness.sentences import Excluded, Tokens, read_sentences
from inspector.model.load import Model

REASONS = {
    "words first": WORDS_FIRST,
    "other pieces": "beside the neutral text the words are other tokens than beside the target",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """One input with the target, the same with the neutral text, and what is read off both.

    At `places` of the one and `neutral_places` of the other the log-probabilities of `wanted` are
    read; added up with `signs` they are the log-odds of the words, or a part of them.
    """

    ids: tuple[int, ...]
    neutral: tuple[int, ...]
    places: tuple[int, ...]
    neutral_places: tuple[int, ...]
    wanted: tuple[int, ...]
    signs: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Readings of one shape can run in one batch without padding."""
        return len(self.ids), len(self.neutral), len(self.places)

    @property
    def ends(self) -> tuple[int, int]:
        """How many tokens, from the beginning and from the end, both sentences share."""
        shorter = min(len(self.ids), len(self.neutral))
        first = _alike(self.ids, self.neutral, shorter)
        return first, _alike(self.ids[::-1], self.neutral[::-1], shorter - first)

    @property
    def even(self) -> bool:
        """Whether both have as many tokens: each position then faces one, the target's too."""
        return len(self.ids) == len(self.neutral)

    def facing(self) -> Float[np.ndarray, "tokens neutral_tokens"]:
        """Which positions of the neutral sentence each position faces; each row sums to 1.

        Shared tokens at the beginning and at the end face one another, and so do the places that
        are read. Between them the target's tokens face the neutral text's one by one where they
        are as many, else the mean of all of them; where the neutral text has none, its last shared
        token before.
        """
        first, last = self.ends
        faced = np.zeros((len(self.ids), len(self.neutral)))
        between = range(first, len(self.neutral) - last) or [max(first - 1, 0)]
        shift = len(self.neutral) - len(self.ids)
        for i in range(len(self.ids)):
            inside = first <= i < len(self.ids) - last
            if inside and not self.even:
                faced[i, list(between)] = 1 / len(between)
            else:
                faced[i, i if i < first else i + shift] = 1
        for place, other in zip(self.places, self.neutral_places, strict=True):
            faced[place] = 0
            faced[place, other] = 1
        return faced


def read_contrasts(
    model: Model, contrasts: Sequence[Contrast]
) -> list[tuple[Reading, ...] | Excluded]:
    """What a model is given for each contrast, or why it cannot be asked.

    Rows are those of the scorer "continuation": words of several tokens by the chain rule.
    """
    asked = [sentences(contrast) for contrast in contrasts]
    texts = list(dict.fromkeys(sentence.text for four in asked for sentence in four))
    known = dict(zip(texts, read_sentences(model, texts), strict=True))
    return [
        _readings(model, contrast, four, known)
        for contrast, four in zip(contrasts, asked, strict=True)
    ]


def _readings(
    model: Model, contrast: Contrast, four: Four, known: dict[str, Tokens | Excluded]
) -> tuple[Reading, ...] | Excluded:
    if model.kind == "causal" and contrast.before == contrast.neutral_before:
        return _out("words first")
    plans: list[Plan] = []
    for sentence in four:
        tokens = known[sentence.text]
        if isinstance(tokens, Excluded):
            return tokens
        made = plan(model, SCORERS[SCORER], sentence, tokens, None)
        if isinstance(made, Excluded):
            return made
        plans.append(made)
    asks: dict[tuple[tuple[int, ...], tuple[int, ...]], list[tuple[int, int, int, int]]] = {}
    for sign, one, other in ((1, plans[0], plans[2]), (-1, plans[1], plans[3])):
        if [row.wanted for row in one.rows] != [row.wanted for row in other.rows]:
            return _out("other pieces")
        for row, facing in zip(one.rows, other.rows, strict=True):
            read = asks.setdefault((row.ids, facing.ids), [])
            for place, across, word in zip(row.places, facing.places, row.wanted, strict=True):
                read.append((place, across, word, sign))
    return tuple(
        Reading(
            ids=ids,
            neutral=neutral,
            places=tuple(one[0] for one in read),
            neutral_places=tuple(one[1] for one in read),
            wanted=tuple(one[2] for one in read),
            signs=tuple(one[3] for one in read),
        )
        for (ids, neutral), read in asks.items()
    )


def _out(reason: str) -> Excluded:
    return Excluded(reason=reason, told=REASONS[reason])


def _alike(one: Sequence[int], other: Sequence[int], most: int) -> int:
    for i in range(most):
        if one[i] != other[i]:
            return i
    return most
