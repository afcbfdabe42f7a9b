"""What axe finds on a page: every page of the dashboard, and an empty Streamlit application to hold it against."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.browser.desk import DASHBOARD, PAGES, Scheme, Visit, free_port, serving
from tests.illustrated import illustrated_frame

EMPTY = """
import streamlit as st
pages = [st.Page(lambda: st.title("Empty"), title=title, url_path=title) for title in ("Overview", "Languages")]
st.navigation(pages, position="top").run()
"""
LOOKS: tuple[Scheme, ...] = ("light", "dark")
VIEWS: dict[str, tuple[str, dict[str, str]]] = {
    **{page or "overview": (page, {"run": "plain"}) for page in PAGES},
    "one prompt": ("prompts", {"run": "plain", "prompt": illustrated_frame()["prompt_id"][0]}),
    "two runs": ("compare", {"run": "first", "with": "second"}),
}
"""A page and what its address asks for, by what is seen there."""


@contextmanager
def serve_empty(folder: Path) -> Iterator[str]:
    """An application with a title and the same kind of navigation, in the same theme."""
    (folder / "empty.py").write_text(EMPTY, encoding="utf-8")
    (folder / ".streamlit").mkdir()
    theme = (DASHBOARD.parent / ".streamlit" / "config.toml").read_text(encoding="utf-8")
    (folder / ".streamlit" / "config.toml").write_text(theme, encoding="utf-8")
    port = free_port()
    with serving(["streamlit", "run", str(folder / "empty.py"), "--server.port", str(port)], port) as address:
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
