"""Every page of the app, run in this process; their jobs are real processes."""

import json
import os
import re
import struct
import time
from pathlib import Path
from urllib.parse import parse_qs

import numpy as np
import pytest
from streamlit import config
from streamlit.testing.v1 import AppTest

from inspector import jobs
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.stored import scan_key, stored_scan
from tests.weights.build import stored, write_file

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("home", "summary", "tensors", "tensor", "jobs")
OF_A_MODEL = ("summary", "tensors", "tensor")
CHARTS = ("plotly_chart", "vega_lite_chart")
PATIENCE = 180.0


@pytest.fixture(scope="module", autouse=True)
def told_what_went_wrong():
    """Errors in full, in these tests only."""
    before = config.get_option("client.showErrorDetails")
    config.set_option("client.showErrorDetails", "full")
    yield
    config.set_option("client.showErrorDetails", before)


def visit(page: str, opened: str | None = None, **query: str) -> AppTest:
    """A page as someone sees it who has opened this model before, at a link with this query."""
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=PATIENCE)
    at.switch_page(f"inspector/pages/{page}.py")
    if opened is not None:
        at.session_state["recent"] = [opened]
        query = {"model": opened, **query}
    for name, value in query.items():
        at.query_params[name] = value
    return at.run()


def well(at: AppTest) -> AppTest:
    """The page, which has come through without an error."""
    assert not at.exception, at.exception[0].message
    assert not at.error, at.error[0].value
    return at


def here(at: AppTest, name: str) -> str:
    """A parameter of the URL."""
    value = at.query_params[name]
    return value[0] if isinstance(value, list) else value


def texts(at: AppTest) -> str:
    kinds = ("markdown", "caption", "text", "code", "info", "warning", "header", "title")
    return "\n".join(str(element.value) for kind in kinds for element in at.get(kind))


def table(at: AppTest, described: str):
    """The table whose text for those who cannot see it ends, or starts, with these words."""
    alts = [frame.proto.alt for frame in at.dataframe]
    found = [i for i, alt in enumerate(alts) if re.search(rf"^{described}|{described}$", alt)]
    assert len(found) == 1, alts
    return at.dataframe[found[0]].value


def charts(at: AppTest) -> list:
    return [element for kind in CHARTS for element in at.get(kind)]


@pytest.fixture(scope="session")
def measured(minilm) -> list[str]:
    """Models whose scans are on disk already, so that pages have nothing to wait for."""
    models = ["demo:planted", str(minilm)]
    for model in models:
        stored_scan(open_checkpoint(model))
    return models


@pytest.fixture
def small(tmp_path) -> Path:
    """A checkpoint of one tensor, which is ordinary."""
    values = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    return write_file(tmp_path / "model.safetensors", {"lm_head.weight": stored("F32", values)})


@pytest.mark.parametrize("which", [0, 1], ids=["demo", "minilm"])
@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens(measured, page, which):
    at = well(visit(page, measured[which]))
    assert len(at.title) == 1
    if page in OF_A_MODEL:
        assert here(at, "model") == measured[which]
        assert "100.00%" in texts(at) or page == "tensor"


@pytest.mark.parametrize("page", OF_A_MODEL)
def test_without_a_model_a_page_points_home(page):
    at = well(visit(page))
    assert "No model is open" in at.info[0].value
    assert at.get("page_link")[0].proto.page == "home" or at.get("page_link")
    assert not at.dataframe
    assert not charts(at)


@pytest.mark.parametrize("page", OF_A_MODEL)
def test_a_link_to_a_path_waits_for_a_click(page, small):
    at = well(visit(page, model=str(small)))
    assert str(small) in at.code[0].value
    assert "model" not in at.session_state
    assert not at.dataframe
    at.button("open_linked").click().run()
    assert at.session_state["model"] == str(small)
    assert well(at).dataframe


def test_home_fills_a_link_in_and_opens_nothing():
    at = well(visit("home", model="/etc"))
    assert at.text_input("model_path").value == "/etc"
    assert "model" not in at.session_state


@pytest.mark.parametrize("typed", ["/nowhere/at/all", "/etc/passwd", "no such thing", "demo:none"])
def test_what_cannot_be_opened_is_said_plainly(typed):
    at = visit("home")
    at.text_input("model_path").set_value(typed)
    at.button("open_model").click().run()
    assert not at.exception
    assert len(at.error) == 1
    assert any(typed.removeprefix("demo:") in code.value for code in at.code)
    assert "Traceback" not in texts(at)
    assert "model" not in at.session_state


