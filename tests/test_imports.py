"""Who may import whom, and what a light import must not load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIGHT = {"types", "errors", "coverage", "prompts", "manifest", "store", "analysis", "readings", "progress", "options"}
ALLOWED = {
    "types": set(),
    "errors": set(),
    "coverage": {"errors"},
    "progress": set(),
    "record": set(),
    "prompts": {"types", "errors"},
    "manifest": {"types", "errors"},
    "options": {"types", "errors", "analysis"},
    "views": set(),
    "store": {"types", "errors", "manifest", "views"},
    "analysis": {"types", "errors"},
    "batches": {"types", "errors", "store"},
    "readings": {"store", "batches", "analysis"},
    "experts": {"types", "errors", "prompts"},
    "scoring": {"types", "errors", "experts"},
    "loading": {"types", "store", "experts", "scoring"},
    "quality": {"types", "errors", "experts", "prompts", "scoring", "analysis"},
    "validity": {"types", "errors", "coverage", "experts", "scoring", "quality", "analysis"}
    | {"prompts", "progress", "audit", "ensemble_checks", "loading", "report", "store", "record"},
    "report": {"types", "errors", "manifest", "store", "analysis", "prompts"},
    "recipes": {"types", "errors", "coverage", "prompts", "experts", "validity", "record"},
    "gate": {"errors", "store", "analysis"},
    "abstain": {"types", "errors", "store", "analysis"},
    "translation": {"types", "errors", "batches", "progress", "prompts", "experts"},
    "ensemble_checks": {"types", "errors", "analysis", "progress", "store", "scoring", "validity"},
    "ratings": {"types", "store", "views", "quality"},
    "pictures": {"errors", "analysis", "progress", "store", "quality"},
    "pilot": {"types", "errors", "analysis", "estimate", "progress", "store"},
    "compare": {"errors", "store", "analysis", "report"},
    "app": {"types", "errors", "store", "analysis", "prompts", "report", "compare", "readings"}
    | {"loading", "quality", "experts"},
}
FILES = sorted((ROOT / "emoe_audit").rglob("*.py")) + sorted((ROOT / "app").rglob("*.py"))


def part_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return "app" if parts[0] == "app" else parts[1]


def imported_parts(file: Path) -> set[str]:
    names = [
        name
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for name in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [a.name for a in node.names]
            if isinstance(node, ast.Import)
            else []
        )
    ]
    return {name.split(".")[1] for name in names if name.startswith("emoe_audit.")}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_go_one_way(file: Path) -> None:
    part, imported = part_of(file), imported_parts(file)
    assert "cli" not in imported
    if part in ALLOWED:
        assert imported <= ALLOWED[part] | {part}


@pytest.mark.parametrize("part", sorted(LIGHT))
def test_light_parts_name_no_heavy_package(part: str) -> None:
    for file in (file for file in FILES if part_of(file) == part):
        text = file.read_text(encoding="utf-8")
        assert not {"torch", "streamlit", "diffusers", "transformers"} & {
            alias.split(".")[0]
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        }


@pytest.mark.parametrize(
    "statement",
    [
        "import emoe_audit",
        "import emoe_audit.cli.main",
        "import emoe_audit.runs.store, emoe_audit.analysis.summary, emoe_audit.prompts.table, emoe_audit.report",
        "from emoe_audit import run_audit, read_prompts, load_spec, ScoringConfig",
    ],
)
def test_light_imports_load_neither_torch_nor_streamlit(statement: str) -> None:
    check = "import sys; assert not {'torch', 'streamlit', 'diffusers', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", f"{statement}\n{check}"], check=True)


def test_every_public_name_can_be_imported() -> None:
    import emoe_audit

    assert all(getattr(emoe_audit, name) is not None for name in emoe_audit.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = emoe_audit.nothing
