"""The views of judgements on the Summary and Tensor pages, run in this process."""

import json
import math
import time
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from inspector import jobs
from inspector.pages import waiting
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.pruning import prune
from inspector.weights.quantization import quantize
from inspector.weights.stored import stored_scan
from inspector.weights.stored_judgements import judgement_key, stored_judgement
from tests.test_app import charts, here, table, texts, told_what_went_wrong, visit, well
from tests.weights.build import stored, write_file

assert told_what_went_wrong  # errors in full here too

SUMMARY = {
    "Spectrum": "spectrum",
    "Initialisation": "init",
    "Neurons and heads": "neurons",
    "Pruning": "prune",
    "Quantisation": "quantize",
}
FRAGILE = "encoder.layer.4.attention.self.value.weight"
PIECE = {
    "Spectrum": "spectrum_piece",
    "Initialisation": "init_piece",
    "Pruning": "prune_piece",
    "Quantisation": "quantize_piece",
}
TENSOR = tuple(PIECE)
PATIENCE = 180.0


@pytest.fixture(scope="session")
def judged(minilm) -> list[str]:
    """Models whose judgements are on disk already."""
    models = ["demo:planted", str(minilm)]
    for model in models:
        checkpoint = open_checkpoint(model)
        stored_scan(checkpoint)
        for command in SUMMARY.values():
            stored_judgement(checkpoint, command)
    return models


def small(folder: Path, tensors: dict[str, np.ndarray], **config) -> str:
    """A checkpoint of these tensors in float32, judged."""
    files = {name: stored("F32", values.astype(np.float32)) for name, values in tensors.items()}
    write_file(folder / "model.safetensors", files)
    (folder / "config.json").write_text(json.dumps(config))
    checkpoint = open_checkpoint(str(folder))
    stored_scan(checkpoint)
    for command in SUMMARY.values():
        stored_judgement(checkpoint, command)
    return str(folder)


def complete(at: AppTest) -> None:
    """Every chart is said in words, and has its numbers as a table."""
    for chart in charts(at):
        assert len(chart.proto.alt) > 20
        assert chart.proto.alt in texts(at)
    twins = [e for e in at.expander if e.label == "As a table"]
    assert len(twins) == len(charts(at))
    assert all(shown.proto.alt for shown in at.dataframe)


@pytest.mark.parametrize("which", [0, 1], ids=["demo", "minilm"])
@pytest.mark.parametrize("view", SUMMARY)
def test_every_view_of_a_model_opens_from_its_link(judged, view, which):
    at = well(visit("summary", judged[which], view=view))
    assert at.session_state["view"] == view
    assert charts(at)
    complete(at)
    for words in ("What it is.", "What to do."):
        assert any(words in str(text.value) for text in at.markdown) or view == "Neurons and heads"


@pytest.mark.parametrize("which", [0, 1], ids=["demo", "minilm"])
@pytest.mark.parametrize("view", TENSOR)
def test_every_view_of_a_tensor_opens_from_its_link(judged, view, which):
    at = well(visit("tensor", judged[which], show=view))
    assert at.session_state["show"] == view
    assert charts(at)
    complete(at)


def test_an_unknown_view_in_a_link_is_the_first(judged):
    at = well(visit("summary", judged[0], view="no such view"))
    assert at.session_state["view"] == "Overview"
    at = well(visit("tensor", judged[0], show="no such view"))
    assert at.session_state["show"] == "Values"


def test_what_was_never_trained_stands_on_top(judged):
    at = well(visit("summary", judged[1], view="Initialisation"))
    rows = table(at, "Schemes of 40 tensors")
    assert rows["tensor"].iloc[0] == "pooler.dense.weight"
    assert list(rows["trained?"]) == ["looks fresh", *["trained"] * 39]
    assert {m.label: m.value for m in at.metric}["cannot be told from a fresh draw"] == "1"
    at = well(visit("summary", judged[1], view="Spectrum"))
    rows = table(at, "Spectra of 40 matrices")
    assert rows["tensor"].iloc[0] == "pooler.dense.weight"
    assert rows["verdict"].iloc[0] == "indistinguishable from noise"
    at = well(visit("tensor", judged[1], show="Spectrum", tensor="pooler.dense.weight"))
    assert "Indistinguishable from noise" in [h.value for h in at.header]
    assert any("says nothing" in info.value for info in at.info)


def test_an_alpha_that_flips_gets_no_verdict(judged):
    at = well(visit("tensor", judged[1], show="Spectrum", tensor=FRAGILE))
    assert any("No verdict" in warning.value for warning in at.warning)
    (drops,) = [c for c in charts(at) if c.proto.alt.startswith("Alpha:")]
    assert "all eigenvalues 8.44; without the largest 2.46" in drops.proto.alt


