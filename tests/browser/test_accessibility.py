"""What axe finds on each page, in light and in dark, beyond what it finds in an empty Streamlit application."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser.axe import LOOKS, VIEWS, grave, serve_empty
from tests.browser.desk import Visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
OF_STREAMLIT: set[str] = set()
"""The rules of axe that the empty application itself breaks, of those that are serious or critical: none."""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve_empty(tmp_path_factory.mktemp("empty")) as address:
        yield address


def test_the_empty_application_breaks_no_grave_rule(browser: Browser, empty: str) -> None:
    visit = Visit(browser, empty).open()
    assert [set(grave(visit.look(scheme))) for scheme in LOOKS] == [OF_STREAMLIT] * len(LOOKS)
    visit.close()


@pytest.mark.parametrize("view", VIEWS)
def test_a_page_breaks_no_other_grave_rule(browser: Browser, known_address: str, view: str) -> None:
    page, query = VIEWS[view]
    visit = Visit(browser, known_address).open(page, **query)
    for scheme in LOOKS:
        found = grave(visit.look(scheme))
        assert {rule: nodes for rule, nodes in found.items() if rule not in OF_STREAMLIT} == {}
    visit.close()


def test_a_control_without_a_name_would_be_found(browser: Browser, known_address: str) -> None:
    visit = Visit(browser, known_address).open("method", run="plain")
    visit.page.evaluate("document.querySelector('main, .stMain').append(document.createElement('button'))")
    assert "button-name" in grave(visit)
    visit.close()
