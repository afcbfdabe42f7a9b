"""Every command that ends, with paths that lead nowhere or are none, and with outputs that cannot be written.

It ends with one sentence and code 2: a traceback is a fault, and code 1 says that a gate failed and nothing else.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from emoe_audit.cli.kinds import Target
from emoe_audit.cli.main import cli, main
from emoe_audit.types import EnsembleSpec
from tests.processes import command_line, running

pytestmark = pytest.mark.slow

FAST = ["--n-noise", "1", "--n-images", "0", "--check-pairs", "0", "--concepts", "1", "--device", "cpu"]
NAMES = {"ensemble", "name", "checkpoint", "judge"}
"""Options that hold a path among other things."""
NEVER_PATHS = {
    "NUL": "a\0b",
    "of nobody": "~nobody-of-this-name/file.csv",
    "half a character": "a\udcffb",
    "too long": "x" * 5000,
    "too deep": "x/" * 3000,
}
Command = tuple[tuple[str, ...], click.Command]


def commands(group: click.Group = cli, words: tuple[str, ...] = ()) -> Iterator[Command]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        elif name != "dashboard":
            yield (*words, name), command


def takes_path(parameter: click.Parameter) -> bool:
    return isinstance(parameter.type, click.Path) or parameter.name in NAMES


PLACES = [
    pytest.param(words, command, own.name, id=f"{' '.join(words)} {own.name}")
    for words, command in commands()
    for own in command.params
    if takes_path(own)
]
OUTPUTS = [
    pytest.param(words, command, own.name, id=f"{' '.join(words)} {own.name}")
    for words, command in commands()
    for own in command.params
    if isinstance(own.type, Target)
]


@pytest.fixture(scope="module")
def honest(tiny_spec: EnsembleSpec, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A value for every parameter that has to be given."""
    folder = tmp_path_factory.mktemp("honest")
    tiny, run = str(Path(tiny_spec.base.source).parent), folder / "run"
    (folder / "two.csv").write_text("prompt_id,source_id,language,prompt\na,s,en,a red apple\nb,s,de,ein roter Apfel\n")
    (folder / "stars.csv").write_text("prompt_id,stars\na,1\nb,2\n")
    (folder / "policy.yaml").write_text("rules: [{by: language, measure: disagreement, at_most: 9}]\n")
    (folder / "labelled").mkdir()
    with running(command_line, ["run", str(folder / "two.csv"), "--ensemble", tiny, "--out", str(run), *FAST]) as (
        process,
        _,
        err,
    ):
        process.join()
        assert process.exitcode == 0, err.read_text()
    return {
        **{name: str(run) for name in ("run_folder", "a", "b")},
        **{"ensemble": tiny, "name": tiny, "checkpoint": tiny, "folder": str(folder / "tiny"), "to": "fi"},
        **{"prompts": str(folder / "two.csv"), "table": str(folder / "two.csv"), "captions": str(folder / "none.json")},
        **{"file": str(folder / "stars.csv"), "column": "stars", "policy": str(folder / "policy.yaml")},
        **{"out": str(folder / "out"), "what": "csv", "gap": "0.1", "labelled": str(folder / "labelled")},
        **{"reference": "dark=0.2"},
    }


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a command makes of a strange name lies in the test's own folder."""
    monkeypatch.chdir(tmp_path)


def line_of(words: Sequence[str], command: click.Command, honest: dict[str, str], **given: str) -> list[str]:
    """A command's words: what has to be given, and what is tried."""
    line = [*words]
    for own in command.params:
        value = given.get(own.name or "", honest.get(own.name or "") if own.required or own.name in NAMES else None)
        if value is not None and isinstance(own, click.Option):
            line += [own.opts[0], value]
    arguments = [own for own in command.params if isinstance(own, click.Argument)]
    for own in arguments:
        value = given.get(own.name or "", honest.get(own.name or ""))
        line += [] if value is None else [value]
    return line + (FAST if words in (("run",), ("score",)) else [])


def check_ended(line: list[str], capsys: pytest.CaptureFixture[str], codes: tuple[int, ...]) -> str:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["emoe-audit", *line])
        main()
    said = capsys.readouterr().err
    assert ended.value.code in codes, said
    assert "Traceback" not in said
    assert ended.value.code != 2 or f"\n{said}".count("\nError: ") == 1
    return said


