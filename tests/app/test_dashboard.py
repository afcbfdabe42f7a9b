from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from emoe_audit.runs.store import RunStore
from tests.app.conftest import APP
from tests.illustrated import illustrated_frame, illustrated_run
from tests.report.translated import add_check, add_translations

pytestmark = pytest.mark.slow

FRAME = illustrated_frame()
Open = Callable[..., AppTest]


@pytest.fixture
def open_app(runs_root: Path) -> Open:
    """Open a page of the dashboard, by default the table of prompts, with what its address says."""

    def open_at(root: Path = runs_root, at: str = "prompts", **query: str) -> AppTest:
        st.cache_data.clear()
        app = AppTest.from_file(str(APP / "views" / f"{at}.py"), default_timeout=120)
        app.session_state["runs_root"] = str(root)
        for name, value in query.items():
            app.query_params[name] = value
        return run_cleanly(app)

    return open_at


def run_cleanly(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception, app.exception
    return app


def texts(app: AppTest) -> str:
    return "\n".join(str(block.proto.body) for block in app.get("html"))


def rows(app: AppTest) -> pd.DataFrame:
    frame: Any = app.dataframe[0].value
    return pd.DataFrame(frame)


def test_an_empty_folder_says_how_to_make_a_run(tmp_path: Path, open_app: Open) -> None:
    app = open_app(tmp_path)
    assert app.title[0].value == "No runs yet"
    assert "emoe-audit run" in app.text[0].value


def test_the_runs_are_listed_and_the_chosen_one_shows_its_verdict(open_app: Open, runs_root: Path) -> None:
    app = open_app(at="overview", run="plain")
    assert sorted(option.split(" ")[0] for option in app.selectbox[0].options) == ["hostile", "plain"]
    from emoe_audit.report import collect

    report = collect(RunStore.open(runs_root / "plain"))
    for said in (report.verdict.where, report.verdict.quality, report.verdict.trust, report.standing.word):
        assert said in texts(app)


def test_the_table_shows_the_most_unsure_prompts_first(open_app: Open) -> None:
    expected = FRAME.sort_values("relative_disagreement", ascending=False).head(25)
    assert list(rows(open_app(run="plain")).key) == list(expected.key)


def test_prompts_are_ranked_by_the_score_of_the_run(tmp_path: Path, open_app: Open) -> None:
    store = add_translations(illustrated_run(tmp_path / "read", 120), without=["en"])
    ranked = store.query("SELECT * FROM results").sort_values("translation_disagreement", ascending=False)
    assert list(rows(open_app(tmp_path)).key) == list(ranked.key.head(25))
    row = ranked.iloc[7]
    shown = texts(open_app(tmp_path, prompt=row.prompt_id))
    assert f"<span>Translation disagreement</span>{row.translation_disagreement:.3f}<" in shown
    share = (ranked.translation_disagreement.dropna() < row.translation_disagreement).mean()
    assert f"{100 * share:.0f}% <small>of prompts" in shown
    assert "Relative disagreement" in shown and "± 0.0050 noise" in shown
    cards = shown[shown.index('class="grid"') :]
    family = ranked[ranked.source_id == row.source_id]
    assert [cards.index(prompt) for prompt in family.prompt] == sorted(cards.index(prompt) for prompt in family.prompt)


def test_the_columns_are_the_score_that_ranks_and_the_plain_one(tmp_path: Path, open_app: Open) -> None:
    store = add_translations(illustrated_run(tmp_path / "read", 120))
    assert "translation_disagreement" in open_app(tmp_path).dataframe[0].proto.column_order
    add_check(store, "disagreement")
    order = list(open_app(tmp_path).dataframe[0].proto.column_order)
    assert order[:4] == ["language", "prompt", "disagreement", "clip_cosine"]


def test_a_page_of_the_address_is_the_page_that_is_shown(open_app: Open) -> None:
    expected = FRAME.sort_values("relative_disagreement", ascending=False).iloc[50:75]
    app = open_app(run="plain", page="3")
    assert list(rows(app).key) == list(expected.key)
    assert "400 prompts, page 3 of 16" in app.caption[0].value


def test_a_group_of_the_address_is_the_group_that_is_shown(open_app: Open) -> None:
    app = open_app(run="plain", by="language", group="Swahili (sw)")
    assert set(rows(app).language) == {"sw"}
    assert "40 prompts" in app.caption[0].value


def test_words_and_order_choose_prompts(open_app: Open) -> None:
    app = open_app(run="plain", containing="S0000003", order="best")
    expected = FRAME[FRAME.source_id == "s0000003"].sort_values("relative_disagreement")
    assert list(rows(app).key) == list(expected.key)


def test_narrowing_the_choice_goes_back_to_the_first_page(open_app: Open) -> None:
    app = open_app(run="plain", page="16")
    app.text_input[0].set_value("in ar")
    run_cleanly(app)
    assert app.number_input[0].value == 1
    assert set(rows(app).language) == {"ar"}


def test_no_query_of_the_prompt_table_reads_more_than_a_page(open_app: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    largest: list[int] = []
    query = RunStore.query

    def watched(self: RunStore, sql: str, params: Any = ()) -> pd.DataFrame:
        frame = query(self, sql, params)
        if "results" in sql and "ln(" not in sql and "AS x" not in sql:
            largest.append(len(frame))
        return frame

    monkeypatch.setattr(RunStore, "query", watched)
    open_app(run="plain", page="7")
    assert largest and max(largest) <= 25


def test_opening_a_prompt_shows_its_text_scores_noise_and_translations(open_app: Open) -> None:
    row = FRAME[FRAME.source_id == "s0000002"].iloc[3]
    app = open_app(run="plain", prompt=row.prompt_id)
    shown = texts(app)
    assert row.prompt in shown
    assert f"{row.relative_disagreement:.3f}" in shown
    assert "± 0.0050 noise" in shown
    for other in FRAME[FRAME.source_id == "s0000002"].prompt:
        assert other in shown
    assert shown.count("data:image/webp;base64,") == 11, "its own image, then one a language"
    assert not app.dataframe


def test_the_share_of_surer_prompts_is_that_of_plain_pandas(open_app: Open) -> None:
    row = FRAME.iloc[17]
    share = (FRAME.relative_disagreement < row.relative_disagreement).mean()
    assert f"{100 * share:.0f}% <small>of prompts" in texts(open_app(run="plain", prompt=row.prompt_id))


def test_going_back_from_a_prompt_shows_the_run(open_app: Open) -> None:
    app = open_app(run="plain", prompt=FRAME.prompt_id[0])
    app.button[0].click()
    run_cleanly(app)
    assert len(rows(app)) == 25
    assert "prompt" not in app.query_params


def test_an_unknown_prompt_is_said_to_be_unknown(open_app: Open) -> None:
    assert "no such prompt" in open_app(run="plain", prompt="nothing").warning[0].value


def test_a_run_that_is_not_analysed_still_shows_its_prompts(tmp_path: Path, open_app: Open) -> None:
    from tests.synthetic import synthetic_plan

    store = RunStore.open(tmp_path / "going", plan=synthetic_plan())
    store.write_prompts([FRAME[["key", "prompt_id", "source_id", "prompt", "language", "region"]]])
    assert "emoe-audit analyze" in open_app(tmp_path, at="overview").warning[0].value
    assert len(rows(open_app(tmp_path))) == 25


def test_hostile_texts_stay_texts(open_app: Open, runs_root: Path) -> None:
    rows = RunStore.open(runs_root / "hostile").query("SELECT prompt_id FROM prompts ORDER BY prompt_id LIMIT 10")
    for prompt_id in rows.prompt_id:
        shown = texts(open_app(run="hostile", prompt=prompt_id))
        assert "<script" not in shown
        assert 'onerror="' not in shown
        assert "<svg" not in shown


def test_a_hostile_group_can_be_chosen(open_app: Open) -> None:
    app = open_app(run="hostile", by="style")
    names = app.selectbox(key="group").options
    app.selectbox(key="group").select(names[1])
    run_cleanly(app)
    assert "40 prompts" in app.caption[0].value
