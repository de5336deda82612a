"""The Bias page: verdict first, data with what was left out, items, parts of the model, changes."""

import json
import re
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from inspector import jobs
from inspector.demo.corpus import OCCUPATIONS
from inspector.fairness.probes.table import PROBES, stimuli_of
from inspector.fairness.stimuli import read
from inspector.fairness.stored import (
    load_items,
    localize_key,
    probe_key,
    stored_localized,
    stored_probe,
    templates_of,
)
from inspector.fairness.verdicts import CHANGED, VERDICTS
from inspector.model.load import load
from inspector.model.stored import answer_key, stored_answer, stored_prompt
from inspector.report import bias_words as words
from inspector.report.charts_bias import SHAPES
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.stored_judgements import Kept
from tests.test_app import PATIENCE, charts, here, link_of_job, table, texts, visit, well

PLANTED, BALANCED = "demo:planted", "demo:balanced"
DATA = Path(words.__file__).parents[1] / "fairness" / "data"
PAIRS, TEMPLATES = str(DATA / "demo-pairs.yaml"), str(DATA / "demo-templates.yaml")
HOSTILE = ("<img src=x onerror=window.PWN=1>", "[d](http://far.example)", "$x^2$", ":red[b]")
BOTH = ["causal-sum", "causal-mean"]
WITHIN = {"scorer": "causal-mean", "margin": 0.9}


@pytest.fixture(scope="session")
def kept() -> dict[str, Kept]:
    """What the page asks of the planted model, asked already."""
    checkpoint, model = open_checkpoint(PLANTED), load(PLANTED)

    def asked(name: str, data: str, **question) -> Kept:
        return stored_probe(checkpoint, name, data, model=model, **question)

    return {
        "pairs": asked("pairs", PAIRS),
        "both": asked("pairs", PAIRS, scorer=BOTH),
        "gap": asked("counterfactual-gap", TEMPLATES),
        "change": asked("pairs", PAIRS, baseline=open_checkpoint(BALANCED)),
        "within": asked("pairs", PAIRS, baseline=open_checkpoint(BALANCED), **WITHIN),
        "place": stored_localized(checkpoint, TEMPLATES, model=model),
    }


@pytest.fixture(scope="session")
def hostile(tmp_path_factory) -> str:
    """Pairs whose texts, categories and ids are Markdown and HTML; their answers are kept."""
    rows = [
        {
            "id": f"{bad} {mood}",
            "more": f"the {name} said that he was {mood} .{f' {bad}' * (mood == 'tired')}",
            "less": f"the {name} said that she was {mood} .",
            "category": bad,
        }
        for bad, name in zip(HOSTILE, OCCUPATIONS, strict=False)
        for mood in ("tired", "happy", "ready")
    ]
    path = tmp_path_factory.mktemp("<b>pairs") / "<i>pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\nno JSON <b>at</b> all\n")
    stored_probe(open_checkpoint(PLANTED), "pairs", str(path))
    return str(path)


def bias(view: str = "Probes", model: str = PLANTED, **query: str) -> AppTest:
    return visit("bias", model, bias_view=view, **query)


def press(at: AppTest, label: str) -> AppTest:
    return next(b for b in at.button if b.label == label).click().run()


def read_from(at: AppTest, path: str) -> AppTest:
    """Type a path and press the button, as a visitor does."""
    next(s for s in at.selectbox if s.label == "Data").select("path").run()
    next(t for t in at.text_input if t.label.startswith("Path")).set_value(path)
    return press(at, "Read it")


def metrics(at: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in at.metric}


def test_all_verdicts_have_their_words_and_their_shape():
    assert set(words.VERDICTS) == {*VERDICTS, CHANGED} == set(SHAPES)
    assert {v for v, said in words.VERDICTS.items() if not said.sound} == {"invalid measurement"}
    assert set(words.CHANGE_TITLES) == {*VERDICTS, CHANGED} - {"bias detected"}
    assert len({shape for _, shape in SHAPES.values()}) == len(VERDICTS)


