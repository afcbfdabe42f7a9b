"""The script of the dashboard: it lists the pages and runs the one that the address names."""

from pathlib import Path

import show
import streamlit as st
from arguments import arguments

from emoe_audit.errors import AuditError

STYLE = Path(__file__).with_name("cards.css")
PAGES = {
    "overview": "Overview",
    "languages": "Languages",
    "regions": "Regions",
    "prompts": "Prompts",
    "quality": "Uncertainty and quality",
    "compare": "Compare",
    "try_prompt": "Try a prompt",
    "new_audit": "New audit",
    "method": "Method",
}


def main() -> None:
    """Set the page up and run it; a run that cannot be read leaves the others to be chosen."""
    st.set_page_config(page_title="emoe-audit", layout="wide")
    st.html(STYLE)
    st.session_state["runs_root"] = str(arguments().runs)
    pages = [st.Page(f"views/{name}.py", title=title, default=name == "overview") for name, title in PAGES.items()]
    try:
        st.navigation(pages, position="top").run()
    except AuditError as error:
        st.error(show.plain(str(error), 600))


main()
