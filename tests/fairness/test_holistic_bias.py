"""The sweep over descriptors: axes against words without meaning."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from fairness.learners import taught

from inspector.errors import BadOption
from inspector.fairness.probes.holistic_bias import (
    CONTRASTS,
    WarmthScore,
    holistic_bias,
    parts_of,
    spreads,
)
from inspector.fairness.probes.parts import measure
from inspector.fairness.probes.running import judged
from inspector.fairness.sets.holistic import NONCE, read_frames, sentence
from inspector.fairness.stimuli import read
from inspector.fairness.verdicts import DETECTED, INCONCLUSIVE, INVALID

AXES = {"religion": 12, "ability": 12, NONCE: 8}


@pytest.fixture(scope="module")
def some(public):
    """The first descriptors of three axes."""
    whole = read("holistic-bias", public / "holistic_bias")
    kept = [
        d for axis, n in AXES.items() for d in [x for x in whole.items if x.category == axis][:n]
    ]
    return dataclasses.replace(whole, items=tuple(kept))


def filled(some, cold):
    """Every sentence that is asked, and how often it is to be seen."""
    frames = read_frames(Path(some.origin))
    noun = next(one for one in frames.nouns if one.singular == "person")
    known = {frame.text: frame for frame in frames.sentences}
    texts = {}
    for one in some.items:
        for warm, other in CONTRASTS:
            texts[sentence(one, noun, known[warm])] = 1.0
            texts[sentence(one, noun, known[other])] = cold.get(one.category, 1.0)
    return texts


def test_the_contrasts_are_sentences_of_the_set(some):
    known = {frame.text for frame in read_frames(Path(some.origin)).sentences}
    assert {text for pair in CONTRASTS for text in pair} <= known


def test_an_axis_that_was_taught_to_be_disliked_is_found_alone(some, tmp_path):
    model = taught(tmp_path, filled(some, {"religion": 6.0}), steps=150)
    found = judged(holistic_bias(model, some))
    assert [one.category for one in found] == [
        "all",
        "ability",
        "religion",
        "one half of the nonce words",
        "sides shuffled",
    ]
    by = {one.category: one for one in found}
    assert by["religion"].verdict == DETECTED and by["religion"].high < -0.3
    assert by["ability"].verdict == by["one half of the nonce words"].verdict == INCONCLUSIVE
    for item in found.items:
        assert item.gap == item.more - item.less and item.tokens_more == item.tokens_less
    axes = {row["axis"]: row for row in found.summary["axes"]}
    assert len(axes["religion"]["beyond"]) > len(axes["ability"]["beyond"]) == 0
    with pytest.raises(BadOption, match="neutral noun"):
        holistic_bias(model, some, noun="woman")


def test_random_weights_are_no_measurement(some, tmp_path):
    blank = taught(tmp_path, {"I": 1.0}, filled(some, {}), steps=1)
    assert {one.verdict for one in judged(holistic_bias(blank, some))} == {INVALID}


def items(seed, shift=0.0, spread=0.3, wild=1.0):
    """Forty descriptors and eight nonce words in three contrasts, with warmth drawn for each."""
    rng = np.random.default_rng(seed)
    lean = rng.normal(0, 1, 3)
    made = []
    for axis, count, moved, width in (("axis", 40, shift, wild), (NONCE, 8, 0.0, 1.0)):
        for i in range(count):
            own = moved + rng.normal(0, spread * width)
            for place, (warm, cold) in enumerate(CONTRASTS):
                gap = own + lean[place] + rng.normal(0, 0.2)
                made.append(
                    WarmthScore(
                        id=f"{axis} {i} {place}",
                        category=axis,
                        group="all",
                        cluster=f"{axis} {i}",
                        direction=1,
                        scorer="by hand",
                        gap=gap,
                        more=gap,
                        less=0.0,
                        tokens_more=2,
                        tokens_less=2,
                        excluded=None,
                        text_more=warm,
                        text_less=cold,
                        contrast=warm,
                    )
                )
    return made


def test_the_number_is_the_difference_of_means_within_contrasts():
    made = items(1, shift=0.7)
    means = [np.mean([i.gap for i in made if i.category == axis]) for axis in ("axis", NONCE)]
    assert measure(parts_of(made)[1]).estimate.value == pytest.approx(means[0] - means[1])


def test_spread_and_words_beyond_are_read_against_the_nonce_words():
    (calm,) = spreads(items(1))["axes"]
    (wild,) = spreads(items(1, wild=6.0))["axes"]
    assert calm["p_value"] > 0.05 > wild["p_value"] and wild["spread"] > 3 * calm["spread"]
    assert calm["beyond"] == [] and calm["share_uncorrected"] < 0.2
    assert len(wild["beyond"]) > 5
    few = [item for item in items(1) if item.category != NONCE]
    assert spreads(few)["axes"] == []


@pytest.mark.soak
def test_it_errs_as_often_as_it_says():
    """Eight nonce words against forty descriptors: 7 % and 3 % at nominal 5 %."""
    said, beyond = [], []
    for seed in range(300):
        made = items(seed)
        one = measure(parts_of(made)[1], seed)
        said.append(one.p_value <= 0.05 and not one.estimate.low <= 0 <= one.estimate.high)
        beyond.append(bool(spreads(made)["axes"][0]["beyond"]))
    assert np.mean(said) <= 0.1 and np.mean(beyond) <= 0.06
