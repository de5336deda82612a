"""The Prompt page: asking, tokens, lens, attention, ablation; heads by kind; signals."""

import io
import re
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from model.conftest import WORDS, letters, saved
from safetensors.torch import load_file, save_file
from streamlit.testing.v1 import AppTest
from weights.tiny_models import build

from inspector import jobs
from inspector.model.attention_map import attention_map, without_sink
from inspector.model.load import load
from inspector.model.samples import MOST_CHARACTERS
from inspector.model.stored import (
    answer_key,
    load_answer,
    prompt_questions,
    stored_answer,
    stored_prompt,
)
from inspector.pages import map_view, prompt_parts
from inspector.report.prompt_words import METRIC_WORDS
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.stored_judgements import Kept
from tests.test_app import PATIENCE, charts, here, table, texts, visit, well

TEXT = "the nurse from the north said that"
QUESTION = {"text": TEXT, "target": "he", "versus": "she"}
HEADERS = ["Tokens and answer", "Lens", "Attention", "Without a part", "What this rests on"]
HOSTILE = ("<img/src=x/onerror=window.PWN=1>", "<b>bold</b>", "[d](http://far.example)", "$x^2$")


def kept_of(model: str, text: str, target: str | None = None, versus: str | None = None):
    """All answers about a prompt, as they are kept."""
    checkpoint = open_checkpoint(model)
    asked = prompt_questions(text, target, versus)
    return {c: load_answer(answer_key(checkpoint, c, **q), c) for c, q in asked.items()}


@pytest.fixture(scope="session")
def asked() -> dict[str, Kept]:
    """A prompt to a demo model, asked already."""
    stored_prompt(open_checkpoint("demo:planted"), **QUESTION)
    return kept_of("demo:planted", **QUESTION)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory) -> str:
    """A model whose words are made to do harm where they are read as more than words."""
    folder = tmp_path_factory.mktemp("hostile")
    build("llama", folder)
    tokenizer = letters()
    path = folder / "tokenizer.json"
    tokenizer.save_pretrained(folder)
    plain = path.read_text()
    for i, word in enumerate(HOSTILE):
        plain = plain.replace(f'"{WORDS[5 + i]}":', f'"{word}":')
    path.write_text(plain)
    stored_prompt(open_checkpoint(str(folder)), " ".join(HOSTILE))
    return str(folder)


def press(at: AppTest, label: str) -> AppTest:
    return next(b for b in at.button if b.label == label).click().run()


def ask(at: AppTest, text: str, target: str = "", versus: str = "") -> AppTest:
    at.text_area("prompt_text").set_value(text)
    at.text_input("prompt_target").set_value(target)
    at.text_input("prompt_versus").set_value(versus)
    return press(at, "Ask")


def headers(at: AppTest) -> list[str]:
    return [header.value for header in at.header]


def finished(id: str) -> jobs.Job:
    end = time.monotonic() + PATIENCE
    while (job := jobs.find(id)) is not None and job.active:
        assert time.monotonic() < end
        time.sleep(0.1)
    assert job is not None
    return job


def test_every_part_of_a_prompt_is_shown(asked):
    at = well(visit("prompt", "demo:planted", **QUESTION))
    assert [header for header in headers(at) if not header.startswith("Findings")] == HEADERS
    tokens = table(at, "tokens of the prompt")
    assert list(tokens["text"]) == ["<s>", *TEXT.split()]
    told = texts(at)
    last = asked["lens"].records[-1]
    assert f"Final answer: {last.answer} ({last.answer_probability:.4f})" in told
    assert f"settled from {asked['lens'].summary['settled']} on" in told
    ablation = asked["ablate"].summary
    assert f"log p of he less log p of she, {ablation['answer']:.4g} nats" in told
    biases = ablation["biases"]
    assert f"the answer changes by {biases['answer_change']:+.3g} nats" in told
    assert f"Of 3 layers, taken out alone, {biases['layers_that_change_less']} change" in told
    assert "100.00%" in told
    assert "float32 on cpu. Attention streaming" in told
    assert all(chart.proto.alt for chart in charts(at))
    assert all(frame.proto.alt for frame in at.dataframe)


