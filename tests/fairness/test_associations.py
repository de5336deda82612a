"""WEAT with the word as the unit, against enumeration, simulation and peers' mistakes."""

import itertools
import math

import numpy as np
import pytest

from inspector.errors import BadOption, NotEnoughData
from inspector.fairness.associations import associations, weat

RNG = np.random.default_rng(0)


def d_of(x, y):
    return (x.mean() - y.mean()) / np.concatenate([x, y]).std(ddof=1)


def enumerated(x, y):
    """p over all re-partitions, written out."""
    every = np.concatenate([x, y])
    seen = abs(x.mean() - y.mean())
    far = total = 0
    for chosen in itertools.combinations(range(len(every)), len(x)):
        one = np.isin(np.arange(len(every)), chosen)
        total += 1
        far += abs(every[one].mean() - every[~one].mean()) >= seen - 1e-12
    return far / total, total


def limits(n, p=0.05, z=3.0):
    """Rejections that a test at level p gives in n null draws, at most."""
    return n * p + z * math.sqrt(n * p * (1 - p))


@pytest.mark.parametrize(("sizes", "count"), [((4, 4), 70), ((6, 6), 924), ((3, 5), 56)])
def test_p_is_that_of_all_partitions(sizes, count):
    x, y = RNG.normal(0.7, 1, sizes[0]), RNG.normal(size=sizes[1])
    found = weat(x, y)
    assert found.exact
    assert (found.p_value, found.partitions) == (pytest.approx(enumerated(x, y)[0]), count)
    assert found.p_value >= found.smallest_p
    assert found.d.value == pytest.approx(d_of(x, y))
    assert found.d.low < found.d.value < found.d.high


@pytest.mark.parametrize(("words", "count"), [(4, 70), (6, 924), (8, 12870)])
def test_sets_wholly_apart_reach_the_smallest_p(words, count):
    found = weat(np.arange(words) + 100.0, np.arange(words) * 1.0)
    assert found.p_value == found.smallest_p == pytest.approx(2 / count)


def test_all_words_alike_in_their_set_give_the_largest_d():
    found = weat(np.ones(8), -np.ones(8))
    assert round(found.d.value, 4) == 1.9365  # 2.00 with ddof 0
    assert found.ddof == 1
    assert found.d.method == "no variation in the sets"


@pytest.mark.parametrize("sizes", [(8, 8), (25, 25), (5, 9)])
def test_swapping_the_sets_turns_d_and_keeps_p(sizes):
    """A two-sided test that takes the absolute value on one side only never finds d < 0."""
    rng = np.random.default_rng(4)
    x, y = rng.normal(2.5, 1, sizes[0]), rng.normal(size=sizes[1])
    one, other = weat(x, y), weat(y, x)
    assert one.d.value == pytest.approx(-other.d.value)
    assert one.d.low == pytest.approx(-other.d.high)
    assert one.p_value == pytest.approx(other.p_value, abs=0.004 if not one.exact else 0)
    assert other.p_value < 0.05


def test_drawn_partitions_agree_with_all_of_them(monkeypatch):
    x, y = RNG.normal(0.6, 1, 8), RNG.normal(size=8)
    exact = weat(x, y)
    monkeypatch.setattr("inspector.fairness.associations.EXACT_WORDS", 0)
    drawn = weat(x, y, seed=3)
    assert not drawn.exact
    assert drawn.p_value == pytest.approx(exact.p_value, abs=0.015)
    assert drawn.null_mean == pytest.approx(exact.null_mean, abs=0.01)
    assert drawn.p_value == weat(x[::-1], y, seed=3).p_value  # neither order nor chance


def test_p_is_never_zero():
    found = weat(np.arange(25) + 100.0, np.arange(25) * 1.0, draws=99)
    assert found.p_value == found.smallest_p == 0.01


@pytest.mark.parametrize(
    ("words", "mean", "most"), [(6, 0.47, 1.11), (8, 0.41, 0.97), (25, 0.23, 0.55)]
)
def test_no_bias_gives_the_printed_sizes_of_d(words, mean, most):
    runs = [weat(*np.random.default_rng(s).normal(size=(2, words)), draws=499) for s in range(30)]
    assert np.mean([run.null_mean for run in runs]) == pytest.approx(mean, abs=0.015)
    assert np.mean([run.null_95 for run in runs]) == pytest.approx(most, abs=0.03)


def test_random_vectors_are_called_biased_at_the_level_only():
    runs = 500
    rng = np.random.default_rng(5)
    found = []
    for _ in range(runs):
        vectors = rng.normal(size=(32, 30))
        s = associations(vectors[:16], vectors[16:24], vectors[24:])
        found.append(weat(s[:8], s[8:]))
    assert sum(run.p_value <= 0.05 for run in found) <= limits(runs)
    assert sum(run.p_value <= 0.05 for run in found) >= runs * 0.05 - 3 * math.sqrt(runs * 0.0475)
    assert np.mean([abs(run.d.value) for run in found]) == pytest.approx(0.41, abs=0.05)
    covered = np.mean([run.d.low <= 0 <= run.d.high for run in found])
    assert covered >= 0.92


def test_words_are_the_unit_not_their_sentences():
    """8 words in 8 templates, 90 % of the variance between words: sentences reject at random."""
    runs, rng = 200, np.random.default_rng(11)
    by_word = by_sentence = 0
    for _ in range(runs):
        s = rng.normal(size=(16, 1)) * math.sqrt(0.9) + rng.normal(size=(16, 8)) * math.sqrt(0.1)
        by_word += weat(s[:8].mean(1), s[8:].mean(1)).p_value <= 0.05
        by_sentence += weat(s[:8].ravel(), s[8:].ravel(), draws=199).p_value <= 0.05
    assert by_word <= limits(runs)
    assert by_sentence > 0.15 * runs


def test_associations_are_mean_cosines():
    words, a, b = (RNG.normal(size=(n, 7)) for n in (3, 4, 6))

    def cosines(word, others):
        return [w @ word / np.linalg.norm(w) / np.linalg.norm(word) for w in others]

    expected = [np.mean(cosines(word, a)) - np.mean(cosines(word, b)) for word in words]
    assert associations(words, a, b) == pytest.approx(expected)
    assert associations(5 * words, a, b) == pytest.approx(expected)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(NotEnoughData, match="two words"):
        weat(np.ones(1), np.ones(3))
    with pytest.raises(NotEnoughData, match="alike"):
        weat(np.ones(4), np.ones(4))
    with pytest.raises(BadOption, match="finite"):
        weat(np.array([1.0, np.nan]), np.zeros(2))
    with pytest.raises(NotEnoughData, match="no direction"):
        associations(np.zeros((2, 3)), np.ones((1, 3)), np.ones((1, 3)))
    with pytest.raises(NotEnoughData, match="both sides"):
        associations(np.ones((2, 3)), np.ones((0, 3)), np.ones((1, 3)))