@pytest.mark.parametrize("value", NEVER_PATHS.values(), ids=NEVER_PATHS)
@pytest.mark.parametrize(("words", "command", "name"), PLACES)
def test_what_is_no_path_is_refused(
    words: tuple[str, ...],
    command: click.Command,
    name: str,
    value: str,
    honest: dict[str, str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    check_ended(line_of(words, command, honest, **{name: value}), capsys, (2,))


def a_folder(place: Path) -> Path:
    (place / "folder").mkdir()
    return place / "folder"


def binary(place: Path) -> Path:
    (place / "file.csv").write_bytes(bytes(range(256)) * 8)
    return place / "file.csv"


def latin_1(place: Path) -> Path:
    (place / "file.yaml").write_bytes("prompt: größe\n".encode("latin-1"))
    return place / "file.yaml"


def empty(place: Path) -> Path:
    (place / "file.json").touch()
    return place / "file.json"


def under_a_file(place: Path) -> Path:
    return empty(place) / "file"


def a_link_to_itself(place: Path) -> Path:
    (place / "link.csv").symlink_to(place / "link.csv")
    return place / "link.csv"


STRANGE = (a_folder, binary, latin_1, empty, under_a_file, a_link_to_itself)


@pytest.mark.parametrize("strange", STRANGE, ids=lambda own: own.__name__)
@pytest.mark.parametrize(("words", "command", "name"), PLACES)
def test_a_strange_path_is_no_traceback(
    words: tuple[str, ...],
    command: click.Command,
    name: str,
    strange: Callable[[Path], Path],
    honest: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    value = str(strange(tmp_path))
    check_ended(line_of(words, command, honest, **{name: value}), capsys, (0, 2, 3, 4))


@pytest.mark.parametrize(("words", "command", "name"), OUTPUTS)
def test_an_output_below_a_file_is_refused_before_any_work(
    words: tuple[str, ...],
    command: click.Command,
    name: str,
    honest: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    below = str(under_a_file(tmp_path) / "deep")
    said = check_ended(line_of(words, command, honest, **{name: below}), capsys, (2,))
    assert f"{below!r} cannot be written: {str(tmp_path / 'file.json')!r} is a file and no folder" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="everything may be written to by root")
@pytest.mark.parametrize(("words", "command", "name"), OUTPUTS)
def test_an_output_in_a_folder_that_is_only_read_is_refused_before_any_work(
    words: tuple[str, ...],
    command: click.Command,
    name: str,
    honest: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "only-read").mkdir(mode=0o500)
    value = str(tmp_path / "only-read" / "out")
    assert "may not be written to" in check_ended(line_of(words, command, honest, **{name: value}), capsys, (2,))


def on_a_full_disk(words: Sequence[str], n_bytes: int) -> None:
    """The command, with files of so many bytes at most; what it compiles is not kept, for it would be torn."""
    sys.dont_write_bytecode = True
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))
    command_line(words)


@pytest.mark.parametrize(
    ("line", "n_bytes"),
    [
        (["run", "PROMPTS", "--ensemble", "ENSEMBLE", "--out", "new", *FAST], 3000),
        (["report", "RUN"], 3000),
        (["analyze", "RUN"], 3000),
        (["export", "RUN", "--what", "csv", "--out", "results.csv"], 300),
        (["export", "RUN", "--what", "model-card", "--out", "card.md"], 300),
        (["compare", "RUN", "RUN", "--out", "page.html"], 3000),
        (["prompts", "emoji", "--ensemble", "ENSEMBLE", "--out", "prompts.csv"], 500),
        (["ensemble", "tiny", "tiny"], 3000),
        (["ensemble", "emergent", "ENSEMBLE", "--out", "emergent"], 200),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else None,
)
def test_a_full_disk_is_one_sentence(line: list[str], n_bytes: int, honest: dict[str, str], tmp_path: Path) -> None:
    values = {"RUN": honest["run_folder"], "PROMPTS": honest["prompts"], "ENSEMBLE": honest["ensemble"]}
    words = [values.get(word, word) for word in line]
    with running(on_a_full_disk, words, n_bytes) as (process, _, err):
        process.join()
        said = err.read_text()
    assert process.exitcode == 2, said
    assert said.count("Error: ") == 1
    assert "too large" in said or "room" in said
    assert "Traceback" not in said


def onto_a_full_device(words: Sequence[str]) -> None:
    sys.stdout = open("/dev/full", "w")  # noqa: SIM115
    command_line(words)


def without_a_reader(words: Sequence[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    sys.stdout = os.fdopen(writing, "w")
    command_line(words)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_result_that_cannot_be_printed_is_one_sentence() -> None:
    with running(onto_a_full_device, ["ensemble", "list"]) as (process, _, err):
        process.join()
        said = err.read_text()
    assert (process.exitcode, said) == (2, "Error: No space left on device\n")


def test_a_pipe_that_nobody_reads_is_no_failed_gate() -> None:
    with running(without_a_reader, ["ensemble", "list"]) as (process, _, err):
        process.join()
        said = err.read_text()
    assert (process.exitcode, said) == (141, "")


def test_a_fault_of_the_program_is_shown_and_is_no_failed_gate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr("emoe_audit.experts.spec.named_ensembles", broken)
    monkeypatch.setattr(sys, "argv", ["emoe-audit", "ensemble", "list"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 70
    assert "ZeroDivisionError: a fault\nThis is a fault of emoe_audit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (MemoryError(), "Error: memory ran out; "),
        (PermissionError(13, "Permission denied", "here.csv"), "Error: here.csv: Permission denied\n"),
        (OSError(28, "No space left on device"), "Error: No space left on device\n"),
        (ConnectionError("no network"), "Error: no network\n"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_the_system_refuses_is_one_sentence(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise error

    monkeypatch.setattr("emoe_audit.experts.spec.named_ensembles", refuse)
    assert check_ended(["ensemble", "list"], capsys, (2,)).startswith(told)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["prompts", "emoji", "--out", "p.csv", "--seed", "-1"], "'-1' is not from 0 to"),
        (["prompts", "emoji", "--out", "p.csv", "--seed", "9" * 30], "is not from 0 to"),
        (["prompts", "plan", "RUN", "--gap", "nan"], "'nan' is no finite number"),
        (["prompts", "plan", "RUN", "--gap", "inf"], "'inf' is no finite number"),
        (["compare", "RUN", "RUN", "--fdr", "nan"], "'nan' is no finite number"),
        (["run", "--out", "new", "--guidance-scale", "inf"], "'inf' is no finite number"),
        (["run", "--out", "new", "--memory-budget", "9" * 400 + "GB"], "more memory than there is"),
    ],
)
def test_a_number_that_is_none_is_refused(
    line: list[str], told: str, honest: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in check_ended([honest["run_folder"] if own == "RUN" else own for own in line], capsys, (2,))


def test_a_script_of_scores_that_ends_the_program_is_told(
    tmp_path: Path, honest: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "score.py").write_text("raise SystemExit(1)\n")
    line = ["ensemble", "verify", honest["name"], "--register", str(tmp_path / "score.py")]
    assert "score.py: cannot be run: SystemExit: 1" in check_ended(line, capsys, (2,))
