"""Each page against plain pandas: what it shows is what the run holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy.stats import false_discovery_control, ttest_rel
from streamlit.testing.v1 import AppTest

from tests.app.opened import opened
from tests.illustrated import illustrated_frame, illustrated_run

pytestmark = pytest.mark.slow

FRAME = illustrated_frame()
Open = Callable[..., AppTest]


@pytest.fixture
def open_page(runs_root: Path) -> Open:
    """Open a page with what its address says."""

    def open_at(at: str, root: Path = runs_root, **query: str) -> AppTest:
        return opened(root, at, **query)

    return open_at


def frame_with(app: AppTest, column: str) -> pd.DataFrame:
    """The first table that has this column."""
    tables: list[Any] = [own.value for own in app.dataframe]
    return next(pd.DataFrame(own) for own in tables if column in own)


@pytest.mark.parametrize("at", ["overview", "languages", "regions", "prompts", "quality", "method"])
@pytest.mark.parametrize("run", ["plain", "hostile"])
def test_every_page_opens_on_every_run_and_its_address_names_the_run(open_page: Open, at: str, run: str) -> None:
    assert run in open_page(at, run=run).query_params["run"]


def test_the_gap_to_a_reference_is_the_paired_t_test_of_scipy(open_page: Open) -> None:
    app = open_page("languages", run="plain", reference="Finnish", measure="relative_disagreement")
    cells = FRAME.pivot(index="source_id", columns="language", values="relative_disagreement")
    others = [language for language in cells if language != "fi"]
    p = [ttest_rel(cells[language], cells["fi"]).pvalue for language in others]
    shown = frame_with(app, "difference").set_index("group")
    expected = pd.DataFrame({"difference": cells[others].sub(cells["fi"], axis=0).mean(), "p": p}, index=others)
    assert shown["difference"].to_dict() == pytest.approx(expected["difference"].to_dict())
    assert shown["p"].to_dict() == pytest.approx(expected["p"].to_dict(), abs=1e-6)
    assert shown.loc[others, "p_bh"].to_numpy() == pytest.approx(false_discovery_control(p), abs=1e-6)


def test_a_threshold_refuses_of_each_group_what_lies_above_it(open_page: Open) -> None:
    app = open_page("quality", run="plain", **{"refused-by": "language"})
    steps = FRAME["relative_disagreement"].quantile([share / 100 for share in range(101)])
    expected = (FRAME["relative_disagreement"] > steps.iloc[50]).groupby(FRAME["language"]).mean()
    shown = frame_with(app, "refused").set_index("group")["refused"]
    assert shown.to_dict() == pytest.approx(expected.to_dict())


def test_the_worst_groups_stand_on_the_first_page(open_page: Open) -> None:
    expected = FRAME.groupby("language")["relative_disagreement"].mean().nlargest(5)
    shown = frame_with(open_page("overview", run="plain"), "Language")
    assert shown["Relative disagreement"].to_numpy() == pytest.approx(expected.to_numpy())


def test_how_often_a_model_abstains_stands_by_group_and_where_none_did_the_command_is_named(
    open_page: Open, tmp_path: Path
) -> None:
    store = illustrated_run(tmp_path / "plain", 40)
    assert any("emoe-audit abstain" in text.value for text in open_page("quality", tmp_path, run="plain").markdown)
    rates = {"n_prompts": 4, "n_sources": 4, "low": 0.1, "high": 0.9, "gap": 0.0, "gap_low": -0.1, "gap_high": 0.1}
    shares = {"abstained": [0.75, 0.25], "low_quality": [0.5, 0.25], "outside": [0.25, 0.0]}
    table = pd.DataFrame({"by": "language", "group": ["sw", "de"], **rates, **shares})
    store.write_analysis("abstention", table)
    shown = frame_with(open_page("quality", tmp_path, run="plain"), "abstained")
    assert dict(zip(shown["label"], shown["abstained"], strict=True)) == {"Swahili": 0.75, "German": 0.25}


def test_a_run_compared_with_itself_is_no_comparison(open_page: Open) -> None:
    assert "two different runs" in open_page("compare", run="plain", **{"with": "plain"}).info[0].value


def test_two_runs_without_a_common_prompt_say_so(open_page: Open) -> None:
    assert "no prompt" in open_page("compare", run="plain", **{"with": "hostile"}).warning[0].value


def test_nothing_typed_loads_nothing(open_page: Open) -> None:
    app = open_page("try_prompt", run="plain")
    assert not app.dataframe and not app.error
