"""A run that was handed over, on the command line: refused with exit 2 until a user has said a word."""

from __future__ import annotations

from pathlib import Path

import pytest

from emoe_audit.types import EnsembleSpec
from tests.processes import invoke

pytestmark = pytest.mark.slow

FAST = ["--n-noise", "1", "--n-images", "4", "--image-steps", "1", "--device", "cpu", "--concepts", "1"]


@pytest.fixture
def folder(tiny_spec: EnsembleSpec) -> str:
    return str(Path(tiny_spec.base.source).parent)


@pytest.fixture
def run(folder: str, tmp_path: Path) -> str:
    """Scored under another state than the tests' own, as on another machine."""
    out = str(tmp_path / "run")
    words = ["score", "--ensemble", folder, "--out", out, *FAST, "--check-pairs", "0", "--quiet"]
    done = invoke(*words, XDG_STATE_HOME=str(tmp_path / "there"))
    assert done.returncode == 0, done.stderr
    return out


def test_an_auditor_s_own_run_goes_on_without_a_question(run: str, tmp_path: Path) -> None:
    done = invoke("quality", run, "--quiet", XDG_STATE_HOME=str(tmp_path / "there"))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_received_run_is_refused_until_it_is_trusted(run: str) -> None:
    refused = invoke("quality", run)
    assert refused.returncode == 2
    assert "was not started here" in refused.stderr
    assert "--trust-run" in refused.stderr
    assert invoke("quality", run, "--trust-run", "--quiet").returncode == 0
    assert invoke("quality", run, "--quiet").returncode == 0


def test_a_received_run_goes_on_with_a_user_s_own_ensemble(run: str, folder: str) -> None:
    assert invoke("quality", run, "--ensemble", "emoji-a").returncode == 2
    done = invoke("quality", run, "--ensemble", folder, "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert invoke("quality", run, "--quiet").returncode == 0, "nothing is left to load"


@pytest.mark.parametrize("words", [["analyze"], ["report"]])
def test_what_loads_nothing_needs_no_word(words: list[str], run: str) -> None:
    assert invoke("analyze", run, "--quiet").returncode == 0
    assert invoke(*words, run, "--quiet").returncode == 0


def test_who_is_depicted_is_asked_of_no_judge_that_a_received_run_names(run: str, tmp_path: Path) -> None:
    (tmp_path / "labelled").mkdir()
    words = ["--labelled", str(tmp_path / "labelled"), "--reference", "dark=1"]
    done = invoke("depicted", run, *words)
    assert done.returncode == 2
    assert "was not started here" in done.stderr


def test_scheduler_torchsde_ends_with_code_2_and_names_the_package(tiny_copy: Path, tmp_path: Path) -> None:
    field = Path(__file__).parents[1] / "field" / "scheduler-torchsde" / "scheduler_config.json"
    (tiny_copy / "base" / "scheduler" / "scheduler_config.json").write_bytes(field.read_bytes())
    done = invoke("run", "--ensemble", str(tiny_copy), "--out", str(tmp_path / "out"), *FAST)
    assert done.returncode == 2
    assert "needs torchsde: pip install torchsde" in done.stderr
    assert "Traceback" not in done.stderr
