from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.illustrated import illustrated_frame, illustrated_run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dashboard that serves two runs."""
    root = tmp_path_factory.mktemp("reports")
    illustrated_run(root / "plain")
    illustrated_run(root / "hostile", 120, hostile=True)
    port = free_port()
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "app" / "dashboard.py"), "--server.port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([*command, "--", "--runs", str(root)], env=environment, stdout=subprocess.DEVNULL) as server:
        try:
            wait_for(f"http://localhost:{port}/_stcore/health")
            yield f"http://localhost:{port}/"
        finally:
            server.terminate()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1400, "height": 1800})
    opened.set_default_timeout(60_000)
    yield opened
    opened.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def wait_for(url: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    raise TimeoutError(url)


def test_it_shows_a_run_and_asks_nobody_else(page: Page, address: str) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address + "?run=plain")
    page.wait_for_selector(".js-plotly-plot .ytick")
    assert page.locator(".st-key-wide .ytick").count() == 10
    outside = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert outside == []


def test_choosing_a_row_opens_its_prompt_and_its_address_keeps_it(page: Page, address: str) -> None:
    page.goto(address + "?run=plain")
    table = page.locator('[data-testid="stDataFrame"]')
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 16, box["y"] + 52)
    page.wait_for_selector(".ea .grid")
    first = illustrated_frame().sort_values("relative_disagreement", ascending=False).iloc[0]
    assert f"prompt={first.key}" in page.url and "run=plain" in page.url
    page.goto(page.url)
    page.wait_for_selector(".ea .grid")
    assert page.locator(".ea .text").inner_text() == first.prompt
    assert page.locator(".ea .card").count() == 10


def test_hostile_texts_run_nothing(page: Page, address: str) -> None:
    page.goto(address + "?run=hostile&by=style")
    page.wait_for_selector(".js-plotly-plot .ytick")
    key = illustrated_frame(120, hostile=True).key[0]
    assert page.evaluate("window.hacked") is None
    page.goto(f"{address}?run=hostile&prompt={key}")
    page.wait_for_selector(".ea .grid")
    assert page.evaluate("window.hacked") is None
    assert "window.hacked" in page.locator(".ea .text").inner_text()
