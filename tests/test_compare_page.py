"""The Compare page: choosing a baseline, where a model moved, one tensor closely."""

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from inspector import jobs
from inspector.report import charts_compare
from inspector.report.compare_words import CLASS_TITLES, STATUSES, lines
from inspector.weights import drift, tensor_change
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.compare import compare
from inspector.weights.stored_judgements import compare_key, stored_compare
from tests.test_app import PATIENCE, charts, here, table, texts, visit, well
from tests.weights.build import stored, write_file

DEMOS = ("demo:balanced", "demo:planted")


def layers(change: Callable[[str, np.ndarray], np.ndarray]) -> dict:
    """Two layers of two matrices and a norm, as they are after the change."""
    random = np.random.default_rng(1)
    tensors = {}
    for i in range(2):
        for role in ("self_attn.q_proj", "mlp.up_proj"):
            name = f"model.layers.{i}.{role}.weight"
            tensors[name] = change(name, random.standard_normal((48, 40)).astype(np.float32))
        name = f"model.layers.{i}.input_layernorm.weight"
        tensors[name] = change(name, np.ones(40, dtype=np.float32))
    return {name: stored("F32", values) for name, values in tensors.items()}


def merged(name: str, values: np.ndarray) -> np.ndarray:
    """A merged update of rank 2 in one matrix."""
    if name != "model.layers.1.self_attn.q_proj.weight":
        return values
    random = np.random.default_rng(2)
    low = random.standard_normal((48, 2)) @ random.standard_normal((2, 40))
    return (values + 0.05 * low).astype(np.float32)


@pytest.fixture
def pair(tmp_path) -> tuple[str, str]:
    """A base, and it with an update merged and a tensor added; compared already."""
    (tmp_path / "base").mkdir()
    (tmp_path / "tuned").mkdir()
    tuned = layers(merged)
    tuned["lm_head.weight"] = stored("F32", np.ones((5, 40), dtype=np.float32))
    base = write_file(tmp_path / "base" / "model.safetensors", layers(lambda _, values: values))
    paths = str(base), str(write_file(tmp_path / "tuned" / "model.safetensors", tuned))
    stored_compare(*map(open_checkpoint, paths))
    return paths


@pytest.fixture(scope="session")
def demos() -> tuple[str, str]:
    """Both demo models, compared already."""
    stored_compare(*map(open_checkpoint, DEMOS))
    return DEMOS


def done(id: str) -> None:
    """Wait for the end of a job, which is good."""
    end = time.monotonic() + PATIENCE
    while (job := jobs.find(id)) is not None and job.active:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert job is not None
    assert job.state == "done", job.error


def beside(base: str, tuned: str) -> AppTest:
    """The page as someone sees it who has opened both models before."""
    at = AppTest.from_file(str(Path(__file__).parents[1] / "app.py"), default_timeout=PATIENCE)
    at.switch_page("inspector/pages/compare.py")
    at.session_state["recent"] = [tuned, base]
    at.query_params["model"], at.query_params["base"] = tuned, base
    return at.run()


def test_every_status_and_verdict_has_its_words():
    assert set(STATUSES) == set(tensor_change.STATUSES)
    assert drift.CLASSES.keys() <= CLASS_TITLES.keys()


def test_without_a_baseline_nothing_is_compared():
    at = well(visit("compare", DEMOS[1]))
    assert "Choose what to compare" in at.info[0].value
    assert not at.dataframe
    assert at.selectbox("base_known").options[-2:] != []
    assert DEMOS[1] not in at.selectbox("base_known").options


def test_a_demo_is_chosen_and_remembered(demos):
    at = visit("compare", demos[1])
    at.selectbox("base_known").select(demos[0])
    well(next(b for b in at.button if b.label == "Compare").click().run())
    assert here(at, "base") == demos[0]
    assert "Trained on" in texts(at)
    assert at.metric[0].value == "51"
    del at.query_params["base"]  # as a click in the sidebar does
    assert here(well(at.run()), "base") == demos[0]


def test_a_path_is_typed(pair):
    at = visit("compare", pair[1])
    at.text_input("base_typed").set_value(f"  {pair[0]} ")
    well(next(b for b in at.button if b.label == "Compare").click().run())
    assert here(at, "base") == pair[0]


@pytest.mark.parametrize("typed", ["/nowhere/at/all", "demo:none"])
def test_a_baseline_that_cannot_be_opened_is_said_plainly(typed):
    at = visit("compare", DEMOS[1])
    at.text_input("base_typed").set_value(typed)
    next(b for b in at.button if b.label == "Compare").click().run()
    assert not at.exception
    assert len(at.error) == 1
    assert "base" not in at.query_params
    assert not at.dataframe


