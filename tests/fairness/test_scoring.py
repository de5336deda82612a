"""Scores against brute force from the definitions; nothing hangs on how sentences are batched."""

import csv
import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch
from fairness.talkers import CAUSAL, MASKED, by_force, pieces, precise, said, saved
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import BertConfig, BertForMaskedLM

from inspector.errors import BadOption, UnsupportedModel
from inspector.fairness import scoring
from inspector.fairness.alignment import shared
from inspector.fairness.batching import Reader, Row, chosen
from inspector.fairness.masked import left_to_right, one_by_one, word_left_to_right
from inspector.fairness.scorer_table import SCORERS
from inspector.fairness.scoring import gaps, score
from inspector.fairness.sentences import Sentence, Tokens
from inspector.model.load import load

TEXTS = ["a bc d .", "a ed d .", "abcde f g h i j a b c .", "j", "hij gfe 1 2 3 .", "fa"]
PAIRS = [("a bc d e .", "a f d e ."), ("h ij .", "h ji . g"), ("a a b a", "b a a")]
OF_KIND = {
    kind: [name for name, scorer in SCORERS.items() if kind in scorer.kinds]
    for kind in ("masked", "causal")
}


@pytest.fixture(scope="module")
def talking(tmp_path_factory):
    """Tiny models by name, each made once."""
    made = {}

    def one(name):
        if name not in made:
            made[name] = load(saved(name, tmp_path_factory.mktemp(name)))
        return made[name]

    return one


