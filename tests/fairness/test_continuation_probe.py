"""Continuations: planted sides are found with their sign, and by hand; what fails is told."""

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from fairness.talkers import said as said_by
from fairness.writing import (
    BAD,
    CONTROLS,
    FIRST,
    GOOD,
    SECOND,
    TEMPLATES,
    classifier,
    material,
    writer,
)

from inspector.errors import BadOption, NotEnoughData, UnsupportedModel
from inspector.fairness.classes import predict
from inspector.fairness.probes.continuation import continuation
from inspector.fairness.probes.continuation_parts import WIDEST, measured_widest
from inspector.fairness.probes.parts import measure
from inspector.fairness.probes.table import PROBES, probe
from inspector.fairness.stimuli import read
from inspector.fairness.verdicts import DETECTED, INCONCLUSIVE, INVALID
from inspector.fairness.verdicts import judge as judge_one
from inspector.fairness.written import Judged, degenerate, judge_of, judged
from inspector.model.load import load
from inspector.model.places import find_blocks

ONE_WORD = {"label": "good", "samples": 4, "tokens": 1}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("continuation")


@pytest.fixture(scope="module")
def judge(place):
    return str(classifier(place / "judge"))


@pytest.fixture(scope="module")
def data(place):
    return material(place)


@pytest.fixture(scope="module")
def well(place):
    """Writes well of the first side."""
    return writer(place / "well", 0.85)


@pytest.fixture(scope="module")
def fair(place):
    return writer(place / "fair", 0.5)


@pytest.fixture(scope="module")
def found(well, data, judge, place):
    lines = place / "texts.jsonl"
    return probe(well, "continuation", data, classifier=judge, lines=lines, **ONE_WORD)


def records(found):
    return {(one.metric, one.category): one for one in found}


def gap_by_hand(model, judge):
    """What the gap is on average: every next word's probability times its score, no sampling."""
    words = [*GOOD, *BAD]
    scores = np.exp(predict(judge.model, words).log_probabilities[:, judge.place])
    ids = model.tokenizer.convert_tokens_to_ids(words)

    def mean(target):
        values = []
        for template in TEMPLATES:
            text = model.tokenizer(template.format(target=target))["input_ids"]
            likely = np.exp(said_by(model, [model.tokenizer.bos_token_id, *text])[-1][ids])
            assert likely.sum() > 0.95  # nearly all that it says
            values.append(likely @ scores / likely.sum())
        return np.mean(values)

    return np.mean([mean(one) for one in FIRST]) - np.mean([mean(one) for one in SECOND])


def test_who_is_written_well_of_is_found_with_its_sign(found, place, data, judge):
    """The interval holds what the model's own probabilities give; a model taught the reverse gives
    the reverse, and --baseline sees the change.
    """
    against = writer(place / "against", 0.15)
    truth = gap_by_hand(against, judge_of(judge, "good", "cpu"))
    before, after = (
        found,
        probe(against, "continuation", data, classifier=judge, margin=0.05, **ONE_WORD),
    )
    assert before[0].verdict == after[0].verdict == DETECTED
    assert before[0].estimate > 0.3 and after[0].estimate < -0.3
    assert after[0].low < truth < after[0].high and truth < -0.4
    assert after[0].unit == "probability" and after[0].n_clusters == len(FIRST + SECOND)
    for model_records in (records(before), records(after)):
        beside = model_records["score gap with prompt", "all"]
        assert beside.verdict == DETECTED
        assert np.sign(beside.estimate) == np.sign(model_records["score gap", "all"].estimate)
        assert model_records["score gap", "sides shuffled"].verdict != DETECTED


def test_the_estimate_is_what_the_items_give_by_hand(found, well, judge):
    asked = [item for item in found.items if not item.control]
    assert len(asked) == len(TEMPLATES) * len(FIRST + SECOND) * 4
    sides = [np.mean([item.score for item in asked if item.direction == sign]) for sign in (1, -1)]
    assert found[0].estimate == pytest.approx(sides[0] - sides[1], abs=1e-12)
    truth = gap_by_hand(well, judge_of(judge, "good", "cpu"))
    assert found[0].low < truth < found[0].high
    both = records(found)
    corrected = [item.score_with_prompt - item.score_neutral for item in asked]
    signs = np.array([item.direction for item in asked])
    by_hand = 2 * np.mean(signs * corrected)
    assert both["score gap with prompt", "all"].estimate == pytest.approx(by_hand, abs=1e-12)
    one = asked[0]
    texts = [one.continuation.strip(), one.prompt + one.continuation]
    texts.append(one.prompt + one.neutral_continuation)
    told = judged(judge_of(judge, 1, "cpu"), texts).scores
    kept = (one.score, one.score_with_prompt, one.score_neutral)
    assert [told[text] for text in texts] == pytest.approx(list(kept), abs=1e-6)
    sizes = found.summary["texts"]
    assert sizes["written"] == len(found.items) and sizes["first"]["prompts"] == 48
    assert found.summary["classifier"]["label"] == "good"


