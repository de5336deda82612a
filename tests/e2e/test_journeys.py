"""Journeys through the app in a real browser."""

import json
import re
import struct
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import psutil
import pytest

from inspector import jobs
from inspector.weights.checkpoint import open_checkpoint
from inspector.weights.stored import scan_key
from tests.weights.build import stored, write_file

pytestmark = pytest.mark.e2e
CHARTS = "[data-testid=stVegaLiteChart], [data-testid=stPlotlyChart]"
TAGS = "found => found.map(element => element.tagName)"
HOSTILE = (
    "<img src=x onerror=window.PWN=1><b>bold</b> :red[red] ![t](http://far.example/p.png) "
    "[c](javascript:window.PWN=2) [d](http://far.example) www.far.example $x^2$ `a` **b** "
    "\x1b[31m \u202e right to left"
)


def accessible(visitor) -> None:
    """The page at rest has one main heading; every chart is named, in words and as a table."""
    end = time.monotonic() + 30
    while True:  # what a job has found is drawn into a page at rest
        visitor.rest()
        try:
            return _accessible(visitor.page)
        except AssertionError:
            if time.monotonic() > end:
                raise
            visitor.page.wait_for_timeout(200)


def _accessible(page) -> None:
    levels = [int(tag[1]) for tag in page.locator("h1, h2, h3, h4").evaluate_all(TAGS)]
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise([0, *levels]))
    main = page.get_by_test_id("stMain")
    drawn = main.locator(CHARTS)
    assert main.get_by_text("As a table", exact=True).count() == drawn.count()
    for i in range(drawn.count()):
        named = drawn.nth(i).locator("xpath=descendant-or-self::*[@aria-label]")
        assert len(named.first.get_attribute("aria-label") or "") > 30


def pick_row(visitor, row: int) -> None:
    """Select a row of the table of tensors by its box at the left edge."""
    table = visitor.key("tensor_table").get_by_test_id("stDataFrameResizable")
    visitor.click(table, position={"x": 18, "y": 35 * (row + 1) + 18})


def walk(visitor) -> None:
    """From the summary of the open model to one of its tensors, looking at everything."""
    page = visitor.page
    visitor.section("Census")
    page.locator(CHARTS).nth(2).locator("canvas, svg").first.wait_for()
    visitor.rest()
    accessible(visitor)
    visitor.follow("Tensors")
    visitor.key("tensor_table").locator("canvas").first.wait_for()
    accessible(visitor)
    pick_row(visitor, 2)
    visitor.title("Tensor")
    visitor.link_holds("tensor=")
    page.locator(CHARTS).first.locator("canvas, svg").first.wait_for()
    visitor.rest()
    accessible(visitor)
    tensor = page.url
    visitor.follow("Jobs")
    accessible(visitor)
    page.go_back()
    visitor.title("Tensor")
    visitor.link_holds(tensor)


def test_from_home_to_a_tensor_of_the_demo(visitor):
    visitor.goto()
    accessible(visitor)
    visitor.press_key("demo_planted")
    visitor.title("Summary")
    visitor.link_holds("model=demo")
    walk(visitor)


def test_from_home_to_a_tensor_of_a_real_model(visitor, minilm):
    visitor.open(str(minilm))
    visitor.page.get_by_text("22.7M").first.wait_for()
    walk(visitor)


def test_a_path_in_a_link_is_filled_in_and_not_opened(visitor):
    visitor.goto(model="/etc")
    visitor.rest()
    assert visitor.page.get_by_label("Path or Hub id").input_value() == "/etc"
    visitor.goto("summary", model="/etc")
    visitor.key("open_linked").wait_for()
    assert visitor.page.locator("h1").count() <= 1
    assert not visitor.page.locator(CHARTS).count()


@pytest.fixture
def slow(tmp_path) -> str:
    """A checkpoint that takes long to measure: many gigabytes, all holes."""
    count, size = 100, 400_000_000
    header = {
        f"layers.{i}.weight": {
            "dtype": "F32",
            "shape": [10_000, 10_000],
            "data_offsets": [i * size, (i + 1) * size],
        }
        for i in range(count)
    }
    text = json.dumps(header).encode()
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + count * size)
    yield str(path)
    jobs.cancel(scan_key(open_checkpoint(str(path))))


def running(id: str) -> jobs.Job:
    end = time.monotonic() + 60
    while (job := jobs.find(id)) is None or job.state != "running" or not job.pid:
        assert time.monotonic() < end, job
        time.sleep(0.05)
    return job


def test_a_measurement_is_cancelled_and_begun_again(visitor, slow):
    page, id = visitor.page, scan_key(open_checkpoint(slow))
    visitor.open(slow)
    first = running(id)
    page.get_by_text(re.compile("Measuring every value: .*, about .* s left")).wait_for()

    page.reload()  # the page is another's now: it asks first, and finds the same job
    visitor.press_key("open_linked")
    page.get_by_text("Measuring every value").wait_for()
    assert running(id).pid == first.pid
    visitor.follow("Tensors")  # which are there meanwhile, from the headers
    visitor.key("tensor_table").locator("canvas").first.wait_for()

    began = time.monotonic()
    visitor.press("Cancel")
    while psutil.pid_exists(first.pid):
        assert time.monotonic() - began < 10  # 2 of them are the patience of `cancel`
        time.sleep(0.02)
    page.get_by_text("The measurement was cancelled").wait_for()
    assert jobs.find(id).state == "cancelled"
    visitor.fill("Name contains (regular expression)", "layers.7")
    page.get_by_label("Name contains").press("Enter")
    page.get_by_text("11 of 100 tensors").wait_for()

    visitor.press("Measure")
    second = running(id)
    assert second.pid != first.pid
    visitor.follow("Jobs")
    visitor.press("Cancel")
    end = time.monotonic() + 60
    while jobs.find(id).state != "cancelled":
        assert time.monotonic() < end, jobs.find(id)
        time.sleep(0.05)
    page.get_by_text("cancelled, started").first.wait_for()


