"""All checks one after the other, each in a process of its own; and where packages are missing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from importlib.metadata import distribution, distributions, requires
from pathlib import Path

import pytest
import torch

from tests.benchmarks import record
from tests.benchmarks.gpu import __main__ as script
from tests.benchmarks.gpu import needs
from tests.benchmarks.gpu.__main__ import LIMITS, Ran, alone, main, table, write
from tests.benchmarks.gpu.catalogue import CHECKS
from tests.benchmarks.gpu.findings import Finding

ROOT = Path(__file__).parents[3]
GOOD, BAD = Finding(what="good", value=1.0, at_least=1), Finding(what="bad", value=0.0, at_least=1)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_every_check_has_its_time_and_all_end_in_ten_minutes() -> None:
    assert list(LIMITS) == list(CHECKS)
    assert sum(LIMITS.values()) < 600


def test_findings_are_the_last_line_that_a_check_prints() -> None:
    ran = alone(python('print(\'from a library\'); print(\'[{"what": "good", "value": 1.0}]\')'), "it", 60)
    assert (ran.findings, ran.fault) == ([Finding(what="good", value=1.0)], "")


def test_a_check_that_does_not_end_is_ended_with_what_it_started() -> None:
    sleeper = f"import subprocess; subprocess.run({python('import time; time.sleep(60)')!r})"
    started = time.monotonic()
    ran = alone(python(sleeper), "it", 1.0)
    assert time.monotonic() - started < 30
    assert (ran.holds, ran.fault) == (False, "not done after 1 seconds")


def test_a_check_that_breaks_off_says_so() -> None:
    ran = alone(python("raise SystemExit(3)"), "it", 60)
    assert (ran.holds, ran.fault) == (False, "ended with status 3; why is said above")
    assert table(ran)[-1] == "  FAIL ended with status 3; why is said above"


def test_one_check_that_fails_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    findings = {"scores": [BAD], "images": [GOOD]}

    def run(command: object, check: str, limit: float) -> Ran:
        return Ran(check=check, findings=findings.get(check, []), seconds=1.0)

    monkeypatch.setattr(script, "alone", run)
    assert main(["--device", "cpu"]) == 1
    told = capsys.readouterr().out
    assert [line.partition(",")[0] for line in told.splitlines() if not line.startswith(" ")] == list(LIMITS)
    findings["scores"] = [GOOD]
    assert main(["--device", "cpu"]) == 0


def test_the_record_tells_figures_and_what_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "FOLDER", tmp_path)
    write(
        [
            Ran(check="scores", findings=[GOOD, BAD], seconds=2.0),
            Ran(check="images", findings=[], seconds=1.0, fault="not done after 60 seconds"),
        ]
    )
    told = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))
    assert told["figures"] == {"good": 1.0, "bad": 0.0}
    assert "gpu" in told["rows"][0]
    assert [row["holds"] for row in told["rows"][1:]] == [False, True, False, False]
    assert told["rows"][-1]["fault"] == "not done after 60 seconds"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "finds no GPU here" in capsys.readouterr().err


def test_what_is_missing_is_named_in_the_version_that_was_tested(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert needs.missing() == []
    monkeypatch.setitem(needs.PACKAGES, "no_such_module", "open_clip_torch")
    assert main([]) == 2
    told = capsys.readouterr().err
    assert "lacks open_clip_torch.\n" in told
    assert "pip install open_clip_torch==" in told
    assert "--dest build/wheels open_clip_torch==" in told


@pytest.mark.benchmark
def test_the_checks_load_where_there_is_nothing_but_what_they_name_and_what_pytorch_brings(tmp_path: Path) -> None:
    for name in with_pytorch() | set(needs.PACKAGES.values()):
        link(name, tmp_path)
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import tests.benchmarks.gpu.catalogue; import tests.benchmarks.record"],
        cwd=ROOT,
        env={"PATH": "", "PYTHONPATH": f"{ROOT}:{tmp_path}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def link(name: str, site: Path) -> None:
    """Put an installed package into a folder."""
    for file in distribution(name).files or ():
        first, here = file.parts[0], site / file.parts[0]
        if first != ".." and not here.exists():
            here.symlink_to(
                Path(str(file.locate())).parents[len(file.parts) - 2] if len(file.parts) > 1 else file.locate()
            )


def with_pytorch() -> set[str]:
    """What these ask for, and what that asks for, which is there wherever they are."""
    found, new = set[str](), {"torch", "transformers", "accelerate", "timm", "pandas", "requests"}
    while new:
        found |= new
        new = {own for package in new for own in asked_by(package)} - found
    return found


def asked_by(package: str) -> list[str]:
    """The packages that it requires, as far as they are here."""
    lines = [line for line in requires(package) or [] if "extra ==" not in line]
    names = [needs.plain(re.split(r"[^A-Za-z0-9_.-]", line)[0]) for line in lines]
    return [name for name in names if any(needs.plain(own.name) == name for own in distributions())]
