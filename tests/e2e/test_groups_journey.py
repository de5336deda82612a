"""A journey through the Groups page in a real browser."""

import pytest
from fairness.classifiers import classifier, texts, written

from inspector.fairness.stimuli import read
from inspector.fairness.stored import load_probe, probe_key
from inspector.weights.checkpoint import open_checkpoint
from tests.e2e.test_journeys import CHARTS, accessible

pytestmark = pytest.mark.e2e
SWAPS = [["he", "she"], ["john", "anna"], ["paul", "mary"]]


def test_from_a_file_to_the_verdict_crossed_groups_and_texts(visitor, tmp_path):
    page = visitor.page
    model = str(classifier(tmp_path / "model", against=0.8))
    data = str(written(tmp_path, texts(200, seed=5)))
    visitor.open(model)
    visitor.follow("Groups")
    accessible(visitor)
    visitor.fill("Path, or hub:ID", data)
    visitor.press("Read it")
    visitor.section("What was read")
    accessible(visitor)
    words = "\n".join(", ".join(pair) for pair in SWAPS)
    visitor.fill("Words to swap (optional): a pair in each line", words)
    visitor.press("Run")
    page.get_by_text("Asking about every item").wait_for()
    page.get_by_role("heading", level=2, name="Bias detected").wait_for()
    page.get_by_role("heading", level=2, name="What this rests on").wait_for()
    page.locator(CHARTS).nth(2).locator("canvas, svg").first.wait_for()
    visitor.rest()
    accessible(visitor)
    key = probe_key(
        open_checkpoint(model), "classifier-fairness", read("labelled", data).sha256, swaps=SWAPS
    )
    kept = load_probe(key)
    assert kept is not None
    told = f"{100 * kept[0].estimate:.1f} points"
    page.get_by_text(told, exact=True).first.wait_for()
    box = page.get_by_role("combobox", name="Attribute", exact=True)
    crossed = page.get_by_role("option", name="gender × age")
    while not crossed.is_visible():  # a list that has opened is closed when the page scrolls
        box.press("ArrowDown")
        page.wait_for_timeout(500)
    crossed.click()
    page.get_by_text("Rates of 4 groups").wait_for()
    visitor.rest()
    visitor.click(page.get_by_text("Show the texts", exact=True))
    page.get_by_text("The probability is that of the class").wait_for()
    with page.expect_download() as download:
        visitor.press("Download HTML")
    taken = download.value.path().read_text()
    assert "equalised odds difference" in taken
    assert "bias detected" in taken