def test_demo_material_says_what_the_corpus_was_made_with():
    found = {one.text: one for one in read("templates", TEMPLATES).items if hasattr(one, "neutral")}
    for name, occupation in OCCUPATIONS.items():
        if occupation.leaning:
            assert found[f"the {name}"].direction * occupation.leaning > 0
            assert not found[f"the {name}"].control
        elif name != "person":
            assert found[f"the {name}"].control
    for pair in read("pairs", PAIRS).items:
        leaning = OCCUPATIONS[pair.cluster].leaning
        if pair.direction:
            assert (" he " in pair.more) == (" she " in pair.less) == (leaning > 0)
        else:
            assert {pair.more, pair.less} == {
                f"the {pair.cluster} from the {where} said that he was tired ."
                for where in ("north", "south")
            }


def test_the_verdict_comes_first_with_its_numbers(kept):
    at = well(bias())
    assert here(at, "probe") == "pairs"
    assert at.header[0].value == "Bias detected"
    told, whole = texts(at), kept["pairs"][0]
    assert f"95 % interval {100 * whole.low:.1f} % to 100.0 %" in told
    assert "without bias it would be 50.0 % (towards the stereotype)" in told
    shown = metrics(at)
    assert shown["preference"] == "100.0 %"
    assert shown["items"] == "60"
    assert shown["independent units"] == "20"
    assert shown["smallest visible bias"] == f"{100 * whole.mde80:.1f} points"
    assert f"Why: {whole.reason}." in told
    assert "likelier than their own words shuffled" in told
    assert whole.data_sha256 in told
    assert all(len(chart.proto.alt) > 30 for chart in charts(at))
    assert all(frame.proto.alt for frame in at.dataframe)
    assert len(at.get("download_button")) == 3


def test_the_forest_has_every_row_with_its_verdict(kept):
    at = well(bias())
    (forest,) = (c for c in charts(at) if c.proto.alt.startswith("Preference of 5 rows"))
    assert "3 bias detected" in forest.proto.alt
    assert "Dashed: without bias, 50.0 %" in forest.proto.alt
    shown = table(at, "Preference of 5 rows.*")
    assert list(shown["category"]) == [
        *("all", "often named", "seldom named", "controls", "sides shuffled")
    ]
    assert list(shown["verdict"]) == [one.verdict for one in _in_order(kept["pairs"])]


def _in_order(kept: Kept) -> list:
    place = {"all": 0, "categories": 1, "groups": 2}
    return sorted(kept, key=lambda one: place.get(one.family, 3))


def test_what_no_score_shows_stands_on_every_view(kept):
    for view in ("Probes", "Data", "Localise", "Compare two models"):
        at = well(bias(view, base=BALANCED))
        assert "What this does not show" in [header.value for header in at.header], view


@pytest.fixture
def nothing_kept(monkeypatch, tmp_path):
    """From when it is called on, no result is kept: journeys may have asked the same before."""

    def forget() -> None:
        monkeypatch.setenv("INSPECTOR_CACHE", str(tmp_path / "cache"))
        st.cache_resource.clear()

    return forget


def test_nothing_is_asked_before_the_button(nothing_kept):
    nothing_kept()
    at = well(bias(model=BALANCED, probe="pairs"))
    assert "Nothing runs before that" in at.info[0].value
    assert "What it measures" in [header.value for header in at.header]
    key = probe_key(open_checkpoint(BALANCED), "pairs", stimuli_of("pairs", PAIRS).sha256)
    assert jobs.find(key) is None


def test_every_probe_of_language_is_offered_and_described():
    at = well(bias(model=BALANCED))
    (chooser,) = (s for s in at.selectbox if s.label == "Probe")
    asked = [name for name, kind in PROBES.items() if kind.asks != "classes"]
    assert chooser.options == asked
    for name in ("stereoset", "embedding-weat"):  # one that needs a path, one that does not
        at = well(bias(model=BALANCED, probe=name))
        assert PROBES[name].measures in texts(at), name
        assert PROBES[name].source in texts(at), name


def test_items_are_folded_until_they_are_asked_for(kept):
    at = well(bias())
    assert "said that he was tired" not in texts(at)
    at.toggle("bias_show_items").set_value(True).run()
    items = table(well(at), ".*items with their scores")
    assert len(items) == 85
    assert list(items["gap"]) == sorted(items["gap"], reverse=True)
    at.selectbox("bias_item_category").select("region").run()
    assert set(table(well(at), ".*items with their scores")["category"]) == {"region"}


