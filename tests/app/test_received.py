"""What the pages ask of a received run: no cell becomes SQL, no link is served, a rating may have any name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from emoe_audit.errors import StoreError
from tests.app.conftest import APP
from tests.illustrated import illustrated_run
from tests.runs.written import forget_the_record
from tests.synthetic import synthetic_run

pytestmark = pytest.mark.slow

SQL = "n_tokens) FROM results; COPY (SELECT 42 AS answer) TO 'OUT'; SELECT avg(1"
READS = "(SELECT content FROM read_text('/etc/passwd'))"


@pytest.fixture
def data() -> Any:
    """The module that the pages read through."""
    import data

    st.cache_data.clear()
    return data


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return synthetic_run(tmp_path / "run", 100, n_boot=5).path


@pytest.mark.parametrize("cell", [SQL, READS])
def test_a_cell_of_the_groups_is_never_run(data: Any, run: Path, tmp_path: Path, cell: str) -> None:
    own = cell.replace("OUT", str(tmp_path / "written"))
    file = run / "analysis" / "groups.parquet"
    groups = pd.read_parquet(file)
    groups.assign(
        measure=groups["measure"].replace("n_tokens", own), by=groups["by"].replace("region", own)
    ).to_parquet(file)
    forget_the_record(run)
    asked: list[Callable[[], object]] = [
        lambda: data.report(run),
        lambda: data.reference_gaps(run, own, "disagreement", "en"),
        lambda: data.reference_gaps(run, "language", own, "en"),
        lambda: data.count_prompts(run, data.PromptFilter(by=own, group="en")),
        lambda: data.prompts_page(run, data.PromptFilter(by=own, group="en"), "best", 1),
        lambda: data.prompts_between(run, {own: (0, 1)}),
        lambda: data.score_steps(run, own),
        lambda: data.share_below(run, 0.5, own),
        lambda: data.refused(run, own, "disagreement", 0.5),
        lambda: data.refused(run, "language", own, 0.5),
    ]
    for ask in asked:
        with pytest.raises(StoreError, match="no column") as caught:
            ask()
        assert "root:" not in str(caught.value)
    assert own in data.group_columns(run)
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize("name", [SQL, READS, "human score", "order", 'the "best"', "it's"])
def test_the_pages_show_a_rating_whatever_it_is_called(data: Any, run: Path, tmp_path: Path, name: str) -> None:
    from emoe_audit.runs.store import RunStore

    store = RunStore.open(run)
    ids = store.query("SELECT prompt_id FROM prompts")["prompt_id"]
    store.write_analysis("ratings", pd.DataFrame({"prompt_id": ids, name: np.linspace(0, 1, len(ids)), f"n_{name}": 1}))
    assert data.report(run).quality == name
    assert len(data.prompts_between(run, {"disagreement": (0, 9), name: (0, 0.5)})) == 50
    assert data.reference_gaps(run, "language", name, "en") is not None


def test_the_steps_of_a_score_are_its_percentiles(data: Any, run: Path) -> None:
    from emoe_audit.runs.store import RunStore

    scores = RunStore.open(run).query("SELECT disagreement FROM results")["disagreement"]
    expected = np.unique(np.quantile(scores, [percent / 100 for percent in range(101)]))
    np.testing.assert_allclose(data.score_steps(run, "disagreement"), expected)


def test_a_report_that_is_a_link_is_not_served(tmp_path: Path) -> None:
    store = illustrated_run(tmp_path / "runs" / "received", 120)
    (tmp_path / "secret.html").write_text("the key")
    (store.path / "report.html").symlink_to(tmp_path / "secret.html")
    st.cache_data.clear()
    app = AppTest.from_file(str(APP / "views" / "overview.py"), default_timeout=120)
    app.session_state["runs_root"] = str(tmp_path / "runs")
    app.run()
    assert not app.exception, app.exception
    assert any("lies outside" in str(warning.value) for warning in app.warning)
    assert "Report as one HTML file" not in [str(button.proto.label) for button in app.get("download_button")]
