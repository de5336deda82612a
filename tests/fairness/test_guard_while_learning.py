"""The guard of language while demo models are trained by their own recipe."""

import dataclasses
import logging

import pytest

from inspector.demo.corpus import generate
from inspector.demo.networks import untrained
from inspector.demo.recipes import RECIPES
from inspector.demo.train import train
from inspector.fairness.guard import language_guard
from inspector.fairness.scorers import SCORERS
from inspector.model.load import load

LOG = logging.getLogger(__name__)
TEXTS = [sentence.text for sentence in generate(sentences=60, beta=2.0, seed=5)]
STEPS = {"planted": (40, 600), "planted-mlm": (150, 1500)}
CASES = [
    (name, scorer)
    for name in STEPS
    for scorer, how in SCORERS.items()
    if how.needs != "spans" and RECIPES[name].kind in how.kinds
]


@pytest.fixture(scope="module")
def learning(tmp_path_factory):
    """Demo models by name: untrained, after a part of the steps and after all."""
    made = {}
    for name, steps in STEPS.items():
        found = []
        for some in (0, *steps):
            recipe = dataclasses.replace(RECIPES[name], steps=some or 1)
            network, tokenizer = train(recipe)
            folder = tmp_path_factory.mktemp(f"{name}{some}")
            (network if some else untrained(recipe)).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            found.append(load(folder))
        made[name] = found
    return made


@pytest.mark.soak
@pytest.mark.parametrize(("name", "scorer"), CASES)
def test_it_rises_and_passes_in_the_end(learning, name, scorer):
    before, midway, after = (language_guard(one, scorer, TEXTS) for one in learning[name])
    for guard in (before, midway, after):  # as measured: --log-file, level INFO
        LOG.info("%s by %s: %s, %s", name, scorer, guard.share, guard.gain)
    assert before.problem and before.share.low < 0.75
    assert before.gain.value < midway.gain.value < after.gain.value
    assert before.share.value < after.share.value and after.share.low > 0.75
    assert after.problem is None
