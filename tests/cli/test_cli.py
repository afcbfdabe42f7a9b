"""The command line: help everywhere, one precedence, exit codes, messages instead of tracebacks."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import reference

from emoe_audit.cli.main import cli
from emoe_audit.types import EnsembleSpec
from tests.processes import command_line, invoke, running, wait_for_lines

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
FAST = ["--n-noise", "1", "--n-images", "4", "--image-steps", "1", "--device", "cpu"]


def commands(group: click.Group = cli, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*words, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))


@pytest.fixture(scope="module")
def folder(tiny_spec: EnsembleSpec) -> str:
    return str(Path(tiny_spec.base.source).parent)


@pytest.mark.parametrize(
    ("words", "command"), list(commands()), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_and_option_has_help_and_stands_in_the_reference(
    words: tuple[str, ...], command: click.Command
) -> None:
    assert command.help
    assert f"| `emoe-audit {' '.join(words)}` | {command.get_short_help_str(200)} |" in reference.commands()
    assert all(option.help for option in command.params if isinstance(option, click.Option) and option.name != "help")


def test_the_help_of_run_in_the_reference_is_what_it_prints() -> None:
    printed = invoke("run", "--help", COLUMNS="100").stdout
    assert f"```text\n{printed.strip()}\n```" in REFERENCE


def test_a_run_prints_its_result_on_stdout_and_progress_on_stderr(folder: str, tmp_path: Path) -> None:
    done = invoke("run", "--ensemble", folder, "--out", str(tmp_path / "run"), "--concepts", "2", *FAST, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert Path(result["report"]).is_file()
    assert result["n_scored"] == result["n_prompts"] == 8
    assert "scoring: 8 of 8" in done.stderr


@pytest.mark.slow
def test_the_steps_alone_make_the_same_run(folder: str, tmp_path: Path) -> None:
    run = str(tmp_path / "run")
    steps = [
        ["score", "--ensemble", folder, "--out", run, "--concepts", "2", *FAST],
        ["quality", run],
        ["analyze", run],
        ["report", run],
    ]
    for step in steps:
        done = invoke(*step, "--quiet")
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
    assert json.loads((tmp_path / "run" / "report.json").read_text())["scope"]["n_judged"] == 4


@pytest.mark.slow
def test_bad_rows_are_told_and_end_with_code_4(folder: str, tmp_path: Path) -> None:
    table = tmp_path / "prompts.csv"
    table.write_text("prompt,language\ndog,en\nKatze,german\n")
    done = invoke("run", str(table), "--ensemble", folder, "--out", str(tmp_path / "run"), *FAST, "--n-images", "0")
    assert done.returncode == 4
    assert "1 rows were left out" in done.stderr
    assert f"{table}:3: column language" in (tmp_path / "run" / "errors.jsonl").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--ensemble", "emoij", "--out", "x"], "emoij"),
        (["run", "none.csv", "--ensemble", "FOLDER", "--out", "x"], "none.csv: no such file"),
        (
            ["run", "--ensemble", "FOLDER", "--out", "x", "--device", "cdua"],
            "device 'cdua' is not here; the nearest is",
        ),
        (["run", "--ensemble", "FOLDER", "--out", "x", "--dtype", "float8"], "'float8' is not one of"),
        (["run", "--ensemble", "FOLDER", "--out", "x", "--n-noise", "-1"], "-1 is not in the range x>=0"),
        (["rnu"], "No such command 'rnu'"),
        (["report", "nowhere"], "nowhere: no run here"),
        (["prompts", "check", "none.csv"], "none.csv: no such file"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_use_is_one_message_and_code_2(words: list[str], message: str, folder: str) -> None:
    done = invoke(*[folder if word == "FOLDER" else word for word in words])
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_dry_run_estimates_and_stores_nothing(folder: str, tmp_path: Path) -> None:
    done = invoke("run", "--ensemble", folder, "--out", str(tmp_path / "run"), *FAST, "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    estimate = json.loads(done.stdout)
    assert (estimate["prompts"], estimate["images"], estimate["from_the_hub"]) == (32, 4, "nothing")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, object]]:
    """What `run` hands to the audit as scoring settings, without an audit."""
    found: dict[str, object] = {}

    def pretend(table: object, spec: object, out: object, scoring: object, images: object) -> dict[str, object]:
        found["scoring"] = scoring
        return {}

    monkeypatch.setattr("emoe_audit.decisions.estimate.estimate", pretend)
    yield found


def test_flag_beats_environment_beats_file_beats_default(
    folder: str, seen: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "settings.yaml"
    config.write_text("n-noise: 7\nseed: 7\nsteps: 7\n")
    monkeypatch.setenv("EMOE_AUDIT_SEED", "8")
    monkeypatch.setenv("EMOE_AUDIT_STEPS", "8")
    words = ["run", "--ensemble", folder, "--out", "x", "--dry-run", "--config", str(config), "--steps", "9"]
    cli.main(words, standalone_mode=False)
    scoring = seen["scoring"]
    values = [getattr(scoring, name) for name in ("num_inference_steps", "seed", "n_noise", "batch_size")]
    assert values == [9, 8, 7, None]


def test_an_unknown_key_in_the_file_is_named(folder: str, tmp_path: Path) -> None:
    (tmp_path / "settings.yaml").write_text("n-nose: 7\n")
    done = invoke("run", "--ensemble", folder, "--out", "x", "--config", str(tmp_path / "settings.yaml"))
    assert done.returncode == 2
    assert f"{tmp_path / 'settings.yaml'}:1: no option 'n-nose' for run" in done.stderr


@pytest.mark.slow
def test_an_interrupted_run_says_how_to_go_on(folder: str, tmp_path: Path) -> None:
    words = ["run", "--ensemble", folder, "--out", str(tmp_path / "run"), "--n-images", "0", "--n-noise", "200"]
    with running(command_line, words) as (process, _, err):
        wait_for_lines(err, 1, "scoring: 0")
        os.kill(process.pid or 0, signal.SIGINT)
        process.join()
        said = err.read_text(encoding="utf-8")
    assert process.exitcode == 130
    assert re.search(r"nothing computed is lost. To go on:\n  emoe-audit run --ensemble ", said)
    assert "Traceback" not in said


def test_the_doctor_names_versions_and_devices() -> None:
    done = invoke("doctor", "--json")
    found = json.loads(done.stdout)
    assert "cpu" in found["devices"]
    assert found["torch"]
    speeds = {dtype: float(speed) for dtype, speed in map(str.split, found["gflop_per_second"].split(", "))}
    assert 1.4 * speeds[found["auto_dtype"]] > max(speeds.values()) > 1


def test_embedded_ensembles_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    from emoe_audit.experts.spec import named_ensembles

    cli.main(["ensemble", "list"], standalone_mode=False)
    assert capsys.readouterr().out.split() == list(named_ensembles())


def test_a_tiny_ensemble_of_ones_own_can_be_made_shown_and_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["ensemble", "tiny", str(tmp_path / "tiny")], standalone_mode=False)
    capsys.readouterr()
    cli.main(["ensemble", "show", str(tmp_path / "tiny")], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["name"] == "tiny"
    cli.main(
        ["prompts", "emoji", "--ensemble", str(tmp_path / "tiny"), "--out", str(tmp_path / "p.csv")],
        standalone_mode=False,
    )
    cli.main(["prompts", "check", str(tmp_path / "p.csv")], standalone_mode=False)
    assert "prompts: 32" in capsys.readouterr().out
