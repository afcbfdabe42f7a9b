"""The picture of the house, drawn from the code: floors from pyproject.toml, a line a file from its docstring."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE, PAGES = ROOT / "emoe_audit", ROOT / "app"


def house() -> str:
    """The floors, then every room with its files, as Markdown."""
    return f"## Floors\n\n{floors()}\n\n## Rooms\n\n{tree()}"


def floors() -> str:
    """The floors that import-linter holds, the highest first."""
    rows = [f"| {', '.join(f'`{name}`' for name in names)} | {_said_of(names)} |" for names in layers()]
    return "\n".join(["| floor | what is there |", "| --- | --- |", *rows])


def layers() -> list[list[str]]:
    """The names on every floor of the package, the highest floor first."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (contract,) = (own for own in contracts if own["type"] == "layers")
    return [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]


def tree() -> str:
    """Every folder of Python files with a line a file, the package first, in the order of its floors."""
    return "\n\n".join(_room(folder) for folder in _folders())


def modules(folder: Path) -> list[Path]:
    """The files of one folder, those below it left out."""
    return sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")


def first_line(module: Path) -> str:
    """The first paragraph of a module's docstring, on one line. Raises ValueError where it has none."""
    text = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    if not text:
        raise ValueError(f"{module}: a line in the picture of the house is missing; give it a docstring")
    return " ".join(text.split("\n\n")[0].split())


def _folders() -> Iterator[Path]:
    yield PACKAGE
    yield from (PACKAGE / name for names in layers() for name in sorted(names) if (PACKAGE / name).is_dir())
    yield from (PAGES, PAGES / "views")


def _room(folder: Path) -> str:
    about = folder / "__init__.py"
    said = [first_line(about)] if about.exists() else []
    rows = [f"| `{module.name}` | {_cell(first_line(module))} |" for module in modules(folder)]
    table = "\n".join(["| file | what it does |", "| --- | --- |", *rows])
    return "\n\n".join([f"### `{folder.relative_to(ROOT)}/`", *said, table])


def _said_of(names: list[str]) -> str:
    homes = [PACKAGE / name / "__init__.py" for name in names]
    return "<br>".join(_cell(first_line(home if home.exists() else home.parent.with_suffix(".py"))) for home in homes)


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
