"""Every example in the pages is what it says: commands are understood, Python runs, tables and YAML are read.

Commands are not run here but understood by the command line itself, values and all; `test_tutorial` runs those of
the tutorial.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
import torch
import yaml

from emoe_audit.cli.main import cli
from emoe_audit.decisions.gate import read_policy
from emoe_audit.experts.spec import load_spec
from emoe_audit.prompts.read import read_prompts
from emoe_audit.types import EnsembleSpec, ImageConfig, ScoringConfig
from tests.docs.texts import DOCS, PAGES, README, ROOT, Block, block, blocks, code_in_lines, kinds

KINDS = {"shell", "python", "csv", "yaml", "text", "nginx"}
"""Those that are looked at here, and two: `text` is what a command prints (`tests/cli`), `nginx` is of a proxy."""
OTHER_TOOLS = {"export", "hf", "make", "pip", "pre-commit", "python", "ray", "ssh"}
SHELL, PYTHON, YAML = blocks("shell"), blocks("python"), blocks("yaml")
MY_ENSEMBLE = "name: my-ensemble"


def commands(text: str) -> Iterator[list[str]]:
    """The commands of a piece of shell, in words; what follows `||` is one of its own."""
    for line in text.replace("\\\n", " ").splitlines():
        for command in line.split(" || "):
            words = shlex.split(command, comments=True)
            if words:
                yield words


def called(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that some words call, and the words that are left for it. Raises `click.UsageError`."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words:
        name, command_or_none = words[0], command.get_command(click.Context(command), words[0])
        if command_or_none is None:
            raise click.UsageError(f"no command {name!r}")
        command, words = command_or_none, words[1:]
    return command, words


def is_ours(words: list[str]) -> bool:
    return words[0] == "emoe-audit"


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the examples name and the command line looks for."""
    gate = DOCS / "how-to" / "gate.md"
    (tmp_path / "settings.yaml").write_text(block(gate, "yaml", "# settings.yaml"))
    (tmp_path / "my_score.py").write_text(block(README, "python", "register_score"))
    for file in ("photo.safetensors", "pencil-lora.safetensors"):
        (tmp_path / file).touch()
    for folder in ("val2017", "images"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_kind_of_example_is_looked_at() -> None:
    assert kinds() <= KINDS


@pytest.mark.parametrize("example", SHELL, ids=str)
def test_the_commands_of_an_example_are_understood(example: Block, workshop: Path) -> None:
    for words in commands(example.text):
        if is_ours(words):
            command, rest = called(words[1:])
            command.make_context(words[-1], rest)
        else:
            assert words[0] in OTHER_TOOLS


@pytest.mark.parametrize("words", ["run --uot x", "rnu", "run", "gate reports/mine", "run --out x --n-noise none"])
def test_a_wrong_command_is_not_understood(words: str) -> None:
    with pytest.raises(click.UsageError):
        command, rest = called(words.split())
        command.make_context("it", rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_within_lines_have_the_options_that_they_name(page: Path) -> None:
    for words in (shlex.split(code) for code in code_in_lines(page) if code.startswith("emoe-audit ")):
        command, rest = called(words[1:])
        options = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
        assert {word for word in rest if word.startswith("--")} <= options


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_target_of_make_is_there(page: Path) -> None:
    there = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    texts = [*code_in_lines(page), *(example.text for example in SHELL if example.page == page)]
    named = {word for text in texts for word in re.findall(r"^make ([a-z0-9-]+)", text, re.MULTILINE)}
    assert named <= there


@pytest.fixture
def tiny_emoji_a(tiny_spec: EnsembleSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny ensemble in the place of `emoji-a`, scored and drawn in a moment; returns the folder to work in."""
    import emoe_audit.audit as audit
    import emoe_audit.experts.spec as spec

    shutil.copytree(Path(tiny_spec.base.source).parent, tmp_path / "embedded" / "emoji-a")
    monkeypatch.setattr(spec, "EMBEDDED", tmp_path / "embedded")
    monkeypatch.setattr(audit, "ScoringConfig", lambda: ScoringConfig(n_noise=1, device="cpu"))
    monkeypatch.setattr(audit, "ImageConfig", lambda: ImageConfig(n_images=4, num_inference_steps=1, device="cpu"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def scores() -> Iterator[dict[str, Callable[[torch.Tensor], torch.Tensor]]]:
    """The registered scores, as they were again afterwards."""
    from emoe_audit.scoring import disagreement

    before = dict(disagreement.SCORES)
    yield disagreement.SCORES
    disagreement.SCORES.clear()
    disagreement.SCORES.update(before)


@pytest.mark.slow
@pytest.mark.parametrize("page", sorted({e.page for e in PYTHON if "run_audit(" in e.text}), ids=lambda page: page.stem)
def test_the_python_example_runs_as_it_is_written(
    page: Path, tiny_emoji_a: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(block(page, "python", "run_audit("), {})
    assert Path(capsys.readouterr().out.strip()).is_file()
    for example in PYTHON:
        if example.page == page and "RunStore" in example.text:
            exec(example.text, {})
            assert "language" in capsys.readouterr().out


@pytest.mark.parametrize("example", [e for e in PYTHON if "register_score" in e.text], ids=str)
def test_the_example_of_a_score_gives_one_number_a_prompt(
    example: Block, scores: dict[str, Callable[[torch.Tensor], torch.Tensor]]
) -> None:
    exec(example.text, {})
    assert scores["my_score"](torch.randn(3, 5, 4, 2, 2)).shape == (5,)


def test_no_python_is_left_out() -> None:
    assert all(any(words in e.text for words in ("run_audit(", "RunStore", "register_score")) for e in PYTHON)


@pytest.mark.parametrize("example", [e for e in YAML if "rules:" in e.text], ids=str)
def test_the_example_of_a_policy_is_one(example: Block, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(example.text)
    assert "clip_cosine_source" in [rule.measure for rule in read_policy(tmp_path / "policy.yaml").rules]


@pytest.mark.parametrize("example", [e for e in YAML if MY_ENSEMBLE in e.text], ids=str)
def test_the_example_of_an_ensemble_is_one(example: Block, workshop: Path) -> None:
    for text in (example.text, re.sub("# (split|top_k|mixture):", r"\1:", example.text)):
        (workshop / "my-ensemble.yaml").write_text(text)
        spec = load_spec("my-ensemble.yaml")
        assert [expert.name for expert in spec.experts] == ["anime", "photo", "pencil"]
        assert spec.base.source == "org/base-model"


def test_the_commands_of_the_example_of_a_pipeline_are_understood(workshop: Path) -> None:
    (job,) = [yaml.safe_load(e.text)["jobs"]["audit"] for e in YAML if "jobs:" in e.text]
    steps = [words for step in job["steps"] for words in commands(step.get("run", ""))]
    assert [words[:2] for words in steps if is_ours(words)] == [["emoe-audit", "run"], ["emoe-audit", "gate"]]
    for words in filter(is_ours, steps):
        command, rest = called(words[1:])
        command.make_context(words[1], rest)


def test_the_example_of_settings_sets_what_a_run_takes(workshop: Path) -> None:
    command, rest = called(["run", "prompts.csv", "--config", "settings.yaml", "--out", "reports/mine"])
    taken = command.make_context("run", rest).params
    assert (taken["ensemble"], taken["n_noise"], taken["n_images"]) == ("my-ensemble.yaml", 8, 640)
    assert taken["memory_budget"] == 3 * 1024**3


def test_no_yaml_is_left_out() -> None:
    assert all(any(words in e.text for words in ("rules:", MY_ENSEMBLE, "jobs:", "# settings.yaml")) for e in YAML)


@pytest.mark.parametrize("example", blocks("csv"), ids=str)
def test_the_example_of_prompts_has_no_fault(example: Block, tmp_path: Path) -> None:
    (tmp_path / "prompts.csv").write_text(example.text)
    table = read_prompts(tmp_path / "prompts.csv")
    assert len(table.frame) == 3
    assert table.row_errors == ()


def test_the_proxy_takes_what_the_dashboard_takes() -> None:
    from emoe_audit.cli.dashboard import MAX_UPLOAD_MIB

    (proxy,) = blocks("nginx")
    assert f"client_max_body_size {MAX_UPLOAD_MIB}m;" in proxy.text
    assert "proxy_pass http://127.0.0.1:8501;" in proxy.text
