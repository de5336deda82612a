"""The guard of a scorer rises while a model learns, and fails models that know nothing."""

import copy
import dataclasses
import math
import random

import numpy as np
import pytest
import torch
from fairness.talkers import pieces
from hypothesis import given
from hypothesis import strategies as st
from transformers import BertConfig, BertForMaskedLM, LlamaForCausalLM

from inspector.demo.corpus import generate, vocabulary
from inspector.fairness.guard import LEAST, MOST, _judged, language_guard, shuffled
from inspector.fairness.scorer_table import SCORERS
from inspector.fairness.scoring import score
from inspector.fairness.sentences import Sentence
from inspector.fairness.verdicts import INVALID, judge
from inspector.model.load import load

TEXTS = [sentence.text for sentence in generate(sentences=32, beta=2.0, seed=5)]
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<mask>")


def trained(folder, words, corpus, steps):
    """A masked model of texts as it is after each number of steps in `steps`, the first 0."""
    tokenizer = pieces(masked=True, vocabulary=[*SPECIAL, *words])
    ids = tokenizer(corpus, padding=True, return_tensors="pt")["input_ids"]
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=96,
        max_position_embeddings=32,
        pad_token_id=0,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    network = BertForMaskedLM(config)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    found = [load(folder)]
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for step in range(1, steps[-1] + 1):
        batch = ids[torch.randint(len(ids), (40,))]
        hidden = (torch.rand(batch.shape) < 0.3) & (batch >= len(SPECIAL))
        labels = batch.masked_fill(~hidden, -100)
        out = network(batch.masked_fill(hidden, 4), attention_mask=batch != 0, labels=labels)
        torch.autograd.backward(out.loss)
        optimizer.step()
        optimizer.zero_grad()
        if step in steps:
            found.append(dataclasses.replace(found[0], network=copy.deepcopy(network).eval()))
    return found


@pytest.fixture(scope="module")
def learning(tmp_path_factory):
    """A masked model of the demo corpus after 0, 40 and 240 steps."""
    corpus = [sentence.text for sentence in generate(sentences=3000, beta=2.0, seed=1)]
    return trained(tmp_path_factory.mktemp("masked"), vocabulary(), corpus, (0, 40, 240))


def asked_by(scorer):
    """Sentences, with a part that is scored where the scorer wants one."""
    if SCORERS[scorer].needs != "spans":
        return TEXTS
    return [
        Sentence(
            text=text,
            scored=((text.rindex(f" {word} ") + 1, text.rindex(f" {word} ") + 1 + len(word)),),
        )
        for text in TEXTS
        for word in [text.split()[-3]]
    ]


@pytest.mark.parametrize("scorer", [s for s, how in SCORERS.items() if "masked" in how.kinds])
def test_it_rises_while_a_masked_model_learns(learning, scorer):
    guards = [language_guard(model, scorer, asked_by(scorer)) for model in learning]
    shares = [guard.share.value for guard in guards]
    assert shares[0] < 0.7 and guards[0].problem
    assert shares[-1] > 0.8
    assert guards[-1].problem is None or scorer == "continuation"  # one word tells less
    assert guards[0].gain.value < guards[1].gain.value < guards[2].gain.value


@pytest.mark.parametrize("scorer", [s for s, how in SCORERS.items() if "causal" in how.kinds])
def test_it_rises_from_random_weights_to_the_demo(scorer):
    model = load("demo:planted")
    torch.manual_seed(1)
    blank = dataclasses.replace(model, network=LlamaForCausalLM(model.network.config).eval())
    half = copy.deepcopy(model.network)
    with torch.no_grad():  # between the two
        for own, other in zip(half.parameters(), blank.network.parameters(), strict=True):
            own.lerp_(other, 0.5)
    guards = [
        language_guard(one, scorer, asked_by(scorer))
        for one in (blank, dataclasses.replace(model, network=half), model)
    ]
    assert guards[0].gain.value < guards[1].gain.value < guards[2].gain.value
    assert guards[0].problem and guards[2].problem is None
    assert guards[2].share.value > 0.9


def test_what_fails_the_guard_is_an_invalid_measurement(learning):
    guard = language_guard(learning[0], "pll", TEXTS)
    assert judge(None, problems=[guard.problem]).verdict == INVALID
    assert "chance is 50 %" in guard.problem


def test_a_constant_model_ties_and_fails(learning):
    network = copy.deepcopy(learning[-1].network)
    with torch.no_grad():
        for values in network.parameters():
            values.zero_()
    guard = language_guard(dataclasses.replace(learning[-1], network=network), "pll", TEXTS)
    assert guard.n_ties == guard.n_items == len(set(TEXTS))
    assert (guard.share.value, guard.gain.value) == (0.5, 0)
    assert guard.problem


def test_sentences_that_cannot_be_scored_fail_it(learning):
    guard = language_guard(learning[-1], "pll", ["quite unknown words here", "and here also there"])
    assert guard.share is None and guard.n_excluded == 2 and "too few" in guard.problem
    assert language_guard(learning[-1], "pll", ["the nurse"]).problem  # nothing to shuffle


