"""The two commands, from a run with images to the rates of refusal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from emoe_audit.abstain import student
from emoe_audit.cli.abstain import abstain
from emoe_audit.errors import AuditError
from emoe_audit.runs.store import RunStore
from tests.abstain.made import made_run

pytestmark = pytest.mark.slow


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(abstain, [str(own) for own in arguments], catch_exceptions=False)


@pytest.fixture(autouse=True)
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred steps are enough for what is tested here."""
    monkeypatch.setattr(student, "STEPS", 100)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return made_run(tmp_path / "run").path


def test_fit_then_predict(run: Path, tmp_path: Path) -> None:
    fitted = json.loads(invoke("fit", run, "--labellers", 4, "--json").stdout)
    assert fitted["n_prompts"] == 24 * 8
    assert fitted["seen_n_captions"] == 24
    assert fitted["unseen_n_languages"] == 8
    assert fitted["seen_promise"] == fitted["unseen_promise"] == "nothing"
    assert (run / "abstain" / "model.json").is_file()
    larger = made_run(tmp_path / "larger", n_captions=40).path
    rates = json.loads(invoke("predict", larger, "--model", run / "abstain", "--json").stdout)
    assert {own["group"] for own in rates} == {f"l{place}" for place in range(8)}
    assert {own["n_prompts"] for own in rates} == {16}
    assert RunStore.open(larger).has_analysis("abstain")


def test_the_clearest_language_is_refused_less_than_the_least_clear(run: Path, tmp_path: Path) -> None:
    invoke("fit", run, "--labellers", 4)
    larger = made_run(tmp_path / "larger", n_captions=40).path
    told = invoke("predict", larger, "--model", run / "abstain")
    assert told.stderr == "promised in languages learned from: nothing; in a language never seen: nothing\n"
    lines = told.stdout.splitlines()
    groups = [line.split()[1] for line in lines[1:]]
    assert groups.index("l7") < groups.index("l0")


def test_predict_without_a_model_names_the_command_that_makes_one(run: Path) -> None:
    with pytest.raises(AuditError, match="emoe-audit abstain fit RUN"):
        invoke("predict", run)


def test_the_commands_load_neither_torch_nor_lightgbm_before_they_are_used() -> None:
    check = "import sys; assert not {'torch', 'lightgbm', 'sklearn'} & set(sys.modules)"
    modules = "emoe_audit.cli.abstain, emoe_audit.abstain.runs, emoe_audit.abstain.files, emoe_audit.abstain.evaluate"
    subprocess.run([sys.executable, "-c", f"import {modules}\n{check}"], check=True)
