from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emoe_audit.experts.tiny import make_tiny_ensemble
from tests.browser.desk import known_runs, warm_dashboard

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NAMES = (
    "--host-resolver-rules=MAP evil.example 127.0.0.1, MAP audit.example 127.0.0.1, "
    "MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1"
)
"""Names that lead to this machine, as an attacker and the owner of a name can have them; all others lead nowhere."""


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", NAMES]
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the known runs, and an ensemble that can be loaded. Tests may add runs to it."""
    root = known_runs(tmp_path_factory.mktemp("reports"))
    make_tiny_ensemble(root / "ensembles" / "mine")
    return root


@pytest.fixture(scope="session")
def known_address(known: Path, browser: Browser) -> Iterator[str]:
    """A dashboard that shows the known runs."""
    with warm_dashboard(known, browser) as address:
        yield address