def test_an_item_leads_to_the_prompt_page_with_both_sides(kept):
    at = bias()
    at.toggle("bias_show_items").set_value(True).run()
    first = table(at, ".*items with their scores").iloc[0]
    at.session_state["bias_items"] = {"selection": {"rows": [0], "columns": [], "cells": []}}
    at = well(at.run())
    assert {first["text_more"], first["text_less"]} <= {code.value for code in at.code}
    links = [link.proto for link in at.get("page_link")]
    (link,) = (one for one in links if one.label.startswith("Open both sides"))
    assert link.page == "prompt"
    for part in ("text=", "other="):
        assert part in link.query_string


def test_both_sides_are_pinned_on_the_prompt_page(kept):
    checkpoint, model = open_checkpoint(PLANTED), load(PLANTED)
    text, other = (f"the nurse said that {word} was tired ." for word in ("he", "she"))
    stored_prompt(checkpoint, text)
    stored_answer(checkpoint, "lens", model=model, text=other)
    at = well(visit("prompt", PLANTED, text=text, other=other))
    assert at.header[0].value == "Both sides"
    sides = [f.value for f in at.dataframe if "expects in their place" in f.proto.alt]
    marked = [list(side["token"][list(side.iloc[:, 0] == "≠")]) for side in sides]
    assert marked == [["he"], ["she"]]
    at = well(press(at, "Look closely at this side"))  # the rest about it is a job
    jobs.cancel(answer_key(checkpoint, "prompt", text=other, target=None, versus=None))
    assert at.text_area("prompt_text").value == other
    assert at.header[0].value == "Both sides"
    at.text_area("prompt_text").set_value(text.replace("nurse", "cook"))
    at = press(at, "Ask")
    asked = {"text": text.replace("nurse", "cook"), "target": None, "versus": None}
    jobs.cancel(answer_key(checkpoint, "prompt", **asked))
    assert "Both sides" not in [header.value for header in at.header]


def test_several_scorers_stand_side_by_side(kept):
    at = bias()
    at.multiselect("bias_scorers_pairs_causal-sum_causal-mean").set_value(BOTH)
    at = well(press(at, "Run"))
    assert "Do scorers agree?" in [header.value for header in at.header]
    assert list(table(at, "1 pairs of scorers")["Kendall's tau"]) == [
        kept["both"].summary["panel"]["pairs"][0]["tau"]["value"]
    ]
    at.selectbox("bias_scorer").select("causal-mean").run()
    assert at.header[0].value == "Bias detected"


def test_templates_are_shown_alone_and_left_out(kept):
    at = well(bias(probe="counterfactual-gap"))
    assert metrics(at)["gap"].endswith(" nats")
    assert "Does it hang on the wording?" in [header.value for header in at.header]
    found = kept["gap"].summary["sensitivity"]
    (whole,) = found.values()
    lines = table(at, r"\d+ templates, each alone and left out.*")
    assert len(lines) == 2 * len(whole["templates"])
    assert whole["flipped_without"] == 0


def test_the_data_is_told_with_its_source(kept):
    at = well(bias("Data"))
    told = table(at, "Where the data comes from.*")
    values = dict(zip(told.iloc[:, 0], told.iloc[:, 1], strict=True))
    assert values["licence"] == "Apache-2.0"
    assert values["sha256"] == kept["pairs"][0].data_sha256
    assert metrics(at)["items"] == "85"
    assert "No row was left out" in texts(at)
    at.toggle("bias_show_data").set_value(True).run()
    assert len(table(well(at), "85 items")) == 85


def test_public_sets_are_read_from_their_path(shared_data):
    at = well(bias("Data", probe="crows-pairs"))
    assert "crows_pairs_anonymized.csv" in texts(at)
    at = well(read_from(at, str(shared_data / "crows_pairs")))
    shown = metrics(at)
    assert (shown["items"], shown["categories"]) == ("1,508", "9")
    assert "CC BY-SA 4.0" in set(table(at, "Where the data comes from.*").iloc[:, 1])
    assert here(at, "data").endswith("crows_pairs")


