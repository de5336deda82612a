"""A journey through the Attribution page in a real browser."""

import pytest

from inspector.model.stored import answer_key, load_answer
from inspector.pages.attribution_form import Question
from inspector.weights.checkpoint import open_checkpoint
from tests.e2e.test_journeys import CHARTS, accessible

pytestmark = pytest.mark.e2e
TEXT = "the nurse said that"


def test_from_a_question_to_its_verdict_a_word_and_the_other_answer(visitor):
    model, page = "demo:planted", visitor.page
    visitor.goto("attribution", model=model)
    visitor.title("Attribution")
    accessible(visitor)
    visitor.fill("Prompt", TEXT)
    visitor.click(page.get_by_role("combobox", name="Method"))
    page.get_by_role("option", name="Feature Ablation").click()
    visitor.press("Explain")
    page.get_by_text("Weighing every word").wait_for()
    page.get_by_role("button", name="Cancel").wait_for()
    page.get_by_role("heading", name="Scores on the text").wait_for()
    visitor.rest()
    question = Question(text=TEXT, target="he", versus="she", method="feature-ablation")
    key = answer_key(open_checkpoint(model), "attribute", **question.asked())
    kept = load_answer(key, "attribute")
    assert kept is not None
    title = kept.summary["verdict"].capitalize()
    page.get_by_role("heading", level=2, name=title, exact=True).wait_for()
    page.locator(CHARTS).nth(1).locator("canvas, svg").first.wait_for()
    visitor.rest()
    accessible(visitor)
    visitor.link_holds("method=feature-ablation")
    bar = visitor.key("score_bars").locator("svg path[aria-label*='2 nurse']").first
    visitor.click(bar, position={"x": 6, "y": 6})
    page.get_by_role("heading", level=3, name="The chosen word").wait_for()
    told = f"Score {kept[1].score:+.4g} nats"
    page.get_by_text(told).wait_for()
    visitor.rest()  # until then what stood lower before stands there twice
    with page.expect_download() as download:
        visitor.press("Download HTML")
    taken = download.value.path().read_text()
    assert "Receipt" in taken
    assert "nurse<small>" in taken
    page.reload()
    page.get_by_role("heading", level=2, name=title, exact=True).wait_for()  # the link holds it
