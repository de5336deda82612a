"""Heads by kind and signals over many texts, and how jobs lead to them."""

import re
from urllib.parse import parse_qs

import numpy as np
import pytest
from model import made_heads
from model.conftest import WORDS

from inspector import jobs
from inspector.model.samples import DEMO_TEXTS
from inspector.model.stored import stored_answer
from inspector.report.prompt_words import KIND_MARKS
from inspector.weights.checkpoint import open_checkpoint
from tests.test_app import charts, table, texts, visit, well
from tests.test_prompt_page import TEXT, finished, headers, press


@pytest.fixture(scope="session")
def made(tmp_path_factory) -> str:
    """A model whose four heads were made by hand."""
    return str(made_heads.save(tmp_path_factory.mktemp("made")))


def test_heads_made_by_hand_are_named(made):
    lines = [" ".join(WORDS[5 + (7 * i + j) % 50] for j in range(12)) for i in range(6)]
    stored_answer(open_checkpoint(made), "attention", texts=lines)
    at = well(visit("prompt", made, prompt_view="Heads and signals"))
    assert headers(at) == []
    at.text_area("texts").set_value("\n".join(lines) + "\n\n")
    well(press(at, "Name the heads"))
    every = table(at, "spread beside its null")
    kinds = {(row["layer"], row["head"]): row["kind"] for _, row in every.iterrows()}
    assert kinds["0", 0] == "previous token"
    assert kinds["1", 0] == "induction"
    assert kinds["1", 1] == "sink"
    rules = table(at, "The rules of 8 kinds.*")
    assert set(rules["kind"]) == set(KIND_MARKS)
    assert rules["heads"].sum() == 4
    at.session_state["kinds"] = {"selection": {"cell": [{"block": "1", "head": 0}]}}
    assert "Kind: induction, p = " in texts(well(at.run()))
    (alt,) = (c.proto.alt for c in charts(at) if c.proto.alt.startswith("Of layer 1, head 0"))
    assert float(re.search(r"induction ([\d.]+) \(uniform", alt)[1]) > 0.9


@pytest.mark.parametrize(
    "typed, told", [("", "There is no text"), ("x" * 300_000, "300,000 characters")]
)
def test_texts_that_cannot_be_measured_are_said(typed, told):
    at = visit("prompt", "demo:balanced", prompt_view="Heads and signals")
    at.text_area("texts").set_value(typed)
    assert told in texts(well(press(at, "Name the heads")))
    assert at.text_area("texts").value == typed


def test_signals_are_shown_with_what_silence_means():
    kept = stored_answer(open_checkpoint("demo:planted"), "activations", texts=list(DEMO_TEXTS))
    at = well(visit("prompt", "demo:planted", prompt_view="Heads and signals"))
    told = texts(at)
    assert f"up to {kept.summary['silent_at_most']:.2%} of all" in told
    sizes = table(at, "biases beside what they are added to")
    assert len(sizes) == len(kept.summary["biases"]) == 21
    ratios = sizes["size of b"] / sizes["size of W x"]
    np.testing.assert_allclose(ratios, sizes["b over W x"], rtol=1e-9)


def test_jobs_lead_to_the_page_of_their_answer():
    """Both end at once: what they ask for is kept already."""
    checkpoint, measured = open_checkpoint("demo:planted"), list(DEMO_TEXTS)
    stored_answer(checkpoint, "activations", texts=measured)
    stored_answer(checkpoint, "lens", text=TEXT)
    for work, question in (("lens", {"text": TEXT}), ("activations", {"texts": measured})):
        jobs.submit(work.ljust(32, "0"), work, work, model="demo:planted", **question)
        assert finished(work.ljust(32, "0")).state == "done"
    links = [link.proto for link in visit("jobs").get("page_link")]
    found = [parse_qs(link.query_string) for link in links if link.page == "prompt"]
    assert {"model": ["demo:planted"], "text": [TEXT]} in found
    assert {"model": ["demo:planted"], "prompt_view": ["Heads and signals"]} in found
