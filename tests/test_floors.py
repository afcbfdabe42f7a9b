"""Which room may import which, and what a light import must not load. The floors stand in pyproject.toml."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "emoe_audit"
LOBBY = {"__init__", "__main__", "audit", "types", "errors", "progress"}
LIGHT = {"types", "errors", "progress", "analysis", "runs", "prompts", "decisions", "steps", "report"}
HEAVY = {"torch", "streamlit", "diffusers", "transformers"}
LOADING = {PACKAGE / "prompts" / f"{name}.py" for name in ("sentence_encoder", "translate")}
"""Files that load a model when they are asked to, and not before."""
"""Runs a model, which it loads when it is asked to."""


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    """The contracts held against the package in a folder."""
    command = [
        str(Path(sys.executable).with_name("lint-imports")),
        "--config",
        str(ROOT / "pyproject.toml"),
        "--no-cache",
    ]
    environment = os.environ | {"PYTHONPATH": str(root), "COLUMNS": "200"}
    return subprocess.run(command, cwd=root, env=environment, check=False, capture_output=True, text=True)


def upward_imports(root: Path) -> list[str]:
    """Imports that break a contract, each of which import-linter names in a line of its own."""
    return re.findall(r"^-? *(emoe_audit\.\S+ -> emoe_audit\.\S+) \(l\.", lint(root).stdout, re.MULTILINE)


def copy_of_the_code(folder: Path) -> Path:
    """The package's Python files alone."""
    for file in PACKAGE.rglob("*.py"):
        place = folder / file.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(file.read_bytes())
    return folder


def test_the_lobby_holds_the_story_and_what_every_room_knows() -> None:
    assert {file.stem for file in PACKAGE.glob("*.py")} == LOBBY


def test_no_room_imports_one_above_it() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


def test_an_upward_import_inside_a_function_is_found(tmp_path: Path) -> None:
    file = copy_of_the_code(tmp_path) / "emoe_audit" / "analysis" / "groups.py"
    file.write_text(
        file.read_text() + "\n\ndef late() -> None:\n    from emoe_audit.report.collect import collect  # noqa\n"
    )
    assert lint(tmp_path).returncode == 1
    assert upward_imports(tmp_path) == ["emoe_audit.analysis.groups -> emoe_audit.report.collect"]


def imports_of(file: Path, *, at_start: bool) -> set[str]:
    """The top-level names of what a file imports: when it is loaded itself, or anywhere."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    nodes = tree.body if at_start else ast.walk(tree)
    found = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    names = [name for node in found for name in _names(node)]
    return {name.split(".")[0] for name in names}


def _names(node: ast.Import | ast.ImportFrom) -> list[str]:
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]


@pytest.mark.parametrize("part", sorted(LIGHT))
def test_light_rooms_name_no_heavy_package(part: str) -> None:
    files = [PACKAGE / f"{part}.py"] if (PACKAGE / f"{part}.py").exists() else list((PACKAGE / part).rglob("*.py"))
    assert files
    for file in files:
        assert not HEAVY & imports_of(file, at_start=file in LOADING), file


def test_the_package_never_imports_the_dashboard() -> None:
    pages = {file.stem for file in (ROOT / "app").rglob("*.py")} | {"app"}
    for file in PACKAGE.rglob("*.py"):
        assert not pages & imports_of(file, at_start=False), file


@pytest.mark.parametrize(
    "statement",
    [
        "import emoe_audit",
        "import emoe_audit.cli.main",
        "import emoe_audit.runs.store, emoe_audit.analysis.summary, emoe_audit.prompts.table, emoe_audit.report",
        "import emoe_audit.decisions.gate, emoe_audit.decisions.compare, emoe_audit.steps.images",
        "from emoe_audit import run_audit, read_prompts, load_spec, ScoringConfig",
    ],
)
def test_light_imports_load_neither_torch_nor_streamlit(statement: str) -> None:
    check = f"import sys; assert not {HEAVY} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", f"{statement}\n{check}"], check=True)


def test_every_public_name_can_be_imported() -> None:
    import emoe_audit

    assert all(getattr(emoe_audit, name) is not None for name in emoe_audit.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = emoe_audit.nothing


def test_it_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "emoe_audit", "--version"]
    assert "version" in subprocess.run(command, check=True, capture_output=True, text=True).stdout
