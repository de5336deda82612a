"""Journeys through Health and Compare in a real browser."""

import json

import numpy as np
import pytest

from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.stored_judgements import stored_compare, stored_judgement
from tests.e2e.test_journeys import CHARTS, HOSTILE, accessible, harmless
from tests.weights.build import stored, write_file

pytestmark = pytest.mark.e2e


def pick(visitor, key: str, row: int, height: int = 35) -> None:
    """Select a row of a table by its box at the left edge; the first row is as high as its head."""
    table = visitor.key(key).get_by_test_id("stDataFrameResizable")
    table.scroll_into_view_if_needed()
    visitor.click(table, position={"x": 18, "y": 35 + height * row + height // 2})


def test_from_home_through_health_to_a_tensor(visitor, minilm):
    page = visitor.page
    visitor.open(str(minilm))
    visitor.follow("Health")
    page.get_by_text("18 of 21").wait_for()
    page.locator(CHARTS).first.locator("svg, canvas").first.wait_for()
    visitor.rest()
    accessible(visitor)
    visitor.click(page.get_by_role("button", name="warning"))
    page.get_by_role("heading", name="Failing rules (1)").wait_for()
    visitor.link_holds("severity=warning")
    page.get_by_role("heading", name="Untrained matrices").wait_for()
    visitor.key("places_HL-UNTRAINED").locator("canvas").first.wait_for()
    visitor.rest()
    pick(visitor, "places_HL-UNTRAINED", 0, height=66)
    visitor.title("Tensor")
    visitor.link_holds("tensor=pooler.dense.weight")
    page.get_by_test_id("stSidebarNav").get_by_role("link", name="Home", exact=True).click()
    visitor.title("inspector")
    page.get_by_text("18 of 21 rules of health pass").wait_for()
    accessible(visitor)


def test_downloads_of_health(visitor):
    stored_judgement(open_checkpoint("demo:planted"), "health")
    visitor.goto("health", model="demo:planted")
    for form, begins in (("JSON", '{\n  "schema"'), ("CSV", "id,severity"), ("SARIF", "{")):
        with visitor.page.expect_download() as waiting:
            visitor.press(f"Download {form}")
        path = waiting.value.path()
        assert path.read_text().startswith(begins)
        assert waiting.value.suggested_filename == f"health.{form.lower()}"


def test_a_baseline_is_chosen_and_a_cell_is_clicked(visitor):
    page = visitor.page
    visitor.goto("compare", model="demo:planted")
    page.get_by_text("Choose what to compare").wait_for()
    accessible(visitor)
    visitor.fill("Or a path, URL or Hub id", "demo:balanced")
    visitor.press("Compare")
    visitor.section("Where it moved")
    visitor.link_holds("base=demo")
    cells = page.locator(CHARTS).first.locator("svg path[aria-label]")
    cells.first.wait_for()
    visitor.rest()
    accessible(visitor)
    cell = page.locator(CHARTS).first.locator("svg path[aria-label^='layer: 1; role: q;']")
    visitor.click(cell, position={"x": 10, "y": 6})
    page.get_by_text("1 of 51 tensors; a row").wait_for()
    name = page.get_by_test_id("stCode").filter(has_text="model.layers.1.self_attn.q_proj.weight")
    name.wait_for()
    visitor.rest()
    visitor.click(page.get_by_role("link", name="In the baseline"))
    visitor.title("Tensor")
    visitor.link_holds("model=demo%3Abalanced")
    visitor.link_holds("tensor=model.layers.1.self_attn.q_proj.weight")


@pytest.fixture
def attack(tmp_path) -> tuple[str, str]:
    """Two models whose names are attacks, judged and compared already."""
    values = np.random.default_rng(0).standard_normal((2, 30, 40)).astype(np.float32)
    models = []
    for i in range(2):
        folder = tmp_path / f"{i}{HOSTILE.replace('/', '|')}"
        folder.mkdir()
        tensors = {
            f"{HOSTILE}.layers.0.weight": stored("F32", values[0] * (1 + i)),
            f"{HOSTILE}.layers.1.weight": stored("F32", np.where(i, np.nan, values[1])),
            f"{i}{HOSTILE}": stored("F32", values[i]),
        }
        write_file(folder / "model.safetensors", tensors)
        (folder / "config.json").write_text(json.dumps({HOSTILE: f"{i}{HOSTILE}"}))
        stored_judgement(open_checkpoint(str(folder)), "health")
        models.append(str(folder))
    stored_compare(*map(open_checkpoint, models))
    return models[0], models[1]


def test_hostile_names_do_nothing_here_either(visitor, attack):
    page = visitor.page
    base, tuned = attack
    visitor.open(tuned)
    visitor.follow("Health")
    visitor.section("What this rests on")
    harmless(visitor)
    visitor.goto("compare", model=tuned, base=base)
    visitor.press_key("open_linked")
    visitor.key("open_base").wait_for()
    harmless(visitor)
    visitor.press_key("open_base")
    visitor.section("One tensor")
    page.get_by_text("onerror=window.PWN=1").first.wait_for()
    harmless(visitor)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_health_and_compare_follow_the_scheme_of_the_reader(visitor, scheme):
    page = visitor.page
    page.emulate_media(color_scheme=scheme)
    stored_judgement(open_checkpoint("demo:planted"), "health")
    stored_compare(open_checkpoint("demo:balanced"), open_checkpoint("demo:planted"))
    for path in ("health", "compare"):
        visitor.goto(path, model="demo:planted", base="demo:balanced")
        page.get_by_text("(100.00%) measured").wait_for()
        red, green, blue = page.get_by_test_id("stApp").evaluate(
            "app => getComputedStyle(app).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
        )
        assert (red + green + blue > 600) == (scheme == "light")
