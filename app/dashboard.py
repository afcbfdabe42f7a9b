"""The dashboard's entry: `streamlit run app/dashboard.py -- --runs reports`. It reads arguments and lists the pages."""

import argparse
import sys
from pathlib import Path

import streamlit as st

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
    """Set the page up and run the one that the address names."""
    parser = argparse.ArgumentParser(prog="dashboard.py", description="Look at the runs of emoe-audit.")
    parser.add_argument("--runs", type=Path, default=Path("reports"), help="the folder that holds the runs")
    arguments = parser.parse_args(sys.argv[1:])
    st.set_page_config(page_title="emoe-audit", layout="wide")
    st.html(STYLE)
    st.session_state["runs_root"] = str(arguments.runs)
    pages = [st.Page(f"views/{name}.py", title=title, default=name == "overview") for name, title in PAGES.items()]
    st.navigation(pages, position="top").run()


main()
