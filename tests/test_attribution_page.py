"""The Attribution page: verdict first, signed words, receipt, methods side by side, layers."""

import dataclasses
import json
import re
import time
from pathlib import Path

import pytest
import torch
from model.conftest import WORDS, letters, saved
from safetensors.torch import load_file, save_file
from streamlit.testing.v1 import AppTest
from weights.tiny_models import build

from inspector import jobs
from inspector.model import faithfulness, receipt
from inspector.model.attribution import METHODS
from inspector.model.load import load
from inspector.model.samples import MOST_CHARACTERS
from inspector.model.stored import answer_key, stored_answer
from inspector.pages.agreement_view import OPTIONS
from inspector.pages.attribution_form import Question
from inspector.report import attribution_words as words
from inspector.report.document import render
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.stored_judgements import Kept
from tests.test_app import PATIENCE, charts, here, table, texts, visit, well

PLANTED, BALANCED = "demo:planted", "demo:balanced"
TEXT = "the nurse from the north said that"
FIRST = Question(text=TEXT, target="he", versus="she")  # what the form of a demo model holds
QUICK = dataclasses.replace(FIRST, method="feature-ablation", orders=20)
SHORT = dataclasses.replace(QUICK, text="the nurse said that")
HOSTILE = ("<img/src=x/onerror=window.PWN=1>", "<b>bold</b>", "[d](http://far.example)", "$x^2$")
Answers = dict[str, Kept]


@pytest.fixture(scope="session")
def planted() -> Answers:
    """What the page asks of the planted model, asked already."""
    checkpoint, model = open_checkpoint(PLANTED), load(PLANTED)

    def asked(command: str, question: Question, *names: str) -> Kept:
        return stored_answer(checkpoint, command, model=model, **question.asked(*names))

    return {
        "first": asked("attribute", FIRST),
        "quick": asked("attribute", QUICK),
        "swapped": asked("attribute", QUICK.swapped),
        "short": asked("attribute", SHORT),
        **{name: asked(name, SHORT, *options) for name, options in OPTIONS.items()},
    }


def ask(model: str, question: Question) -> Kept:
    """An answer that is kept from now on."""
    return stored_answer(open_checkpoint(model), "attribute", **question.asked())


def link(question: Question) -> dict[str, str]:
    """The address that asks a question."""
    return {name: str(value) for name, value in question.asked().items() if value is not None}


def press(at: AppTest, label: str) -> AppTest:
    return next(b for b in at.button if b.label == label).click().run()


def type_in(at: AppTest, **values: str) -> AppTest:
    for name, value in values.items():
        box = at.text_area if name == "text" else at.text_input
        box(f"attribution_{name}").set_value(value)
    return press(at, "Explain")


def worked(model: str, question: Question) -> jobs.Job:
    """The job that the page starts for a question, done in this process."""
    id = answer_key(open_checkpoint(model), "attribute", **question.asked())
    place = jobs._folder() / id
    place.mkdir(parents=True)
    spec = {"function": "attribute", "parameters": {"model": model, **question.asked()}}
    (place / "spec.json").write_text(json.dumps(spec))
    now = time.time()
    told = {"title": "", "done": 0, "total": 0, "label": "", "error": None, "pid": None}
    jobs._note(jobs.Job(id=id, state="queued", started=now, updated=now, **told))
    jobs.work(place)
    found = jobs.find(id)
    assert found is not None
    return found


def spec_of(at: AppTest, start: str) -> dict:
    """The drawing whose words start like this."""
    (found,) = (c for c in charts(at) if c.proto.alt.startswith(start))
    return json.loads(found.proto.spec)


def test_all_verdicts_measures_and_states_have_their_words():
    assert set(words.VERDICTS) == set(faithfulness.VERDICTS)
    assert [v for v, said in words.VERDICTS.items() if said.holds] == [faithfulness.BETTER]
    assert set(words.MEASURES) == set(faithfulness.BEST)
    assert set(words.COMPLETENESS) == {receipt.MET, receipt.MISSED, receipt.UNPROMISED}