def test_what_is_wrong_with_a_file_is_listed(tmp_path):
    broken = tmp_path / "model.safetensors"
    broken.write_bytes(struct.pack("<Q", 10**9) + b"{}")
    at = visit("home")
    at.text_input("model_path").set_value(str(broken))
    at.button("open_model").click().run()
    assert not at.exception
    assert "error" in set(table(at, "findings")["severity"])


def test_the_form_and_the_demo_button_lead_to_the_summary(measured):
    at = visit("home")
    at.text_input("model_path").set_value(measured[1])
    well(at.button("open_model").click().run())
    assert at.title[0].value == "Summary"
    assert here(at, "model") == measured[1]
    at = visit("home")
    well(at.button("demo_planted").click().run())
    assert at.title[0].value == "Summary"
    assert here(at, "model") == "demo:planted"


def test_home_answers_its_first_question(measured):
    at = well(visit("home", measured[1]))
    at.text_input("model_path").set_value(measured[1])
    at.button("open_model").click().run()
    at.switch_page("inspector/pages/home.py").run()
    assert well(at).metric[0].value == "22.7M"


def test_summary_adds_up_and_shows_what_stands_out(measured):
    model = measured[1]
    at = well(visit("summary", model))
    checkpoint = open_checkpoint(model)
    census = table(at, "Census")
    whole = census[census["kind"] == "all"].iloc[0]
    kinds = census[census["kind"] != "all"]
    assert kinds["parameters"].sum() == whole["parameters"]
    assert kinds["share"].sum() == pytest.approx(1)
    assert whole["tensors"] <= len(checkpoint.tensors)
    scan = stored_scan(checkpoint)
    assert len(table(at, "stand out")) == len(scan.summary["stand_outs"]) > 0
    assert len(table(at, "findings")) == len(scan.findings)
    at.session_state["census_by"] = "layer"
    assert "layer" in table(well(at.run()), "Census")


def test_statistics_join_when_the_job_is_done(small):
    at = well(visit("tensors", str(small)))
    assert "rms" not in table(at, " tensors")
    key = scan_key(open_checkpoint(str(small)))
    end = time.monotonic() + PATIENCE
    while (job := jobs.find(key)) is not None and job.active:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert jobs.find(key).state == "done", jobs.find(key).error
    measured = table(well(at.run()), " tensors")
    values = np.linspace(-1, 1, 12, dtype=np.float32).astype(float)
    assert measured["rms"][0] == pytest.approx(np.sqrt((values**2).mean()), rel=1e-12)
    assert "100.00%" in texts(at)
    at.switch_page("inspector/pages/jobs.py").run()
    assert "done" in texts(at)


@pytest.mark.parametrize(
    "filters, column, expected",
    [
        ({"layer": "1"}, "name", r"\.1\."),
        ({"role": "q"}, "role", "^q$"),
        ({"kind": "bias"}, "kind", "^bias$"),
        ({"layer": "2", "kind": "norm"}, "name", r"layer\.2\..*LayerNorm"),
    ],
)
def test_tensors_are_filtered_from_the_link(measured, filters, column, expected):
    shown = table(well(visit("tensors", measured[1], **filters)), " tensors")
    assert 0 < len(shown) < 103
    assert shown[column].str.contains(expected).all()


@pytest.mark.parametrize(
    "text, count", [("query", 12), (r"\.0\..*query\.weight$", 1), ("[", 0), ("nothing", 0)]
)
def test_tensors_are_filtered_by_name(measured, text, count):
    at = visit("tensors", measured[1])
    at.text_input("filter_name").set_value(text).run()
    assert len(table(well(at), " tensors")) == count


def test_an_unknown_layer_in_a_link_is_no_filter(measured):
    at = well(visit("tensors", measured[1], layer="999"))
    assert at.selectbox("layer").value == "all"
    assert len(table(at, " tensors")) == len(open_checkpoint(measured[1]).tensors)


def test_a_row_opens_its_tensor(measured):
    at = well(visit("tensors", measured[1], kind="bias"))
    name = table(at, " tensors")["name"][3]
    select = {"selection": {"rows": [3], "columns": [], "cells": []}}
    at.session_state["tensor_table"] = select
    well(at.run())
    assert at.title[0].value == "Tensor"
    assert here(at, "tensor") == name
    assert at.selectbox[0].value == name


