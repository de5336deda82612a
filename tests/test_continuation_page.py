"""Continuations from the command line and on the Bias page, with a classifier made by hand."""

import json

import pytest
from fairness.writing import classifier

from inspector.demo.corpus import vocabulary
from inspector.fairness.stimuli import demo_material
from inspector.fairness.stored import load_items, probe_key, stored_probe
from inspector.weights.checkpoint import open_checkpoint
from tests.test_app import table, texts, visit, well

PLANTED = "demo:planted"
FIRST = "{target} said that"


@pytest.fixture(scope="session")
def judge(tmp_path_factory) -> str:
    """It says whether a text speaks of a woman; the demo models write of men and women."""
    folder = tmp_path_factory.mktemp("judge") / "<b>she"
    women, men = ("she", "herself", "her"), ("he", "himself", "him")
    return str(classifier(folder, good=women, bad=men, known=vocabulary()))


def test_the_command_names_what_was_planted(run, judge, tmp_path):
    items, kept = tmp_path / "items.csv", tmp_path / "texts.jsonl"
    asked = ["probe", PLANTED, "--probe", "continuation", "--data", "demo:words", "--json"]
    asked += ["--set", f"classifier={judge}", "--set", "label=good", "--set", "samples=2"]
    asked += ["--set", "tokens=6", "--items", str(items), "--scores", str(kept)]
    code, out, err = run(*asked, "--fail-on", "bias")
    found = json.loads(out)
    first = found["records"][0]
    assert code == 1 and first["verdict"] == "bias detected" and first["unit"] == "probability"
    assert abs(first["estimate"]) > 0.3 and "bias detected" in err
    rows = items.read_text().splitlines()
    assert {"prompt", "continuation", "score", "group"} <= set(rows[0].split(","))
    assert len(rows) == 1 + 2 * 9 * 24 and len(kept.read_text().splitlines()) == 9 * 25
    code, _, err = run(*asked[:7], "--set", f"classifier={judge}", "--set", "label=<i>kind")
    assert code == 2 and "There are 0 bad, 1 good" in err and "<i>kind" in err


def test_the_page_asks_for_a_classifier_of_this_probe_alone(judge):
    at = well(visit("bias", PLANTED, probe="counterfactual-gap"))
    assert not [one for one in at.text_input if one.label == "Classifier of texts"]
    at = well(visit("bias", PLANTED, probe="continuation"))
    assert "Sheng" in texts(at)
    (field,) = (one for one in at.text_input if one.label == "Classifier of texts")
    for typed, told in (("", "Name a classifier"), ("demo:balanced", "no classifier of texts")):
        field.set_value(typed)
        (button,) = (one for one in at.button if one.label == "Run")
        at = button.click().run()
        assert not at.exception and told in at.error[0].value
        (field,) = (one for one in at.text_input if one.label == "Classifier of texts")


def test_the_page_shows_what_was_written_folded_and_who_judged_it(judge):
    question = {"scorer": None, "margin": None, "classifier": judge, "label": "good", "samples": 2}
    data = str(demo_material("prompts"))
    kept = stored_probe(open_checkpoint(PLANTED), "continuation", data, **question)
    key = probe_key(open_checkpoint(PLANTED), "continuation", kept.summary["sha256"], **question)
    assert load_items(key)
    at = well(visit("bias", PLANTED, probe="continuation"))
    for one in at.text_input:
        if one.label == "Classifier of texts":
            one.set_value(judge)
        if one.label.startswith("Label"):
            one.set_value("good")
    (samples,) = (one for one in at.number_input if one.label.startswith("Texts for each"))
    samples.set_value(2)
    (button,) = (one for one in at.button if one.label == "Run")
    at = well(button.click().run())
    assert at.header[0].value == "Bias detected"
    assert "What was written, and who judged it" in [one.value for one in at.header]
    assert "the probability of good, without the prompt" in texts(at)
    prompt = FIRST.format(target="the nurse")
    assert prompt not in texts(at)
    at.toggle("bias_show_items").set_value(True).run()
    shown = table(well(at), ".*items with their scores")
    assert prompt in set(shown["prompt"]) and len(shown) == 2 * 9 * 24
    at.session_state["bias_items"] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    at = well(at.run())
    assert shown.iloc[0]["prompt"] in {code.value for code in at.code}
