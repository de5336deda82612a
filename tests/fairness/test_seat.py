"""WEAT and SEAT on contextual vectors: pooling by brute force, words as units, planted models."""

import dataclasses

import numpy as np
import pytest
import torch
from fairness.talkers import pieces
from fairness.wordy import GENDER, SPECIAL, WEAT, WORDS, leaning, lists_of, word_level
from tokenizers import processors
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from inspector.errors import BadOption
from inspector.fairness.associations import associations
from inspector.fairness.associations import weat as permuted
from inspector.fairness.probes.contextual_weat import seat, weat
from inspector.fairness.probes.table import PROBES, probe
from inspector.fairness.sentences import Excluded, Sentence
from inspector.fairness.sets.own_words import SENTENCES
from inspector.fairness.stimuli import read
from inspector.fairness.vectors import POOLINGS, alone, filled, known_words, word_vectors
from inspector.fairness.verdicts import DETECTED, INCONCLUSIVE, INVALID
from inspector.model.load import load

AROUND = [
    word.strip(".").lower()
    for sentence in SENTENCES
    for word in sentence.split()
    if "{word}" not in word
]
EVERY = {"weat-1": 1.0, "weat-6": 1.0}


def tokenizer(masked):
    made = word_level([*AROUND, ".", *WORDS])
    if masked:
        made.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A <pad>", special_tokens=[("<s>", 2), ("<pad>", 0)]
        )
    return made


def saved(folder, masked, strength, seed=0):
    """A tiny random model; what is planted in its rows outweighs what its block adds."""
    words = tokenizer(masked)
    torch.manual_seed(seed)
    sizes = {"vocab_size": len(words)}
    if masked:
        config = BertConfig(
            **sizes,
            hidden_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
        )
        network, table = BertForMaskedLM(config), "bert.embeddings.word_embeddings.weight"
    else:
        config = GPT2Config(**sizes, n_embd=24, n_layer=1, n_head=2)
        network, table = GPT2LMHeadModel(config), "transformer.wte.weight"
    if strength is not None:
        rows = leaning(words, strength, seed=seed)
        with torch.no_grad():
            dict(network.named_parameters())[table].copy_(torch.tensor(rows))
    network.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    return lists_of(tmp_path_factory.mktemp("lists") / "own.yaml", *GENDER)


@pytest.fixture(scope="module", params=[False, True], ids=["causal", "masked"])
def planted(request, tmp_path_factory):
    return load(saved(tmp_path_factory.mktemp("planted"), request.param, EVERY))


@pytest.fixture(scope="module")
def asked(planted, lists):
    """Each probe of the planted model, run once."""
    return {name: probe(planted, name, lists) for name in ("weat", "seat")}


def of(found, category, metric="d"):
    (record,) = (r for r in found if (r.metric, r.category) == (metric, category))
    return record


@pytest.mark.parametrize("name", ["weat", "seat"])
def test_what_was_planted_is_detected(name, planted, asked):
    found = asked[name]
    record = of(found, "weat-6")
    assert record.verdict == DETECTED and record.estimate > 1
    assert record.n_items == record.n_clusters == 16  # words, not sentences
    assert record.p_value >= 2 / 12870
    pooling = "last piece" if planted.kind == "causal" else "mean of the word's pieces"
    assert record.scorer.startswith(pooling) and "last layer" in record.scorer
    assert found.summary["quality"][0]["category"] == "weat-1"


@pytest.mark.parametrize(("name", "masked"), [("weat", False), ("seat", True)])
def test_random_weights_are_an_invalid_measurement(name, masked, lists, tmp_path):
    model = load(saved(tmp_path, masked, None))
    found = probe(model, name, lists, margin=1.9)
    assert {record.verdict for record in found} == {INVALID}
    assert "WE-CONTROL" in {finding.id for finding in found.findings}


def test_nothing_planted_but_the_control_is_not_detected(lists, tmp_path):
    found = probe(load(saved(tmp_path, True, {"weat-1": 1.0})), "seat", lists)
    assert of(found, "weat-6").verdict == INCONCLUSIVE


def test_sentences_are_averaged_first(planted, asked):
    """d and p are those of one vector a word: the mean over its sentences."""
    test = WEAT["weat-6"]
    how = "word-last" if planted.kind == "causal" else "word-mean"
    lists_of_vectors = [
        np.stack(
            [
                np.mean(word_vectors(planted, [filled(s, w) for s in SENTENCES], how), axis=0)
                for w in words
            ]
        )
        for words in (test.x, test.y, test.a, test.b)
    ]
    x, y, a, b = lists_of_vectors
    expected = permuted(associations(x, a, b), associations(y, a, b))
    record = of(asked["seat"], "weat-6")
    assert record.estimate == pytest.approx(expected.d.value)
    assert record.p_value == expected.p_value


def test_the_spread_over_sentences_is_told(asked):
    contexts = asked["seat"].summary["contexts"]["weat-6"]
    assert list(contexts["d"]) == list(SENTENCES)
    assert contexts["lowest"] == min(contexts["d"].values()) > 0
    assert contexts["highest"] == max(contexts["d"].values())
    assert contexts["above_zero"] == len(SENTENCES) and contexts["below_zero"] == 0
    assert "contexts" not in asked["weat"].summary


# pooling


