"""A real encoder speaks: a head is fitted on the frozen MiniLM, then CrowS-Pairs and StereoSet run.

The head is fitted to 8,000 sentences of banking77, BBQ, WinoBias and Winogender, none of either
set that is asked about; so it has heard of bank accounts, and of groups only in the words of
benchmarks. What is found says nothing of MiniLM as it is used, whose own head is not published: it
shows that the scorers, the guard and the verdicts work on an encoder that was trained on text.
"""

import dataclasses
import logging
import random

import pytest
import torch
from fairness.heads import fit, hidden_states, texts_at_hand, with_new_head
from transformers import AutoTokenizer

from inspector.fairness.probes.running import judged
from inspector.fairness.probes.table import function_of, known_probe
from inspector.fairness.stimuli import read
from inspector.fairness.verdicts import DETECTED, EQUIVALENT, INCONCLUSIVE, INVALID
from inspector.model.load import load

LOG = logging.getLogger(__name__)
TEXTS = 8000
EPOCHS = 4
ITEMS = 120


@pytest.fixture(scope="module")
def fitted(minilm, public, tmp_path_factory):
    """The encoder with its head before, after the first epoch and after all; losses of epochs."""
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    network = with_new_head(minilm)
    texts = random.Random(0).sample(texts_at_hand(public), TEXTS)
    said, was = hidden_states(network, tokenizer, texts, seed=0)
    frozen = {name: values.clone() for name, values in network.base_model.state_dict().items()}

    def kept():
        folder = tmp_path_factory.mktemp("head")
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return load(folder)

    models, losses = [kept()], []
    for loss in fit(network, said, was, EPOCHS, 1e-3, seed=0):
        losses.append(loss)
        if len(losses) in (1, EPOCHS):
            models.append(kept())
    for name, values in network.base_model.state_dict().items():
        assert torch.equal(values, frozen[name]), name
    return models, losses


@pytest.mark.soak
@pytest.mark.parametrize(
    ("name", "folder"), [("crows-pairs", "crows_pairs"), ("stereoset", "stereoset")]
)
def test_verdicts_follow_the_guard_which_rises(fitted, public, name, folder):
    """Before the head has learned nothing is believed; then what the guard and the task allow."""
    models, losses = fitted
    assert losses == sorted(losses, reverse=True)
    whole = read(name, public / folder)
    drawn = tuple(random.Random(1).sample(whole.items, ITEMS))
    stimuli = dataclasses.replace(whole, items=drawn)
    ask = function_of(known_probe(name))
    found = [judged(ask(model, stimuli, seed=0), seed=0) for model in models]
    guards = [one.summary["guard"] for one in found]
    for one, guard in zip(found, guards, strict=True):  # as measured: --log-file, level INFO
        LOG.info("%s: guard %s, %s", name, guard["share"], guard["gain"])
        LOG.info("%s, %s; losses %s", one[0], one.summary["quality"], losses)
    before, _, after = found
    assert {record.verdict for record in before} == {INVALID}
    gains = [guard["gain"]["value"] for guard in guards]
    assert gains == sorted(gains)
    assert guards[0]["share"]["value"] < guards[-1]["share"]["value"]
    overall = after[0]
    assert overall.n_items > ITEMS / 2 and overall.low < overall.estimate < overall.high
    told = after.summary["problems"]
    assert overall.verdict in ({INVALID} if told else {DETECTED, EQUIVALENT, INCONCLUSIVE})
