"""Journeys through the views of a model's judgements in a real browser."""

import pytest

from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.stored_judgements import judgement_key, load_judgement
from tests.e2e.test_journeys import CHARTS, accessible

pytestmark = pytest.mark.e2e
FRAGILE = "encoder.layer.4.attention.self.value.weight"


def view(visitor, name: str, sign: str) -> None:
    """Choose a view and wait for the part of it under this heading, with its chart drawn."""
    visitor.click(visitor.page.get_by_role("radio", name=name, exact=True))
    visitor.section(sign)
    visitor.page.locator(CHARTS).first.locator("canvas, svg").first.wait_for()
    visitor.rest()
    accessible(visitor)


def test_every_view_of_a_model_is_measured_when_it_is_opened(visitor):
    model, page = "demo:balanced", visitor.page
    visitor.goto("summary", model=model)
    checkpoint = open_checkpoint(model)
    for name, sign, command in (
        ("Spectrum", "Every matrix", "spectrum"),
        ("Initialisation", "Every tensor", "init"),
        ("Neurons and heads", "Heads", "neurons"),
        ("Pruning", "Every matrix", "prune"),
        ("Quantisation", "Formats", "quantize"),
    ):
        view(visitor, name, sign)
        visitor.link_holds(f"view={name.split()[0]}")
        assert load_judgement(judgement_key(checkpoint, command), command) is not None
    page.reload()
    visitor.section("Formats")  # the link holds the view


def test_from_a_matrix_in_a_view_to_the_same_view_of_its_tensor(visitor, minilm):
    page = visitor.page
    visitor.open(str(minilm))
    view(visitor, "Spectrum", "Every matrix")
    rows = visitor.key("spectra").get_by_test_id("stDataFrameResizable")
    visitor.click(rows, position={"x": 18, "y": 35 + 18})
    visitor.title("Tensor")
    visitor.section("Indistinguishable from noise")
    visitor.link_holds("tensor=pooler.dense.weight")
    visitor.link_holds("show=Spectrum")
    visitor.section("How far alpha can be trusted")
    page.locator(CHARTS).nth(2).locator("canvas, svg").first.wait_for()
    accessible(visitor)
    visitor.press("Previous")
    page.wait_for_url(lambda url: "tensor=pooler.dense.weight" not in url)
    visitor.section("Tail of the eigenvalues")


def test_views_of_a_tensor(visitor, minilm):
    page = visitor.page
    visitor.open(str(minilm))
    visitor.goto("tensor", model=str(minilm), tensor=FRAGILE, show="Spectrum")
    visitor.press_key("open_linked")
    page.get_by_text("No verdict: alpha crosses a threshold").wait_for()
    view(visitor, "Initialisation", "Against a fresh draw")
    view(visitor, "Quantisation", "Formats")
    view(visitor, "Pruning", "Patterns that hardware runs faster")
    slider = page.get_by_role("slider")
    slider.focus()
    page.keyboard.press("End")
    page.get_by_text("100.00%").first.wait_for()