def given_to(scorer, texts=TEXTS):
    """Texts as a scorer wants them: its part that is scored, or pairs."""
    if SCORERS[scorer].needs == "pair":
        return [*itertools.pairwise(texts), *PAIRS]
    if SCORERS[scorer].needs == "spans":
        return [Sentence(text=text, scored=((len(text) // 3, len(text)),)) for text in WORDS]
    return texts


WORDS = ["a b bcd", "e f cba", "g h hij ."]


@pytest.mark.parametrize("name", MASKED)
@pytest.mark.parametrize("scorer", ["pll", "pll-word-l2r", "aul", "aula", "pll-shared"])
def test_masked_scores_are_those_of_brute_force(talking, name, scorer):
    model = precise(talking(name))
    asked = given_to(scorer)
    found = score(model, scorer, asked)
    flat = [(text, "") for text in asked] if scorer != "pll-shared" else both_ways(asked)
    assert [r.text for r in found] == [text for text, _ in flat]
    for record, (text, other) in zip(found, flat, strict=True):
        assert record.score is None or record.score == pytest.approx(
            by_force(model, scorer, text, other), abs=1e-6
        )
        assert record.scorer == scorer
        assert (record.excluded == "nothing shared") == (record.score is None)
    assert sum(record.score is not None for record in found) >= len(TEXTS)


def both_ways(pairs):
    return [(one, other) for a, b in pairs for one, other in ((a, b), (b, a))]


@pytest.mark.parametrize("name", CAUSAL)
@pytest.mark.parametrize("scorer", ["causal-sum", "causal-mean"])
def test_causal_scores_are_those_of_the_chain_rule(talking, name, scorer):
    model = precise(talking(name))
    for record in score(model, scorer, TEXTS):
        assert record.score == pytest.approx(by_force(model, scorer, record.text), abs=1e-6)
        assert record.tokens == len(model.tokenizer.tokenize(record.text))


def test_probabilities_of_everything_that_can_follow_sum_to_one(talking):
    """Over all sequences of three ids; a softmax over anything else, or a lost piece, fails."""
    model = talking("gpt2")
    words = model.network.config.vocab_size
    network = precise(model).network
    with torch.no_grad():
        network.lm_head.weight = torch.nn.Parameter(network.lm_head.weight[:5].clone())
        network.config.vocab_size = 5
    small = dataclasses.replace(model, network=network)
    rows = [
        Row(ids=(7, *ids[:2]), places=(0, 1, 2), wanted=ids)
        for ids in itertools.product(range(5), repeat=3)
    ]
    found = Reader(small)(rows)
    assert math.fsum(math.exp(sum(one.values)) for one in found) == pytest.approx(1, abs=1e-12)
    assert words == 64  # the model of the fixture is as it was


def test_joint_probabilities_of_two_masked_pieces_sum_to_that_of_the_first(talking):
    model = precise(talking("bert"))
    words = range(model.network.config.vocab_size)
    reader = Reader(model)
    for first in (5, 17):
        rows = []
        for second in words:
            ids = (1, 9, first, second, 8, 2)
            tokens = Tokens(ids=ids, free=(1, 2, 3, 4), spans=((0, 0),) * 6, words=(None,) * 6)
            rows += left_to_right(tokens, (2, 3), (), mask=4)
        values = [one.values[0] for one in reader(rows)]
        joint = [math.exp(a + b) for a, b in zip(values[::2], values[1::2], strict=True)]
        alone = said(model, [1, 9, 4, 4, 8, 2])[2][first]
        assert math.fsum(joint) == pytest.approx(math.exp(alone), rel=1e-9)
    assert reader.rows == 2 * 2 + 2  # rows that are alike run once; two to check the head


@pytest.mark.parametrize("name", [*MASKED, *CAUSAL, "bloom", "opt", "gemma2"])
def test_scores_do_not_hang_on_the_batch(talking, name):
    """Left padding, or scored padding, fails: lengths are mixed."""
    model = talking(name)
    small = load(model.checkpoint)
    with torch.no_grad():  # as models are when training begins; larger weights only add rounding
        for values in small.network.parameters():
            values.mul_(0.2)
    for scorer in OF_KIND[model.kind]:
        asked = given_to(scorer)
        alone = score(small, scorer, asked, most_rows=1)
        together = score(small, scorer, asked, most_rows=16)
        assert together.summary["forwards"] < alone.summary["forwards"]
        for one, other in zip(alone, together, strict=True):
            assert other.tokens == one.tokens
            if one.score is not None:
                assert other.score == pytest.approx(one.score, abs=1e-5 * one.tokens)


def test_the_head_is_given_only_the_places_asked_for(talking):
    for name in (*MASKED, *CAUSAL):
        model = talking(name)
        reader = Reader(model)
        seen = []
        hook = model.network.get_output_embeddings().register_forward_hook(
            lambda _m, _i, out, seen=seen: seen.append(out.numel() // out.shape[-1])
        )
        row = Row(ids=(1, 5, 6, 7, 8, 2), places=(2,), wanted=(7,))
        try:
            answer = reader([row, dataclasses.replace(row, ids=(1, 5, 6, 7, 9, 2))])
        finally:
            hook.remove()
        assert reader.short and seen == [6, 1, 2]  # whole once, to see that it is the same
        assert answer[0].values[0] == pytest.approx(said(model, list(row.ids))[2][7], abs=1e-4)


def test_rows_are_filled_up_only_where_that_is_cheap(talking):
    def asked(tokens, first):
        return Row(ids=(1, *range(first, first + tokens - 2), 2), places=(1,), wanted=(first,))

    few = [asked(6, 5), asked(8, 6), asked(9, 7)]
    many = [asked(6, 5 + i) for i in range(12)] + [asked(12, 5)]
    for rows, forwards, tokens in ((few, 1, 3 * 9), (many, 2, 12 * 6 + 12)):
        reader = Reader(talking("bert"))
        reader.short = True  # what was found once is not tried again
        reader(rows)
        assert (reader.forwards, reader.tokens) == (forwards, tokens)


def test_a_head_that_looks_at_its_neighbours_gets_all_places(talking):
    model = load(talking("bert").checkpoint)
    head = model.network.cls
    plain = head.forward
    head.forward = lambda hidden: plain(hidden - hidden.mean(1)[:, None])
    found = score(model, "pll", TEXTS, most_rows=1)
    assert "SC-WHOLE" in {finding.id for finding in found.findings}
    assert found[0].score == pytest.approx(by_force(model, "pll", TEXTS[0]), abs=1e-3)


def test_chosen_is_a_softmax_over_the_vocabulary_in_float32():
    torch.manual_seed(0)
    logits = torch.randn(40, 3000) * 2
    wanted = torch.randint(0, 3000, (40,))
    exact = logits.bfloat16().double().log_softmax(-1)[torch.arange(40), wanted]
    values, right = chosen(logits.bfloat16(), wanted)
    coarse = logits.bfloat16().log_softmax(-1)[torch.arange(40), wanted]
    assert (values - exact).abs().max() < 1e-5 < (coarse - exact).abs().max() / 100
    assert values.shape == (40,)  # one for each place, no matrix
    assert right.tolist() == (logits.bfloat16().argmax(-1) == wanted).tolist()


def test_sixteen_bits_are_told(talking):
    model = load(talking("bert").checkpoint, dtype="bfloat16", override=True)
    assert "SC-DTYPE" in {finding.id for finding in score(model, "pll", TEXTS).findings}
    assert "SC-DTYPE" not in {f.id for f in score(talking("bert"), "pll", TEXTS).findings}


def test_attention_is_read_though_sdpa_was_chosen(talking):
    model = talking("bert")
    assert model.network.config._attn_implementation == "sdpa"
    found = score(model, "aula", TEXTS)
    assert all(math.isfinite(record.score) and record.score < 0 for record in found)
    assert model.network.config._attn_implementation == "sdpa"
    more = dataclasses.replace(model, blocks=(*model.blocks, *model.blocks))
    with pytest.raises(UnsupportedModel, match="2 maps of attention for 4 blocks"):
        score(more, "aula", TEXTS)


def test_a_candidate_of_two_pieces_is_scored_jointly(talking):
    text = "a b cd e"
    span = ((4, 6),)
    masked = precise(talking("bert"))
    ids = masked.tokenizer(text)["input_ids"]
    assert masked.tokenizer.convert_ids_to_tokens(ids)[3:5] == ["c", "##d"]
    first = said(masked, [*ids[:3], 4, 4, *ids[5:]])[3][ids[3]]
    second = said(masked, [*ids[:4], 4, *ids[5:]])[4][ids[4]]
    found = score(masked, "continuation", [Sentence(text=text, scored=span)])[0]
    assert (found.score, found.tokens) == (pytest.approx(first + second, abs=1e-9), 2)

    causal = precise(talking("gpt2"))
    ids = [1, *causal.tokenizer(text)["input_ids"]]
    values = said(causal, ids)
    found = score(causal, "continuation", [Sentence(text=text, scored=span)])[0]
    assert found.score == pytest.approx(values[2][ids[3]] + values[3][ids[4]], abs=1e-9)


def test_what_is_hidden_is_hidden_in_every_row(talking):
    model = precise(talking("bert"))
    ids = model.tokenizer("a b c d")["input_ids"]
    shown = [*ids[:2], 4, 4, *ids[4:]]
    found = score(
        model, "continuation", [Sentence(text="a b c d", scored=((4, 5),), hidden=((2, 3),))]
    )
    assert found[0].score == pytest.approx(said(model, shown)[3][ids[3]], abs=1e-9)


def test_a_beginning_is_there_for_all_tokens_or_for_none(talking):
    model = precise(talking("gpt2"))
    begun = score(model, "causal-sum", ["a b c"])
    assert begun.summary["begins_with"] == "<s>" and begun[0].tokens == 3
    bare = dataclasses.replace(model, tokenizer=pieces(masked=False))
    bare.tokenizer.bos_token = bare.tokenizer.eos_token = None
    found = score(bare, "causal-sum", ["a b c", "a"])
    ids = bare.tokenizer("a b c")["input_ids"]
    values = said(model, ids)
    assert found[0].score == pytest.approx(values[0][ids[1]] + values[1][ids[2]], abs=1e-9)
    assert found[0].tokens == 2 and found[1].excluded == "first"
    assert {finding.id for finding in found.findings} == {"SC-FIRST", "SC-EXCLUDED"}


def test_what_cannot_be_scored_is_left_out_with_its_reason(talking):
    texts = ["a b", "", "a xyz b", "a <mask> b", "\ud800", "a " * 60]
    reasons = [None, "empty", "unknown", "special", "not text", "too long"]
    for name, scorer in (("bert", "pll"), ("llama", "causal-sum")):
        found = score(talking(name), scorer, texts)
        assert [record.excluded for record in found] == reasons
        assert [record.score is None for record in found] == [bool(r) for r in reasons]
        assert found.summary["excluded"] == dict.fromkeys(reasons[1:], 1)
        assert len([f for f in found.findings if f.id == "SC-EXCLUDED"]) == 5
    pair = score(talking("bert"), "pll-shared", [("a b", "a xyz"), ("a b", "c d")])
    assert [r.excluded for r in pair] == ["other", "unknown", "nothing shared", "nothing shared"]
    assert gaps(pair) == [None, None]
    cut = score(talking("gpt2"), "continuation", [Sentence(text="a bc", scored=((2, 3),))])
    assert cut[0].excluded is None  # a piece of its own
    other = score(talking("gpt2"), "continuation", [Sentence(text="a 37 b", scored=((2, 3),))])
    assert other[0].excluded == "cut"


def test_a_broken_model_has_no_scores(talking):
    model = load(talking("bert").checkpoint)
    with torch.no_grad():
        model.network.cls.predictions.bias[7] = torch.nan
    found = score(model, "pll", TEXTS)
    assert {record.excluded for record in found} == {"not finite"}
    assert found.summary["right"] is None


@pytest.mark.parametrize(
    ("name", "scorer", "asked", "told"),
    [
        ("bert", "causal-sum", ["a"], "not for masked"),
        ("gpt2", "pll", ["a"], "causal-sum, causal-mean, continuation"),
        ("bert", "nonsense", ["a"], "no scorer 'nonsense'"),
        ("bert", "pll-shared", ["a"], "give pairs"),
        ("bert", "continuation", ["a"], "which characters"),
        ("bert", "continuation", [Sentence(text="a", scored=((0, 2),))], "no part of a text of 1"),
        ("gpt2", "causal-sum", [Sentence(text="a b", hidden=((0, 1),))], "Only masked"),
    ],
)
def test_what_cannot_be_asked_is_refused(talking, name, scorer, asked, told):
    with pytest.raises(BadOption, match=told):
        score(talking(name), scorer, asked)


def test_models_without_probabilities_are_refused(talking):
    classifier = dataclasses.replace(talking("bert"), kind="classifier")
    with pytest.raises(UnsupportedModel, match="masked or causal"):
        score(classifier, "pll", ["a"])


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12))
def test_shared_tokens_are_a_common_subsequence(one, other):
    here, there = shared(one, other)
    assert [one[i] for i in here] == [other[i] for i in there]
    assert list(here) == sorted(set(here)) and list(there) == sorted(set(there))
    assert bool(here) == bool(set(one) & set(other))


def test_frequent_tokens_of_long_sentences_are_shared_too():
    """Matching that takes what is frequent for junk, from 200 tokens on, shares nothing here."""
    long = [5, 6] * 150
    assert len(shared(long, [9, *long])[0]) == 300


@settings(max_examples=20)
@given(st.permutations(range(6)))
def test_rows_hide_what_their_names_say(order):
    ids = tuple(10 + i for i in order)
    tokens = Tokens(ids=ids, free=(1, 2, 3, 4), spans=((0, 0),) * 6, words=(None, 0, 1, 1, 1, None))
    alone = one_by_one(tokens, tokens.free, (), 99)
    pieces_of = word_left_to_right(tokens, tokens.free, (), 99)
    joint = left_to_right(tokens, tokens.free, (), 99)
    closed = [
        [{i for i, id in enumerate(r.ids) if id == 99} for r in rows]
        for rows in (alone, pieces_of, joint)
    ]
    assert closed[0] == [{1}, {2}, {3}, {4}]
    assert closed[1] == [{1}, {2, 3, 4}, {3, 4}, {4}]
    assert closed[2] == [{1, 2, 3, 4}, {2, 3, 4}, {3, 4}, {4}]
    assert all(r.wanted == (ids[r.places[0]],) for r in (*alone, *pieces_of, *joint))


def assert_same(one, other):
    """But for the last digit, which hangs on what is run side by side."""
    for here, there in zip(one, other, strict=True):
        assert here == dataclasses.replace(there, score=here.score)
        assert here.score == pytest.approx(there.score, abs=1e-5 * max(1, there.tokens))


def test_scores_on_disk_are_not_asked_again(talking, tmp_path):
    model, path = talking("bert"), tmp_path / "scores.jsonl"
    first = score(model, "pll", TEXTS[:3], lines=path)
    path.write_bytes(path.read_bytes() + b'{"schema": "inspector.score-line/1", "sco')  # killed
    second = score(model, "pll", TEXTS, lines=path)
    assert first.summary["asked_now"] == 3 and second.summary["asked_now"] == len(TEXTS) - 3
    assert_same(second, score(model, "pll", TEXTS))
    third = score(model, "pll", [*TEXTS, "a xyz"], lines=path)
    assert third.summary["asked_now"] == 1 and third.summary["forwards"] == 0
    # another scorer, or model, knows nothing of them and leaves them where they are
    assert score(model, "aul", TEXTS, lines=path).summary["asked_now"] == len(TEXTS)
    changed = load(model.checkpoint)
    with torch.no_grad():
        changed.network.cls.predictions.bias[0] += 1
    assert score(changed, "pll", TEXTS, lines=path).summary["asked_now"] == len(TEXTS)
    assert score(model, "pll", TEXTS, lines=path).summary["asked_now"] == 0
    assert len(path.read_text().splitlines()) == 3 * len(TEXTS) + 1


def test_a_run_that_ends_early_keeps_what_it_had(talking, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "TOKENS_A_ROUND", 20)
    path = tmp_path / "scores.jsonl"

    def stop(done, of, _label):
        if done > of / 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(talking("bert"), "pll", TEXTS, stop, lines=path)
    kept = len(path.read_text().splitlines())
    assert 0 < kept < len(TEXTS)
    again = score(talking("bert"), "pll", TEXTS, lines=path)
    assert again.summary["asked_now"] == len(TEXTS) - kept
    assert_same(again, score(talking("bert"), "pll", TEXTS))


@pytest.mark.parametrize(
    "held", ["hello\n", "{}\n", '{"schema": "inspector.score-line/1"}\n', "[1]\n", "half a line"]
)
def test_files_of_something_else_are_left_alone(talking, tmp_path, held):
    path = tmp_path / "scores.jsonl"
    path.write_text(held)
    with pytest.raises(BadOption, match="line 1 is no score"):
        score(talking("bert"), "pll", TEXTS, lines=path)
    assert path.read_text() == held


def test_lines_that_were_changed_are_refused(talking, tmp_path):
    path = tmp_path / "scores.jsonl"
    score(talking("bert"), "pll", TEXTS[:1], lines=path)
    line = json.loads(path.read_text())
    path.write_text(json.dumps({**line, "score": "-1"}) + "\n")
    with pytest.raises(BadOption, match="line 1 is no score"):
        score(talking("bert"), "pll", TEXTS, lines=path)


def test_progress_ends_at_the_whole(talking):
    seen = []
    score(talking("gpt2"), "causal-sum", TEXTS, lambda *told: seen.append(told))
    assert seen[-1][0] == seen[-1][1] > 0
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)


def test_crows_pairs_scores_are_those_of_the_published_rule(public, minilm, tmp_path):
    """Of a random BERT that reads as the uncased one does: sentences as they are in the set."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(minilm)
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.3,
    )
    BertForMaskedLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = load(tmp_path)
    with (public / "crows_pairs/crows_pairs_anonymized.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:20]
    pairs = [(row["sent_more"], row["sent_less"]) for row in rows]
    found = score(model, "pll-shared", pairs)
    around = {tokenizer.cls_token_id, tokenizer.sep_token_id}
    for record, (text, other) in zip(found, both_ways(pairs), strict=True):
        ids, facing = tokenizer(text)["input_ids"], tokenizer(other)["input_ids"]
        whole = 0.0
        blocks = shared_by_hand(ids, facing)
        for place in blocks:
            if ids[place] in around:
                continue
            masked = [*ids[:place], tokenizer.mask_token_id, *ids[place + 1 :]]
            whole += said(model, masked, slice(place, place + 1))[0][ids[place]]
        assert record.score == pytest.approx(whole, abs=1e-4)
    assert np.isfinite(gaps(found)).all() and len(gaps(found)) == 20


def shared_by_hand(one, other):
    """Ratcliff and Obershelp: the longest block, the first of the longest, then on either side."""
    best = (0, 0, 0)
    for i, j in itertools.product(range(len(one)), range(len(other))):
        size = 0
        while i + size < len(one) and j + size < len(other) and one[i + size] == other[j + size]:
            size += 1
        if size > best[2]:
            best = (i, j, size)
    i, j, size = best
    if not size:
        return []
    right = shared_by_hand(one[i + size :], other[j + size :])
    return [
        *shared_by_hand(one[:i], other[:j]),
        *range(i, i + size),
        *(i + size + place for place in right),
    ]
