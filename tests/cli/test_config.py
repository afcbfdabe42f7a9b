"""`--config`: a file of settings that cannot be followed ends a command with file and line, before anything is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from emoe_audit.cli.options import analysis_options, config_option, image_options, option, scoring_options
from emoe_audit.errors import AuditError
from tests.processes import invoke

FIELD = Path(__file__).parents[1] / "field"
ALIASES = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)


@pytest.fixture
def read(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """The values that a command has when a text is its settings file."""
    seen: dict[str, Any] = {}

    @click.command()
    @scoring_options
    @image_options
    @analysis_options
    @option("--out", default=None)
    @click.option("--dry-run", is_flag=True)
    @config_option
    def command(**values: Any) -> None:
        seen.update(values)

    def with_settings(text: str) -> dict[str, Any]:
        (tmp_path / "settings.yaml").write_text(text, encoding="utf-8")
        command.main(["--config", str(tmp_path / "settings.yaml")], standalone_mode=False)
        return seen

    return with_settings


def test_values_are_what_the_command_line_would_make_of_them(read: Callable[[str], dict[str, Any]]) -> None:
    found = read(
        "n-noise: 8\nguidance-scale: 5\nmemory-budget: 3GiB\nmargin: [clip_cosine=0.02]\nboth-halves: no\n"
        "dry-run: true\nsafety-checker: off\nimage-expert: 7\nseed:\nout: 2020-01-01\n"
    )
    assert (found["n_noise"], found["guidance_scale"], found["memory_budget"]) == (8, 5.0, 3 << 30)
    assert (found["margin"], found["both_halves"], found["dry_run"]) == ((("clip_cosine", 0.02),), False, True)
    assert (found["safety_checker"], found["image_expert"], found["seed"], found["out"]) == (
        "off",
        "7",
        0,
        "2020-01-01",
    )


def test_an_empty_file_sets_nothing(read: Callable[[str], dict[str, Any]]) -> None:
    assert read("# nothing\n")["n_noise"] == read("")["n_noise"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("# fine\nn-nose: 7\n", ":2: no option 'n-nose' for command; see --help"),
        ("seed: 1\nn-noise: 1.5\n", ":2: n-noise: '1.5' is not a valid integer"),
        ("n-noise: true\n", ":1: n-noise: 'True' is not a valid integer"),
        ("n-noise: -1\n", ":1: n-noise: -1 is not in the range"),
        ("n-noise: [1, 2]\n", r":1: n-noise: expected one value, found \[1, 2\]"),
        ("n-noise: {a: {b: 1}}\n", ":1: n-noise: expected one value, found {'a'"),
        ("margin: clip_cosine=0.02\n", ":1: margin: expected a list, found 'clip_cosine=0.02'"),
        ("margin: [[clip_cosine=0.02]]\n", ":1: margin: expected a list, found"),
        ("margin: [beauty=0.02]\n", ":1: margin: 'beauty' is no measure"),
        ("seed: -1\n", ":1: seed: '-1' is not from 0"),
        ("guidance-scale: .nan\n", "nan is no finite number"),
        ("config: other.yaml\n", ":1: no option 'config'"),
        ("seed: 1\nseed: 2\n", ":2:1: .*key 'seed' is given twice"),
        ("seed: [\n", ":2:1: not valid YAML"),
        ("- seed\n", "expected `option: value` lines"),
        ("seed", "expected `option: value` lines"),
        (ALIASES, r":2:10: .*references \(\*name\) are not read"),
        ("out: " + "[" * 1000, "nested more than"),
        ('out: "a\\0b"\n', "holds a NUL"),
    ],
)
def test_what_cannot_be_followed_is_told_with_file_and_line(
    read: Callable[[str], dict[str, Any]], text: str, told: str
) -> None:
    with pytest.raises(AuditError, match=rf"settings\.yaml.*{told}"):
        read(text)


def test_field_latin1_config_is_told_with_file_and_line(tmp_path: Path) -> None:
    config = FIELD / "latin1-config" / "config.yaml"
    done = invoke("run", "--config", str(config), "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert done.stderr == f"Error: {config}:1: not UTF-8 (invalid start byte); save it as UTF-8\n"
    assert not (tmp_path / "run").exists()
