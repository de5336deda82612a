"""Where a gap sits, end to end: the demo models, whose truth is known, and what cannot be asked."""

import dataclasses
import json

import numpy as np
import pytest
import yaml
from fairness.planting import material
from fairness.talkers import saved

from inspector.demo import path
from inspector.demo.corpus import OCCUPATIONS
from inspector.errors import BadOption, NotEnoughData
from inspector.fairness import localize as module
from inspector.fairness.localize import localize
from inspector.fairness.localize_records import QUANTITIES, WHAT, Localised
from inspector.fairness.probes.counterfactual_gap import counterfactual_gap
from inspector.fairness.probes.parts import measure
from inspector.fairness.stimuli import read
from inspector.model.load import load


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    return read("templates", material(tmp_path_factory.mktemp("templates")))


@pytest.fixture(scope="module")
def planted(templates):
    return localize(load("demo:planted"), templates)


def of(found, what, quantity):
    return [one for one in found if (one.what, one.quantity) == (what, quantity)]


def test_the_gap_of_the_planted_model_is_that_of_its_corpus(planted):
    card = (path("planted") / "README.md").read_text().splitlines()
    rows = [line.split("|") for line in card if line.startswith("| ")]
    odds = {row[1].strip(): float(row[5]) for row in rows if row[1].strip() in OCCUPATIONS}
    asked = [item for item in planted.items if not item.control]
    truth = np.mean(
        [one.direction * (odds[one.target.split("the ")[1]] - odds["person"]) for one in asked]
    )
    whole = planted.summary["gap"]
    assert whole["low"] < truth < whole["high"]
    assert whole["verdict"] == "bias detected"
    assert whole["gap"] == pytest.approx(np.mean([one.direction * one.gap for one in asked]))
    assert abs(planted.summary["null_gap"]["gap"]) < 0.1
    assert (whole["n_items"], whole["n_clusters"]) == (72, 12)


def test_the_gap_is_that_of_the_probe(planted, templates):
    model = load("demo:planted")
    answers = counterfactual_gap(model, templates)
    gaps = {item.id: item.gap for item in planted.items}
    assert len(answers.items) == len(gaps) == 96
    for item in answers.items:
        assert gaps[item.id] == pytest.approx(item.difference, abs=1e-4)
    number = measure(answers.parts[0])
    whole = planted.summary["gap"]
    for name in ("low", "high"):
        assert whole[name] == pytest.approx(getattr(number.estimate, name), abs=1e-4)
    assert whole["p_value"] == number.p_value


def test_records_of_the_planted_model(planted):
    whole = planted.summary["gap"]["gap"]
    layers = 3
    assert [one.layer for one in of(planted, "layers", "lens")] == [None, *range(layers)]
    assert len(of(planted, "layers", "write")) == layers
    assert len(of(planted, "heads", "ablation")) == 4 * layers
    assert len(of(planted, "blocks", "write")) == 2 * layers
    assert {one.role for one in of(planted, "matrices", "direction")} == {"o", "down"}
    assert {one.quantity for one in planted} == set(QUANTITIES)
    for quantity in ("lens", "stream-here"):
        begin, *_, end = of(planted, "layers", quantity)
        assert begin.effect == 0 and begin.verdict == "inconclusive"
        assert end.effect == pytest.approx(whole, abs=1e-4)
        assert end.share == pytest.approx(1, abs=1e-4)
        assert end.verdict == "bias detected"
    # the word before the pronoun is the same in both: the whole gap comes from elsewhere
    begin, *_, end = of(planted, "layers", "stream-elsewhere")
    assert begin.effect == pytest.approx(whole, abs=1e-4)
    assert end.effect == 0
    for one in planted:
        if one.effect is None:
            continue
        assert one.low <= one.effect <= one.high
        assert one.template_low <= one.effect <= one.template_high
        assert one.null_low <= one.null_effect <= one.null_high
        assert one.share == pytest.approx(one.effect / whole)
        assert one.p_adjusted >= one.p_value
        assert (one.slope is not None) == (one.what == "heads")
    for what, first in planted.summary["carries_most"].items():
        ranked = [one for one in planted if one.what == what and one.name == first["name"]]
        assert first["effect"] in [one.effect for one in ranked]
    for what, first in planted.summary["leaves_least"].items():
        left = {one.name: abs(whole - one.effect) for one in of(planted, what, "write")}
        assert left[first["name"]] == min(left.values())
    total = sum(one.effect for one in of(planted, "layers", "write"))
    assert planted.summary["adds_up_to"]["layers"]["effect"] == pytest.approx(total)
    json.loads(planted.to_json())
    assert list(planted.to_frame().columns[:3]) == ["name", "layer", "role"]