def test_nothing_is_asked_before_the_button():
    at = well(visit("attribution", BALANCED))
    assert "press Explain" in at.info[0].value
    assert at.text_area("attribution_text").value == TEXT
    assert [at.text_input(f"attribution_{n}").value for n in ("target", "versus")] == ["he", "she"]
    options = at.selectbox("attribution_method").options
    assert [option.partition(":")[2].strip() for option in options] == [
        method.about for method in METHODS.values()
    ]
    assert not at.header
    id = answer_key(open_checkpoint(BALANCED), "attribute", **FIRST.asked())
    assert jobs.find(id) is None


def test_the_form_asks_and_the_verdict_comes_first(planted):
    at = well(press(visit("attribution", PLANTED), "Explain"))
    found = planted["first"].summary
    assert at.header[0].value == "Better than random on this prompt"
    assert at.success
    assert not at.warning
    shown = {metric.label: metric.value for metric in at.metric}
    assert float(shown["F(x), nats"]) == pytest.approx(found["f_input"], rel=1e-3)
    assert float(shown["F(x'), baseline"]) == pytest.approx(found["f_baseline"], rel=1e-3)
    assert shown["completeness"] == "met"
    assert shown["steps"] == f"{found['samples']:,}"
    told = texts(at)
    assert 'F = log p("he") - log p("she")' in told
    assert '"he" is 6.876 times as likely as "she"' in told
    assert "100.00%" in told
    assert here(at, "target") == "he"
    assert "method" not in at.query_params  # it is the usual one
    assert len(at.get("download_button")) == 3
    assert all(len(chart.proto.alt) > 30 for chart in charts(at))
    assert all(frame.proto.alt for frame in at.dataframe)
    assert "do not read" not in " ".join(chart.proto.alt for chart in charts(at))


def test_words_carry_their_signed_scores_without_colour(planted):
    at = well(visit("attribution", PLANTED, **link(FIRST)))
    spec = spec_of(at, "The text with the score")
    marks = [layer["mark"]["type"] for layer in spec["layer"]]
    assert marks == ["rect", "text", "text"]
    told = table(at, "The text with the score.*")
    assert list(told["text"]) == TEXT.split()
    assert list(told["score"]) == [record.score for record in planted["first"]]
    assert "nurse +1.1" in " ".join(chart.proto.alt for chart in charts(at))


def test_the_receipt_is_whole(planted):
    at = well(visit("attribution", PLANTED, **link(FIRST)))
    (shown,) = (code.value for code in at.code if code.value.startswith("method "))
    found = planted["first"].summary
    for value in (
        f"{found['f_input']:.6g} nats",
        f"{found['f_baseline']:.6g} nats",
        f"{found['samples']:,} steps",
        f"{found['forwards']:,}, of {found['tokens']:,} tokens",
        "ids 27, log-probability -0.1366",
        "1, 0, 0, 0, 0, 0, 0, 0",
        "<s> <pad> <pad>",
        "float32 on cpu",
        found["attention"],
        found["verdict"],
        *(f"{name} {version}" for name, version in found["versions"].items()),
    ):
        assert value in shown
    held = table(at, "measures of faithfulness beside random orders")
    assert list(held["measure"]) == list(words.MEASURES)
    area = found["faithfulness"]["area"]
    row = held.iloc[0]
    assert (row["value"], row["low"], row["p"]) == (area["value"], area["low"], area["p"])
    assert row["mean"] == 0  # chance has no side: what is left is rounding
    assert "Higher is better" in row["what it is"]


def test_where_there_is_nothing_to_explain_it_cannot_be_overlooked():
    ask(BALANCED, QUICK)
    at = well(visit("attribution", BALANCED, **link(QUICK)))
    assert at.header[0].value == "Nothing to explain"
    assert not at.success
    assert "say nothing" in at.warning[0].value
    for start in ("Nothing to explain: do not read this order. The text", "Nothing to explain: do"):
        assert any(chart.proto.alt.startswith(start) for chart in charts(at))
    spec = spec_of(at, "Nothing to explain: do not read this order. The text")
    assert spec["title"]["text"] == "Nothing to explain: do not read this order"
    page = render(ask(BALANCED, QUICK), "html").decode()
    assert "do not read this order" in page