def test_heads_can_be_looked_at(judged):
    at = visit("tensor", judged[1], show="Spectrum", tensor=FRAGILE)
    names = at.selectbox("spectrum_piece").options
    assert names == [FRAGILE, *(f"{FRAGILE}[head {i}]" for i in range(12))]
    well(at.selectbox("spectrum_piece").select_index(3).run())
    assert any("32 x 384" in text.value for text in at.text)


def test_each_number_of_a_spectrum_stands_beside_that_of_noise(judged):
    at = well(visit("tensor", judged[1], show="Spectrum", tensor=FRAGILE))
    shown = {m.label: m.value for m in at.metric}
    kept = stored_judgement(open_checkpoint(judged[1]), "spectrum")
    record = next(r for r in kept if r.name == FRAGILE)
    both = f"{record.stable_rank:.4g} ({record.stable_rank_noise:.4g})"
    assert shown["stable rank (noise)"] == both
    assert shown["spikes (noise)"] == f"{record.mp_spikes} (0)"


@pytest.mark.parametrize(
    "view, key", [("Spectrum", "spectrum_measure"), ("Pruning", "prune_measure"),
                  ("Pruning", "prune_group"), ("Quantisation", "quantize_format"),
                  ("Spectrum", "spectrum_role")],
)  # fmt: skip
def test_every_measure_has_its_chart(judged, view, key):
    at = visit("summary", judged[0], view=view)
    for i in range(len(at.selectbox(key).options)):
        at.selectbox(key).select_index(i).run()
        complete(well(at))


def test_the_slider_shows_what_is_lost(tmp_path):
    values = np.random.default_rng(0).standard_t(4, size=(60, 80)) * 0.1
    name = "model.layers.0.mlp.up_proj.weight"
    at = visit("tensor", small(tmp_path, {name: values}), show="Pruning", tensor=name)
    at.slider("sparsity").set_value(37).run()
    shown = {m.label: m.value for m in well(at).metric}
    ordered = np.sort(np.abs(values.astype(np.float32)).ravel()).astype(np.float64)
    removed = round(len(ordered) * 0.37)
    lost = (ordered[:removed] ** 2).sum() / (ordered**2).sum()
    assert shown["energy lost"] == f"{lost:.2%}"
    assert shown["relative error"] == f"{math.sqrt(lost):.1%}"
    assert float(shown["removed up to |w|"]) == pytest.approx(ordered[removed - 1], rel=1e-3)
    normal = NormalDist()
    t = normal.inv_cdf(0.5 + 0.37 / 2)
    assert shown["a Gaussian loses"] == f"{0.37 - 2 * t * normal.pdf(t):.2%}"
    at.slider("sparsity").set_value(100).run()
    assert {m.label: m.value for m in well(at).metric}["energy lost"] == "100.00%"


def test_tables_hold_what_the_library_says(judged):
    checkpoint = open_checkpoint(judged[0])
    pruned = {r.name: r for r in prune(checkpoint)}
    rows = table(well(visit("summary", judged[0], view="Pruning")), "Pruning of 23 matrices")
    assert rows["lost at 50 %"].is_monotonic_increasing
    for row in rows.to_dict("records"):
        assert row["2:4 costs"] == pytest.approx(pruned[row["tensor"]].cost_2_4)
    found = quantize(checkpoint)
    at = visit("summary", judged[0], view="Quantisation")
    at.selectbox("quantize_format").select("nf4-g64").run()
    rows = table(well(at), "Rounding errors of 23 matrices")
    lost = {r.name: r.db_lost for r in found if r.format == "nf4-g64"}
    assert rows["lost, dB"].is_monotonic_decreasing
    assert dict(zip(rows["tensor"], rows["lost, dB"], strict=True)) == pytest.approx(lost)


def test_a_row_opens_its_tensor_in_the_same_view(judged):
    at = visit("summary", judged[1], view="Pruning")
    name = table(at, "Pruning of 40 matrices")["tensor"].iloc[4]
    at.session_state["pruned"] = {"selection": {"rows": [4], "columns": [], "cells": []}}
    well(at.run())
    assert at.title[0].value == "Tensor"
    assert here(at, "tensor") == name
    assert here(at, "show") == "Pruning"


def test_the_next_tensor_is_shown_in_the_same_view(judged):
    at = visit("tensor", judged[1], show="Pruning", tensor=FRAGILE)
    well(at.button("next").click().run())
    assert here(at, "tensor") != FRAGILE
    assert at.session_state["show"] == "Pruning"


