"""WinoBias and Winogender: numbers from answers that are known, and from taught models."""

import dataclasses
import itertools

import numpy as np
import pytest
from fairness.learners import taught
from fairness.talkers import pieces, precise, said, saved

from inspector.errors import BadOption
from inspector.fairness.items import Pair
from inspector.fairness.probes.parts import measure, measure_change
from inspector.fairness.probes.records import QUALITY
from inspector.fairness.probes.resolving import NOBODY, Question, Resolved, resolve
from inspector.fairness.probes.running import judged
from inspector.fairness.probes.winobias import PronounScore, second_occupations, winobias
from inspector.fairness.probes.winobias import parts_of as winobias_parts
from inspector.fairness.probes.winogender import _item, winogender
from inspector.fairness.probes.winogender import parts_of as winogender_parts
from inspector.fairness.stimuli import read
from inspector.fairness.verdicts import DETECTED
from inspector.model.load import load


@pytest.fixture(scope="module")
def schemas(public):
    return read("winogender", public / "winogender")


@pytest.fixture(scope="module")
def pairs(public):
    return read("winobias", public / "winobias")


def answered(stimuli, log_odds):
    """Items as if the occupation had these log-odds, from what is known of each sentence."""
    return [
        _item(
            choice,
            Resolved(scores=(log_odds(choice), 0.0), tokens=(1, 1), excluded=None),
        )
        for choice in stimuli.items
    ]


def numbers(parts):
    found = {(part.metric, part.category): measure(part) for part in parts}
    return {key: None if one is None else one.estimate.value for key, one in found.items()}


def test_always_the_occupation(schemas):
    found = numbers(winogender_parts(answered(schemas, lambda _: 1.0)))
    assert found["accuracy", "all"] == 0.5
    for gender in ("male", "female", "neutral"):
        assert found["accuracy", gender] == 0.5
    assert found["accuracy", "gotcha"] == found["occupation chosen", "all"] == 1
    assert found["preference", "all"] == 0.5
    for metric in ("gap", "female less male", "gotcha gap"):
        assert found[metric, "all"] == pytest.approx(0, abs=1e-12)
    assert found["correlation", "all"] is None  # nothing varies: no correlation, rather than 0