def test_a_linked_baseline_waits_for_a_click(pair):
    at = well(visit("compare", pair[1], base=pair[0]))
    assert pair[0] in [code.value for code in at.code]
    assert not at.dataframe
    well(at.button("open_base").click().run())
    assert here(at, "base") == pair[0]
    assert at.dataframe


def test_headers_are_told_while_a_job_compares(tmp_path):
    (tmp_path / "other").mkdir()
    values = np.random.default_rng(0).standard_normal((20, 30)).astype(np.float32)
    first = {"a.weight": stored("F32", values), "b.weight": stored("F32", values + 1)}
    second = {"a.weight": stored("F16", values.astype(np.float16))}
    base = str(write_file(tmp_path / "model.safetensors", first))
    tuned = str(write_file(tmp_path / "other" / "model.safetensors", second))
    at = well(beside(base, tuned))
    assert "1 tensors have the same name in both, 1 are only in the baseline" in texts(at)
    assert "0 have another shape and 1 another dtype" in texts(at)
    id = compare_key(open_checkpoint(base), open_checkpoint(tuned))
    done(id)
    compared = table(well(at.run()), "tensors compared")
    assert list(compared["status"]) == ["retyped", "removed"]


def test_a_merged_update_is_shown_for_what_it_is(pair):
    at = well(beside(*pair))
    compared = table(at, "tensors compared")
    assert len(compared) == 7
    assert compared["name"].iloc[0] == "model.layers.1.self_attn.q_proj.weight"
    assert compared["delta_rank_estimate"].iloc[0] == 2
    (numbers,) = (t.value for t in at.table)
    rank = numbers[numbers["number"] == "rank of the difference"].iloc[0]
    assert (rank["value"], rank["rounding alone"]) == ("2", "0")
    assert "merged rank-2 update" in texts(at)
    counts = {metric.label: metric.value for metric in at.metric}
    assert (counts["identical"], counts["changed"], counts["added"]) == ("5", "1", "1")
    drawn = charts(at)
    assert len(drawn) == 3
    for chart in drawn:
        assert len(chart.proto.alt) > 30
        assert chart.proto.alt in texts(at)
    assert len([e for e in at.expander if e.label == "As a table"]) == 3
    assert all(frame.proto.alt for frame in at.dataframe)
    assert len(at.get("download_button")) == 4


def test_a_row_is_looked_at_closely(pair):
    at = beside(*pair)
    compared = table(at, "tensors compared")
    row = list(compared["status"]).index("added")
    at.session_state["compare_table"] = {"selection": {"rows": [row], "columns": [], "cells": []}}
    well(at.run())
    assert "lm_head.weight" in [code.value for code in at.code]
    assert "Only the tuned model has it." in texts(at)
    links = [link.proto.label for link in at.get("page_link")]
    assert "In the open model" in links
    assert "In the baseline" not in links


def test_a_cell_of_the_strip_sets_the_filters_once(demos):
    at = beside(*demos)
    at.session_state["strip"] = {"selection": {"cell": [{"layer": "1", "role": "q"}]}}
    well(at.run())
    assert (at.selectbox("compare_layer").value, at.selectbox("compare_role").value) == ("1", "q")
    compared = table(at, "tensors compared")
    assert list(compared["name"]) == ["model.layers.1.self_attn.q_proj.weight"]
    at.selectbox("compare_layer").select("2").run()  # the cell is still selected, and lets it be
    assert at.selectbox("compare_layer").value == "2"
    at.session_state["strip"] = {"selection": {"cell": [{"layer": "0", "role": "all roles"}]}}
    at.run()
    assert (at.selectbox("compare_layer").value, at.selectbox("compare_role").value) == ("0", "all")
    assert len(table(well(at), "tensors compared")) == 16


def test_filters_of_one_comparison_do_not_break_the_next(demos, pair):
    at = beside(*demos)
    at.selectbox("compare_role").select("gate").run()
    at.query_params["model"], at.query_params["base"] = pair[1], pair[0]
    at.session_state["recent"] = [*pair]
    assert len(table(well(at.run()), "tensors compared")) == 7


@pytest.mark.parametrize("text, count", [("q_proj", 6), (r"\.0\..*norm", 2), ("nothing", 0)])
def test_tensors_are_filtered_by_name(demos, text, count):
    at = beside(*demos)
    at.text_input("compare_name").set_value(text).run()
    assert len(table(well(at), "tensors compared")) == count


