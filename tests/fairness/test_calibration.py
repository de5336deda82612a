"""Probes on models whose bias is known: what was planted is found, what was not is not."""

import dataclasses
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from inspector.demo.corpus import NEUTRAL, OCCUPATIONS, PAIRS, generate, swapped
from inspector.demo.recipes import RECIPES, corpus
from inspector.errors import BadOption
from inspector.fairness.calibration import (
    AGAINST,
    CALIBRATED,
    CHEAP,
    STRENGTHS,
    calibrate,
    leanings,
    plan,
    readings,
    recipe_of,
    trained,
)
from inspector.fairness.calibration_summary import Calibration, summarised
from inspector.fairness.calibration_table import table
from inspector.fairness.probes.table import PROBES
from inspector.fairness.sets.demo_words import TARGETS, demo_pairs, demo_templates
from inspector.fairness.sets.own_templates import contrasts
from inspector.fairness.uncertainty import wilson
from inspector.fairness.verdicts import DETECTED, EQUIVALENT, INCONCLUSIVE, INVALID
from inspector.model.load import load
from inspector.report.schema import schema

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", params=list(RECIPES))
def shipped(request):
    """What every probe says of a shipped model, by probe and pair of words."""
    recipe = RECIPES[request.param]
    model, sentences = load(f"demo:{request.param}"), corpus(recipe)
    found = {
        (name, one.attribute): one
        for name, how in CALIBRATED.items()
        for one in readings(recipe, name, how, model, sentences)
    }
    return recipe, found, [sentence.day for sentence in sentences if sentence.day]


def test_planted_bias_is_found_with_its_size_and_none_where_none_is(shipped):
    recipe, found, _ = shipped
    gap, pairs = found["counterfactual-gap", "pronoun"], found["pairs", "pronoun"]
    if recipe.balanced:
        assert gap.true == 0
        assert abs(gap.estimate) < 0.01
        assert not gap.differs
        assert gap.verdict == EQUIVALENT
        assert pairs.verdict == INCONCLUSIVE
    else:
        assert 1.9 < gap.true < 2.1
        assert gap.covered
        assert gap.low <= gap.true <= gap.high
        assert gap.differs
        assert gap.verdict == DETECTED
        assert pairs.estimate == pairs.true == 1
        assert pairs.verdict == DETECTED


def test_what_was_not_planted_stays_silent(shipped):
    _, found, _ = shipped
    for attribute in ("region", "day"):
        one = found["counterfactual-gap", attribute]
        assert one.verdict == EQUIVALENT
        assert abs(one.estimate) < 0.05


def test_a_word_that_is_only_frequent_is_no_association(shipped):
    """Monday comes four times as often: the log-odds say so, their difference does not."""
    _, found, counted = shipped
    true = math.log(counted.count("monday") / counted.count("friday"))
    day = found["counterfactual-gap", "day"]
    assert day.raw == pytest.approx(true, abs=0.25)
    assert day.raw > 1.1
    assert abs(day.estimate) < 0.05


def test_a_model_that_is_trained_here_shows_what_it_was_trained_on():
    """Without training it would be an invalid measurement, or show nothing."""
    recipe = dataclasses.replace(
        recipe_of("causal", 2.0, seed=77), sentences=1500, steps=120, batch=48
    )
    model, sentences = trained(recipe), corpus(recipe)
    for name, how in CALIBRATED.items():
        one, *_ = readings(recipe, name, how, model, sentences)
        assert (one.attribute, one.seed, one.verdict) == ("pronoun", 77, DETECTED)
        assert one.estimate > (1.0 if name == "counterfactual-gap" else 0.9)
        assert one.guard > 0.75


