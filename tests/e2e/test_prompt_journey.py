"""Journeys through the Prompt page in a real browser."""

import pytest

from inspector.model.stored import answer_key, load_answer, stored_prompt
from inspector.weights.checkpoint import open_checkpoint
from tests.e2e.test_journeys import CHARTS, accessible, harmless
from tests.test_prompt_page import HOSTILE, hostile

pytestmark = pytest.mark.e2e
__all__ = ["hostile"]
TEXT = "the engineer from the south said that"


def cell(visitor, chart: str, *fields: str) -> None:
    """Click the cell of a chart whose name for those who cannot see it holds these fields."""
    named = "".join(f"[aria-label*='{field};']" for field in fields)
    found = visitor.key(chart).locator(f"svg path{named}")
    found.scroll_into_view_if_needed()
    visitor.click(found, position={"x": 8, "y": 5})
    visitor.rest()


def test_from_a_question_to_one_head_and_what_it_does(visitor):
    page = visitor.page
    visitor.goto()
    visitor.press_key("demo_planted")
    visitor.title("Summary")
    visitor.follow("Prompt")
    accessible(visitor)
    visitor.fill("Prompt", TEXT)
    visitor.press("Ask")
    page.get_by_role("button", name="Cancel").wait_for()
    page.get_by_text("Asking the model").wait_for()
    for part in ("Tokens and answer", "Lens", "Attention", "Without a part"):
        page.get_by_role("heading", level=2, name=part, exact=True).wait_for()
    visitor.section("What this rests on")
    page.get_by_role("button", name="Cancel").wait_for(state="detached")
    page.locator(CHARTS).first.locator("svg, canvas").first.wait_for()
    visitor.rest()
    accessible(visitor)
    checkpoint = open_checkpoint("demo:planted")
    asked = {"texts": [TEXT], "target": "he", "versus": "she"}
    kept = load_answer(answer_key(checkpoint, "ablate", **asked), "ablate")
    record = next(r for r in kept if (r.component, r.layer, r.head) == ("head", 2, 1))
    cell(visitor, "attention", "layer: 2", "head: 1")
    page.get_by_text(f"the answer changes by {record.answer_change:+.4g} nats").wait_for()
    visitor.link_holds("head=2.1")
    visitor.click(visitor.key("map_way").get_by_role("radio", name="rollout"))
    page.get_by_text("attention of all heads and layers multiplied up").wait_for()
    visitor.click(page.get_by_text("Without the first token (sink)"))
    page.get_by_text("each row scaled to 1 again").wait_for()
    cell(visitor, "lens", "layer: layer 0", "at: 2: engineer")
    page.get_by_text("At 2: engineer, after layer 0").wait_for()
    with page.expect_download() as waiting:
        visitor.press("Download JSON")
    assert waiting.value.path().read_text().startswith('{\n  "schema": "inspector.lens/1"')
    page.reload()
    page.get_by_text(f"the answer changes by {record.answer_change:+.4g} nats").wait_for()


def test_hostile_tokens_do_nothing(visitor, hostile):
    text = " ".join(HOSTILE)
    stored_prompt(open_checkpoint(hostile), text)
    visitor.goto("prompt", model=hostile, text=text)
    visitor.press_key("open_linked")
    visitor.section("What this rests on")
    visitor.page.get_by_text("onerror=window.PWN=1").first.wait_for(state="attached")
    visitor.page.locator(CHARTS).last.locator("svg, canvas").first.wait_for()
    visitor.rest()
    harmless(visitor)
    accessible(visitor)