def test_scores_that_miss_their_sum_are_warned_of():
    question = dataclasses.replace(FIRST, samples=401, orders=20)  # cannot be doubled any more
    kept = ask(PLANTED, question)
    assert kept.summary["completeness"] == "missed"
    at = well(visit("attribution", PLANTED, **link(question)))
    assert not at.success
    assert any("do not sum to what they should" in warning.value for warning in at.warning)
    assert "(allowed: 0.0017)" in texts(at)
    assert "The scores miss their sum" in charts(at)[0].proto.alt


def test_swapping_the_answers_flips_every_sign(planted):
    at = well(press(visit("attribution", PLANTED, **link(QUICK)), "Swap the two answers"))
    assert (here(at, "target"), here(at, "versus")) == ("she", "he")
    assert at.text_input("attribution_target").value == "she"
    flipped = table(at, "The text with the score.*")["score"]
    assert list(flipped) == pytest.approx([-record.score for record in planted["quick"]])
    assert '"he" is 6.876 times' in texts(at)


def test_a_bar_is_looked_at_closely(planted):
    at = visit("attribution", PLANTED, **link(FIRST))
    assert "The chosen word" not in [h.value for h in at.subheader]
    at.session_state["score_bars"] = {"selection": {"unit": [{"position": 2}]}}
    well(at.run())
    assert "nurse" in [code.value for code in at.code]
    record = planted["first"][1]
    assert f"Score {record.score:+.4g} nats, number 1 of 7" in texts(at)
    assert f"F changes by {-record.removal:+.4g} nats" in texts(at)
    assert 'stood "<pad>"' in texts(at)


def test_methods_stand_side_by_side_and_lead_on(planted):
    at = well(visit("attribution", PLANTED, **link(SHORT)))
    assert planted["agreement"].summary["told"] in texts(at)
    ranking = table(at, "methods and pictures of attention, ranked")
    assert set(METHODS) < set(ranking["method"])
    assert list(ranking["area"]) == sorted(ranking["area"], reverse=True)
    assert len(at.get("download_button")) == 9  # of the answer, all methods and the layers
    row = list(ranking["method"]).index("gradient-x-activation")
    at.session_state["ranking"] = {"selection": {"rows": [row], "columns": [], "cells": []}}
    at.run()
    ask(PLANTED, dataclasses.replace(SHORT, method="gradient-x-activation"))
    well(press(at, "Explain with the chosen method"))
    assert here(at, "method") == "gradient-x-activation"
    assert at.selectbox("attribution_method").value == "gradient-x-activation"
    assert "not promised" in [metric.value for metric in at.metric]


def test_every_layer_sums_to_the_whole(planted):
    at = well(visit("attribution", PLANTED, **link(SHORT)))
    sums = table(at, "Whether the scores of 3 layers.*")
    found = planted["layers"].summary
    assert list(sums["F(x) - F(x')"]) == [found["f_input"] - found["f_baseline"]] * 3
    assert (sums["difference"].abs() < 0.05).all()
    (alt,) = (c.proto.alt for c in charts(at) if c.proto.alt.startswith("What passes through"))
    assert "4 that" in alt


def test_other_methods_and_layers_wait_for_a_button():
    ask(BALANCED, QUICK)
    at = well(visit("attribution", BALANCED, **link(QUICK)))
    labels = [button.label for button in at.button]
    assert "Compare all methods" in labels
    assert "Follow it through the layers" in labels
    names = OPTIONS["agreement"]
    assert jobs.find(answer_key(open_checkpoint(BALANCED), "agreement", **QUICK.asked(*names))) is (
        None
    )


def test_questions_asked_before_come_back(planted):
    at = visit("attribution", PLANTED, **link(QUICK))
    at.selectbox("attribution_method").select("integrated-gradients")
    at.number_input("attribution_orders").set_value(None)
    well(press(at, "Explain"))
    options = at.selectbox("attribution_before").options
    assert [option.rpartition(", ")[2] for option in options] == [
        "Integrated Gradients",
        "Feature Ablation",
    ]
    well(at.selectbox("attribution_before").select_index(1).run())
    assert here(at, "method") == "feature-ablation"
    assert at.number_input("attribution_orders").value == 20