def test_nothing_is_asked_before_the_button(asked):
    at = well(visit("prompt", "demo:balanced"))
    assert at.text_area("prompt_text").value == TEXT
    assert [at.text_input(f"prompt_{name}").value for name in ("target", "versus")] == ["he", "she"]
    assert headers(at) == []
    id = answer_key(open_checkpoint("demo:balanced"), "prompt", **QUESTION)
    assert jobs.find(id) is None


def test_a_prompt_that_was_asked_before_comes_back(asked):
    at = visit("prompt", "demo:planted", **QUESTION)
    stored_prompt(open_checkpoint("demo:planted"), "the judge said that")
    well(ask(at, "the judge said that"))
    assert here(at, "text") == "the judge said that"
    assert "target" not in at.query_params
    assert [option[:9] for option in at.selectbox("prompt_before").options] == [
        "the judge",
        TEXT[:9],
    ]
    at.selectbox("prompt_before").select_index(1).run()
    assert here(well(at), "text") == TEXT
    assert at.text_input("prompt_versus").value == "she"
    assert len(table(at, "tokens of the prompt")) == 8


@pytest.mark.parametrize(
    "text, target, versus, told",
    [
        ("", "", "", "The prompt is empty"),
        (" \n ", "", "", "The prompt is empty"),
        ("x" * 1_000_000, "", "", f"1,000,000 characters; at most {MOST_CHARACTERS:,}"),
        (TEXT, "", "she", "Name the answer too"),
    ],
    ids=["empty", "blank", "million", "versus alone"],
)
def test_what_cannot_be_asked_is_said_and_stays_in_the_box(text, target, versus, told):
    at = well(ask(visit("prompt", "demo:planted"), text, target, versus))
    assert told in texts(at)
    assert at.text_area("prompt_text").value == text
    assert headers(at) == []


@pytest.mark.parametrize(
    "text, target, told",
    [
        ("the " * 100, None, "101 tokens; the model sees at most 64"),
        ("<s> <pad>", None, "no tokens but special ones"),
        (TEXT, "zzqqy", "that the tokenizer does not know"),
    ],
    ids=["past the window", "special tokens", "unknown target"],
)
def test_what_a_model_refuses_is_said_beside_what_it_does_not(text, target, told):
    stored_prompt(open_checkpoint("demo:planted"), text, target)
    question = {"text": text} | ({"target": target} if target else {})
    at = well(visit("prompt", "demo:planted", **question))
    assert told in texts(at)
    assert at.text_area("prompt_text").value == text
    refused = [k for k in kept_of("demo:planted", text, target).values() if "refused" in k.summary]
    assert len([info for info in at.info if "cannot be shown" in info.value]) >= len(refused) > 0


def test_a_link_that_is_long_does_not_carry_the_prompt(asked):
    at = visit("prompt", "demo:planted", **QUESTION)
    text = "the nurse said that " * 30
    stored_prompt(open_checkpoint("demo:planted"), text)
    well(ask(at, text))
    assert "text" not in at.query_params
    assert at.text_area("prompt_text").value == text


def test_an_encoder_without_a_head_has_its_attention_shown(minilm):
    model, text = str(minilm), "The nurse said that she was late."
    stored_prompt(open_checkpoint(model), text)
    at = well(visit("prompt", model, text=text))
    told = texts(at)
    assert told.count("BertModel predicts nothing") >= 3
    assert any("72 heads" in chart.proto.alt for chart in charts(at))
    assert list(table(at, "tokens of the prompt")["token"])[0] == "[CLS]"
    # its head 2 of layer 0 is known to look at the token before
    assert at.selectbox("head").value == "0.2"
    assert any(m.label.startswith("previous token") and float(m.value) > 0.99 for m in at.metric)


