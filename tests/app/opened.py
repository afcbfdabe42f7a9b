"""A page of the dashboard as Streamlit's own tests open it."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from streamlit.testing.v1 import AppTest

from tests.app.conftest import APP


def opened(root: Path, at: str, **query: str) -> AppTest:
    """The page, drawn without an exception, with what its address says."""
    st.cache_data.clear()
    app = AppTest.from_file(str(APP / "views" / f"{at}.py"), default_timeout=120)
    app.session_state["runs_root"] = str(root)
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    return app
