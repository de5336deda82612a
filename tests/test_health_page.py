"""The Health page, the view of heads and units, and what Home says of them."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from inspector import jobs
from inspector.report import charts_heads, charts_health
from inspector.report.health_words import MEASUREMENTS, WORDS
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.health_rules import RULES
from inspector.weights.stored_judgements import judgement_key, stored_judgement
from tests.test_app import PATIENCE, charts, here, table, texts, visit, well
from tests.weights.build import stored, write_file


@pytest.fixture(scope="session")
def checked(minilm) -> list[str]:
    """Models whose health and neurons are on disk already."""
    models = ["demo:planted", str(minilm)]
    for model in models:
        for command in ("health", "neurons"):
            stored_judgement(open_checkpoint(model), command)
    return models


@pytest.fixture
def broken(tmp_path) -> Path:
    """A checkpoint with one NaN and one dead matrix."""
    ordinary = np.random.default_rng(0).standard_normal((3, 20, 30)).astype(np.float32)
    ordinary[1, 2, 3] = np.nan
    ordinary[2] = 0
    tensors = {
        f"model.layers.{i}.mlp.up_proj.weight": stored("F32", values)
        for i, values in enumerate(ordinary)
    }
    return write_file(tmp_path / "model.safetensors", tensors)


def finished(id: str) -> None:
    end = time.monotonic() + PATIENCE
    while (job := jobs.find(id)) is not None and job.active:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert jobs.find(id).state == "done", jobs.find(id).error


def shown_rules(at: AppTest) -> tuple[set[str], set[str]]:
    """Ids of the rules the page shows as failing, and as passing."""
    places = [frame.proto.alt for frame in at.dataframe]
    failing = {alt.split()[-2] for alt in places if "places where" in alt}
    (passing,) = (set(one.value["rule"]) for one in at.table) if at.table else (set(),)
    return failing, {cell.split("  \n")[1].split(",")[0] for cell in passing}


def test_every_rule_has_its_words():
    assert WORDS.keys() == {rule.id for rule in RULES}
    titles = [title for title, _ in WORDS.values()]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("which", [0, 1], ids=["demo", "minilm"])
def test_every_rule_is_shown_once_failing_or_passing(checked, which):
    at = well(visit("health", checked[which]))
    kept = stored_judgement(open_checkpoint(checked[which]), "health")
    failing, passing = shown_rules(at)
    assert failing == {record.id for record in kept if not record.passed}
    assert passing == {record.id for record in kept if record.passed}
    assert failing | passing == {rule.id for rule in RULES}
    assert at.metric[0].value == f"{len(passing)} of {len(RULES)}"
    assert kept.summary["measured"].keys() == MEASUREMENTS.keys()
    rests = table(at, "rest on")
    assert list(rests["parameters"]) == [
        kept.summary["measured"][name]["parameters"] for name in MEASUREMENTS
    ]
    assert all(frame.proto.alt for frame in at.dataframe)
    assert {button.proto.label for button in at.get("download_button")} == {
        f"Download {form}" for form in ("JSON", "CSV", "SARIF", "HTML")
    }


def test_the_real_model_was_not_trained_in_one_place(checked):
    at = well(visit("health", checked[1]))
    assert shown_rules(at)[0] == {"HL-UNTRAINED", "HL-KURTOSIS", "HL-SUPERWEIGHT"}
    assert list(table(at, "HL-UNTRAINED fails")["where"]) == ["pooler.dense.weight"]
    (chart,) = charts(at)
    assert "15 places under 3 rules" in chart.proto.alt


@pytest.mark.parametrize(
    "chosen, rule, text, failing, passing",
    [
        (["warning"], "all", "", {"HL-UNTRAINED"}, 0),
        (["error"], "all", "", set(), 0),
        (["passed"], "all", "", set(), 18),
        (["info", "passed"], "HL-KURTOSIS", "", {"HL-KURTOSIS"}, 0),
        ([], "all", r"layer\.2\.", {"HL-KURTOSIS", "HL-SUPERWEIGHT"}, 0),
        ([], "all", "HL-FINITE", set(), 1),
    ],
)
def test_rules_are_filtered(checked, chosen, rule, text, failing, passing):
    at = visit("health", checked[1])
    at.session_state["severity"] = chosen
    at.selectbox("rule").select(rule)
    at.text_input("health_text").set_value(text).run()
    found, passed = shown_rules(well(at))
    assert found == failing
    assert len(passed) == passing


def test_a_place_opens_its_tensor(checked):
    at = visit("health", checked[1])
    where = table(at, "HL-KURTOSIS fails")["where"][2]
    at.session_state["places_HL-KURTOSIS"] = {
        "selection": {"rows": [2], "columns": [], "cells": []}
    }
    well(at.run())
    assert at.title[0].value == "Tensor"
    assert here(at, "tensor") == where


def test_rules_are_told_while_a_job_checks_them(broken):
    at = well(visit("health", str(broken)))
    (rules,) = at.table
    assert len(rules.value) == len(RULES)
    finished(judgement_key(open_checkpoint(str(broken)), "health"))
    failing, _ = shown_rules(well(at.run()))
    assert {"HL-FINITE", "HL-DEAD"} <= failing
    assert "layers.1" in table(at, "HL-FINITE fails")["where"][0]
    assert "layers.2" in table(at, "HL-DEAD fails")["where"][0]
    assert "Mend the errors first" in texts(at)
    assert int(at.metric[1].value) >= 2


def test_home_says_what_is_known_of_health_and_measures_nothing(checked, broken):
    at = visit("home", str(broken))
    at.session_state["model"] = str(broken)
    assert "not been checked" in texts(well(at.run()))
    assert jobs.find(judgement_key(open_checkpoint(str(broken)), "health")) is None
    at = visit("home", checked[1])
    at.session_state["model"] = checked[1]
    assert "18 of 21 rules of health pass (0 error, 1 warning, 2 info)" in texts(well(at.run()))
    pages = {link.proto.page for link in at.get("page_link")}
    assert {"summary", "health", "compare"} <= pages


def heads_view(model: str) -> AppTest:
    code = (
        "import streamlit as st\n"
        "from inspector.pages import frame, heads_view\n"
        f"heads_view.show(frame.open_model({model!r}))\n"
    )
    return well(AppTest.from_string(code, default_timeout=PATIENCE).run())


@pytest.mark.parametrize("which", [0, 1], ids=["demo", "minilm"])
def test_heads_have_a_map_for_every_measure(checked, which):
    heads = stored_judgement(open_checkpoint(checked[which]), "neurons").summary["heads"]
    at = heads_view(checked[which])
    for name in charts_heads.MEASURES:
        at.selectbox("head_measure").select(name).run()
        (chart,) = charts(well(at))
        assert f"of {len(heads)} heads" in chart.proto.alt
        assert charts_heads.MEASURES[name].about in texts(at)


def test_a_map_holds_the_heads_numbers_over_those_of_noise(checked):
    heads = stored_judgement(open_checkpoint(checked[1]), "neurons").summary["heads"]
    chart = charts_heads.grid(heads, charts_heads.MEASURES["qk_norm"])
    assert chart.table.shape == (6, 13)
    for head in heads:
        cell = chart.table[f"head {head['head']}"][head["layer"]]
        assert cell == pytest.approx(head["qk_norm"] / head["qk_norm_noise"], rel=1e-12)
    most = max(heads, key=lambda head: head["copying"])
    told = charts_heads.grid(heads, charts_heads.MEASURES["copying"]).alt
    assert f"{most['copying']:.3g} (layer {most['layer']}, head {most['head']})" in told


def test_super_weights_open_their_tensor_and_units_are_counted(checked):
    at = heads_view(checked[1])
    assert at.metric[0].value == f"{6 * 1536:,}"
    far = table(at, "stand far out")
    assert far["name"][0] == "encoder.layer.0.output.dense.weight"
    assert (far["standard deviations"] > far["chance reaches"]).all()
    assert "No matrix has a row or column" in texts(at)


def test_dead_and_repeated_units_are_listed(tmp_path):
    random = np.random.default_rng(0)
    up, down = random.standard_normal((2, 64, 32)).astype(np.float32)
    up[3] = 0
    up[9] = up[8]
    down = np.ascontiguousarray(down.T)
    down[:, 9] = down[:, 8]
    names = {"up_proj": up, "gate_proj": random.standard_normal((64, 32)), "down_proj": down}
    names["gate_proj"][9] = names["gate_proj"][8]
    tensors = {
        f"model.layers.0.mlp.{name}.weight": stored("F32", values.astype(np.float32))
        for name, values in names.items()
    }
    model = str(write_file(tmp_path / "model.safetensors", tensors))
    kept = stored_judgement(open_checkpoint(model), "neurons")
    assert kept.summary["units"]
    at = heads_view(model)
    units = table(at, ".*first of them")
    assert units["dead"][0] == 1
    assert units["duplicates"][0] == 1
    assert "dead 3" in units["first of them"][0]
    assert "No head could be told apart" in texts(at)


def test_failures_in_a_chart_add_up():

    rows = [["A", "0", "error", 2], ["B", "outside", "info", 3], ["A", "1", "error", 1]]
    columns = ["rule", "layer", "severity", "places"]
    chart = charts_health.places(pd.DataFrame(rows, columns=columns), ["outside", "0", "1"])
    assert "6 places under 2 rules" in chart.alt
    assert "most, 3, in what stands outside" in chart.alt