def test_a_head_is_chosen_by_a_click_a_list_or_a_link(asked):
    at = visit("prompt", "demo:planted", **QUESTION, head="1.2", metric="sink_mass")
    assert well(at).selectbox("head").value == "1.2"
    assert at.selectbox("metric").value == "sink_mass"
    for name, pick in (("2.1", {"block": "2", "head": 1}), ("0.3", {"block": "0", "head": 3})):
        at.session_state["attention"] = {"selection": {"cell": [pick]}}
        assert well(at.run()).selectbox("head").value == name
        layer, head = map(int, name.split("."))
        record = next(
            r for r in asked["ablate"] if (r.layer, r.head, r.component) == (layer, head, "head")
        )
        assert f"the answer changes by {record.answer_change:+.4g} nats" in texts(at)
    at.selectbox("head").select("1.1")  # the click before does not hold it back
    assert well(at.run()).selectbox("head").value == "1.1"


def test_every_metric_has_its_words_and_its_null(asked):
    at = visit("prompt", "demo:planted", **QUESTION)
    for metric in ("induction", "mean_distance"):
        at.selectbox("metric").select(metric).run()
        assert METRIC_WORDS[metric].about in texts(well(at))
        (alt,) = (c.proto.alt for c in charts(at) if " of 12 heads: from" in c.proto.alt)
        assert "uniform" in alt


def test_every_map_is_drawn_with_and_without_the_sink(asked):
    at = visit("prompt", "demo:planted", **QUESTION)
    for way in ("value_weighted", "flow"):
        at.session_state["map_way"] = way
        for bare in (False, True):
            at.toggle("no_sink").set_value(bare).run()
            assert ("first token is taken out" in texts(well(at))) is bare


def test_maps_are_those_of_the_model(asked):
    maps = asked["maps"]
    tokens = [record.text for record in maps]
    found = attention_map(load("demo:planted"), TEXT, [(1, 2)])
    place = maps.summary["heads"].index([1, 2])
    for bare, expected in ((False, found), (True, without_sink(found))):
        for way, values in (
            ("weights", expected.weights[0]),
            ("value_weighted", expected.value_weighted[0]),
            ("rollout", expected.rollout),
        ):
            chart = map_view.chart_of(maps, place, way, bare, tokens)
            drawn = chart.table.drop(columns="looks").to_numpy()
            np.testing.assert_allclose(drawn, values, rtol=1e-4, atol=1e-6)
        flow = map_view.chart_of(maps, place, "flow", bare, tokens).table["value"]
        np.testing.assert_allclose(flow, expected.flow, rtol=1e-4, atol=1e-6)


def test_a_cell_of_the_lens_shows_what_would_be_said_there(asked):
    at = visit("prompt", "demo:planted", **QUESTION)
    at.session_state["lens"] = {"selection": {"cell": [{"layer": "layer 0", "place": "2: nurse"}]}}
    told = texts(well(at.run()))
    point = next(r for r in asked["lens"] if r.name == "layer 0" and r.position == 2)
    assert "At 2: nurse, after layer 0" in told
    (alt,) = (c.proto.alt for c in charts(at) if c.proto.alt.startswith("Likeliest after layer 0"))
    assert f"{point.token} {point.probability:.3g}" in alt
    assert any(float(m.value) == pytest.approx(point.entropy, rel=1e-3) for m in at.metric)


def test_the_loud_head_that_does_nothing_is_called_out(tmp_path):
    model = str(saved("bert", tmp_path))
    text = "a b <mask> d a b"
    stored_prompt(open_checkpoint(model), text)
    kept = kept_of(model, text)
    at = visit("prompt", model, text=text)
    effects = {(r.layer, r.head): r for r in kept["ablate"] if r.component == "head"}
    largest = max(abs(r.answer_change) for r in effects.values())
    told = []
    for head in kept["attention"]:
        at.selectbox("head").select(f"{head.layer}.{head.head}").run()
        effect = effects[head.layer, head.head]
        loud = head.confidence > 0.75 * head.confidence_null + 0.25
        idle = abs(effect.answer_change) <= 0.1 * largest and effect.kept == 1
        found = "hardly changes without it" in texts(well(at))
        assert found is (loud and idle)
        told.append(found)
    assert any(told)
    assert not all(told)
    assert "<mask>" in [code.value for code in at.code]


