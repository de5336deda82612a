"""How WEAT's d, of one test or the mean of several, is measured and compared by words."""

import dataclasses
import math
from collections.abc import Hashable
from typing import Final

import numpy as np
from jaxtyping import Float
from scipy.special import stdtr

from inspector.errors import NotEnoughData
from inspector.fairness.associations import Association, weat
from inspector.fairness.clusters import positions, smallest_gap, student
from inspector.fairness.measures import Change, Measured
from inspector.fairness.permutation import SAME
from inspector.fairness.probes.parts import Clusters, How, Values
from inspector.fairness.uncertainty import ALPHA
from inspector.results import Estimate

UNIT: Final = "standard deviations"
FEWEST: Final = 2  # words of a side


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class _Effect:
    """d of one test, and how much each word moves it: their squares add up to its variance."""

    d: float
    moves: Float[np.ndarray, " words"]
    standard: Float[np.ndarray, " words"]  # associations over their spread


def effect_size(x: Float[np.ndarray, " x"], y: Float[np.ndarray, " y"]) -> float | None:
    """The d of two sets of associations; None where it cannot be had."""
    sides = np.concatenate([np.ones(len(x)), -np.ones(len(y))])
    values = np.stack([np.concatenate([x, y]), sides, np.zeros(len(sides))], axis=1)
    try:
        (rows,) = _tests(values)
        return _effect(values[rows]).d
    except NotEnoughData:
        return None


def measured_effect(values: Values, clusters: Clusters, seed: int) -> Measured:
    """The d of words of one test, by exact permutation; of several tests the mean of their d.

    values: a row for each word of each test: its association (NaN: excluded), its side (1 in X, -1
    in Y), the number of the test. Of several tests, which may share words, the word is the unit:
    Student's t with what each word moves all of its tests, so that a word in two tests is no two
    pieces of evidence.
    Tests of which a side has fewer than two words are left out; NotEnoughData where none is left.
    """
    tests = _tests(values)
    rows = np.concatenate(tests)
    excluded = len(values) - len(rows)
    if len(tests) == 1:
        return _one(values[rows], excluded, seed)
    effects = [_effect(values[rows]) for rows in tests]
    labels = [clusters[i] for i in rows]
    moves = np.concatenate([effect.moves for effect in effects]) / len(effects)
    value = float(np.mean([effect.d for effect in effects]))
    return _by_words(value, moves, labels, len(tests), excluded)


def changed_effect(before: Values, after: Values, clusters: Clusters, seed: int) -> Change:
    """How much d rose on the same words: of one test with an exact permutation of words.

    What is permuted is each word's association in units of the spread, after less before: the
    difference of its means is that of the two d.
    """
    unknown = np.isnan(before[:, 0]) | np.isnan(after[:, 0])
    tests = _tests(np.where(unknown[:, None], np.nan, after))
    pairs = [(_effect(before[rows]), _effect(after[rows])) for rows in tests]
    rows = np.concatenate(tests)
    labels = [clusters[i] for i in rows]
    moves = np.concatenate([b.moves - a.moves for a, b in pairs]) / len(pairs)
    value = float(np.mean([b.d - a.d for a, b in pairs]))
    found = _by_words(value, moves, labels, len(tests), len(after) - len(rows))
    if len(tests) == 1 and moves.any():
        x = after[rows, 1] > 0
        shifts = pairs[0][1].standard - pairs[0][0].standard
        exact = weat(shifts[x], shifts[~x], seed)
        found = dataclasses.replace(
            found, p_value=exact.p_value, smallest_p=exact.smallest_p, test=_named(exact)
        )
    return Change(difference=found, sides=None)


EFFECT: Final = How(measured=measured_effect, change=changed_effect)
"""WEAT's d, positive where X leans to A, against zero."""


def _tests(values: Values) -> list[np.ndarray]:
    """Places of the known words of each test that has enough of them on both sides."""
    found = []
    known = ~np.isnan(values).any(1)
    for test in np.unique(values[known, 2]):
        rows = np.flatnonzero(known & (values[:, 2] == test))
        sides = values[rows, 1]
        if min((sides > 0).sum(), (sides < 0).sum()) >= FEWEST:
            found.append(rows)
    if not found:
        raise NotEnoughData("no test has two words on each side")
    return found


def _one(values: Values, excluded: int, seed: int) -> Measured:
    x = values[:, 1] > 0
    found = weat(values[x, 0], values[~x, 0], seed)
    inner = weat(values[x, 0], values[~x, 0], seed, 1, 1 - 2 * ALPHA)
    return Measured(
        estimate=found.d,
        inner=inner.d,
        null=0.0,
        p_value=found.p_value,
        smallest_p=found.smallest_p,
        test=_named(found),
        n_items=len(values),
        n_clusters=len(values),
        n_ties=0,
        n_excluded=excluded,
        mde80=_smallest_d(found.n_x, found.n_y, found.smallest_p),
    )


def _named(found: Association) -> str:
    how = "all" if found.exact else "drawn"
    return f"permutation of words, {found.partitions} partitions, {how}"


def _smallest_d(n_x: int, n_y: int, smallest_p: float) -> float | None:
    """What d is shown with power 0.8: Cohen's, by the t test, over the spread of all words."""
    n, ratio = n_x + n_y, n_x * n_y / (n_x + n_y)
    cohen = smallest_gap(1 / math.sqrt(ratio), n - 1)
    if cohen is None or smallest_p > ALPHA:
        return None
    return cohen / math.sqrt((n - 2 + cohen**2 * ratio) / (n - 1))


def _effect(values: Values) -> _Effect:
    """The d of one test, and what each word adds to the difference of means over the spread.

    The spread counts as known: that widens intervals where d is large, and never narrows them.
    """
    s, x = values[:, 0], values[:, 1] > 0
    spread = float(s.std(ddof=1))
    if not spread > SAME * float(np.abs(s).max()):
        raise NotEnoughData("all words are associated alike: d would divide by zero")
    moves = np.zeros(len(s))
    for side, sign in ((x, 1.0), (~x, -1.0)):
        n = int(side.sum())
        moves[side] = sign * (s[side] - s[side].mean()) / spread / math.sqrt(n * (n - 1))
    d = float(s[x].mean() - s[~x].mean()) / spread
    return _Effect(d=d, moves=moves, standard=s / spread)


def _by_words(
    value: float,
    moves: Float[np.ndarray, " rows"],
    words: list[Hashable],
    tests: int,
    excluded: int,
) -> Measured:
    """A number whose variance is the sum over words of what they move it, squared."""
    known, place = positions(words)
    sums = np.zeros(len(known))
    np.add.at(sums, place, moves)
    error = math.sqrt(float((sums**2).sum()))
    degrees = max(1, len(known) - 2 * tests)  # a mean is fitted to either side of each test

    def within(confidence: float) -> Estimate:
        told = f"t over words of {tests} tests"
        return student(value, error, degrees, confidence, len(known), UNIT, told)

    p = float(value == 0) if error == 0 else float(2 * stdtr(degrees, -abs(value) / error))
    return Measured(
        estimate=within(1 - ALPHA),
        inner=within(1 - 2 * ALPHA),
        null=0.0,
        p_value=p,
        smallest_p=0.0,
        test=f"t over {len(known)} words of {tests} tests",
        n_items=len(moves),
        n_clusters=len(known),
        n_ties=0,
        n_excluded=excluded,
        mde80=smallest_gap(error, degrees + 1),
    )
