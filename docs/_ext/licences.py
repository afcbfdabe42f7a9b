"""The licences of what emoe-audit needs to run, as its packages declare them: `make licences` writes the page.

Followed are the requirements of the installed packages, from emoe-audit's own on; extras are left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from reference import table

PROJECT = "emoe-audit"
PAGE = Path(__file__).parents[1] / "reference" / "licences.md"
UNKNOWN = "unknown"
LOOKED_UP = {
    # A list of NVIDIA's packages without a file of its own; those are under https://docs.nvidia.com/cuda/eula/
    "cuda-toolkit": "NVIDIA Proprietary",
}
"""Of packages whose metadata says nothing."""
REFUSED = re.compile(
    r"(?<!L)GPL(?!\S* WITH GCC-exception)|Affero|GNU General Public|Non-?Commercial|\bNC\b|SSPL|BUSL|" + UNKNOWN,
    re.IGNORECASE,
)
INTRODUCTION = """\
# Licences

What `pip install` brings besides `emoe-audit` itself (Apache-2.0), with the licence that each package declares, in the
versions that were tested, on Linux. `make licences` writes this page, and a test fails where a package is under the
GPL, the AGPL or a licence that forbids commercial use, or says nothing.

Nothing of this is part of the wheel; plotly.js (MIT), which reports carry, is taken from the installed package. A
library under the LGPL, or under the MPL, is installed unchanged beside `emoe-audit` and can be replaced by another
version, which both allow. NVIDIA's packages are libraries of CUDA that PyTorch's wheels for Linux ask for. They may be
used and passed on under NVIDIA's terms, and are not needed: PyTorch's CPU wheels
(`--index-url https://download.pytorch.org/whl/cpu`) do without them.
"""


@dataclass(frozen=True)
class Licensed:
    """An installed package."""

    name: str
    version: str
    licence: str

    @property
    def is_allowed(self) -> bool:
        """Whether it may be used by anybody for anything."""
        return is_allowed(self.licence)


def runtime() -> list[Licensed]:
    """Every package that emoe-audit needs to run, directly or not, by name."""
    found: dict[str, Distribution] = {}
    waiting = [(PROJECT, "")]
    seen = set(waiting)
    while waiting:
        name, extra = waiting.pop()
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        new = {own for text in found[name].requires or () for own in _asked_for(Requirement(text), extra)} - seen
        seen |= new
        waiting += sorted(new)
    return [Licensed(name, own.version, licence_of(own)) for name, own in sorted(found.items()) if name != PROJECT]


def licence_of(package: Distribution) -> str:
    """What a package declares: an SPDX expression, else what was looked up, else classifiers, else a short text."""
    classified = [own.split(" :: ")[-1] for own in _values(package, "Classifier") if own.startswith("License :: ")]
    text = " ".join(_values(package, "License"))
    said = [
        *_values(package, "License-Expression"),
        LOOKED_UP.get(canonicalize_name(package.metadata["Name"])),
        " AND ".join(own for own in classified if own != "OSI Approved"),
        text if len(text) < 60 else None,
    ]
    return next((own for own in said if own), UNKNOWN)


def is_allowed(licence: str) -> bool:
    """Whether one of the alternatives of a licence is free of what is refused."""
    return any(not REFUSED.search(alternative) for alternative in licence.split(" OR "))


def page() -> str:
    """The page, as Markdown."""
    rows = [(f"`{own.name}`", own.version, own.licence) for own in runtime()]
    return f"{INTRODUCTION}\n{table(('package', 'version', 'licence'), rows)}\n"


def _values(package: Distribution, name: str) -> list[str]:
    return [" ".join(own.split()) for own in package.metadata.get_all(name) or ()]


def _asked_for(requirement: Requirement, extra: str) -> list[tuple[str, str]]:
    """Packages, each with one of the extras that are asked for, or none."""
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
        return []
    name = canonicalize_name(requirement.name)
    return [(name, ""), *((name, own) for own in requirement.extras)]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
