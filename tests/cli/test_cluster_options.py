"""`--ray` and what goes with it: what does not fit together is said before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from emoe_audit.cli.main import cli
from emoe_audit.cli.workers import cluster_config
from emoe_audit.types import ClusterConfig


def given(**settings: object) -> dict[str, object]:
    return {"ray": None, "workers": None, "gpus_per_worker": None} | settings


def test_without_ray_there_is_no_cluster_and_with_it_what_was_asked_for() -> None:
    assert cluster_config(given()) is None
    assert cluster_config(given(ray="auto")) == ClusterConfig(address="auto", workers=None, gpus_per_worker=None)
    asked = given(ray="head:6379", workers=8, gpus_per_worker=0.5)
    assert cluster_config(asked) == ClusterConfig(address="head:6379", workers=8, gpus_per_worker=0.5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--ray", "auto", "--workers", "0"], "0 is not in the range x>=1"),
        (["--ray", "auto", "--gpus-per-worker", "0"], "0.0 is not in the range x>0"),
        (["--ray", "auto", "--gpus-per-worker", "nan"], "'nan' is no finite number"),
        (["--ray", "auto", "--gpus-per-worker", "1.5"], "is a whole number, or a part of one GPU"),
        (["--ray", "auto", "--gpus-per-worker", "0.00001"], "is a whole number, or a part of one GPU"),
        (["--gpus-per-worker", "1"], "are of a Ray cluster: give --ray, too"),
        (["--workers", "2"], "are of a Ray cluster: give --ray, too"),
    ],
)
@pytest.mark.parametrize("command", ["run", "score", "quality"])
def test_what_does_not_fit_together_is_wrong_use(command: str, words: list[str], said: str, tmp_path: Path) -> None:
    place = [str(tmp_path / "run")] if command == "quality" else ["--out", str(tmp_path / "run")]
    done = CliRunner().invoke(cli, [command, *place, *words], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    assert said in done.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["score", "quality"])
def test_a_share_is_for_processes_that_are_no_cluster_s(command: str, tmp_path: Path) -> None:
    place = [str(tmp_path / "run")] if command == "quality" else ["--out", str(tmp_path / "run")]
    done = CliRunner().invoke(cli, [command, *place, "--ray", "auto", "--shard", "1/2"])
    assert done.exit_code == 2
    assert "--shard is for processes that you start yourself" in done.output


def test_a_dry_run_measures_no_cluster(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["run", "--out", str(tmp_path / "run"), "--ray", "auto", "--dry-run"])
    assert done.exit_code == 2
    assert "--dry-run measures this machine" in done.output
