"""A dashboard that is served, runs for it to show, and a visit to it in Chromium, for the tests of its pages."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlencode

import pandas as pd

from emoe_audit.audit import run_audit
from emoe_audit.experts.tiny import make_tiny_ensemble
from emoe_audit.prompts.table import PromptTable, table_of
from emoe_audit.report import write_report
from emoe_audit.types import ImageConfig, ScoringConfig
from tests.illustrated import illustrated_run, known_coverage

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Locator, Page

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "app" / "dashboard.py"
PAGES = ("", "languages", "regions", "prompts", "quality", "compare", "try_prompt", "new_audit", "method")
"""Of the dashboard, as its addresses name them; the first is the overview."""
WIDE, NARROW = (1400, 900), (420, 900)
PATIENCE_MS = 60_000
NOWHERE = "about:blank"
"""Where a tab is that nobody uses."""
Scheme = Literal["light", "dark"]
SETTLED = """() => {
    const app = document.querySelector('.stApp');
    return app?.dataset.testScriptState === 'notRunning' && !document.querySelector('[data-testid="stSkeleton"]')
        && document.querySelector('[data-testid="stMainBlockContainer"] [data-testid="stElementContainer"]');
}"""
IS_DARK = """wanted => {
    const channels = getComputedStyle(document.querySelector('.stApp')).backgroundColor.match(/[0-9]+/g).map(Number);
    return (Math.max(...channels.slice(0, 3)) < 128) === wanted;
}"""
CELLS = """table => [...table.querySelectorAll('canvas thead tr, canvas tbody tr')].map(
    row => [...row.querySelectorAll('th, td')].map(cell => cell.textContent))"""


@contextmanager
def serve(root: Path, *options: str) -> Iterator[str]:
    """The address of a dashboard that shows the runs under a folder, for as long as the context lasts."""
    port = free_port()
    with serving(["emoe_audit", "dashboard", "--runs", str(root), "--port", str(port), *options], port) as address:
        yield address


@contextmanager
def serving(words: list[str], port: int) -> Iterator[str]:
    """The address at which a module that listens on a port answers, run by these words."""
    address, environment = f"http://localhost:{port}/", {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-m", *words], env=environment, stdout=subprocess.DEVNULL) as server:
        try:
            wait_for_health(address)
            yield address
        finally:
            server.terminate()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return int(probe.getsockname()[1])


def wait_for_health(address: str) -> None:
    """Until the server at `http://host:port/` answers, seen within a fiftieth of a second."""
    for _ in range(3000):
        try:
            with urllib.request.urlopen(f"{address}_stcore/health", timeout=2):
                return
        except OSError:
            time.sleep(0.02)
    raise TimeoutError(address)


def known_runs(root: Path) -> Path:
    """The folder, now with `plain` of known numbers, and `first` and `second`, real runs of the same captions."""
    write_report(illustrated_run(root / "plain", coverage=known_coverage()))
    for seed, name in enumerate(["first", "second"]):
        audit(root, name, dogs(), seed=seed)
    return root


def audit(root: Path, name: str, prompts: PromptTable, *, seed: int = 0, command: str = "emoe-audit run") -> Path:
    """A real run of a tiny ensemble, which is kept where the dashboard looks for one's own."""
    ensemble = make_tiny_ensemble(root / "ensembles" / name, seed=seed)
    scoring = ScoringConfig(n_noise=1, batch_size=16, check_pairs=0, device="cpu")
    images = ImageConfig(n_images=8, num_inference_steps=1, device="cpu")
    return run_audit(prompts, ensemble, root / name, scoring=scoring, images=images, command=command).path


def dogs() -> PromptTable:
    """Twelve captions in four languages."""
    words = {"en": "{} dogs on a sofa", "de": "{} Hunde im Haus", "fr": "{} chiens dehors", "fi": "{} koiraa"}
    rows = [(f"s{n}-{tag}", f"s{n}", text.format(n), tag, None) for n in range(12) for tag, text in words.items()]
    columns = ["prompt_id", "source_id", "prompt", "language", "region"]
    return table_of(pd.DataFrame(rows, columns=columns), "dogs")