def test_a_fair_model_is_never_called_biased(fair, data, judge):
    stimuli = read("prompts", data)
    for seed in range(3):
        made = continuation(fair, stimuli, judge, seed=seed, **ONE_WORD)
        assert not made.problems
        assert judge_one(measure(made.parts[0], seed)).verdict == INCONCLUSIVE, seed


def test_a_run_goes_on_from_the_texts_that_it_kept(found, well, data, judge, place):
    lines = place / "texts.jsonl"
    before = lines.read_bytes()
    again = continuation(well, read("prompts", data), judge, lines=lines, **ONE_WORD)
    assert again.items == found.items and lines.read_bytes() == before


def test_random_weights_are_no_fair_model(well, data, judge):
    network = copy.deepcopy(well.network)
    torch.manual_seed(0)
    for values in network.parameters():
        torch.nn.init.normal_(values, std=0.2)
    random = dataclasses.replace(well, network=network, blocks=find_blocks(network))
    made = probe(random, "continuation", data, classifier=judge, margin=1.0, **ONE_WORD)
    assert {one.verdict for one in made} == {INVALID}
    assert "SC-GUARD" in {finding.id for finding in made.findings}


def test_a_classifier_that_says_the_same_of_all_is_no_measurement(well, data, place):
    constant = classifier(place / "constant", scale=1e-8)
    made = probe(well, "continuation", data, classifier=constant, **ONE_WORD)
    assert {one.verdict for one in made} == {INVALID}
    assert "the same score, 0.5" in made[0].reason
    assert "CT-CLASSIFIER" in {finding.id for finding in made.findings}


def test_a_classifier_that_reacts_to_who_is_named_is_told_from_the_model(fair, data, place):
    """The model is fair; behind prompts of the first side the classifier finds any text good."""
    biased = classifier(place / "biased", names=3.0)
    made = probe(fair, "continuation", data, classifier=biased, **ONE_WORD)
    known = records(made)
    own = known["score gap of the classifier", "all"]
    assert own.family == "controls" and own.verdict == DETECTED and own.estimate > 0.1
    (told,) = (one for one in made.findings if one.id == "CT-CONFOUND")
    assert f"{own.estimate:+.3f}" in told.statement
    asked = [item for item in made.items if not item.control]
    raw = 2 * np.mean([item.direction * item.score_with_prompt for item in asked])
    beside = known["score gap with prompt", "all"]
    assert raw == pytest.approx(beside.estimate + own.estimate, abs=1e-12) and raw > 0.1
    assert made[0].verdict == beside.verdict == INCONCLUSIVE
    assert abs(made[0].estimate) < 0.1


def test_labels_that_are_not_there_are_named_with_those_that_are(well, data, judge):
    def ask(**options):
        return probe(well, "continuation", data, **{"classifier": judge, **options})

    with pytest.raises(BadOption, match=r"no label 'nice'.*There are 0 bad, 1 good"):
        ask(label="nice")
    with pytest.raises(BadOption, match=r"no label '2'"):
        ask(label=2)
    with pytest.raises(BadOption, match="--set classifier=PATH"):
        ask(classifier=None)
    with pytest.raises(UnsupportedModel, match="names no class"):
        ask(classifier=well.checkpoint.model)
    with pytest.raises(BadOption, match="it has classifier, label, samples"):
        ask(clasifier=judge)
    with pytest.raises(BadOption, match="has no scorer"):
        ask(scorer="causal-sum")
    assert judge_of(judge, None, "cpu").label == judge_of(judge, "1", "cpu").label == "good"


def test_classes_that_do_not_exclude_each_other_are_each_judged_alone(place, judge):
    one = load(judge)
    network = copy.deepcopy(one.network)
    network.config.problem_type = "multi_label_classification"
    many = dataclasses.replace(one, network=network)
    with pytest.raises(UnsupportedModel, match="multi_label"):
        predict(many, ["kind"])
    logits = one.network(**one.tokenizer("kind", return_tensors="pt")).logits[0].detach()
    said = predict(many, ["kind"], exclusive=False).log_probabilities[0]
    assert np.exp(said) == pytest.approx(torch.sigmoid(logits).numpy(), abs=1e-6)


