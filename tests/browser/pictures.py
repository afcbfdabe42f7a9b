"""The first screens of the dashboard that the README shows: `python -m tests.browser.pictures --runs DIR --out DIR`."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.desk import Visit, serve

RUN = "first-light"
"""The run of `make audit`."""
PICTURES = {"overview": "", "languages": "languages", "regions": "regions"}
"""Pages by the name of their picture."""


def main() -> None:
    """Serve the runs and save a picture of each page's first screen."""
    parser = argparse.ArgumentParser(description="Make the pictures of the dashboard.")
    parser.add_argument("--runs", type=Path, required=True, help="the folder that holds the runs")
    parser.add_argument("--out", type=Path, required=True, help="the folder for the pictures")
    arguments = parser.parse_args()
    with serve(arguments.runs.resolve()) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        visit = Visit(browser, address)
        for name, page in PICTURES.items():
            visit.open(page, run=RUN)
            visit.page.screenshot(path=arguments.out / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
