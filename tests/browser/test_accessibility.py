"""What axe finds on each page, in light and in dark, beyond what it finds in an empty Streamlit application."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from emoe_audit.report import write_report
from tests.browser.desk import DASHBOARD, PAGES, Visit, audit, dogs, serve
from tests.illustrated import illustrated_frame, illustrated_run, known_coverage

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600), pytest.mark.xdist_group("desk")]
EMPTY = """
import streamlit as st
pages = [st.Page(lambda: st.title("Empty"), title=title, url_path=title) for title in ("Overview", "Languages")]
st.navigation(pages, position="top").run()
"""
OF_STREAMLIT: set[str] = set()
"""The rules of axe that the empty application itself breaks, of those that are serious or critical: none."""
LOOKS = ["light", "dark"]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[str]:
    """A dashboard with a run of known numbers and two of the same captions."""
    root = tmp_path_factory.mktemp("reports")
    write_report(illustrated_run(root / "plain", coverage=known_coverage()))
    for seed, name in enumerate(["first", "second"]):
        audit(root, name, dogs(), seed=seed)
    with serve(root) as address:
        Visit(browser, address).open().close()
        yield address


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An application with a title and the same kind of navigation, in the same theme."""
    folder = tmp_path_factory.mktemp("empty")
    (folder / "empty.py").write_text(EMPTY, encoding="utf-8")
    (folder / ".streamlit").mkdir()
    theme = (DASHBOARD.parent / ".streamlit" / "config.toml").read_text(encoding="utf-8")
    (folder / ".streamlit" / "config.toml").write_text(theme, encoding="utf-8")
    with serve(folder, folder / "empty.py") as address:
        yield address


def grave(visit: Visit) -> dict[str, list[str]]:
    """The serious and critical rules that the page breaks, each with the elements that break it."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(visit.page).response["violations"]
    return {
        rule["id"]: [node["html"] for node in rule["nodes"]]
        for rule in found
        if rule["impact"] in ("serious", "critical")
    }


@pytest.mark.parametrize("scheme", LOOKS)
def test_the_empty_application_breaks_no_grave_rule(browser: Browser, empty: str, scheme: str) -> None:
    visit = Visit(browser, empty, scheme="dark" if scheme == "dark" else "light").open()
    assert set(grave(visit)) == OF_STREAMLIT
    visit.close()


@pytest.mark.parametrize("scheme", LOOKS)
@pytest.mark.parametrize("at", [*PAGES, "one prompt", "two runs"])
def test_a_page_breaks_no_other_grave_rule(browser: Browser, address: str, at: str, scheme: str) -> None:
    query = {"run": "plain"}
    if at == "one prompt":
        at, query = "prompts", query | {"prompt": illustrated_frame()["key"][0]}
    if at == "two runs":
        at, query = "compare", {"run": "first", "with": "second"}
    visit = Visit(browser, address, scheme="dark" if scheme == "dark" else "light").open(at, **query)
    found = {rule: nodes for rule, nodes in grave(visit).items() if rule not in OF_STREAMLIT}
    visit.close()
    assert found == {}


def test_a_control_without_a_name_would_be_found(browser: Browser, address: str) -> None:
    visit = Visit(browser, address).open("method", run="plain")
    visit.page.evaluate("document.querySelector('main, .stMain').append(document.createElement('button'))")
    assert "button-name" in grave(visit)
    visit.close()