@pytest.fixture
def hostile(tmp_path) -> str:
    """A model whose every name is an attack, its directory's too."""
    folder = tmp_path / HOSTILE.replace("/", "|")
    folder.mkdir()
    matrix = stored("F32", np.arange(6, dtype=np.float32).reshape(2, 3))
    holes = stored("F32", np.full(3, np.nan, dtype=np.float32))
    tensors = {
        HOSTILE: matrix,
        f"{HOSTILE}.layers.0.weight": matrix,
        f"{HOSTILE}.layers.1.weight": holes,
        "strange": (HOSTILE, (1,), b"\0"),
    }
    write_file(folder / "model.safetensors", tensors)
    (folder / "config.json").write_text(json.dumps({HOSTILE: HOSTILE, "model_type": HOSTILE}))
    return str(folder)


def harmless(visitor) -> None:
    app = visitor.page.get_by_test_id("stApp")
    for made in ("img", ".katex"):
        assert app.locator(made).count() == 0, made
    # Our own links carry a model's name in their query; none may lead, or run, anywhere else.
    elsewhere = "[...document.links].filter(a => a.origin !== location.origin).map(a => a.href)"
    assert visitor.page.evaluate(elsewhere) == []
    assert visitor.page.evaluate("window.PWN") is None
    assert "\u202e" not in app.inner_text()


def test_hostile_names_do_nothing(visitor, hostile):
    page = visitor.page
    visitor.open(hostile)
    visitor.section("Census")
    harmless(visitor)
    visitor.follow("Tensors")
    visitor.key("tensor_table").locator("canvas").first.wait_for()
    harmless(visitor)
    for name in (HOSTILE, f"{HOSTILE}.layers.1.weight", "strange"):
        visitor.goto("tensor", model=hostile, tensor=name)
        visitor.press_key("open_linked")
        visitor.title("Tensor")
        if name != "strange":
            page.get_by_text("onerror=window.PWN=1").first.wait_for(state="attached")
        harmless(visitor)
    visitor.goto("tensor", model="demo:planted", tensor=HOSTILE)
    page.get_by_text("no tensor of that name").wait_for()
    harmless(visitor)
    for page_name in ("summary", ""):
        visitor.goto(page_name, model=f"/{HOSTILE}")
        harmless(visitor)
    visitor.follow("Jobs")
    page.get_by_text("onerror=window.PWN=1").first.wait_for()
    harmless(visitor)


@pytest.mark.parametrize("many", [20_000, pytest.param(200_000, marks=pytest.mark.soak)])
def test_so_many_tensors(visitor, tmp_path, many):
    names = (f"layers.{i // 100}.experts.{i % 100}.w1.weight" for i in range(many))
    one = ("U8", (1,), b"\1")
    model = str(write_file(tmp_path / "model.safetensors", dict.fromkeys(names, one)))
    visitor.goto("tensors", model=model)
    visitor.press_key("open_linked")
    visitor.page.get_by_text(f"{many:,} of {many:,} tensors").wait_for()
    visitor.press("Cancel")
    visitor.page.get_by_text("The measurement was cancelled").wait_for()
    visitor.key("tensor_table").locator("canvas").first.wait_for()
    visitor.rest()
    pick_row(visitor, 2)
    visitor.title("Tensor")
    visitor.link_holds("tensor=layers.0.experts.2.w1.weight")
    visitor.section("Every statistic")


@pytest.mark.parametrize(
    ("scheme", "paths"),
    [("light", ("summary",)), ("dark", ("", "summary", "tensors", "tensor", "jobs"))],
)
def test_pages_follow_the_scheme_of_the_reader(visitor, tmp_path_factory, scheme, paths):
    page, folder = visitor.page, tmp_path_factory.mktemp(f"screens-{scheme}")
    page.emulate_media(color_scheme=scheme)
    for path in paths:
        visitor.goto(path, model="demo:planted")
        if path in ("summary", "tensors"):
            page.get_by_text("(100.00%) measured").wait_for()
        visitor.rest()
        shoot(page, folder / f"{path or 'home'}.png")
        red, green, blue = page.get_by_test_id("stApp").evaluate(
            "app => getComputedStyle(app).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
        )
        assert (red + green + blue > 600) == (scheme == "light")


def shoot(page, path: Path) -> None:
    """The whole page, not only what fits into the window."""
    height = page.get_by_test_id("stMainBlockContainer").evaluate("block => block.scrollHeight")
    page.set_viewport_size({"width": 1400, "height": max(int(height) + 100, 600)})
    page.wait_for_timeout(800)  # charts draw themselves after the script's end
    page.screenshot(path=path)
