"""What emoe-audit needs to run may be used by anybody for anything, and the page of licences names it."""

from __future__ import annotations

import re
from importlib.metadata import requires

import licences
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.docs.texts import DOCS


def direct() -> set[str]:
    asked = [Requirement(text) for text in requires("emoe-audit") or ()]
    return {canonicalize_name(own.name) for own in asked if "extra" not in str(own.marker)}


def test_no_package_is_under_a_licence_that_restricts_use_or_says_nothing() -> None:
    found = licences.runtime()
    assert direct() <= {own.name for own in found}
    assert not [own for own in found if not own.is_allowed]


def test_packages_of_extras_are_not_needed_to_run() -> None:
    assert not {"pytest", "sphinx", "sacremoses"} & {own.name for own in licences.runtime()}


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("MPL-2.0 AND MIT", True),
        ("GNU Lesser General Public License v3 (LGPLv3)", True),
        ("MIT AND (BSD-2-Clause OR LGPL-2.1-or-later)", True),
        ("GPL-2.0-only OR Apache-2.0", True),
        ("BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1", True),
        ("GPL-3.0-or-later", False),
        ("GNU General Public License v3 or later (GPLv3+)", False),
        ("MIT AND AGPL-3.0-only", False),
        ("GNU Affero General Public License v3", False),
        ("CC-BY-NC-4.0", False),
        ("Free for non-commercial use", False),
        ("unknown", False),
    ],
)
def test_which_licences_are_allowed(licence: str, allowed: bool) -> None:
    assert licences.is_allowed(licence) is allowed


def test_the_page_names_every_package_that_is_asked_for_directly() -> None:
    text = (DOCS / "reference" / "licences.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([^`]+)` \| \S+ \| (.+) \|$", text, re.MULTILINE)
    assert direct() <= {name for name, _ in rows}
    assert all(licences.is_allowed(licence) for _, licence in rows)
    assert text.startswith(licences.INTRODUCTION)
