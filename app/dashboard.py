"""The dashboard's entry: `streamlit run app/dashboard.py -- --runs reports`. It reads arguments and lists the pages."""

import argparse
import sys
from pathlib import Path

import streamlit as st


def main() -> None:
    """Set the page up and run the one that the address names."""
    parser = argparse.ArgumentParser(prog="dashboard.py", description="Look at the runs of emoe-audit.")
    parser.add_argument("--runs", type=Path, default=Path("reports"), help="the folder that holds the runs")
    arguments = parser.parse_args(sys.argv[1:])
    st.set_page_config(page_title="emoe-audit", layout="wide", initial_sidebar_state="collapsed")
    st.session_state["runs_root"] = str(arguments.runs)
    st.navigation([st.Page("pages/runs.py", title="Runs", default=True)], position="hidden").run()


main()