def test_a_link_lands_on_its_tensor_and_its_neighbours_are_a_click_away(measured):
    names = [tensor.name for tensor in open_checkpoint(measured[1]).tensors]
    at = well(visit("tensor", measured[1], tensor=names[5]))
    assert at.selectbox[0].value == names[5]
    well(at.button("next").click().run())
    assert here(at, "tensor") == names[6]
    well(at.button("previous").click().run())
    assert here(at, "tensor") == names[5]
    well(at.selectbox[0].select(names[9]).run())
    assert here(at, "tensor") == names[9]
    assert at.selectbox[0].value == names[9]


def test_an_unknown_tensor_is_named(measured):
    at = well(visit("tensor", measured[1], tensor="no.such\x1b[31m"))
    assert at.code[0].value == "no.such\\x1b[31m"
    assert len(at.warning) == 1
    assert not charts(at)


def test_the_tensor_looked_at_is_remembered_but_not_for_another_model(measured, small):
    name = "encoder.layer.2.attention.self.query.weight"
    at = well(visit("tensor", measured[1], tensor=name))
    at.query_params.clear()
    at.switch_page("inspector/pages/tensor.py").run()
    assert here(well(at), "tensor") == name
    at.session_state["recent"] = [str(small)]
    at.query_params.clear()
    at.query_params["model"] = str(small)
    at.run()
    assert not at.warning
    assert here(well(at), "tensor") == "lm_head.weight"


def test_a_measure_through_the_layers(measured):
    name = "encoder.layer.2.attention.self.query.weight"
    at = well(visit("tensor", measured[1], tensor=name))
    for measure in at.selectbox("measure").options:
        at.selectbox("measure").select(measure).run()
        assert any(measure in chart.proto.alt for chart in charts(well(at)))


def odd_tensors() -> dict:
    values = np.array([[np.nan, 1.0], [np.inf, 2.0]], dtype=np.float32)
    return {
        "holes.weight": stored("F32", values),
        "nothing.weight": stored("F32", np.full(3, np.nan, dtype=np.float32)),
        "empty.weight": stored("F32", np.zeros((0, 4), dtype=np.float32)),
        "zeros.bias": stored("F32", np.zeros(5, dtype=np.float32)),
        "scalar": stored("F64", np.array(2.5)),
        "whole.weight": stored("I64", np.arange(6).reshape(2, 3)),
        "cube.weight": stored("F16", np.ones((2, 3, 4), dtype=np.float16)),
        "yes": stored("BOOL", np.array([True, False])),
    }


@pytest.mark.parametrize("name", odd_tensors())
def test_odd_tensors_have_a_page(tmp_path, name):
    model = str(write_file(tmp_path / "model.safetensors", odd_tensors()))
    stored_scan(open_checkpoint(model))
    at = well(visit("tensor", model, tensor=name))
    assert at.selectbox[0].value == name
    if name in ("holes.weight", "nothing.weight"):
        assert table(at, "findings")["what"].str.contains("NaN").any()
    for page in OF_A_MODEL:
        well(visit(page, model))


def test_a_tensor_of_unknown_dtype_costs_no_other_its_page(tmp_path):
    tensors = odd_tensors() | {"secret": ("![x](http://x.example)", (1,), b"\0")}
    model = str(write_file(tmp_path / "model.safetensors", tensors))
    stored_scan(open_checkpoint(model))
    at = well(visit("tensors", model))
    assert "secret" in texts(at) or any("secret" in str(e.value) for e in at.dataframe)
    well(visit("summary", model))
    at = visit("tensor", model, tensor="secret")
    assert not at.exception
    assert any("secret" in code.value for code in at.code)


@pytest.mark.parametrize("which", [0, 1], ids=["demo", "minilm"])
@pytest.mark.parametrize("page", ["summary", "tensor"])
def test_every_chart_has_its_words_and_its_table(measured, page, which):
    tensors = open_checkpoint(measured[which]).tensors
    matrix = next(t.name for t in tensors if len(t.shape) == 2 and "layer" in t.name)
    at = well(visit(page, measured[which], **({"tensor": matrix} if page == "tensor" else {})))
    drawn = charts(at)
    assert len(drawn) == {"summary": 3, "tensor": 5}[page]
    for chart in drawn:
        assert len(chart.proto.alt) > 30
        assert chart.proto.alt in texts(at), "the sentence is a caption too"
    twins = [e for e in at.expander if e.label == "As a table"]
    assert len(twins) == len(drawn)
    assert all(len(twin.dataframe) == 1 for twin in twins)
    assert all(frame.proto.alt for frame in at.dataframe)


