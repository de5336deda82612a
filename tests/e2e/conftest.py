"""The app as its users have it: a server of its own, and a browser whose every request is noted."""

import os
import re
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

import pytest

from inspector.doctor import streamlit_command

PATIENCE = 180.0
CI = os.environ.get("CI") == "true"
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
QUIET = "[data-testid=stApp][data-test-script-state=notRunning]"
DRAWN = "[data-testid=stMain] [data-testid=stElementContainer]"


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[str]:
    """The address of the running app; its cache is that of the tests."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    home = tmp_path_factory.mktemp("home")
    environment = {**os.environ, "HOME": str(home), "STREAMLIT_SERVER_HEADLESS": "true"}
    log = home / "log.txt"
    with (
        log.open("wb") as out,
        subprocess.Popen(
            streamlit_command(port), cwd=home, env=environment, stdout=out, stderr=out
        ) as process,
    ):
        try:
            end = time.monotonic() + PATIENCE
            while not _healthy(port):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, "the server did not start"
                time.sleep(0.1)
            yield f"http://localhost:{port}"
        finally:
            process.terminate()
    assert "Traceback" not in log.read_text(), log.read_text()


def _healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health") as answer:
            return answer.read() == b"ok"
    except urllib.error.URLError:
        return False


@pytest.fixture(scope="session")
def browser(chromium):
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        (pytest.fail if CI else pytest.skip)("playwright is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=BROWSER_FLAGS)
        yield browser
        browser.close()


class Visitor:
    """Someone at the app: opens pages, waits until they have come to rest, looks at them."""

    def __init__(self, page, server: str) -> None:
        self.page, self.server = page, server

    def goto(self, path: str = "", **query: str) -> None:
        self.page.goto(f"{self.server}/{path}?{urllib.parse.urlencode(query)}")
        self.page.wait_for_selector(DRAWN, state="attached")  # before, no script has run yet
        self.rest()

    def rest(self) -> None:
        """Wait for the end of the script's run."""
        self.page.wait_for_selector(QUIET)

    def title(self, name: str) -> None:
        """Wait until the page of that name is there."""
        heading = self.page.get_by_role("heading", level=1, name=name, exact=True)
        heading.wait_for()
        self.rest()

    def section(self, name: str) -> None:
        """Wait until the part of the page under this heading is there."""
        self.page.get_by_role("heading", level=2, name=name, exact=True).wait_for()
        self.rest()

    def follow(self, name: str) -> None:
        """Go to a page by the link in the sidebar."""
        sidebar = self.page.get_by_test_id("stSidebarNav")
        sidebar.get_by_role("link", name=name, exact=True).click()
        self.title(name)

    def key(self, key: str):
        """The element that the page's code gave this key."""
        return self.page.locator(f".st-key-{key}")

    def click(self, found, **where) -> None:
        """Click on an element of a page that is there: one still being drawn may lose the click."""
        self.rest()
        found.click(**where)

    def press(self, name: str) -> None:
        """Press a button by its name."""
        self.click(self.page.get_by_role("button", name=name, exact=True))

    def press_key(self, key: str) -> None:
        """Press a button by the key that the page's code gave it."""
        self.click(self.key(key).get_by_role("button"))

    def fill(self, name: str, text: str) -> None:
        """Type into a box by its name."""
        self.rest()
        self.page.get_by_role("textbox", name=name, exact=True).fill(text)

    def link_holds(self, part: str) -> None:
        """Wait until the address holds this: the page's code may say so after it has drawn."""
        self.page.wait_for_url(lambda url: part in url)

    def open(self, path: str) -> None:
        """Open a model on the Home page."""
        self.goto()
        self.fill("Path or Hub id", path)
        self.press_key("open_model")
        self.title("Summary")


@pytest.fixture
def visitor(browser, server) -> Iterator[Visitor]:
    """A visitor none of whose requests may leave this machine."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    asked, went_wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("websocket", lambda websocket: asked.append(websocket.url))
    page.on("pageerror", lambda error: went_wrong.append(str(error)))
    yield Visitor(page, server)
    context.close()
    far = [url for url in asked if not re.match(r"(https?|wss?)://localhost[:/]|data:|blob:", url)]
    assert asked
    assert not far
    assert not went_wrong
