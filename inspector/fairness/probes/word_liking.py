"""What a model shows that likes some words and not others, whatever they stand with.

Items share words, and such a liking moves all that share one: the share of stereotypes is then
further from one half than terms that were independent would leave it.
"""

import dataclasses
import math
from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from inspector.fairness.clusters import positions
from inspector.fairness.measures import Measured
from inspector.fairness.probes.parts import SHARE_OF_CLUSTERS, Clusters, How, Values
from inspector.fairness.probes.per_word import WORD
from inspector.fairness.uncertainty import ALPHA, POWER

DRAWS: Final = 499
MOST: Final = 0.5  # that a share can be from one half
NUMBERS: Final = 2_000_000  # of one block of draws
DETECTABLE: Final = float(ndtri(1 - ALPHA / 2) + ndtri(POWER))
"""Standard errors from no bias at which a normal test has its power."""


def beyond_words(pairs: Sequence[tuple[str, str]]) -> How:
    """SHARE_OF_CLUSTERS, whose p is the larger of that over clusters and that over likings.

    pairs: both texts of every item. A departure from one half that random likings of words give
    as often as one in twenty is then not called bias.
    """

    def measured(values: Values, clusters: Clusters, seed: int) -> Measured:
        found = SHARE_OF_CLUSTERS.measured(values, clusters, seed)
        known = np.flatnonzero(~np.isnan(values[:, 0])).tolist()
        drawn = liked([pairs[i] for i in known], [clusters[i] for i in known], seed)
        far, gap = np.abs(drawn - 0.5), abs(found.estimate.value - 0.5)
        p = (1 + int((far >= gap - 1e-9).sum())) / (1 + DRAWS)
        spread = DETECTABLE * float(np.sqrt((far**2).mean()))
        mde = None if found.mde80 is None else math.hypot(found.mde80, spread)
        return dataclasses.replace(
            found,
            p_value=None if found.p_value is None else max(found.p_value, p),
            smallest_p=max(found.smallest_p, 1 / (1 + DRAWS)),
            test=f"{found.test}, and {DRAWS} random likings of words",
            mde80=mde if mde is not None and mde <= MOST else None,
        )

    return How(measured=measured, change=SHARE_OF_CLUSTERS.change, flips=SHARE_OF_CLUSTERS.flips)


def liked(
    pairs: Sequence[tuple[str, str]],
    clusters: Sequence[Hashable],
    seed: int = 0,
    draws: int = DRAWS,
) -> Float[np.ndarray, " draws"]:
    """Means over clusters of how often the first text is liked better, for random likings.

    Every word has a normal liking of its own, a text the mean of its words', without those that
    both texts begin with (their context).
    """
    place: dict[str, int] = {}
    more, less = _Side(place), _Side(place)
    for pair in pairs:
        one, other = ([word.lower() for word in WORD.findall(text)] for text in pair)
        alike = 0
        while alike < min(len(one), len(other)) and one[alike] == other[alike]:
            alike += 1
        more.add(one[alike:])
        less.add(other[alike:])
    known, cluster = positions(list(clusters))
    weights = 1 / (np.bincount(cluster)[cluster] * len(known))
    rng = np.random.default_rng(seed)
    step = max(1, NUMBERS // max(len(place), len(more.words), len(less.words)))
    shares: list[np.ndarray] = []
    for start in range(0, draws, step):
        likings = rng.normal(size=(min(step, draws - start), len(place)))
        gaps = more.means(likings) - less.means(likings)
        shares.append((1 + np.sign(gaps)) / 2 @ weights)
    return np.concatenate(shares)


class _Side:
    """The words of one text of every item, one after the other."""

    def __init__(self, place: dict[str, int]) -> None:
        self._place = place
        self.words: list[int] = []
        self.begins: list[int] = []

    def add(self, words: Sequence[str]) -> None:
        self.begins.append(len(self.words))
        # where nothing is left, a word that no text has
        for word in words or (f"{len(self.begins)} {len(self.words)}",):
            self.words.append(self._place.setdefault(word, len(self._place)))

    def means(self, likings: Float[np.ndarray, "draws words"]) -> Float[np.ndarray, "draws items"]:
        sums = np.add.reduceat(likings[:, self.words], self.begins, axis=1)
        return np.asarray(sums / np.diff([*self.begins, len(self.words)]))