def test_few_sentences_and_few_templates_do_not_pass(learning):
    assert language_guard(learning[-1], "aul", TEXTS[:5]).problem
    alone = language_guard(learning[-1], "aul", TEXTS)
    alike = language_guard(learning[-1], "aul", TEXTS, clusters=[i % 3 for i in range(len(TEXTS))])
    assert alike.share.low < LEAST < alone.share.low


def test_no_more_are_asked_than_it_takes(learning):
    many = [sentence.text for sentence in generate(sentences=130, beta=0, seed=3)]
    assert language_guard(learning[-1], "aul", many).n_items == MOST


def test_the_same_seed_asks_the_same(learning):
    one, again, other = (language_guard(learning[1], "aul", TEXTS, seed=s) for s in (0, 0, 1))
    assert one == again and one.gain != other.gain


def test_pieces_that_give_each_other_away_are_hidden_together(tmp_path):
    """Each of eight words has two pieces of its own: seen, one says all about the other."""
    letters = "abcdefgh"
    words = [f"{one}{one}" for one in letters]
    model = trained(tmp_path, [*letters, *(f"##{one}" for one in letters)], words, (0, 150))[-1]
    found = {s: score(model, s, ["cc"])[0] for s in ("pll", "pll-word-l2r")}
    assert [one.tokens for one in found.values()] == [2, 2]
    assert found["pll"].score > -0.5
    assert found["pll-word-l2r"].score < math.log(1 / 8) / 2  # one of eight, and unlike ones
    joint = score(model, "continuation", [Sentence(text="cc", scored=((0, 2),))])[0]
    assert joint.score == pytest.approx(found["pll-word-l2r"].score, abs=1e-5)


@given(st.lists(st.sampled_from(["a", "bb", "c.", "dé", "e"]), min_size=1, max_size=8), st.data())
def test_shuffling_moves_words_and_keeps_what_is_scored(words, data):
    text = data.draw(st.sampled_from([" ", "  ", " \n"])).join(words)
    at = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(at + 1, len(text)))
    sentence = Sentence(text=text, scored=((at, end),))
    found = shuffled(sentence, random.Random(0))
    if found is None:
        outside = text[:at].split()[:-1] + text[end:].split()[1:]
        assert len(set(outside)) < 3
        return
    (start, last) = found.scored[0]
    assert found.text[start:last] == text[at:end]
    assert sorted(found.text.split()) == sorted(words) and found.text.split() != words
    assert len(found.text) == len(text)


def test_a_perfect_score_is_no_worse_than_a_good_one():
    """Without a failure nothing is seen of how templates differ; that is no reason to refuse."""
    templates = [i % 12 for i in range(96)]
    good = np.where(np.arange(96) == 50, -1.0, 1.0)
    one, other = (_judged("pll", values, templates) for values in (np.ones(96), good))
    assert one.share.low >= other.share.low > LEAST and one.problem is other.problem is None
    assert one.share.value == 1


def either(text, words=("he", "she")):
    """The sentence with each of the words in the place of the first that it holds, scored."""
    pattern = next(text.replace(f" {word} ", " {} ", 1) for word in words if f" {word} " in text)
    start = pattern.index("{}")
    return tuple(
        Sentence(text=pattern.format(word), scored=((start, start + len(word)),)) for word in words
    )


def test_of_several_words_any_counts_under_one_order():
    """By hand: the probabilities of both words added, in the sentence and in one other order."""
    model = load("demo:planted-mlm")
    sides = [either(TEXTS[0]), either(TEXTS[1])]
    found = language_guard(model, "continuation", sides, seed=3)
    draw = random.Random(3)
    draw.shuffle(sides)
    gains = []
    for he, she in sides:
        mixed = shuffled(he, draw)
        (start, end) = mixed.scored[0]
        other = mixed.text[:start] + "she" + mixed.text[end:]
        asked = [he, she, mixed, Sentence(text=other, scored=((start, start + 3),))]
        odds = [math.exp(one.score) for one in score(model, "continuation", asked)]
        gains.append(math.log((odds[0] + odds[1]) / (odds[2] + odds[3])))
    assert found.n_items == 2
    assert found.gain.value == pytest.approx(sum(gains) / 2, abs=1e-5)


def test_which_of_two_words_a_model_prefers_does_not_matter_to_it():
    """The word that a bias speaks against is likelier among shuffled words: no lack of language."""
    model = load("demo:planted-mlm")
    sides = [either(s.text) for s in generate(sentences=120, beta=2.0, seed=6)]
    known = score(model, "continuation", [one for side in sides for one in side])
    pairs = zip(known[::2], known[1::2], strict=True)
    rarer = [side[he.score > she.score] for side, (he, she) in zip(sides, pairs, strict=True)]
    alone = language_guard(model, "continuation", rarer)
    both = language_guard(model, "continuation", sides)
    assert alone.problem and alone.share.value < 0.75
    assert both.problem is None and both.share.value > 0.95
