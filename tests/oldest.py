"""The lowest version of every package that pyproject.toml allows, as lines of a constraints file.

torch and torchvision are left out: they stay at the build that constraints.txt names.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"
HELD = {"torch", "torchvision"}


def lowest(requirements: Iterable[str]) -> Iterator[str]:
    """`name==version` of each `name>=version`; a name that comes twice must have one lowest version.

    Raises:
        ValueError: a requirement has no lower bound, or two for one name.
    """
    found: dict[str, str] = {}
    for requirement in requirements:
        match = re.match(r"([\w.-]+)>=([\w.]+)", requirement)
        if match is None:
            raise ValueError(f"{requirement!r} has no lower bound")
        name, version = match.groups()
        if found.setdefault(name, version) != version:
            raise ValueError(f"{name} has two lower bounds: {found[name]} and {version}")
    return (f"{name}=={version}" for name, version in found.items() if name not in HELD)


def requirements(project: dict[str, Any]) -> Iterator[str]:
    """What the package and its extras ask for."""
    return chain(project["dependencies"], *project["optional-dependencies"].values())


if __name__ == "__main__":
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    print(*lowest(requirements(project)), sep="\n")
