"""A picture of a page's first screen: `python -m tests.browser.picture PAGE.html PICTURE.png`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

WIDTH, HEIGHT = 1400, 900


def main() -> None:
    """Open the page in the system's Chromium and save what is seen first."""
    page_file, picture = Path(sys.argv[1]), Path(sys.argv[2])
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(page_file.resolve().as_uri())
        page.wait_for_selector("[data-figure] svg.main-svg")
        page.screenshot(path=picture)
        browser.close()


if __name__ == "__main__":
    main()
