"""The prompt sets that ship are whole, and the README beside them says where each comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from emoe_audit.prompts.read import read_prompts
from emoe_audit.prompts.shipped import shipped_captions, shipped_prompts
from emoe_audit.recipes.world import LANGUAGES

SETS = sorted(shipped_prompts().glob("*.csv"))


@pytest.mark.parametrize("path", SETS, ids=lambda path: path.stem)
def test_every_row_of_a_set_is_good_and_its_source_is_named(path: Path) -> None:
    assert read_prompts(path).row_errors == ()
    assert f"`{path.name}`" in (path.parent / "README.md").read_text(encoding="utf-8")


def test_the_captions_name_every_thing_in_every_language() -> None:
    captions = shipped_captions()
    assert set(captions.columns) == set(LANGUAGES)
    assert captions.notna().all(axis=None) and len(captions) == 100