@pytest.mark.parametrize(
    "given, told",
    [
        ({"text": ""}, "The prompt is empty"),
        ({"text": " \n "}, "The prompt is empty"),
        ({"text": "x" * 1_000_000}, f"1,000,000 characters; at most {MOST_CHARACTERS:,}"),
        ({"target": "  "}, "Name the answer"),
        ({"target": "she"}, "Both answers are the same"),
    ],
    ids=["empty", "blank", "million", "no answer", "same answers"],
)
def test_what_cannot_be_asked_is_said_and_stays_in_the_box(given, told):
    at = well(type_in(visit("attribution", BALANCED), **given))
    assert told in texts(at)
    name, value = next(iter(given.items()))
    box = at.text_area if name == "text" else at.text_input
    assert box(f"attribution_{name}").value == value
    assert not at.header


def test_half_a_character_is_no_text():
    at = visit("attribution", BALANCED)
    broken = dataclasses.replace(FIRST, text="the nurse \ud83d said")
    at.session_state["attribution_asked"] = {BALANCED: [broken]}
    well(at.run())
    assert "half a surrogate pair" in texts(at)
    assert "text" not in at.query_params


@pytest.mark.parametrize(
    "change, told",
    [
        ({"text": "the " * 70}, "71 tokens; the model sees at most 64"),
        ({"text": "<s> <pad>"}, "empty but for special tokens"),
        ({"target": "zzqqy"}, "that the tokenizer does not know"),
        ({"target": "h\ud83de"}, "half a surrogate pair"),
        ({"baseline": "the nurse"}, "The baseline text has 2 tokens; it needs 1, or 7"),
    ],
    ids=["past the window", "special tokens", "unknown answer", "half an answer", "baseline"],
)
def test_what_the_model_refuses_is_said_and_stays_in_the_box(change, told):
    question = dataclasses.replace(QUICK, **change)
    assert worked(BALANCED, question).state == "failed"
    at = visit("attribution", BALANCED)
    at.session_state["attribution_asked"] = {BALANCED: [question]}
    del at.session_state["attribution_of"]
    at.run()
    assert not at.exception
    assert told in texts(at)
    assert "Traceback" not in texts(at)
    assert at.text_area("attribution_text").value == question.text
    assert any(button.label == "Measure" for button in at.button)