def test_the_right_answers_show_no_bias(schemas):
    found = numbers(winogender_parts(answered(schemas, lambda one: 1.0 - 2 * one.correct)))
    assert found["accuracy", "all"] == found["accuracy", "gotcha"] == 1
    assert found["preference", "all"] == 0.5 and found["gotcha gap", "all"] == 0
    assert found["gap", "all"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("side", [1, -1])
def test_answers_by_statistics_alone(schemas, side):
    def follow(one):
        return 0.0 if one.biased is None else side * (1.0 - 2 * one.biased)

    parts = winogender_parts(answered(schemas, follow))
    found = numbers(parts)
    assert found["preference", "all"] == (1 + side) / 2
    assert found["gap", "all"] == pytest.approx(side)
    assert found["gotcha gap", "all"] == side
    assert found["accuracy", "male"] == found["accuracy", "female"] == 0.5
    assert found["accuracy", "gotcha"] == (1 - side) / 2
    assert found["female less male", "all"] == pytest.approx(side * (31 - 29) / 60)
    shares = {one.cluster: one.facts["bls_pct_female"] for one in schemas.items}
    over = np.where(np.array(list(shares.values())) > 50, 1.0, -1.0)
    expected = side * np.corrcoef(list(shares.values()), over)[0, 1]
    assert found["correlation", "all"] == pytest.approx(expected)
    tested = {(p.metric, p.category): measure(p) for p in parts if p.family != QUALITY}
    assert all(tested[metric, "all"].p_value < 0.001 for metric in ("gap", "gotcha gap"))


def test_sizes_and_units_of_winogender(schemas):
    parts = {(p.metric, p.category): p for p in winogender_parts(answered(schemas, lambda _: 1.0))}
    assert len(parts["accuracy", "all"]) == 720 and len(parts["accuracy", "gotcha"]) == 120
    assert len(parts["preference", "all"]) == 480 and len(parts["gotcha gap", "all"]) == 120
    assert len(parts["female less male", "all"]) == 240
    assert len(parts["correlation", "all"]) == 60
    assert {len(set(part.clusters)) for part in parts.values()} == {60}


def test_what_a_pronoun_is_not_to_blame_for_is_no_bias(schemas):
    """Sentences that lean to one answer whatever the pronoun, by much or by little."""
    rng = np.random.default_rng(0)
    lean = {one.schema: rng.normal(0, 3) for one in answered(schemas, lambda _: 0.0)}
    names = {item.id: item.schema for item in answered(schemas, lambda _: 0.0)}
    found = {
        (part.metric, part.category): measure(part)
        for part in winogender_parts(answered(schemas, lambda one: lean[names[one.id]]))
    }
    assert found["gap", "all"].estimate.value == pytest.approx(0, abs=1e-12)
    assert found["preference", "all"].estimate.value == 0.5
    assert found["preference", "all"].p_value == 1


def test_a_change_of_r_is_paired(schemas):
    def follow(one):
        return 0.0 if one.biased is None else 1.0 - 2 * one.biased

    def half(one):
        return follow(one) * (one.cluster < "m")

    before, after = (
        next(p for p in winogender_parts(answered(schemas, how)) if p.metric == "correlation")
        for how in (follow, half)
    )
    change = measure_change(before, after).difference
    expected = measure(after).estimate.value - measure(before).estimate.value
    assert change.estimate.value == pytest.approx(expected) and expected < 0
    same = measure_change(after, after).difference
    assert (same.estimate.value, same.p_value) == (0, 1)


def pronoun_items(pairs, score, log_odds=lambda *_: 1.0):
    """Items as if `score` were what he adds to a sentence, and pronouns were resolved so."""
    found = []
    for pair, other in zip(pairs.items, second_occupations(pairs.items), strict=True):
        male = 1 if pair.facts["pronoun_more"].lower() in ("he", "his", "him") else -1
        gap = score(pair) * male
        found.append(
            PronounScore(
                **{name: getattr(pair, name) for name in ("id", "category", "group", "cluster")},
                direction=1,
                scorer="by hand",
                gap=gap,
                more=gap,
                less=0.0,
                tokens_more=1,
                tokens_less=1,
                excluded=None,
                text_more=pair.more,
                text_less=pair.less,
                male=male,
                pronouns=(pair.facts["pronoun_more"], pair.facts["pronoun_less"]),
                other=other,
                log_odds_more=log_odds(pair, True),
                log_odds_less=log_odds(pair, False),
                unresolved=None,
            )
        )
    return found


def test_he_is_likelier_in_every_sentence(pairs):
    """As often with the stereotype as against it; in nats it is taken out wholly."""
    parts = winobias_parts(pronoun_items(pairs, lambda _: 2.0))
    found = numbers(parts)
    assert found["preference", "all"] == pytest.approx(0.5, abs=0.01)
    assert found["gap", "all"] == pytest.approx(0, abs=1e-12)
    tests = {(p.metric, p.category): measure(p) for p in parts if p.family != QUALITY}
    assert tests["preference", "all"].p_value > 0.5
    assert tests["preference", "type1"].n_items == 394
    assert tests["preference", "type2"].n_items == 389
    assert {one.n_clusters for one in tests.values()} == {40}


def test_the_accuracy_gap_is_pro_less_anti(pairs):
    def known(pair, pro):
        return 1.0 if pro or pair.group == "type2" else -1.0

    found = numbers(winobias_parts(pronoun_items(pairs, lambda _: 1.0, known)))
    assert found["accuracy, pro", "all"] == found["accuracy, anti", "type2"] == 1
    assert found["accuracy, anti", "type1"] == 0
    assert found["accuracy gap", "type1"] == 1 and found["accuracy gap", "type2"] == 0
    assert found["accuracy gap", "all"] == pytest.approx(394 / 783)


def test_what_was_left_out_is_named(pairs):
    out = [(remark.file[16:21], row) for remark in pairs.excluded for row in remark.rows]
    assert [row for kind, row in out if kind == "type1"] == [92, 212]
    assert [row for kind, row in out if kind == "type2"] == [90, 102, 119, 176, 207, 208, 209]
    others = second_occupations(pairs.items)
    assert [pair.id for pair, other in zip(pairs.items, others, strict=True) if other is None] == [
        next(p.id for p in pairs.items if "reported her to the manager" in p.more)
    ]


@pytest.mark.parametrize("name", ["gpt2", "bert"])
def test_answers_are_likelihoods_less_those_without_a_sentence(name, tmp_path):
    """By brute force: a name of two pieces against one of one."""
    folder = saved(name, tmp_path)
    words = ["<pad>", "<s>", "</s>", "<unk>", "<mask>", *"abcdefgh.", "'", "They", "She", "refers"]
    words += ["to", "##b", "##c", *map(str, range(30))]
    pieces(name == "bert", words).save_pretrained(folder)
    model = precise(load(folder))
    question = Question(context="a d e .", asks="'She' refers to", options=("ab", "d"))
    _, (found,) = resolve(model, [question], ["a"], 0, None, lambda *_: None)

    def joint(before, option):
        ids = model.tokenizer(f"{before} {option}.")["input_ids"]
        size = len(model.tokenizer(option, add_special_tokens=False)["input_ids"])
        end = len(ids) - (2 if name == "bert" else 1)
        total = 0.0
        for i in range(end - size, end):
            if name == "bert":
                shown = [
                    model.tokenizer.mask_token_id if i <= j < end else x for j, x in enumerate(ids)
                ]
                total += said(model, shown)[i][ids[i]]
            else:
                total += said(model, [model.tokenizer.bos_token_id, *ids[:i]])[i][ids[i]]
        return total

    for score, option in zip(found.scores, question.options, strict=True):
        expected = joint(f"{question.context} {question.asks}", option) - joint(NOBODY, option)
        assert score == pytest.approx(expected, abs=1e-6)
    assert found.tokens == (2, 1)


def few(pairs, count):
    """The first pairs of either type."""
    kept = [
        p
        for kind in ("type1", "type2")
        for p in [q for q in pairs.items if q.group == kind][:count]
    ]
    return dataclasses.replace(pairs, items=tuple(kept))


@pytest.mark.parametrize("side", ["more", pytest.param("less", marks=pytest.mark.soak)])
def test_a_model_taught_winobias_shows_what_it_was_taught(pairs, side, tmp_path):
    asked = few(pairs, 24)
    texts = {}
    for pair in asked.items:
        texts |= {pair.more: 1.0, pair.less: 1.0, getattr(pair, side): 9.0}
    cue = "They He She His Her Him ' refers to the ."
    model = taught(tmp_path, texts, [cue, *(p.cluster for p in asked.items)], steps=100)
    found = judged(winobias(model, asked))
    assert found[0].metric == "preference" and found[0].verdict == DETECTED
    gap = next(one for one in found if one.metric == "gap")
    sign = 1 if side == "more" else -1
    assert (found[0].estimate - 0.5) * sign > 0.2 and gap.estimate * sign > 0.3
    assert found.summary["resolution_problem"]  # of that it learned nothing
    gaps = [one for one in found if one.metric == "accuracy gap"]
    assert {one.verdict for one in gaps} == {"invalid measurement"}


@pytest.mark.parametrize("side", [-1, pytest.param(1, marks=pytest.mark.soak)])
def test_a_model_taught_winogender_shows_what_it_was_taught(schemas, side, tmp_path):
    share = {one.cluster: one.facts["bls_pct_female"] for one in schemas.items}
    order = sorted(share, key=share.get)
    kept = tuple(one for one in schemas.items if one.cluster in {*order[:3], *order[-3:]})
    asked = dataclasses.replace(schemas, items=kept)
    texts = {}
    for one, place in itertools.product(asked.items, (0, 1)):
        text = f"{one.context} {one.question} {one.options[place]}."
        texts[text] = (
            1.0 if one.biased is None else 9.0 if (one.biased == place) == (side > 0) else 1
        )
    model = taught(tmp_path, texts, ["They ' refers to"], steps=100)
    found = judged(winogender(model, asked))
    assert (found[0].metric, found[0].verdict) == ("gap", DETECTED)
    assert found[0].estimate * side > 0.2
    assert len(found.summary["quality"]) == 6


def test_random_weights_are_no_measurement(schemas, pairs, tmp_path):
    words = [text for p in few(pairs, 20).items for text in (p.more, p.cluster)]
    words += [one.context for one in schemas.items[:60]] + ["They ' refers to ."]
    blank = taught(tmp_path, {"The nurse .": 1.0}, words, steps=1)
    some = dataclasses.replace(schemas, items=schemas.items[:60])
    for ask, stimuli in ((winobias, few(pairs, 20)), (winogender, some)):
        found = judged(ask(blank, stimuli))
        assert {one.verdict for one in found} == {"invalid measurement"}


def test_a_scorer_that_cannot_say_whom_a_pronoun_means(schemas):
    with pytest.raises(BadOption, match="by continuation"):
        winogender(load("demo:planted"), schemas, scorer="causal-sum")


def test_the_second_occupation_is_found_among_all(pairs):
    one, other = (dataclasses.replace(pairs.items[0], cluster=name) for name in ("a b", "a"))
    assert isinstance(one, Pair)
    both = [dataclasses.replace(p, more="The a b saw the c .") for p in (one, other)]
    third = dataclasses.replace(one, cluster="c", more="The a b saw the c .")
    assert second_occupations([*both, third])[0] is None  # both a and c stand in it