class Visit:
    """A tab that looks at a dashboard and reaches nothing else, with all that it asked of others or complained of.

    The tab of a visit that was closed is used again: in a new one Chromium compiles what Streamlit is made of once
    more, which takes longer than to draw a page. Every page that is opened is loaded anew, in a session of its own.
    """

    def __init__(
        self,
        browser: Browser,
        address: str,
        size: tuple[int, int] = WIDE,
        scheme: Scheme = "light",
    ) -> None:
        self.address = address
        self.outside: list[str] = []
        self.complaints: list[str] = []
        self.page = _free_tab(browser)
        self.page.set_viewport_size({"width": size[0], "height": size[1]})
        self.page.emulate_media(color_scheme=scheme)
        self.page.set_default_timeout(PATIENCE_MS)
        self._listeners: dict[Any, Any] = {
            "request": lambda request: self._note(request.url),
            "pageerror": lambda error: self.complaints.append(str(error)),
            "dialog": self._dismiss,
        }
        for event, listener in self._listeners.items():
            self.page.on(event, listener)

    def _is_own(self, url: str) -> bool:
        return url.startswith((self.address, self.address.replace("http", "ws", 1), "data:", "blob:"))

    def _note(self, url: str) -> None:
        if not self._is_own(url):
            self.outside.append(url)

    def _dismiss(self, dialog: Dialog) -> None:
        self.complaints.append(dialog.message)
        dialog.dismiss()

    def open(self, at: str = "", **query: str) -> Visit:
        """Go to a page and wait until it stands."""
        self.page.goto(f"{self.address}{at}?{urlencode(query)}")
        return self.settle()

    def settle(self) -> Visit:
        """Wait until the page has been drawn, its charts too."""
        self.page.wait_for_function(SETTLED)
        for chart in self.page.locator('[data-testid="stPlotlyChart"]:visible').all():
            chart.locator("svg.main-svg").first.wait_for()
        return self

    def look(self, scheme: Scheme) -> Visit:
        """Ask for light or dark, as the reader's system does, and wait until the page has changed to it."""
        self.page.emulate_media(color_scheme=scheme)
        self.page.wait_for_function(IS_DARK, arg=scheme == "dark")
        return self.settle()

    def choose(self, label: str, option: str) -> None:
        """Choose an option of a selectbox."""
        box = self.page.get_by_role("combobox", name=label)
        box.click()
        box.fill(option)
        self.page.get_by_role("option", name=option, exact=True).click()

    def table(self, name: str) -> Locator:
        """The table with this accessible name, a canvas in which the cells lie as a table for screen readers."""
        return self.page.locator(f'[data-testid="stDataFrame"]:has([role="region"][aria-label="{name}"])')

    def rows(self, table: Locator) -> list[dict[str, str]]:
        """What a table shows: each row by the names of its columns. Its canvas tells its cells a moment late."""
        self.settle()
        table.locator("canvas tbody td").first.wait_for(state="attached")
        read: Any = []
        for _ in range(40):
            self.page.wait_for_timeout(500)
            before, read = read, table.evaluate(CELLS)
            if len(read) > 1 and read == before:
                break
        names, *cells = read
        return [dict(zip(names, row, strict=True)) for row in cells]

    def download(self, button: str) -> str:
        """The text of the file that a button gives."""
        with self.page.expect_download() as coming:
            self.page.get_by_role("button", name=button).first.click()
        return coming.value.path().read_text(encoding="utf-8-sig")

    def is_unharmed(self) -> bool:
        """Whether nothing that a text brought along has run, asked others or broken the page."""
        hacked = self.page.evaluate("window.hacked !== undefined")
        broken = self.page.locator('[data-testid="stException"]').count()
        return not (hacked or broken or self.outside or self.complaints)

    def close(self) -> None:
        """Leave the dashboard; the tab is free for the next visit."""
        for event, listener in self._listeners.items():
            self.page.remove_listener(event, listener)
        self.page.goto(NOWHERE)


def _free_tab(browser: Browser) -> Page:
    tabs = [page for context in browser.contexts for page in context.pages]
    return next((page for page in tabs if page.url == NOWHERE), None) or browser.new_context().new_page()


@contextmanager
def warm_dashboard(root: Path, browser: Browser) -> Iterator[str]:
    """A dashboard whose first page, which loads most, was seen already."""
    with serve(root) as address:
        Visit(browser, address).open().close()
        yield address


def contrast(colour: str, background: str) -> float:
    """The contrast of two CSS colours `rgb(r, g, b)`, 1 to 21, as WCAG 2.2 defines it."""
    light, dark = sorted((_luminance(colour), _luminance(background)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
