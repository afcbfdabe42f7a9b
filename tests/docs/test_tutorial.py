"""The tutorial's commands, run as they are written: on the tiny ensemble, which the environment names."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from emoe_audit.cli.main import cli
from emoe_audit.types import EnsembleSpec
from tests.docs.test_examples import commands, is_ours
from tests.docs.texts import DOCS, ROOT, block, blocks

pytestmark = pytest.mark.slow

TUTORIAL = DOCS / "tutorial.md"
SERVES = "dashboard"
"""Runs until it is stopped: `tests/browser` looks at it."""
QUICK = {
    "N_IMAGES": "8",
    "IMAGE_STEPS": "1",
    "N_NOISE": "1",
    "CHECK_PAIRS": "1",
    "CONCEPTS": "8",
    "DEVICE": "cpu",
}


@pytest.fixture
def studio(tiny_spec: EnsembleSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the policy, where every command takes the tiny ensemble and is quick."""
    monkeypatch.setenv("EMOE_AUDIT_ENSEMBLE", str(Path(tiny_spec.base.source).parent))
    for name, value in QUICK.items():
        monkeypatch.setenv(f"EMOE_AUDIT_{name}", value)
    (tmp_path / "policy.yaml").write_text(block(TUTORIAL, "yaml", "rules:"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def given(words: list[str]) -> Result:
    return CliRunner().invoke(cli, words[1:], standalone_mode=False, catch_exceptions=False)


def test_its_commands_lead_from_a_run_to_a_decision(studio: Path) -> None:
    typed = [words for b in blocks("shell") if b.page == TUTORIAL for words in commands(b.text) if is_ours(words)]
    said = {shlex.join(words): given(words) for words in typed if words[1] != SERVES}
    run, dry_run, gate, plan = said.values()
    assert (run.return_value, dry_run.return_value) == (0, 0)
    assert (studio / "reports" / "first-light" / "report.html").is_file()
    assert "prompts: 32\n" in dry_run.stdout
    verdict = gate.stdout.rpartition("verdict: ")[2].strip()
    assert gate.return_value == {"pass": 0, "fail": 1, "inconclusive": 3}[verdict]
    assert plan.return_value == 0


@pytest.mark.parametrize(
    ("sentence", "words"),
    [
        ("where", "most unsure about prompts in Tamil, Georgian and Arabic"),
        ("quality", "falls from 0.70 to 0.01"),
        ("validity", "in 78% of the pairs with pseudo-words"),
    ],
)
def test_what_it_says_of_the_run_stands_in_the_report_that_is_kept(sentence: str, words: str) -> None:
    assert words in kept_report()["verdict"][sentence]
    assert words in " ".join(TUTORIAL.read_text(encoding="utf-8").split())


def test_why_the_run_that_is_kept_fails_its_policy() -> None:
    """Gaps with intervals twice as wide as those of one language, for the policy's hold for all at once."""
    (languages,) = [table["rows"] for table in kept_report()["groups"] if table["by"] == "language"]
    gaps = {row["label"]: row["gap"] for row in languages}
    broken = {label for label, gap in gaps.items() if gap["mean"] - 2 * (gap["mean"] - gap["low"]) > 0.2}
    assert broken == {"Tamil", "Georgian"}
    assert {row["estimates"]["clip_cosine_source"]["n_prompts"] for row in languages} == {8}


def kept_report() -> dict[str, Any]:
    report: dict[str, Any] = json.loads((ROOT / "reports" / "example" / "report.json").read_text(encoding="utf-8"))
    return report