def test_a_picture_stays_small(tmp_path):
    values = np.zeros((700, 3000), dtype=np.float16)
    values[650, 2900] = -7
    model = str(write_file(tmp_path / "model.safetensors", {"w.weight": stored("F16", values)}))
    at = well(visit("tensor", model))
    (chart,) = at.get("plotly_chart")
    (heat,) = json.loads(chart.proto.spec)["data"]
    cells = heat["z"]
    shape = [int(n) for n in cells["shape"].split(",")] if "shape" in cells else np.shape(cells)
    assert max(shape) <= 512
    assert "Largest magnitude 7" in chart.proto.alt


def test_a_changed_file_is_noticed(small):
    at = well(visit("tensors", str(small)))
    assert len(table(at, " tensors")) == 1
    two = {name: stored("F32", np.ones(3, dtype=np.float32)) for name in ("a.weight", "b.weight")}
    write_file(small, two)
    assert list(table(well(at.run()), " tensors")["name"]) == ["a.weight", "b.weight"]
    assert any("changed on disk" in toast.value for toast in at.toast)


def test_a_shared_server_reads_only_its_own_directories(tmp_path, small, monkeypatch):
    inside = tmp_path / "inside"
    inside.mkdir()
    allowed = write_file(inside / "model.safetensors", {"w": stored("F32", np.ones(2, "f4"))})
    (inside / "out").symlink_to(small)
    monkeypatch.setenv("INSPECTOR_ROOTS", f"{inside}{os.pathsep}{tmp_path / 'other'}")
    for refused in (str(small), str(inside / ".." / small.name), str(inside / "out")):
        at = visit("summary", refused)
        assert "INSPECTOR_ROOTS" in at.code[0].value
        assert "model" not in at.session_state
        assert not at.dataframe
    well(visit("summary", str(allowed)))
    well(visit("summary", "demo:planted"))


def test_an_address_with_a_secret_never_reaches_a_link(monkeypatch):
    secret = "https://me:hunter2@127.0.0.1:9/model?key=hunter2"
    monkeypatch.setenv("INSPECTOR_MODEL", secret)
    at = visit("summary")
    assert "password" in at.code[0].value
    assert "hunter2" not in at.code[0].value
    assert "model" not in at.session_state
    assert not at.query_params.get("model")


def test_the_model_opened_last_stays_open_whatever_the_app_was_started_with(
    monkeypatch, measured, small
):
    monkeypatch.setenv("INSPECTOR_MODEL", str(small))
    at = well(visit("summary", "demo:planted"))
    del at.query_params["model"]  # as a click in the sidebar does
    at = well(at.run())
    assert here(at, "model") == "demo:planted"


def finished(id: str, model: str) -> jobs.Job:
    jobs.submit(id, "scan", f"Scan of {model}", model=model, channels=False)
    end = time.monotonic() + PATIENCE
    while (job := jobs.find(id)) and job.active and time.monotonic() < end:
        time.sleep(0.1)
    assert job is not None
    return job


def link_of_job(id: str, work: str, **parameters) -> tuple[str, dict[str, str]]:
    """The page and the query that the Jobs page links to for a job that is done."""
    place = jobs._folder() / id
    place.mkdir(parents=True, exist_ok=True)
    (place / "spec.json").write_text(json.dumps({"function": work, "parameters": parameters}))
    now = time.time()
    told = {"title": id, "done": 1, "total": 1, "label": "", "error": None, "pid": None}
    jobs._note(jobs.Job(id=id, state="done", started=now, updated=now, **told))
    link = well(visit("jobs")).get("page_link")[0].proto  # the newest job comes first
    return link.page, {name: one for name, (one,) in parse_qs(link.query_string).items()}


def test_a_finished_job_links_to_its_result():
    assert finished(scan_key(open_checkpoint("demo:balanced")), "demo:balanced").state == "done"
    links = [link.proto for link in well(visit("jobs")).get("page_link")]
    assert any(
        link.page == "summary" and parse_qs(link.query_string).get("model") == ["demo:balanced"]
        for link in links
    )


def test_a_failed_job_can_be_done_again(tmp_path):
    id = "0" * 32
    failed = finished(id, str(tmp_path / "absent.safetensors"))
    at = well(visit("jobs"))
    assert any("no such file" in code.value for code in at.code)
    at.button(key=f"again_{id}").click().run()
    again = jobs.find(id)
    assert again is not None and again.started > failed.started