def test_hostile_tokens_are_words_and_nothing_else(hostile):
    at = well(visit("prompt", hostile, text=" ".join(HOSTILE)))
    assert list(table(at, "tokens of the prompt")["text"]) == list(HOSTILE)
    read = [
        str(e.value) for kind in ("markdown", "caption", "info", "header") for e in at.get(kind)
    ]
    for text in read:
        outside = re.sub(r"(`+).+?\1", "", text)
        assert not any(word in outside for word in HOSTILE), text
    assert any("onerror" in text for text in read)


def test_a_model_with_nan_is_not_run_and_its_tensors_are_named(tmp_path):
    saved("gpt2", tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    tensors["transformer.h.1.mlp.c_fc.bias"][3] = torch.nan
    save_file(tensors, path, {"format": "pt"})
    at = ask(visit("prompt", str(tmp_path)), "a b c")
    id = answer_key(
        open_checkpoint(str(tmp_path)), "prompt", text="a b c", target=None, versus=None
    )
    assert finished(id).state == "failed"
    at.run()
    assert not at.exception
    told = texts(at)
    assert "NaN or infinite values: transformer.h.1.mlp.c_fc.bias" in told
    assert at.text_area("prompt_text").value == "a b c"
    assert any(b.label == "Measure" for b in at.button)


def test_maps_can_be_taken_away(asked):
    at = visit("prompt", "demo:planted", **QUESTION)
    at.selectbox("download").select("maps").run()
    assert "Download NPZ" in {button.proto.label for button in well(at).get("download_button")}
    with np.load(io.BytesIO(prompt_parts._arrays(asked["maps"]))) as file:
        np.testing.assert_array_equal(file["weights"], asked["maps"].arrays["weights"])


def test_a_head_without_a_map_is_mapped_on_request_only(tmp_path):
    model, text = str(saved("t5", tmp_path)), "a b c d a b"
    stored_prompt(open_checkpoint(model), text)
    at = well(visit("prompt", model, text=text, head="encoder 1.2"))
    assert any(chart.proto.alt.startswith("Map, raw, 6 by 6") for chart in charts(at))
    assert not any(button.label == "Map this head alone" for button in at.button)
    at.selectbox("head").select("decoder 0.1").run()
    assert any(button.label == "Map this head alone" for button in well(at).button)
    assert not any(chart.proto.alt.startswith("Map, raw") for chart in charts(at))
    question = {"text": text, "heads": [[0, 1]], "stack": "decoder"}
    stored_answer(open_checkpoint(model), "maps", **question)
    assert any(chart.proto.alt.startswith("Map, raw, 6 by 6") for chart in charts(well(at.run())))
    assert "those of the answer that the decoder begins" in texts(at)


def test_what_was_chosen_for_one_model_does_not_hold_for_the_next(asked, minilm):
    at = visit("prompt", "demo:planted", **QUESTION)
    model, text = str(minilm), "The nurse said that she was late."
    stored_prompt(open_checkpoint(model), text)
    at.session_state["recent"] = ["demo:planted", model]
    at.query_params["model"], at.query_params["text"] = model, text
    del at.query_params["target"], at.query_params["versus"]
    well(at.run()).selectbox("head").select("5.11").run()
    assert len(table(well(at), "tokens of the prompt")) == 10
    at.query_params["model"] = "demo:planted"
    for name, value in QUESTION.items():
        at.query_params[name] = value
    assert well(at.run()).selectbox("head").value == "0.3"
    assert at.text_area("prompt_text").value == TEXT


def test_home_says_what_was_answered_and_asks_nothing(asked, minilm):
    at = visit("home", "demo:planted")
    at.session_state["model"] = "demo:planted"
    last = asked["lens"].records[-1]
    assert f"{TEXT}: {last.answer} ({last.answer_probability:.1%})" in texts(well(at.run()))
    assert {"prompt", "attribution"} <= {link.proto.page for link in at.get("page_link")}
    at.session_state["model"] = str(minilm)
    assert "Ask it" in texts(well(at.run()))
    assert Path(str(minilm)).exists()
