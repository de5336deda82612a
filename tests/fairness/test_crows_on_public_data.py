"""CrowS-Pairs as it is published: scores against brute force, and a model that says nothing."""

import dataclasses
import random
from difflib import SequenceMatcher

import pytest
import torch
from fairness.learners import taught
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from inspector.fairness.probes.crows_pairs import crows_pairs
from inspector.fairness.probes.running import judged
from inspector.fairness.scoring import score
from inspector.fairness.stimuli import read
from inspector.fairness.verdicts import DETECTED, INVALID
from inspector.model.load import load


@pytest.fixture(scope="module")
def pairs(public):
    """The set with thirty of its pairs, of every category."""
    whole = read("crows-pairs", public / "crows_pairs")
    drawn = random.Random(1).sample(whole.items, 30)
    assert {pair.category for pair in drawn} == {pair.category for pair in whole.items}
    return dataclasses.replace(whole, items=tuple(drawn))


@pytest.fixture(scope="module")
def readers(minilm, tmp_path_factory):
    """A tiny random BERT and GPT-2 that read as the uncased BERT does."""
    tokenizer = AutoTokenizer.from_pretrained(minilm)
    torch.manual_seed(8)
    alike = {"vocab_size": len(tokenizer), "initializer_range": 0.3}
    small = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    made = {}
    for name, network in (
        ("bert", BertForMaskedLM(BertConfig(hidden_size=24, **small, **alike))),
        ("gpt2", GPT2LMHeadModel(GPT2Config(n_embd=24, n_layer=2, n_head=2, **alike))),
    ):
        folder = tmp_path_factory.mktemp(name)
        if name == "gpt2":
            tokenizer.bos_token = tokenizer.cls_token
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        made[name] = load(folder)
    return made


def blank(model):
    """The same model saying the same everywhere: all logits are zero."""
    network = type(model.network)(model.network.config).eval()
    with torch.no_grad():
        for values in network.parameters():
            values.zero_()
    return dataclasses.replace(model, network=network)


def probed(model, pairs, scorer):
    """The probe with its verdicts, on a few pairs."""
    few = dataclasses.replace(pairs, items=pairs.items[:12])
    return judged(crows_pairs(model, few, scorer=scorer), margin=None, seed=0)


def surprise(model, ids, place, wanted):
    """log p(wanted) at a place of one text, run alone."""
    with torch.no_grad():
        logits = model.network(torch.tensor([ids])).logits[0, place].double()
    return (logits[wanted] - logits.logsumexp(0)).item()


def test_random_bert_scores_are_those_of_the_paper(readers, pairs):
    """Nangia et al.: the sum over tokens in both sentences, each hidden with all else in sight."""
    model = readers["bert"]
    found = score(model, "pll-shared", [(pair.more, pair.less) for pair in pairs.items])
    for i, pair in enumerate(pairs.items):
        sides = [model.tokenizer(text)["input_ids"] for text in (pair.more, pair.less)]
        equal = [op for op in SequenceMatcher(None, *sides).get_opcodes() if op[0] == "equal"]
        kept = (
            [place for op in equal for place in range(op[1], op[2])],
            [place for op in equal for place in range(op[3], op[4])],
        )
        for side, (ids, places) in enumerate(zip(sides, kept, strict=True)):
            whole = 0.0
            for place in places[1:-1]:  # all but [CLS] and [SEP], which every sentence has
                shown = [*ids[:place], model.tokenizer.mask_token_id, *ids[place + 1 :]]
                whole += surprise(model, shown, place, ids[place])
            assert found[2 * i + side].score == pytest.approx(whole, abs=1e-4)
            assert found[2 * i + side].tokens == len(places) - 2


def test_random_gpt2_scores_are_those_of_the_chain_rule(readers, pairs):
    """Each token after all before it, the beginning first; a forward for each."""
    model = readers["gpt2"]
    found = score(model, "causal-sum", [(pair.more, pair.less) for pair in pairs.items])
    for i, pair in enumerate(pairs.items[:15]):
        for side, text in enumerate((pair.more, pair.less)):
            ids = model.tokenizer(text)["input_ids"][:-1]  # it begins with [CLS]; less [SEP]
            whole = sum(surprise(model, ids[:n], n - 1, ids[n]) for n in range(1, len(ids)))
            assert found[2 * i + side].score == pytest.approx(whole, abs=1e-4)


@pytest.mark.parametrize(("name", "scorer"), [("bert", "pll-shared"), ("gpt2", "causal-mean")])
def test_a_constant_model_is_one_half_all_ties_and_invalid(readers, pairs, name, scorer):
    """A tie counted as "not stereotyped" gives 0, the paragon of fairness."""
    found = probed(blank(readers[name]), pairs, scorer)
    whole = found[0]
    assert (whole.estimate, whole.n_ties, whole.n_items) == (0.5, 12, 12)
    assert {record.verdict for record in found} == {INVALID}
    assert all(item.gap == 0 for item in found.items)


def test_sums_of_a_constant_model_prefer_what_is_shorter_and_are_invalid(readers, pairs):
    found = probed(blank(readers["gpt2"]), pairs, "causal-sum")
    for item in found.items:
        assert (item.gap > 0) == (item.tokens_more < item.tokens_less)
        assert (item.gap == 0) == (item.tokens_more == item.tokens_less)
    assert {record.verdict for record in found} == {INVALID}


@pytest.mark.parametrize("favoured", ["more", "less"])
def test_what_was_taught_of_the_set_is_detected_with_its_sign(public, tmp_path, favoured):
    """A model that read one side of each pair three times as often prefers that side."""
    whole = read("crows-pairs", public / "crows_pairs")
    few = dataclasses.replace(whole, items=whole.items[:40])
    texts = {text: 1.0 for pair in few.items for text in (pair.more, pair.less)}
    texts |= {getattr(pair, favoured): 3.0 for pair in few.items}
    found = judged(crows_pairs(taught(tmp_path, texts, steps=80), few))[0]
    assert found.verdict == DETECTED and found.scorer == "causal-sum" and found.n_items == 40
    assert (found.low > 0.5) if favoured == "more" else (found.high < 0.5)
