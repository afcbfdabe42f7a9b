"""The bench's page: the numbers of the table, nothing from the network, names that stay names."""

from __future__ import annotations

import dataclasses
import html
import json
import re
from pathlib import Path

import numpy as np
import pytest

from emoe_audit.analysis.intervals import Interval
from emoe_audit.ground.page import write_page
from emoe_audit.ground.table import Verification, tabulate
from tests.ground.known_ground import COVERAGE, following_score, known_ground, with_concepts

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def found() -> Verification:
    ground = known_ground()
    scores = {"relative_disagreement": following_score(ground), "token_count": ground.tokens}
    return tabulate(
        "known",
        ground,
        scores,
        {"relative_disagreement": 1.5, "token_count": 0.0},
        default_score="relative_disagreement",
        signs={"relative_disagreement": "unclear"},
        n_boot=20,
    )


def page_of(found: Verification, folder: Path, command: str = "emoe-audit ensemble verify known") -> str:
    return write_page(found, folder, command).read_text(encoding="utf-8")


def test_every_score_stands_on_the_page_with_its_figures(found: Verification, tmp_path: Path) -> None:
    page = page_of(found, tmp_path)
    for row in found.scores:
        (cells,) = re.findall(rf'<tr data-score="{row.name}">(.*?)</tr>', page, re.S)
        values = [float(value) for value in re.findall(r'<data value="([^"]+)">', cells)]
        assert values[:3] == [getattr(row.figures["language_rho"], part) for part in ("value", "low", "high")]
        assert values[-1] == row.gflop


def test_without_images_the_page_stands_and_its_differences_are_blank(tmp_path: Path) -> None:
    ground = known_ground()
    nothing = np.full(ground.quality.shape, np.nan)
    bare = dataclasses.replace(ground, quality=nothing, failed=nothing)
    scores = {"relative_disagreement": following_score(ground), "token_count": ground.tokens}
    costs = dict.fromkeys(scores, 0.0)
    found = tabulate("known", bare, scores, costs, default_score="relative_disagreement", signs={}, n_boot=5)
    assert "aurc" not in found.headings
    assert page_of(found, tmp_path).count('<td class="name">AURC</td>') == 1, "of the difference alone"


def test_figures_of_concepts_stand_where_some_are_planted(tmp_path: Path) -> None:
    for ground, n_columns in ((known_ground(), 13), (with_concepts(known_ground()), 15)):
        scores = {"relative_disagreement": following_score(ground)}
        found = tabulate(
            "known",
            ground,
            scores,
            {"relative_disagreement": 1.5},
            default_score="relative_disagreement",
            signs={},
            n_boot=5,
        )
        assert len(found.headings) == n_columns
        assert (
            ("AUROC concepts" in page_of(found, tmp_path)) == ("AUROC concepts" in found.to_text()) == (n_columns == 15)
        )


def test_signs_by_the_check_and_by_coverage_stand_side_by_side(found: Verification, tmp_path: Path) -> None:
    """The score that follows coverage surely separates starved languages, random token counts do not."""
    page = page_of(found, tmp_path)
    signs = {}
    for row in found.scores:
        (cells,) = re.findall(rf'<tr data-score="{row.name}">(.*?)</tr>', page, re.S)
        signs[row.name] = re.findall(r"<td>([^<]*)</td>", cells)[-2:]
    assert signs == {"relative_disagreement": ["unclear", "holds"], "token_count": ["–", "unclear"]}


@pytest.mark.parametrize(("low", "high", "sign"), [(0.6, 0.9, "holds"), (0.4, 0.9, "unclear"), (0.1, 0.4, "turned")])
def test_the_sign_by_coverage_needs_a_whole_interval_on_one_side(
    found: Verification, low: float, high: float, sign: str
) -> None:
    row = found.scores[0]
    starved = Interval(value=(low + high) / 2, low=low, high=high)
    assert dataclasses.replace(row, figures={**row.figures, "auroc_starved": starved}).sign_by_coverage == sign


def test_the_default_score_is_what_the_others_are_compared_with(found: Verification) -> None:
    compared = [(difference.against, difference.figure) for difference in found.differences]
    assert compared == [("token_count", "auroc_starved"), ("token_count", "aurc")]
    ground = known_ground()
    expected = following_score(ground)[:, ground.plain].mean(axis=1)
    assert [point.score for point in found.languages] == pytest.approx(expected.tolist())


def test_the_chart_shows_every_language_where_it_belongs(found: Verification, tmp_path: Path) -> None:
    block = re.search(r'id="figures">(.*?)</script>', page_of(found, tmp_path), re.S)
    assert block is not None
    traces = json.loads(block.group(1))["languages"]["wide"]["data"]
    seen = next(trace for trace in traces if trace["name"] == "seen in training")
    assert seen["x"] == list(COVERAGE[COVERAGE > 0])
    assert np.all(np.diff(seen["y"]) > 0), "the score rises as coverage falls"
    never = next(trace for trace in traces if trace["name"].startswith("never"))
    assert 0 < never["x"][0] < min(seen["x"])


def test_the_page_opens_offline_and_hostile_texts_stay_texts(found: Verification, tmp_path: Path) -> None:
    page = page_of(dataclasses.replace(found, ensemble=HOSTILE), tmp_path, command=HOSTILE)
    assert HOSTILE not in page
    assert "default-src 'none'" in html.unescape(page)
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert not re.search(r'(?:src|href)="(?!#|data:)', markup)
