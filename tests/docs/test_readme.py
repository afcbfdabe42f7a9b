"""The README is short, and what its table says of the scores is what was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emoe_audit.decisions.rungs import LADDER
from tests.docs.texts import DOCS, README, ROOT

OTHER = "on `emoji-a`: "
NAMES = {
    "`translation_disagreement`": "translation_disagreement",
    "`relative_disagreement`": "relative_disagreement",
    "`disagreement`, as published": "disagreement",
    "feature power, low is unsure": "feature_power",
    "one expert under several noises": "noise_variance",
    "entropy of the gates": "router_entropy",
    "token count": "token_count",
}


def test_it_has_at_most_180_lines() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 180


@pytest.mark.parametrize("page", [README, DOCS / "explanation" / "validity.md"], ids=lambda path: path.stem)
def test_the_table_of_truth_is_the_record(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").replace("**", "").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    said = {cells[0]: cells[1:] for cells in rows if cells[0].removeprefix(OTHER) in NAMES and len(cells) > 2}
    assert len(said) == len(NAMES) + 2
    for name, cells in said.items():
        ensemble = "emoji-a" if name.startswith(OTHER) else "emoji-b"
        assert cells == recorded(ensemble, NAMES[name.removeprefix(OTHER)])


def test_the_words_of_a_verdict_are_those_of_the_code() -> None:
    lines = README.read_text(encoding="utf-8").splitlines()
    start = lines.index("| the word | what to do |") + 2
    told = [tuple(cell.strip() for cell in line.split("|")[1:-1]) for line in lines[start : start + len(LADDER)]]
    assert told == [(own.word, own.sentence.partition(":")[0]) for own in LADDER.values()]


def recorded(ensemble: str, score: str) -> list[str]:
    """The cells of a row, from the record of `ensemble verify`."""
    record = json.loads((ROOT / "reports" / "verification" / f"{ensemble}.json").read_text(encoding="utf-8"))
    (row,) = [row for row in record["scores"] if row["name"] == score]
    rho, low, high = (number(row[key]) for key in ("language_rho", "language_rho_low", "language_rho_high"))
    partial = "" if score == "token_count" else number(row["language_partial_rho"])
    names = ("readability_rho", "region_rho", "tone_rho", "auroc_starved", "aurc", "language_quality_r")
    figures = [row[name] for name in names]
    return [f"{rho} ({low} to {high})", partial, *map(number, figures), " ".join(map(number, row["quality_quartiles"]))]


def number(value: float) -> str:
    """With two digits, nothing being neither above nor below 0."""
    return f"{value:.2f}".replace("-0.00", "0.00")