def test_there_is_nothing_to_localise_in_the_balanced_model(templates):
    found = localize(load("demo:balanced"), templates, what=("layers",))
    assert found.summary["gap"]["verdict"] == "inconclusive"
    assert abs(found.summary["gap"]["gap"]) < 0.01
    assert {one.verdict for one in found} == {"inconclusive"}
    assert {one.share for one in found} == {None}
    assert found.summary["leaves_least"] == {"layers": None}
    assert all(one.effect is not None for one in found)
    assert "LO-NOTHING" in {finding.id for finding in found.findings}


def test_same_seed_same_numbers_whatever_else_is_asked(planted, templates):
    again = localize(load("demo:planted"), templates, what=("matrices",))
    assert again.records == tuple(of(planted, "matrices", "direction"))


def test_a_model_that_knows_no_language_is_not_believed(tmp_path):
    file = tmp_path / "templates.yaml"
    body = {
        "neutral": "e",
        "templates": [f"{{target}} {x} g h i {{attribute}} ." for x in "cdfj"],
        "targets": [{"text": "a", "direction": "1"}, {"text": "b", "direction": "-1"}],
        "pairs": [["ij", "hg"]],
    }
    file.write_text(yaml.safe_dump({"letters": body}))
    found = localize(load(saved("llama", tmp_path / "model")), read("templates", file))
    assert {one.verdict for one in found} == {found.summary["gap"]["verdict"]}
    assert found.summary["gap"]["verdict"] == "invalid measurement"
    assert {"SC-GUARD", "LO-NONULL"} <= {finding.id for finding in found.findings}
    assert all(one.effect is not None and one.null_effect is None for one in found)


def test_what_is_left_out_is_counted(tmp_path):
    file = tmp_path / "templates.yaml"
    names = [name for name, one in OCCUPATIONS.items() if abs(one.leaning) == 1]
    body = {
        "neutral": "the person",
        "templates": [
            "{target} said that {attribute} was tired .",
            "{target} went home when {attribute} felt calm .",
            "{attribute} met {target} .",
        ],
        "targets": [
            *({"text": f"the {name}", "direction": "1"} for name in names),
            {"text": "the beekeeper", "direction": "1"},
            {"text": "the cook", "direction": "0"},
        ],
        "pairs": [["he", "she"]],
    }
    file.write_text(yaml.safe_dump({"occupation": body}))
    stimuli = read("templates", file)
    model = load("demo:planted")
    found = localize(model, stimuli, what=("blocks",))
    assert found.summary["contrasts"] == 3 * 13  # without direction none counts
    assert found.summary["excluded"] == {"words first": 13, "unknown": 2}
    assert sum(item.gap is None for item in found.items) == 15
    assert {item.template for item in found.items if item.gap is not None} == {
        item.template for item in found.items if "attribute} met" not in item.template
    }
    assert [f.id for f in found.findings].count("LO-EXCLUDED") == 2
    only = tmp_path / "only.yaml"
    body["templates"] = body["templates"][2:]
    only.write_text(yaml.safe_dump({"occupation": body}))
    with pytest.raises(NotEnoughData, match="left to right"):
        localize(model, read("templates", only))


def test_options(templates):
    model = load("demo:planted")
    with pytest.raises(BadOption, match="layers, heads, blocks, matrices"):
        localize(model, templates, what=("neurons",))
    with pytest.raises(BadOption, match="occupation"):
        localize(model, templates, category="religion")


def test_of_many_contrasts_some_are_drawn_from_all_templates_alike(templates, monkeypatch):
    monkeypatch.setattr(module, "MOST", 14)
    model = load("demo:planted")
    one = localize(model, templates, "occupation", ("matrices",), seed=1)
    counts = [0] * 6
    names = list(dict.fromkeys(item.template for item in one.items))
    for item in one.items:
        counts[names.index(item.template)] += not item.control and item.gap is not None
    assert sorted(counts) == [2, 2, 2, 2, 3, 3]
    drawn = [finding for finding in one.findings if finding.id == "LO-DRAWN"]
    assert [finding.evidence["known"] for finding in drawn] == [72, 24]
    assert (one.summary["contrasts"], one.summary["asked"]) == (96, 28)
    assert sum("not drawn" in (item.excluded or "") for item in one.items) == 96 - 28


def test_fields():
    names = [field.name for field in dataclasses.fields(Localised)]
    assert names[:4] == ["name", "layer", "role", "head"]
    assert WHAT == ("layers", "heads", "blocks", "matrices")
