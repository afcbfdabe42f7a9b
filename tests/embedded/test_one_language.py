"""A table of English prompts alone, none of them of the ensemble's own: what its report says on the first screen."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from emoe_audit.audit import run_audit
from emoe_audit.prompts.table import table_of
from emoe_audit.report import ReportData, collect
from emoe_audit.runs.store import RunStore
from emoe_audit.types import ImageConfig, ScoringConfig

pytestmark = pytest.mark.slow
PROMPTS = (Path(__file__).parent / "english.txt").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    frame = pd.DataFrame({"prompt_id": [f"p{n:03d}" for n in range(len(PROMPTS))], "prompt": PROMPTS})
    frame = frame.assign(source_id=frame["prompt_id"], language="en", region=None)
    scoring, images = ScoringConfig(n_noise=1, device="cpu"), ImageConfig(n_images=0)
    out = tmp_path_factory.mktemp("english") / "run"
    run_audit(table_of(frame, "english"), "emoji-c", out, scoring=scoring, images=images)
    return collect(RunStore.open(out))


def test_every_prompt_has_a_number_and_that_ranks(report: ReportData) -> None:
    assert len(set(PROMPTS)) == report.scope.n_ranked == 200
    assert report.ranking == "unfamiliarity"


def test_the_first_screen_names_prompts_the_rung_and_the_limits(report: ReportData) -> None:
    named = report.verdict.where.split("“")[1:]
    assert len(named) == 6 and all(any(text in own for text in PROMPTS) for own in named)
    assert report.standing.rung == "checks"
    assert report.verdict.trust.startswith("Take the ranking as a question to ask: it is supported by the check")
    assert "it is the text encoder's alone" in report.verdict.trust
    assert "pseudo-words in English" in report.verdict.validity