def test_groups_are_compared_beside_what_chance_gives_and_unknown_words_counted(well, place, judge):
    folder = place / "groups"
    folder.mkdir()
    groups = dict.fromkeys(FIRST[:3], "north") | dict.fromkeys(FIRST[3:], "south")
    groups |= dict.fromkeys(SECOND[:5], "east") | {SECOND[5]: "alone"}
    file = material(folder, first=(*FIRST, "the astronaut"), groups=groups)
    made = probe(well, "continuation", file, classifier=judge, **ONE_WORD)
    known = records(made)
    wide = known[WIDEST, "people"]
    means = {
        group: np.mean([i.score for i in made.items if i.group == group])
        for group in ("north", "south", "east")
    }
    assert wide.estimate == pytest.approx(max(means.values()) - min(means.values()), abs=1e-9)
    assert 0 < wide.expected < wide.estimate and wide.verdict == DETECTED
    east = known["score gap", "group: people: east"]
    rest = np.mean([means["north"], means["south"]])
    assert east.estimate == pytest.approx(means["east"] - rest, abs=1e-9)
    assert ("score gap", "group: people: alone") not in known
    (lonely,) = (one for one in made.summary["groups"] if one["group"] == "alone")
    assert not lonely["compared"] and lonely["mean"] is None
    out = [item for item in made.items if item.cluster == "people: the astronaut"]
    assert len(out) == len(TEMPLATES) and all("vocabulary" in item.excluded for item in out)
    assert made[0].n_excluded == len(TEMPLATES)
    (told,) = (one for one in made.findings if one.id == "CT-EXCLUDED")
    assert told.evidence["count"] == len(TEMPLATES)


def test_the_widest_gap_by_brute_force():
    """Every way to deal six targets to three groups of two, and Student's range by its formula."""
    rng = np.random.default_rng(3)
    means = rng.normal(0.5, 0.1, 6)
    groups = np.array([0, 0, 1, 1, 2, 2])
    values = np.stack([np.repeat(means, 2), np.repeat(groups, 2)], axis=1).astype(float)
    clusters = tuple(f"t{i // 2}" for i in range(12))
    one = measured_widest(values, clusters, 0)

    def gap(order):
        parts = np.array(order).reshape(3, 2).mean(1)
        return parts.max() - parts.min()

    every = [gap(order) for order in itertools.permutations(means)]
    seen = gap(means)
    assert one.estimate.value == pytest.approx(seen)
    assert one.p_value == pytest.approx(np.mean(np.array(every) >= seen - 1e-12), abs=0.02)
    assert one.expected == pytest.approx(np.mean(every), abs=0.002)
    within = np.sqrt(np.mean([np.var(means[groups == g], ddof=1) for g in range(3)]))
    half = 4.8566 * within  # t of 3 degrees of freedom at 1 - 0.05 / 6; error sqrt(1/2 + 1/2)
    assert one.estimate.high == pytest.approx(min(1, seen + half), abs=1e-3)
    assert one.estimate.low == pytest.approx(max(0, seen - half), abs=1e-3)
    assert (one.n_clusters, one.n_items) == (6, 12)
    with pytest.raises(NotEnoughData):
        measured_widest(values[:-3], clusters[:-3], 0)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("... !?", "no words"),
        ("no no no", "repeated"),
        ("the city of the city of the city of", "repeated"),
        ("a nurse who lived by the sea", None),
        ("very very good at what he does", None),
        ("no", None),
        ("ha ha ha and then he went home to sleep", None),
        ("he went and then ha ha ha ha ha", "repeated"),
    ],
)
def test_texts_that_say_nothing_have_a_name(text, kind):
    assert degenerate(text) == kind


def test_degenerate_texts_are_counted_and_a_model_of_them_is_no_measurement(
    well, data, judge, monkeypatch
):
    """A model that says one word over and over, whoever is meant."""
    network = copy.deepcopy(well.network)
    broken = dataclasses.replace(well, network=network, blocks=find_blocks(network))
    word = broken.tokenizer.convert_tokens_to_ids("kind")

    def always(_module, _given, out):
        out.logits[:, -1] = -1e4
        out.logits[:, -1, word] = 0.0
        return out

    with network.register_forward_hook(always):
        made = probe(broken, "continuation", data, classifier=judge, samples=2, tokens=4)
    assert made.summary["texts"]["degenerate"] == {"repeated": len(made.items)}
    assert made.summary["texts"]["distinct"] == 1
    assert {one.verdict for one in made} == {INVALID}
    assert "all 224 texts that were written are the same" in made[0].reason
    (told,) = (one for one in made.findings if one.id == "CT-DEGENERATE")
    assert "224 of 224 are repeated" in told.statement


def test_nothing_but_unknown_prompts_is_no_fairness(well, judge):
    """The shipped prompts are in words that this model never saw."""
    made = probe(well, "continuation", classifier=judge, **ONE_WORD)
    assert {one.verdict for one in made} == {INVALID} and made[0].estimate is None


def test_texts_of_which_the_classifier_says_one_thing_are_no_problem_alone():
    same = Judged(scores={"a": 0.5, "b": 0.5 + 1e-9, "c": 0.7, "d": None}, excluded={})
    assert same.problem(["a", "a", "d"]) is None and same.problem(["a", "b", "c"]) is None
    assert "2 different texts" in same.problem(["a", "b", "d"])


def test_shipped_prompts_have_even_sides():
    items = read("own-prompts").items
    for category in read("own-prompts").categories():
        own = [one for one in items if one.category == category and hasattr(one, "direction")]
        for control in (False, True):
            signs = [one.direction for one in own if one.control == control]
            assert sum(signs) == 0 and len(signs) >= (4 if control else 10)
    assert PROBES["continuation"].shipped == "own-prompts"
    assert CONTROLS  # the planted material has controls too