def test_parts_are_chosen_by_name(tmp_path):
    rng = np.random.default_rng(1)
    name = "transformer.h.0.attn.c_attn.weight"
    values = rng.normal(0, 0.02, (64, 192))
    values[:, 64:128] *= 7  # k
    model = small(tmp_path, {name: values}, model_type="gpt2", n_head=4, n_embd=64, n_layer=1)
    for view in TENSOR:
        at = well(visit("tensor", model, show=view, tensor=name))
        key = PIECE[view]
        options = at.selectbox(key).options
        assert [o for o in options if "head" not in o] == [f"{name}[{part}]" for part in "qkv"]
        complete(well(at.selectbox(key).select(f"{name}[k]").run()))
    at = well(visit("tensor", model, show="Initialisation", tensor=name))
    at.selectbox("init_piece").select(f"{name}[k]").run()
    (chart,) = charts(well(at))
    assert "4,096 values" in chart.proto.alt
    assert "deviation 0.139 " in chart.proto.alt  # 7 times that of q and v


ODD = {
    "model.layers.0.input_layernorm.weight": np.ones(8),
    "model.layers.0.mlp.up_proj.weight": np.zeros((20, 30)),
    "model.layers.0.mlp.down_proj.weight": np.full((20, 30), np.nan),
    "model.layers.0.self_attn.q_proj.weight": np.eye(24),
    "model.layers.0.self_attn.q_proj.bias": np.linspace(-1, 1, 24),
    "model.layers.0.self_attn.k_proj.weight": np.ones((2, 3)),
    "empty.weight": np.zeros((0, 4)),
    "![x](http://x.example).layers.1.mlp.up_proj.weight": np.linspace(-1, 1, 400).reshape(20, 20),
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory) -> str:
    return small(tmp_path_factory.mktemp("odd"), ODD)


@pytest.mark.parametrize("view", TENSOR)
@pytest.mark.parametrize("name", ODD)
def test_odd_tensors_have_every_view(odd, name, view):
    at = well(visit("tensor", odd, show=view, tensor=name))
    complete(at)
    if ODD[name].ndim == 1 and view != "Initialisation":
        assert any("Not judged" in text.value and "not a matrix" in text.value for text in at.text)
    if np.isnan(ODD[name]).any():
        assert any("Not judged" in text.value for text in at.text)


@pytest.mark.parametrize("view", SUMMARY)
def test_odd_models_have_every_view(odd, view):
    complete(well(visit("summary", odd, view=view)))


@pytest.mark.parametrize("view", SUMMARY)
@pytest.mark.parametrize("tensors", [{"norm.weight": np.ones(4)}, {"w.weight": np.zeros((4, 5))}])
def test_models_without_anything_to_judge_say_so(tmp_path, view, tensors):
    complete(well(visit("summary", small(tmp_path, tensors), view=view)))


def finished(id: str) -> None:
    end = time.monotonic() + PATIENCE
    while (job := jobs.find(id)) is None or job.active:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert job.state == "done", job.error


def test_a_judgement_is_made_only_when_its_view_is_opened(tmp_path):
    values = np.random.default_rng(2).normal(size=(40, 50)).astype(np.float32)
    files = {"model.layers.0.mlp.up_proj.weight": stored("F32", values)}
    model = str(write_file(tmp_path / "model.safetensors", files))
    checkpoint = open_checkpoint(model)
    stored_scan(checkpoint)
    well(visit("summary", model))
    ids = {view: judgement_key(checkpoint, command) for view, command in SUMMARY.items()}
    assert not any(map(jobs.find, ids.values()))
    at = well(visit("summary", model, view="Pruning"))
    assert "What it is." in texts(at)  # words first
    finished(ids.pop("Pruning"))
    assert not any(map(jobs.find, ids.values()))
    assert charts(well(at.run()))


def test_a_large_tensor_waits_for_a_job(tmp_path, monkeypatch):
    monkeypatch.setattr(waiting, "AT_ONCE", 100)
    values = np.random.default_rng(3).normal(size=(40, 50)).astype(np.float32)
    name = "model.layers.0.mlp.up_proj.weight"
    model = str(write_file(tmp_path / "model.safetensors", {name: stored("F32", values)}))
    checkpoint = open_checkpoint(model)
    stored_scan(checkpoint)
    for view, command in (("Spectrum", "spectrum"), ("Pruning", "prune")):
        at = well(visit("tensor", model, show=view, tensor=name))
        assert not charts(at)
        finished(judgement_key(checkpoint, command))
        assert charts(well(at.run()))
    assert any("Exact at 10, 25" in caption.value for caption in at.caption)


def test_a_download_is_the_judgement(judged):
    at = well(visit("summary", judged[0], view="Pruning"))
    labels = {button.proto.label for button in at.get("download_button")}
    assert labels >= {"Download CSV", "Download JSON", "Download HTML"}