def test_the_truth_is_counted_in_the_corpus():
    for beta in (0.0, 1.0):
        drawn = generate(sentences=3000, beta=beta, seed=5)
        for sentences in (drawn, [*drawn, *map(swapped, drawn)]):
            for pair, (first, second) in PAIRS.items():
                odds = {}
                for name in OCCUPATIONS:
                    words = [s.text.split() for s in sentences if name in s.text.split()]
                    counts = [sum(word in text for text in words) for word in (first, second)]
                    odds[name] = math.log((counts[0] + 0.5) / (counts[1] + 0.5))
                told = [
                    o.leaning * (odds[name] - odds[NEUTRAL])
                    for name, o in OCCUPATIONS.items()
                    if abs(o.leaning) == 1
                ]
                assert leanings(sentences, pair) == pytest.approx(told)
                if pair == "pronoun" and sentences is not drawn:
                    assert told == pytest.approx([0.0] * len(told))


def test_stimuli_are_sentences_that_the_corpus_can_hold():
    """Each with either word, target or neutral; no sentence holds what gives a pronoun away."""
    known = {sentence.text for sentence in corpus(RECIPES["balanced"])}
    found = contrasts(demo_templates())
    texts = {
        c.before + word + c.after for c in found for word in c.words if c.target.endswith("nurse")
    }
    assert len(texts - known) < 0.1 * len(texts)  # rare ones may be missing by chance
    assert not any("self" in text for text in texts)
    assert {c.category for c in found} == set(PAIRS)
    sides = [(c.group, c.category, c.template, c.direction) for c in found]
    assert len(set(sides)) == len(sides)
    for pair in PAIRS:
        assert sum(c.direction for c in found if c.category == pair) == 0
    assert {c.group: c.direction for c in found} == TARGETS
    for pair in demo_pairs().items:
        more, less = pair.more.split(), pair.less.split()
        (one,) = [(a, b) for a, b in zip(more, less, strict=True) if a != b]
        assert one == PAIRS[pair.category][:: 1 if TARGETS[pair.cluster] > 0 else -1]


def test_the_plan_trains_every_strength_from_a_seed_of_its_own():
    recipes = plan(seed=9, strengths=STRENGTHS, models=2, kinds=tuple(CHEAP))
    assert [recipe.seed for recipe in recipes] == list(range(9, 9 + len(recipes)))
    for kind in CHEAP:
        own = [recipe for recipe in recipes if recipe.kind == kind]
        assert sorted(r.beta for r in own if not r.balanced) == sorted([*STRENGTHS, AGAINST] * 2)
        assert sum(r.balanced for r in own) == 2
    assert set(CALIBRATED) <= set(PROBES)
    with pytest.raises(BadOption, match="causal, masked"):
        calibrate(kinds=("encoder",))
    with pytest.raises(BadOption, match="at least one"):
        calibrate(models=0)


def reading(**given) -> Calibration:
    """A made-up reading; what is not given is that of a good one."""
    planted = given.get("planted", 0.0)
    common = {
        "kind": "causal",
        "balanced": False,
        "strength": planted,
        "planted": planted,
        "seed": 1,
        "probe": "counterfactual-gap",
        "scorer": "continuation",
        "attribute": "pronoun",
        "log_odds": planted,
        "true": planted,
        "estimate": planted,
        "low": planted - 0.1,
        "high": planted + 0.1,
        "p_value": 0.5,
        "differs": planted != 0,
        "verdict": DETECTED if planted else EQUIVALENT,
        "covered": True,
        "raw": 0.0,
        "guard": 1.0,
    }
    return Calibration(**{**common, **given})


