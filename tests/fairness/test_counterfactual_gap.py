"""The counterfactual gap and its form with the target hidden, on models whose gap is known."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest
import torch
from fairness.contrasted import sign, templates, truth
from fairness.talkers import inner, one_at_a_time, precise, said, saved

from inspector.demo.corpus import NEUTRAL, OCCUPATIONS
from inspector.errors import BadOption
from inspector.fairness.probes.contrasted import WORDS_FIRST
from inspector.fairness.probes.counterfactual_gap import counterfactual_gap
from inspector.fairness.probes.running import compared, judged
from inspector.fairness.probes.table import probe
from inspector.fairness.stimuli import read
from inspector.fairness.verdicts import (
    CHANGED,
    DETECTED,
    EQUIVALENT,
    INVALID,
)
from inspector.model.load import load

GAP, LPBS = "counterfactual-gap", "lpbs"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("templates")


@pytest.fixture(scope="module")
def own(folder):
    return templates(folder)


@pytest.fixture(scope="module")
def planted():
    return load("demo:planted")


@pytest.fixture(scope="module")
def balanced():
    return load("demo:balanced")


@pytest.fixture(scope="module")
def found(planted, own):
    return probe(planted, GAP, own)


@pytest.fixture(scope="module")
def found_balanced(balanced, own):
    return probe(balanced, GAP, own)


def test_planted_bias_is_detected_and_the_interval_covers_the_truth(found):
    whole = found[0]
    assert (whole.metric, whole.category, whole.unit, whole.null) == ("gap", "all", "nats", 0)
    assert whole.verdict == DETECTED
    assert whole.low < truth("planted") < whole.high
    assert whole.n_clusters == 20 and whole.n_items == 120 and whole.n_excluded == 0


def test_the_balanced_model_is_not_biased(found_balanced):
    assert {record.verdict for record in found_balanced} == {EQUIVALENT}
    assert found_balanced[0].low < truth("balanced") == 0 < found_balanced[0].high


def test_targets_without_a_direction_are_shown_and_are_no_part_of_any_number(found):
    without = [item for item in found.items if not item.direction]
    assert {item.target.split()[-1] for item in without} == {
        name for name in OCCUPATIONS if not sign(name) and name != NEUTRAL
    }
    assert all(item.gap is None and item.difference is not None for item in without)
    assert found[0].n_items + len(without) == len(found.items)


def test_items_are_there_for_audit(found):
    asked = [item for item in found.items if item.direction]
    for item in found.items:
        assert item.difference == item.more - item.less
        assert item.words[0] in item.text_more and item.words[1] in item.text_less
        assert item.neutral == "person" and item.excluded is None
    assert found[0].estimate == pytest.approx(np.mean([item.gap for item in asked]))
    words = found.summary["words"][0]
    assert words["tokens"] == [[1], [1]]
    assert words["gap"]["value"] == pytest.approx(found[0].estimate)
    json.loads(found.to_json())


def test_what_hangs_on_templates_is_told(found):
    told = found.summary["sensitivity"]["all"]
    assert len(told["templates"]) == 6
    assert (told["flipped"], told["opposed"], told["other_side"]) == (0, 0, 0)
    assert told["components"]["icc_target"] > told["components"]["icc_template"]
    assert told["overall"]["estimate"]["value"] == pytest.approx(found[0].estimate)


@pytest.mark.parametrize("name", ["planted", pytest.param("balanced", marks=pytest.mark.soak)])
def test_what_is_linked_to_nothing_is_not_called_bias(name, folder, request):
    """A word four times as frequent as the other, and two that are as frequent.

    All of a model's words lie a little along what it learned, by far less than matters.
    """
    day = templates(folder, "day", ("monday", "friday")).read_text().replace("occupation", "day")
    region = templates(folder, "region", ("north", "south")).read_text()
    both = folder / "both.csv"
    both.write_text(region + "".join(day.splitlines(keepends=True)[1:]))
    found = probe(request.getfixturevalue(name), GAP, both)
    assert [one.category for one in found][:3] == ["all", "day", "occupation"]
    for one in found[:3]:
        assert one.verdict == EQUIVALENT and abs(one.estimate) < 0.01
    raw = {one["pair"]: one["raw_log_odds"]["value"] for one in found.summary["words"]}
    assert raw["day: monday / friday"] == pytest.approx(math.log(4), abs=0.15)
    assert raw["occupation: north / south"] == pytest.approx(0, abs=0.15)


@pytest.mark.soak
def test_uneven_directions_do_not_blame_targets_for_the_neutral_text(planted, own, tmp_path):
    """A neutral text that leans to he, and more targets that do than not."""
    rows = [row for row in own.read_text().splitlines() if ",-1,seldom" not in row]
    rows = [row.replace(",person,", ",nurse,") for row in rows if ",nurse," not in row]
    (tmp_path / "t.csv").write_text("\n".join(rows) + "\n")
    found = probe(planted, GAP, tmp_path / "t.csv")
    plain = np.mean([item.gap for item in found.items if item.gap is not None])
    assert found[0].low < truth("planted") < found[0].high
    assert abs(plain - truth("planted")) > 2 * abs(found[0].estimate - truth("planted"))


def test_a_set_that_the_model_does_not_know_is_invalid(planted):
    """What is shipped, in part: nothing is skipped silently."""
    own = read("own")
    kept = [one for one in own.items if one.category == "names"]
    part = dataclasses.replace(own, items=tuple(kept))
    found = judged(counterfactual_gap(planted, part))
    assert {record.verdict for record in found} == {INVALID}
    assert "items could be scored" in found.summary["reason"]
    assert all(item.difference is not None or item.excluded for item in found.items)
    names = {record.category for record in found}
    assert {"all", "names", "group: names: black", "control targets"} < names


def test_random_weights_are_an_invalid_measurement(planted, own):
    torch.manual_seed(2)
    blank = type(planted.network)(planted.network.config).eval()
    found = probe(dataclasses.replace(planted, network=blank), GAP, own, margin=10)
    assert {record.verdict for record in found} == {INVALID}


def test_a_change_is_paired(found, found_balanced):
    one = compared(found, found_balanced)[0]
    assert one.change_verdict == CHANGED and one.change_high < 0
    assert one.change == pytest.approx(one.estimate - one.baseline)
    same = compared(found, found)[0]
    assert (same.change, same.change_p_value) == (0, 1)


PIECES = """kind,category,text,second,direction
template,letters,1 {target} 2 {attribute} 3 4 .,,
template,letters,{target} 5 6 {attribute} .,,
target,letters,abc,,1
target,letters,d,,-1
neutral,letters,e,,
pair,letters,fg,h,
"""


@pytest.fixture(scope="module", params=["gpt2", "bert"])
def talker(request, tmp_path_factory):
    return precise(load(saved(request.param, tmp_path_factory.mktemp("talker"))))


def asked(found):
    """Each item with the sentence it was made from and its target."""
    sentences = ("1 {} 2 {} 3 4 .", "{} 5 6 {} .")
    return zip(found.items, itertools.product(sentences, ("abc", "d")), strict=True)


def joint(model, text, word, hidden=""):
    """Log-probability of the pieces of a word in a text, with the pieces of another hidden."""
    ids = model.tokenizer(text)["input_ids"]
    pieces = model.tokenizer(word, add_special_tokens=False)["input_ids"]
    start = next(i for i in range(len(ids)) if ids[i : i + len(pieces)] == pieces)
    places = range(start, start + len(pieces))
    if model.kind == "causal":
        ids = [model.tokenizer.bos_token_id, *ids]
        return sum(said(model, ids[: i + 1])[i][ids[i + 1]] for i in places)
    closed = set()
    if hidden:
        other = model.tokenizer(hidden, add_special_tokens=False)["input_ids"]
        first = next(i for i in range(len(ids)) if ids[i : i + len(other)] == other)
        closed = set(range(first, first + len(other)))
    assert set(places) | closed <= set(inner(model, ids))
    later = {i: {j for j in places if j >= i} | closed for i in places}
    return one_at_a_time(model, ids, later)


def test_words_of_several_tokens_are_scored_jointly(talker, tmp_path):
    (tmp_path / "t.csv").write_text(PIECES)
    found = probe(talker, GAP, tmp_path / "t.csv")
    for item, (shape, target) in asked(found):
        odds = [
            joint(talker, shape.format(who, "fg"), "fg")
            - joint(talker, shape.format(who, "h"), "h")
            for who in (target, "e")
        ]
        assert item.difference == pytest.approx(odds[0] - odds[1], abs=1e-6)
        assert (item.tokens_more, item.tokens_less) == (2, 1)
    assert found.summary["words"][0]["tokens"] == [[2], [1]]


def test_the_hidden_target_is_the_prior(talker, tmp_path):
    (tmp_path / "t.csv").write_text(PIECES)
    if talker.kind == "causal":
        with pytest.raises(BadOption, match="counterfactual-gap"):
            probe(talker, LPBS, tmp_path / "t.csv")
        return
    found = probe(talker, LPBS, tmp_path / "t.csv")
    for item, (shape, target) in asked(found):
        texts = [(shape.format(target, word), word) for word in ("fg", "h")]
        shown = joint(talker, *texts[0]) - joint(talker, *texts[1])
        prior = joint(talker, *texts[0], target) - joint(talker, *texts[1], target)
        assert (item.more, item.less) == pytest.approx((shown, prior), abs=1e-6)
        assert item.neutral == "(hidden)"


def test_words_before_the_target(talker, tmp_path):
    """Nothing that a model reads later can move them; a masked model sees both sides."""
    text = PIECES.replace("{target} 5 6 {attribute} .", "{attribute} 5 6 {target} .")
    (tmp_path / "t.csv").write_text(text)
    late = [i for i in probe(talker, GAP, tmp_path / "t.csv").items if " 5 6 " in i.text_more]
    if talker.kind == "causal":
        assert {item.excluded for item in late} == {WORDS_FIRST}
        return
    assert all(item.gap is not None for item in late)
    item = next(
        i
        for i in probe(talker, LPBS, tmp_path / "t.csv").items
        if i.target == "letters: abc" and " 5 6 " in i.text_more
    )
    prior = joint(talker, "fg 5 6 abc .", "fg", "abc") - joint(talker, "h 5 6 abc .", "h", "abc")
    assert item.less == pytest.approx(prior, abs=1e-6)
