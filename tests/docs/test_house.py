"""The picture of the house has a line for every file, and it is the file's own."""

from __future__ import annotations

import re
from pathlib import Path

import house
import pytest

from tests.docs.texts import ROOT

MODULES = [path for part in ("emoe_audit", "app") for path in (ROOT / part).rglob("*.py") if path.name != "__init__.py"]
TREE = house.tree()
ROOMS = {room.split("/`")[0]: room for room in TREE.split("### `")[1:]}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_has_a_line_in_its_room(module: Path) -> None:
    room = ROOMS[str(module.parent.relative_to(ROOT))]
    (line,) = re.findall(rf"^\| `{re.escape(module.name)}` \| (.+) \|$", room, re.MULTILINE)
    assert " ".join(module.read_text(encoding="utf-8").split()).startswith(f'"""{line}')


def test_every_file_in_the_tree_exists() -> None:
    lines = re.compile(r"^\| `(.+\.py)` \|", re.MULTILINE)
    named = [Path(room, name) for room, text in ROOMS.items() for name in lines.findall(text)]
    assert sorted(named) == sorted(module.relative_to(ROOT) for module in MODULES)


def test_every_room_says_what_it_is_for() -> None:
    assert {room for room, text in ROOMS.items() if "\n\n| file" not in text} == set()
    assert "From prompts to scores" in ROOMS["emoe_audit/scoring"].split("| file")[0]


def test_the_floors_are_those_that_are_held_the_highest_first() -> None:
    names = [name for floor in house.layers() for name in floor]
    assert names.index("cli") < names.index("report") < names.index("scoring") < names.index("analysis")
    rooms = {path.parent.name for path in (ROOT / "emoe_audit").glob("*/__init__.py")}
    assert rooms <= set(names)
    assert all(f"`{name}`" in house.floors() for name in names)


def test_a_file_without_a_docstring_is_told(tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match=r"bare.py: a line in the picture of the house is missing"):
        house.first_line(tmp_path / "bare.py")