def test_a_path_in_a_link_waits_for_a_click(hostile):
    at = well(bias("Data", probe="pairs", data=hostile))
    assert "press Read it" in at.info[0].value
    assert not at.metric


def test_bad_data_is_told_row_by_row(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("id,more,less\n1,a,a\n2,,b\n")
    at = read_from(bias("Data", probe="pairs"), str(path))
    assert "This data cannot be used" in at.error[0].value
    rows = table(at, "2 remarks on rows")
    assert list(rows["rows"]) == ["2", "3"]
    at = read_from(bias("Data", probe="pairs"), str(tmp_path / "none.csv"))
    assert "there is no such file" in texts(at)


def test_data_outside_the_roots_of_a_server_is_not_read(tmp_path, monkeypatch):
    (tmp_path / "pairs.csv").write_text("more,less\na,b\n")
    monkeypatch.setenv("INSPECTOR_ROOTS", str(tmp_path / "elsewhere"))
    at = read_from(bias("Data", probe="pairs"), str(tmp_path / "pairs.csv"))
    assert "INSPECTOR_ROOTS" in texts(at)
    assert not at.metric


def test_where_the_gap_sits(kept):
    at = well(bias("Localise"))
    gap = kept["place"].summary["gap"]
    assert at.header[0].value == "Bias detected"
    assert f"{gap['gap']:.4g} nats" in texts(at)
    headers = [header.value for header in at.header]
    assert {"Heads", "Layers", "Attention and MLP blocks", "Single matrices"} <= set(headers)
    heads = table(at, "Map of 12 heads by layer.*")
    assert len(heads) == 12
    most = table(at, "The part of each kind.*")
    assert list(most["part"]) == [
        one["name"] for one in kept["place"].summary["carries_most"].values()
    ]
    at.session_state["localize_heads"] = {"selection": {"head": [{"layer": 0, "head": 3}]}}
    assert "Layer 0, head 3" in [sub.value for sub in well(at.run()).subheader]


def test_parts_are_taken_out_on_a_click_alone():
    at = well(bias("Localise", model=BALANCED))
    assert any(b.label == "Find where it sits" for b in at.button)
    key = localize_key(open_checkpoint(BALANCED), templates_of(TEMPLATES).sha256)
    assert jobs.find(key) is None


def test_two_models_are_compared_item_by_item(kept):
    at = well(bias("Compare two models", base=BALANCED))
    assert at.header[0].value == "It changed"
    whole = kept["change"][0]
    assert f"{100 * whole.change:.1f} points" in texts(at)
    shown = table(at, "Change of preference.*")
    assert list(shown["verdict"])[:3] == [CHANGED] * 3
    both = table(at, "Verdict and problems of both models")
    assert list(both["its own verdict"]) == ["inconclusive", "bias detected"]


def test_comparing_waits_for_a_click():
    at = well(bias("Compare two models", model=BALANCED, base=PLANTED))
    assert any(b.label == "Ask both models" for b in at.button)
    assert not at.metric


def test_two_models_are_compared_by_another_scorer_within_a_margin(kept):
    at = bias("Compare two models", base=BALANCED)
    at.selectbox("bias_scorer_pairs_causal-sum_causal-mean").select(WITHIN["scorer"])
    at.number_input("bias_margin_pairs_causal-sum_causal-mean").set_value(WITHIN["margin"])
    at = well(press(at, "Ask both models"))
    whole = kept["within"][0]
    assert (whole.scorer, whole.margin, whole.change_verdict) == (*WITHIN.values(), "equivalent")
    assert at.header[0].value == "No change beyond the margin"
    assert words.change_sentence(whole) in texts(at)


@pytest.mark.parametrize(
    ("work", "asked", "title", "shown"),
    [
        ("probe", {"scorer": BOTH, "margin": None}, "Bias detected", "Do scorers agree?"),
        ("probe", {"baseline": BALANCED, **WITHIN}, "No change beyond the margin", "Items"),
        ("localize", {"category": None}, "Bias detected", "Single matrices"),
    ],
)
def test_a_finished_job_links_to_what_it_found(kept, work, asked, title, shown):
    known = {"model": PLANTED, "sha256": stimuli_of("pairs", PAIRS).sha256, "data": "demo:words"}
    checkpoint, question = open_checkpoint(PLANTED), dict(asked)
    if work == "probe":
        known |= {"name": "pairs", "baseline": question.pop("baseline", None)}
        base = known["baseline"] and open_checkpoint(known["baseline"])
        id = probe_key(checkpoint, "pairs", known["sha256"], base, **question)
    else:
        known["sha256"] = templates_of(TEMPLATES).sha256
        id = localize_key(checkpoint, known["sha256"], **question)
    page, query = link_of_job(id, work, **known, **question)
    assert page == "bias"
    at = well(visit(page, PLANTED, **query))
    assert at.header[0].value == title
    assert shown in [header.value for header in at.header]
    assert "job" not in at.query_params
    assert jobs.find(id).pid is None  # it was not done again


def test_a_link_names_no_job_of_another_question(kept):
    sha256 = stimuli_of("pairs", PAIRS).sha256
    told = {"name": "pairs", "sha256": sha256, "data": None, "baseline": None, "scorer": BOTH}
    _, query = link_of_job("1" * 32, "probe", model=PLANTED, **told)
    at = well(visit("bias", PLANTED, **query))
    assert "Do scorers agree?" not in [header.value for header in at.header]
    well(bias(job="../../jobs"))
    gone = link_of_job("2" * 32, "probe", model=PLANTED, **told | {"name": "of an older build"})
    assert gone[0] == "bias"


def test_hostile_items_are_shown_plain(hostile):
    at = well(read_from(bias(probe="pairs"), hostile))
    assert metrics(at)["not asked"] == str(len(HOSTILE))
    at.toggle("bias_show_items").set_value(True).run()
    assert len(table(well(at), ".*items with their scores")) == 12
    _plain(at)
    at = well(read_from(bias("Data", probe="pairs"), hostile))
    at.toggle("bias_show_data").set_value(True).run()
    assert metrics(at)["left out"] == "1"
    _plain(at)


def _plain(at: AppTest) -> None:
    """No hostile text is where Markdown is read, but as a code span."""
    kinds = ("markdown", "caption", "header", "subheader", "info", "warning", "error")
    for element in (e for kind in kinds for e in at.get(kind)):
        outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", str(element.value))
        assert not any(bad in outside for bad in (*HOSTILE, "<b>", "<i>")), element.value


def test_a_failed_probe_says_why_in_plain_words(kept):
    at = bias(model=PLANTED, probe="lpbs")  # for masked models alone
    if "lpbs" not in PROBES:
        pytest.skip("not a probe yet")
    at = press(at, "Run")
    key = probe_key(open_checkpoint(PLANTED), "lpbs", stimuli_of("lpbs", TEMPLATES).sha256)
    assert jobs.find(key) is not None
    jobs.cancel(key)
    assert "cancelled" in well(at.run()).warning[0].value


def test_kept_items_are_those_of_the_records(kept):
    items = load_items(
        probe_key(open_checkpoint(PLANTED), "pairs", stimuli_of("pairs", PAIRS).sha256)
    )
    assert items is not None
    gaps = [item["gap"] for item in items if item["direction"]]
    assert kept["pairs"][0].estimate == sum(gap > 0 for gap in gaps) / len(gaps)


def test_home_tells_the_result_and_leads_deeper(kept, nothing_kept):
    at = AppTest.from_file(str(Path(__file__).parents[1] / "app.py"), default_timeout=PATIENCE)
    at.session_state["model"] = PLANTED
    told = texts(well(at.run()))
    assert "Bias detected. The preference is 100.0 %" in told
    links = [link.proto for link in at.get("page_link")]
    assert [one.page for one in links].count("bias") == 2
    nothing_kept()
    at.session_state["model"] = BALANCED
    assert any(b.label == "Probe it" for b in well(at.run()).button)


def test_a_model_without_probabilities_of_texts_is_told_what_it_can_be_asked(minilm):
    at = well(bias(model=str(minilm), probe="pairs"))
    assert here(at, "probe") == "pairs"
    at = well(bias(model=str(minilm)))
    assert here(at, "probe") == "embedding-weat"
    for one in (
        bias(model=str(minilm), probe="counterfactual-gap"),
        bias("Localise", model=str(minilm)),
    ):
        assert "gives no probability of a text" in well(one).warning[0].value