def test_a_model_beside_itself_is_identical(demos):
    stored_compare(open_checkpoint(demos[0]), open_checkpoint(demos[0]))
    at = well(beside(demos[0], demos[0]))
    assert "Identical" in texts(at)
    assert len(charts(at)) == 1
    assert "4 unchanged." in charts(at)[0].proto.alt
    assert "The bytes are the same." in texts(at)


def test_cells_are_the_means_of_their_tensors(demos):
    kept = stored_compare(*map(open_checkpoint, demos))
    cells = charts_compare.cells(kept.records).set_index(["layer", "role"])
    for layer in ("outside", "0", "2"):
        number = None if layer == "outside" else int(layer)
        mine = [r for r in kept if r.layer == number]
        cell = cells.loc[(layer, charts_compare.ALL_ROLES)]
        assert cell["tensors"] == len(mine)
        assert cell["relative_change"] == pytest.approx(
            np.mean([r.relative_change for r in mine]), rel=1e-12
        )
    one = next(r for r in kept if r.name == "model.layers.2.mlp.up_proj.bias")
    assert cells.loc[("2", "up bias"), "relative_change"] == one.relative_change
    assert set(cells["state"]) == {"changed"}


def test_rounding_is_no_change_in_the_strip(tmp_path):
    (tmp_path / "half").mkdir()
    base = write_file(tmp_path / "model.safetensors", layers(lambda _, values: values))
    rounded = {
        name: stored("F16", np.frombuffer(data, np.float32).reshape(shape).astype(np.float16))
        for name, (_, shape, data) in layers(lambda _, values: values).items()
    }
    half = write_file(tmp_path / "half" / "model.safetensors", rounded)
    found = compare(open_checkpoint(str(base)), open_checkpoint(str(half)))
    cells = charts_compare.cells(found.records).set_index(["layer", "role"])
    assert cells.loc[("0", "q"), "state"] == "rounding only"
    assert cells.loc[("0", "norm"), "state"] == "unchanged"  # ones are the same in both
    assert "rounding only" in charts_compare.strip(found.records).alt
    counts = found.summary["ulps"]["F16"]
    assert "100.00% lie at most one step" in charts_compare.ulps(counts, "F16").alt


def test_a_histogram_of_steps_counts_every_value():
    chart = charts_compare.ulps({"0": 70, "1": 20, "2": 0, "3-4": 10, "5-8": 0}, "BF16")
    assert chart.table["values"].sum() == 100
    assert chart.table["share"].sum() == pytest.approx(1)
    assert "90.00% lie at most one step of BF16" in chart.alt
    assert "10.00% further" in chart.alt
    far = charts_compare.ulps({"0": 0, "1025-2048": 1, "1048577-2097152": 1}, "F32").table
    assert list(far["steps"])[:3] == ["0", "to 2.05k", "to 2.1M"]


def test_lines_say_what_the_record_holds(pair):
    kept = stored_compare(*map(open_checkpoint, pair))
    by_name = {record.name: record for record in kept}
    record = by_name["model.layers.1.self_attn.q_proj.weight"]
    told = {number: (value, noise) for number, value, noise, _ in lines(record)}
    assert float(told["relative change"][0]) == pytest.approx(record.relative_change, rel=1e-3)
    assert float(told["relative change"][1]) == pytest.approx(
        record.relative_change_noise, rel=0.06
    )
    assert told["rows that differ"][0] == "48 of 48"
    assert not lines(by_name["lm_head.weight"])
    kept_as_it_was = lines(by_name["model.layers.0.mlp.up_proj.weight"])
    same = {number: value for number, value, *_ in kept_as_it_was}
    assert same["relative change"] == "0"
    assert "median step (ULP)" not in same


def test_jobs_lead_to_the_page_of_their_result(pair):
    base, tuned = pair
    ids = []
    for work, parameters in (
        ("compare", {"base": base, "model": tuned}),
        ("prune", {"model": tuned}),
        ("health", {"model": tuned}),
    ):
        ids.append(work.ljust(32, "0"))
        jobs.submit(ids[-1], work, f"{work} of {tuned}", **parameters)
        done(ids[-1])
    at = visit("jobs").run()
    assert not at.exception
    links = [link.proto for link in at.get("page_link")]
    asked = [(link.page, parse_qs(link.query_string)) for link in links]
    found = {page: query for page, query in asked if query["model"] == [tuned]}
    assert found["compare"] == {"model": [tuned], "base": [base]}
    assert found["health"] == {"model": [tuned]}
    assert found["summary"] == {"model": [tuned], "view": ["Pruning"]}