def test_a_model_with_nan_is_not_run_and_its_tensors_are_named(tmp_path):
    saved("gpt2", tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    tensors["transformer.h.1.mlp.c_fc.bias"][3] = torch.nan
    save_file(tensors, path, {"format": "pt"})
    question = Question(text="a b c", target="d")
    assert worked(str(tmp_path), question).state == "failed"
    at = visit("attribution", str(tmp_path), **link(question))
    assert not at.exception
    assert "NaN or infinite values: transformer.h.1.mlp.c_fc.bias" in texts(at)
    assert at.text_area("attribution_text").value == "a b c"


def test_a_model_without_a_head_has_nothing_to_explain(minilm):
    at = well(visit("attribution", str(minilm), text="a", target="b"))
    assert "predicts nothing" in at.info[0].value
    assert not at.text_area


@pytest.fixture(scope="session")
def hostile(tmp_path_factory) -> tuple[str, Question]:
    """A model whose words are made to do harm where they are read as more than words."""
    folder = tmp_path_factory.mktemp("hostile_words")
    build("llama", folder)
    letters().save_pretrained(folder)
    path = folder / "tokenizer.json"
    plain = path.read_text()
    for i, word in enumerate(HOSTILE):
        plain = plain.replace(f'"{WORDS[5 + i]}":', f'"{word}":')
    path.write_text(plain)
    question = Question(
        text=" ".join(HOSTILE),
        target=HOSTILE[0],
        versus=HOSTILE[1],
        method="feature-ablation",
        orders=2,
    )
    checkpoint, model = open_checkpoint(str(folder)), load(str(folder))
    for command, names in {"attribute": (), **OPTIONS}.items():
        stored_answer(checkpoint, command, model=model, **question.asked(*names))
    return str(folder), question


def test_hostile_words_are_words_and_nothing_else(hostile):
    model, question = hostile
    at = visit("attribution", model, **link(question))
    at.session_state["score_bars"] = {"selection": {"unit": [{"position": 0}]}}
    well(at.run())
    read = [
        str(e.value)
        for kind in ("markdown", "caption", "info", "warning", "success", "header", "subheader")
        for e in at.get(kind)
    ]
    for text in read:
        outside = re.sub(r"(`+).+?\1", "", text)
        assert not any(word in outside for word in HOSTILE), text
    assert any(word[:6] in text for text in read for word in HOSTILE)
    assert HOSTILE[0] in [code.value for code in at.code]


def test_the_page_that_is_taken_away_holds_words_and_receipt(planted, hostile):
    page = render(planted["first"], "html").decode()
    for part in ("Scores on the text", "nurse<small>+1.10</small>", "Receipt", "Faithfulness"):
        assert part in page
    assert f"{planted['first'].summary['forwards']:,}, of" in page
    model, question = hostile
    page = render(ask(model, question), "html").decode()
    assert "&lt;img/src=x/onerror" in page
    assert not any(word in page for word in HOSTILE[:2])
    assert "Scores on the text" not in render(planted["layers"], "html").decode()


def test_without_an_answer_the_models_own_is_offered(tmp_path):
    model = str(saved("gpt2", tmp_path))
    text = "a b c"
    at = well(visit("attribution", model, text=text))
    assert "Name the answer" in at.warning[0].value
    assert any(b.label == "What does the model itself answer?" for b in at.button)
    lens = stored_answer(open_checkpoint(model), "lens", text=text)
    well(at.run())
    offered = lens.records[-1].answer
    assert f'likeliest: "{offered}"' in texts(at)
    ask(model, Question(text=text, target=offered))
    well(press(at, "Explain that answer"))
    assert here(at, "target") == offered
    assert "has a probability of" in texts(at)


def test_a_classifier_is_asked_for_one_of_its_classes(tmp_path):
    model = str(saved("bert-classifier", tmp_path))
    at = well(visit("attribution", model))
    labels = ["LABEL_0", "LABEL_1"]  # its config names none
    assert at.text_input("attribution_target").value == labels[0]
    assert ", ".join(labels) in texts(at)
    kept = ask(model, Question(text="a b c", target=labels[1], method="gradient-x-activation"))
    assert kept.summary["answers"][0]["ids"] == [1]


def test_a_masked_model_is_told_where_its_answer_stands(tmp_path):
    model = str(saved("bert", tmp_path))
    at = well(visit("attribution", model))
    assert "<mask>" in [code.value for code in at.code]
    assert "<mask>" in at.text_area("attribution_text").value


def test_a_link_asks_what_it_can_and_leaves_out_what_it_cannot(planted):
    bad = {"method": "magic", "orders": "-1", "seed": "x" * 20, "units": "letters"}
    at = well(visit("attribution", PLANTED, **{**link(FIRST), **bad}))
    assert at.header[0].value == "Better than random on this prompt"
    assert not set(bad) & set(at.query_params)


def test_a_link_to_a_model_waits_for_a_click(tmp_path):
    model = str(saved("gpt2", tmp_path))
    at = AppTest.from_file(str(Path(__file__).parents[1] / "app.py"), default_timeout=PATIENCE)
    at.switch_page("inspector/pages/attribution.py")
    for name, value in {"model": model, "text": "a b", "target": "c"}.items():
        at.query_params[name] = value
    well(at.run())
    assert "This link opens a model" in [header.value for header in at.header]
    assert not at.text_area


def test_a_long_prompt_is_kept_out_of_the_address(tmp_path):
    model = str(saved("llama", tmp_path))
    long = " ".join(WORDS[5 + i % 50] for i in range(28))
    question = Question(text=f"{long} ", target="d", method="gradient-x-activation", orders=2)
    question = dataclasses.replace(question, text=question.text + " " * 500)
    ask(model, question)
    at = visit("attribution", model)
    at.session_state["attribution_asked"] = {model: [question]}
    well(at.run())
    assert "text" not in at.query_params
    assert len(table(at, "The text with the score.*|.*do not read.*The text with.*")) == 28
