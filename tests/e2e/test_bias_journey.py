"""A journey through the Bias page in a real browser."""

import pytest

from inspector import jobs
from inspector.fairness.probes.table import stimuli_of
from inspector.fairness.stored import load_items, load_probe, probe_key
from inspector.report.bias_words import quantity
from inspector.weights.checkpoint import open_checkpoint
from tests.e2e.test_journeys import CHARTS, accessible, harmless
from tests.test_bias_page import PAIRS, hostile

pytestmark = pytest.mark.e2e
__all__ = ["hostile"]
LONG = 180_000.0  # milliseconds for a worker, which loads torch, on a busy machine


def pick_row(visitor, table: str, row: int) -> None:
    """Select a row of a table by its box at the left edge."""
    found = visitor.key(table).get_by_test_id("stDataFrameResizable")
    found.scroll_into_view_if_needed()
    visitor.click(found, position={"x": 18, "y": 35 * (row + 1) + 18})
    visitor.rest()


def test_from_a_probe_to_one_item_and_both_its_sides(visitor):
    page = visitor.page
    visitor.goto()
    visitor.press_key("demo_balanced")
    visitor.title("Summary")
    visitor.follow("Bias")
    accessible(visitor)
    page.get_by_text("Nothing runs before that").wait_for()
    visitor.press("Run")
    page.get_by_role("button", name="Cancel").wait_for()
    page.get_by_text("Asking about every item").wait_for()
    verdict = page.get_by_role("heading", level=2, name="Inconclusive", exact=True)
    verdict.wait_for(timeout=LONG)
    visitor.rest()
    page.get_by_text("That is not “unbiased”").wait_for()
    key = probe_key(open_checkpoint("demo:balanced"), "pairs", stimuli_of("pairs", PAIRS).sha256)
    kept = load_probe(key)
    assert kept is not None
    page.get_by_text(f"The preference is {quantity(kept[0].estimate, 'share')}").wait_for()
    page.locator(CHARTS).first.locator("svg, canvas").first.wait_for()
    visitor.rest()
    accessible(visitor)
    visitor.click(visitor.key("bias_show_items").get_by_text("Show the items"))
    visitor.key("bias_items").locator("canvas").first.wait_for()
    pick_row(visitor, "bias_items", 0)
    link = page.get_by_role("link", name="Open both sides on the Prompt page")
    link.wait_for()
    accessible(visitor)
    link.click()
    visitor.title("Prompt")
    visitor.section("Both sides")
    first = max(load_items(key) or (), key=lambda item: item["gap"])
    for side in (first["text_more"], first["text_less"]):
        page.get_by_test_id("stCode").get_by_text(side, exact=True).wait_for()
    assert (
        page.get_by_role("textbox", name="Prompt", exact=True).input_value() == first["text_more"]
    )
    page.get_by_role("button", name="Look closely at this side").wait_for()
    accessible(visitor)
    for job in jobs.jobs():  # what becomes of them is told elsewhere
        jobs.cancel(job.id)


def test_hostile_items_do_nothing(visitor, hostile):
    page = visitor.page
    visitor.goto("bias", model="demo:planted", probe="pairs", data=hostile)
    page.get_by_text("press Read it").wait_for()
    visitor.press("Read it")
    visitor.section("Items")
    page.locator(CHARTS).first.locator("svg, canvas").first.wait_for()
    visitor.click(visitor.key("bias_show_items").get_by_text("Show the items"))
    visitor.key("bias_items").locator("canvas").first.wait_for()
    pick_row(visitor, "bias_items", 0)
    page.get_by_text("onerror=window.PWN=1").first.wait_for(state="attached")
    harmless(visitor)
    accessible(visitor)
