"""The versions at both ends: the lowest that pyproject.toml allows, and the tested ones in constraints.txt."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.oldest import PYPROJECT, lowest, requirements


def test_the_lowest_version_of_each_package_is_said_once() -> None:
    assert list(lowest(["numpy>=2.0", "torch>=2.4", "scipy>=1.13,<2", "numpy>=2.0"])) == ["numpy==2.0", "scipy==1.13"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["numpy"], "'numpy' has no lower bound"),
        (["numpy<3"], "'numpy<3' has no lower bound"),
        (["numpy>=2.0", "numpy>=2.1"], "numpy has two lower bounds: 2.0 and 2.1"),
    ],
)
def test_a_package_without_one_lowest_version_is_named(asked: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        list(lowest(asked))


def test_every_package_that_is_asked_for_has_a_tested_version_within_its_range() -> None:
    lines = (PYPROJECT.parent / "constraints.txt").read_text(encoding="utf-8").splitlines()[1:]
    tested = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    assert all(tested.values()), "constraints.txt holds name==version and nothing else"
    asked = [
        Requirement(text) for text in requirements(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"])
    ]
    assert len(asked) > 30
    assert [str(one) for one in asked if not one.specifier.contains(tested.get(canonicalize_name(one.name), "0"))] == []
