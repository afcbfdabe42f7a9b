"""Ratings by people in the judge's place: in the statistics, in the verdict, on the page."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import spearmanr

from emoe_audit.cli.main import cli
from emoe_audit.errors import QualityError
from emoe_audit.report import collect, render_html
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.summary import summarize
from emoe_audit.types import AnalysisConfig
from tests.illustrated import illustrated_run

pytestmark = pytest.mark.slow


@pytest.fixture
def run(tmp_path: Path) -> RunStore:
    return illustrated_run(tmp_path / "run", 400)


def rated(run: RunStore, folder: Path) -> Path:
    """Ratings that fall as the score rises, in a file with a prompt that the run does not have."""
    rows = run.query(
        "SELECT prompt_id, 5 - 10 * relative_disagreement + 0.1 * feature_power AS stars, "
        "relative_disagreement AS pain FROM results"
    )
    extra = pd.DataFrame({"prompt_id": ["nobody"], "stars": [3.0], "pain": [1.0]})
    pd.concat([rows, extra]).to_csv(folder / "ratings.csv", index=False)
    return folder / "ratings.csv"


def invoke(*words: str) -> int:
    return int(cli.main(list(words), standalone_mode=False))


def test_an_imported_rating_becomes_the_quality_of_the_report(run: RunStore, tmp_path: Path) -> None:
    assert invoke("import-quality", str(run.path), str(rated(run, tmp_path)), "--column", "stars") == 4
    summarize(run)
    data = collect(run)
    assert data.quality == "stars"
    own = next(c for c in data.correlations if (c.x, c.y, c.level) == (data.ranking, "stars", "prompt"))
    rows = run.query("SELECT * FROM results")
    assert own.rho == pytest.approx(spearmanr(rows[data.ranking], rows["stars"]).statistic)
    assert "from the surest quarter of prompts to the most unsure, mean stars falls" in data.verdict.quality
    assert "stars" in render_html(data)


def test_where_less_is_better_the_sign_is_changed(run: RunStore, tmp_path: Path) -> None:
    file = str(rated(run, tmp_path))
    invoke("import-quality", str(run.path), file, "--column", "pain", "--lower-is-better", "pain")
    rows = run.query("SELECT pain, relative_disagreement FROM results")
    assert rows["pain"].to_numpy() == pytest.approx(-rows["relative_disagreement"].to_numpy())


def test_ratings_can_be_taken_again_but_not_under_the_name_of_a_measure(run: RunStore, tmp_path: Path) -> None:
    file = str(rated(run, tmp_path))
    for _ in range(2):
        invoke("import-quality", str(run.path), file, "--column", "stars")
    assert run.ratings() == ["stars"]
    table = pd.read_csv(file).rename(columns={"stars": "clip_cosine"})
    table.to_csv(tmp_path / "taken.csv", index=False)
    with pytest.raises(Exception, match="clip_cosine"):
        invoke("import-quality", str(run.path), str(tmp_path / "taken.csv"), "--column", "clip_cosine")


@pytest.mark.parametrize("name", ["order", '1st: it\'s 50% of "the best", in Größe (cm)'])
def test_a_rating_may_have_any_name_that_people_give_it(tmp_path: Path, name: str) -> None:
    run = illustrated_run(tmp_path / "run", 120)
    rows = run.query("SELECT prompt_id, 5 - 10 * relative_disagreement AS stars FROM results")
    rows.rename(columns={"stars": name}).to_csv(tmp_path / "ratings.csv", index=False)
    assert invoke("import-quality", str(run.path), str(tmp_path / "ratings.csv"), "--column", name) == 0
    summarize(run, AnalysisConfig(n_boot=20))
    data = collect(run)
    assert data.quality == name
    mean = data.groups[0].overall[name]
    assert mean == pytest.approx(rows["stars"].mean())
    assert render_html(data)


def test_a_rating_that_differs_by_capital_letters_from_a_measure_is_refused(run: RunStore, tmp_path: Path) -> None:
    rows = pd.DataFrame({"prompt_id": run.query("SELECT prompt_id FROM prompts")["prompt_id"], "Disagreement": 1.0})
    rows.to_csv(tmp_path / "ratings.csv", index=False)
    with pytest.raises(QualityError, match="a column 'Disagreement' is there already; rename the one in the file"):
        invoke("import-quality", str(run.path), str(tmp_path / "ratings.csv"), "--column", "Disagreement")