def hidden(model, text):
    """The last layer for one text as its tokenizer makes it, by hand."""
    ids = model.tokenizer(text)["input_ids"]
    if model.kind == "causal":
        ids = [model.tokenizer.bos_token_id, *ids]
    with torch.no_grad():
        out = model.network(torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0]
    return ids, out.double().numpy()


@pytest.fixture(scope="module", params=["gpt2", "bert"])
def spelling(request, tmp_path_factory):
    """A random model that reads words in pieces."""
    masked = request.param == "bert"
    words, folder = pieces(masked), tmp_path_factory.mktemp("pieces")
    sizes = {"vocab_size": len(words)}
    torch.manual_seed(0)
    if masked:
        network = BertForMaskedLM(
            BertConfig(
                **sizes,
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
            )
        )
    else:
        network = GPT2LMHeadModel(GPT2Config(**sizes, n_embd=16, n_layer=2, n_head=2))
    network.save_pretrained(folder)
    words.save_pretrained(folder)
    return load(folder)


def test_vectors_equal_brute_force(spelling):
    texts = ["a bad 3 .", "bad 1", "face .", "a b face 2 4 ."]
    words = ["bad", "bad", "face", "face"]
    given = [
        Sentence(text=text, scored=((text.index(w), text.index(w) + len(w)),))
        for text, w in zip(texts, words, strict=True)
    ]
    for pooling in POOLINGS:
        if pooling == "cls" and spelling.kind == "causal":
            continue
        found = word_vectors(spelling, given, pooling)
        for text, word, vector in zip(texts, words, found, strict=True):
            ids, states = hidden(spelling, text)
            names = spelling.tokenizer.convert_ids_to_tokens(ids)
            first = names.index(word[0], 2 if text.startswith("a b") else 1)
            at = list(range(first, first + len(word)))
            assert [names[i].removeprefix("##") for i in at] == list(word)
            rows = {"word-mean": at, "word-last": at[-1:], "cls": [0]}[pooling]
            assert vector == pytest.approx(states[rows].mean(0), abs=1e-6)
    if spelling.kind == "masked":
        assert spelling.tokenizer.convert_ids_to_tokens(hidden(spelling, "bad")[0])[0] == "<s>"


def test_poolings_that_a_model_cannot_have_are_refused(planted, lists):
    with pytest.raises(BadOption, match="no pooling 'middle'"):
        probe(planted, "weat", lists, pooling="middle")
    if planted.kind == "causal":
        with pytest.raises(BadOption, match="has seen no word"):
            probe(planted, "weat", lists, pooling="cls")
    else:
        found = probe(planted, "seat", lists, pooling="cls")
        assert "before the text" in found[0].scorer


def test_a_sentence_that_cannot_be_read_comes_back_with_its_reason(spelling):
    (found,) = word_vectors(spelling, [Sentence(text="a ! b", scored=((2, 3),))], "word-mean")
    assert isinstance(found, Excluded) and "vocabulary" in found.told


def test_words_alone_are_read_as_in_a_sentence(spelling):
    words = known_words(spelling, ["bad", "fa!", "hidden mask <mask>"])
    assert words["fa!"].excluded and words["hidden mask <mask>"].excluded
    one = alone(spelling, words["bad"])
    assert one.text[one.scored[0][0] : one.scored[0][1]] == "bad"


# left out


def test_words_that_the_model_does_not_know_are_counted(planted, tmp_path):
    more = dataclasses.replace(WEAT["weat-6"], x=(*WEAT["weat-6"].x, "zebra"))
    lists = lists_of(tmp_path / "own.yaml", "weat-1")
    text = "weat-6:\n  X: [" + ", ".join(more.x) + "]\n  Y: [" + ", ".join([*more.y, "giraffe"])
    text += "]\n  A: [" + ", ".join(more.a) + "]\n  B: [" + ", ".join(more.b) + "]\n"
    lists.write_text(lists.read_text() + text)
    for name in ("weat", "seat"):
        found = probe(planted, name, lists)
        record = of(found, "weat-6")
        assert (record.n_items, record.n_excluded) == (16, 2) and record.verdict == DETECTED
        told = [f.statement for f in found.findings if f.id == "WE-UNKNOWN"]
        assert len(told) == 1 and "zebra" in told[0]


def test_few_known_words_are_an_invalid_measurement(planted):
    found = probe(planted, "weat", margin=1.9)  # the paper's lists, of which it knows some
    assert found[0].n_excluded > 60
    assert of(found, "weat-4").verdict == INVALID


# a real model


def test_a_real_encoder_sees_flowers_and_insects(minilm):
    torch.set_num_threads(1)
    answers = weat(load(minilm), read("weat"))
    known = answers.summary["known"]["d"]
    assert known["problem"] == [] and known["tests"]["weat-1"]["d"]["value"] > 1
    assert answers.problems == ()


@pytest.mark.soak
def test_a_real_encoder_sees_them_in_sentences_with_every_pooling(minilm):
    model = load(minilm)
    for pooling in POOLINGS:
        answers = seat(model, read("weat"), pooling=pooling)
        assert answers.summary["known"]["d"]["problem"] == []


@pytest.mark.parametrize("name", ["weat", "seat"])
def test_the_table_names_it(name):
    assert PROBES[name].asks == "vectors" and PROBES[name].shipped == "weat"
    assert SPECIAL[1] == "<unk>"