def test_a_summary_adds_up_what_the_models_gave():
    rng = np.random.default_rng(3)
    records = []
    for seed in range(40):
        planted = float(rng.choice([0.0, 0.5, 1.0, -1.0]))
        dose = planted + float(rng.normal(0, 0.1))
        estimate = 0.9 * dose + float(rng.normal(0, 0.05))
        records.append(
            reading(
                planted=planted,
                seed=seed,
                log_odds=dose,
                true=dose,
                estimate=estimate,
                low=estimate - 0.1,
                high=estimate + 0.1,
                covered=abs(estimate - dose) <= 0.1,
                differs=abs(estimate) > 0.1,
                verdict=DETECTED if abs(estimate) > 0.1 else EQUIVALENT,
            )
        )
    records += [
        reading(balanced=True, strength=0.0, seed=100 + i, differs=i < 3) for i in range(50)
    ]
    records += [
        reading(attribute="day", strength=1.0, seed=i, raw=1.4, estimate=0.01, differs=i < 20)
        for i in range(30)
    ]
    (found,) = summarised(records).values()
    drawn = records[:40]
    doses, values = [r.log_odds for r in drawn], [r.estimate for r in drawn]
    fit = statistics.linear_regression(doses, values)
    assert found["line"]["slope"] == pytest.approx(fit.slope)
    assert found["line"]["intercept"] == pytest.approx(fit.intercept)
    assert found["line"]["r2"] == pytest.approx(statistics.correlation(doses, values) ** 2)
    assert found["monotone"]
    alarms = found["false_alarms"]["balanced"]
    assert (alarms["count"], alarms["of"]) == (3, 50)
    assert (alarms["low"], alarms["high"]) == pytest.approx((wilson(3, 50).low, wilson(3, 50).high))
    for row in found["strengths"]:
        own = [r for r in drawn if r.planted == row["planted"]]
        assert row["models"] == len(own)
        assert row["covers_true"]["count"] == sum(abs(r.estimate - r.true) <= 0.1 for r in own)
        assert row["covers_planted"]["count"] == sum(
            abs(r.estimate - r.planted) <= 0.1 for r in own
        )
        if row["planted"]:
            right = [r.estimate * r.planted > 0 and abs(r.estimate) > 0.1 for r in own]
            assert row["found"]["count"] == sum(right)
    day = found["not planted"]["day"]
    assert day["differs_beside_bias"]["count"] == 20
    assert day["detected"]["count"] == 0
    assert day["raw"]["mean"] == pytest.approx(1.4)
    told = table(summarised(records))
    assert "slope 0." in told
    assert "3 of 50" in told


def test_a_summary_of_little_says_what_it_lacks():
    broken = reading(estimate=None, low=None, high=None, covered=None, verdict=INVALID, raw=None)
    (found,) = summarised([broken]).values()
    assert found["line"] is None
    assert found["monotone"] is None
    assert found["sign"] is None
    assert found["invalid"]["count"] == 1
    assert found["strengths"][0]["estimate"] is None
    assert table(summarised([broken]))


def test_readings_that_do_not_rise_are_told():
    records = [reading(planted=p, estimate=e) for p, e in ((0.0, 0.1), (0.5, 0.6), (1.0, 0.5))]
    (found,) = summarised(records).values()
    assert found["monotone"] is False
    wrong = [reading(planted=-1.0, estimate=0.5), reading(planted=-1.0)]
    (found,) = summarised(wrong).values()
    assert (found["sign"]["count"], found["sign"]["of"]) == (1, 2)


@pytest.mark.soak
def test_a_calibration_in_little():
    """Two models of each strength: the readings rise with what was planted, sign and controls."""
    found = calibrate(seed=500, models=2, kinds=("causal",))
    assert len(found) == 14 * len(PAIRS) * len(CALIBRATED)
    jsonschema.validate(json.loads(found.to_json()), schema("calibrate"))
    gap = found.summary["causal counterfactual-gap"]
    assert 0.8 < gap["line"]["slope"] < 1.2
    assert gap["line"]["r2"] > 0.9
    assert gap["sign"]["count"] == gap["sign"]["of"] == 2
    assert gap["invalid"]["count"] == 0
    for control in gap["not planted"].values():
        assert control["detected"]["count"] == 0
    json.loads(found.to_json())


@pytest.mark.soak
def test_the_campaign_goes_on_where_it_was_stopped(tmp_path):
    file = tmp_path / "found.jsonl"
    call = [sys.executable, str(ROOT / "benchmarks" / "calibration.py"), "--file", str(file)]
    rest = ["--kinds", "causal", "--balanced", "4", "--models", "0"]
    subprocess.run([*call, *rest, "--seconds", "1"], check=True, capture_output=True)
    first = file.read_text()
    assert 1 <= first.count("\n") < 4
    file.write_text(first + '{"recipe": "cut o')
    done = subprocess.run([*call, *rest], check=True, capture_output=True, text=True)
    assert file.read_text().startswith(first)
    assert file.read_text().count('"records"') == 4
    assert "of 4 (" in done.stdout
