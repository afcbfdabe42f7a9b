"""`verify-run` in a terminal and for a machine, and what other commands say of a damaged run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emoe_audit.cli.main import cli
from tests.processes import invoke
from tests.runs.written import files_of, flip, written_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return written_run(tmp_path / "run").path


def test_a_run_as_written_ends_with_0(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["verify-run", str(run)], standalone_mode=False) == 0
    said = capsys.readouterr()
    n = len(files_of(run))
    assert said.out == f"{n} files, all as written\n"
    assert f"files: {n - 2} of {n - 2}" in said.err


def test_each_file_that_is_not_has_a_line_and_the_end_is_2(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(run / "scores" / "part-000000.parquet", 1000)
    (run / "report.html").unlink()
    assert cli.main(["verify-run", str(run), "--quiet"], standalone_mode=False) == 2
    n = len(files_of(run)) + 1
    assert capsys.readouterr().out == (
        f"missing: report.html\nchanged: scores/part-000000.parquet\n{n} files, 2 are not as written\n"
    )
    assert cli.main(["verify-run", str(run), "--quiet", "--json"], standalone_mode=False) == 2
    assert json.loads(capsys.readouterr().out) == {
        "complete": True,
        "n_files": n,
        "faults": [
            {"path": "report.html", "kind": "missing"},
            {"path": "scores/part-000000.parquet", "kind": "changed"},
        ],
    }


@pytest.mark.parametrize(
    "words",
    [
        ["report", "RUN"],
        ["compare", "RUN", "RUN"],
        ["gate", "RUN", "--policy", "POLICY"],
        ["analyze", "RUN"],
        ["export", "RUN", "--what", "csv", "--out", "OUT"],
    ],
    ids=lambda words: words[0],
)
def test_a_damaged_run_is_told_before_anything_is_said_of_it(run: Path, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "policy.yaml").write_text("rules:\n- {by: language, measure: disagreement, figure: mean, at_most: 1}\n")
    flip(run / "prompts" / "part-000000.parquet", 1000)
    places = {"RUN": str(run), "POLICY": str(tmp_path / "policy.yaml"), "OUT": str(tmp_path / "out.csv")}
    done = invoke(*[places.get(word, word) for word in words])
    assert done.returncode == 2
    assert "prompts/part-000000.parquet: changed" in done.stderr
    assert not (tmp_path / "out.csv").exists()
