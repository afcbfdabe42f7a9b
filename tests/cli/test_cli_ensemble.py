"""Check and verify at the command line, on the tiny ensemble as if its training were known."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from emoe_audit.cli.main import cli
from emoe_audit.experts.spec import save_spec
from emoe_audit.ground.verify import verify
from emoe_audit.scoring import disagreement
from emoe_audit.types import EnsembleSpec
from tests.processes import invoke

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(known_spec: EnsembleSpec, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("spec")
    save_spec(known_spec, path)
    return str(path)


def test_verify_prints_its_table_as_json_with_registered_scores_in_it(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emoe_audit.ground.verify.check_pending", lambda *_: None)
    monkeypatch.setattr("emoe_audit.ground.verify.verify", partial(verify, n_boot=20))
    monkeypatch.setattr(disagreement, "SCORES", dict(disagreement.SCORES))
    for module in ("scoring.engine", "ground.verify", "validity.signs"):
        monkeypatch.setattr(f"emoe_audit.{module}.SCORES", disagreement.SCORES)
    own = tmp_path / "own.py"
    own.write_text(
        "from emoe_audit import register_score\n"
        "@register_score('turned')\n"
        "def turned(features):\n    return -features.float().var(dim=0).mean(dim=(1, 2, 3))\n"
    )
    words = ["--concepts", "2", "--n-images", "0", "--register", str(own), "--out", str(tmp_path / "run"), "--json"]
    done = CliRunner().invoke(cli, ["ensemble", "verify", folder, *words], catch_exceptions=False)
    found = json.loads(done.stdout)
    assert found["ensemble"] == "tiny"
    rows = {row["name"]: row for row in found["scores"]}
    assert {"relative_disagreement", "token_count"} <= set(rows)
    assert rows["turned"]["language_rho"] == -rows["disagreement"]["language_rho"]
    assert rows["turned"]["auroc_starved"] == pytest.approx(1 - rows["disagreement"]["auroc_starved"])
    assert "scoring: 24 of 24" in done.stderr


def test_a_file_that_cannot_be_run_is_one_message(folder: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import nothing_like_it\n")
    done = invoke("ensemble", "verify", folder, "--register", str(tmp_path / "own.py"))
    assert done.returncode == 2
    assert "own.py: cannot be run: ModuleNotFoundError" in done.stderr
    assert "Traceback" not in done.stderr


def test_check_names_every_score_and_a_default_or_says_that_there_is_none(folder: str) -> None:
    done = invoke("ensemble", "check", folder, "--pairs", "2", "--quiet")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    names = ["translation_disagreement", "disagreement", "relative_disagreement"]
    assert [line.split()[0] for line in lines[1:4]] == names
    assert lines[-2].startswith("default score: ")
    assert json.loads(invoke("ensemble", "check", folder, "--pairs", "2", "--json").stdout)["ensemble"] == "tiny"
