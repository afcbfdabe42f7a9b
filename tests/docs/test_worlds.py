"""The tables of the worlds whose training is known say what the records say."""

from __future__ import annotations

import json

import pytest

from tests.docs.texts import DOCS, ROOT

PAGE = DOCS / "explanation" / "how-do-we-know.md"
WORLDS = ("emoji-c", "emoji-d")
ALONE = ("concept_auroc", "concept_rho", "within_language_quality_rho")
LANGUAGES = ("readability_rho", "language_rho", "auroc_starved", "region_rho", "tone_rho", "aurc")
NAMES = {
    "`unfamiliarity`": "unfamiliarity",
    "`translation_disagreement`, which is given the translations": "translation_disagreement",
    "the same state after the last norm": "normed_length",
    "four ways to write the prompt": "rewritten",
    "length of token embeddings": "token_length",
    "what the prompt does in the mid-block": "prompt_effect",
    "feature power, low is unsure": "feature_power",
    "`relative_disagreement`": "relative_disagreement",
    "`disagreement`, as published": "disagreement",
    "number of tokens": "token_count",
}


def told() -> dict[str, list[str]]:
    """The cells of the page's tables by the first of their row."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return {cells[0]: cells[1:] for cells in rows}


def recorded(world: str, score: str, figure: str, *, whole: bool) -> str:
    record = json.loads((ROOT / "reports" / "verification" / f"{world}.json").read_text(encoding="utf-8"))
    (row,) = [row for row in record["scores"] if row["name"] == score]
    value, low, high = (f"{row[figure + end]:.2f}".replace("-0.00", "0.00") for end in ("", "_low", "_high"))
    return f"{value} ({low} to {high})" if whole else value


@pytest.mark.parametrize("name", NAMES)
def test_the_table_of_one_language_is_the_record(name: str) -> None:
    whole = name.startswith(("`unfamiliarity", "`translation"))
    expected = [recorded(world, NAMES[name], figure, whole=whole) for figure in ALONE for world in WORLDS]
    assert told()[name] == expected


@pytest.mark.parametrize("world", WORLDS)
def test_the_table_of_languages_is_the_record(world: str) -> None:
    score = "translation_disagreement"
    assert told()[f"on `{world}`"] == [recorded(world, score, figure, whole=True) for figure in LANGUAGES]
