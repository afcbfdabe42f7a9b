"""The page of a comparison: its numbers, its chart, its pairs of images, and texts that stay texts."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from emoe_audit.decisions.comparison import ComparedRun, Comparison, GroupChange, ImagePair, Outcome
from emoe_audit.errors import AuditError
from emoe_audit.report.comparison import changes_figure, comparison_page, comparison_text, write_comparison
from tests.illustrated import HOSTILE

COMMAND = "emoe-audit compare a b"


def change(group: str, difference: float, verdict: Outcome) -> GroupChange:
    tested = verdict != "not tested"
    numbers = {"p": 0.01234, "p_bh": 0.0321, "p_by": 0.0765, "low": difference - 0.05, "high": difference + 0.07}
    numbers = {name: value if tested else math.nan for name, value in numbers.items()}
    return GroupChange(group=group, n_prompts=1234, n_sources=56, difference=difference, verdict=verdict, **numbers)


def comparison(folder: Path, changes: list[GroupChange], **values: Any) -> Comparison:
    runs = {name: ComparedRun(path=folder / name, ensemble=f"ensemble-{name}") for name in ("a", "b")}
    given = {"score": "relative_disagreement", "by": "language", "n_prompts": 9, "n_only_a": 1, "n_only_b": 2}
    return Comparison(**{**runs, **given, "fdr": 0.1, "groups": tuple(changes), **values})


CHANGES = [
    change("fi", 0.25, "rose"),
    change("hi", 0.0, "no clear change"),
    change("eo", -0.1, "not tested"),
    change("sw", -0.3, "fell"),
]


def pair(prompt: str, image: str) -> ImagePair:
    return ImagePair(prompt=prompt, language="fi", group="fi", rank_a=0.125, rank_b=0.875, image_a=image, image_b=image)


def draw(folder: Path, name: str) -> None:
    for run, colour in (("a", "red"), ("b", "blue")):
        (folder / run).mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), colour).save(folder / run / name)


def without_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.S)


class Tags(HTMLParser):
    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_table_holds_every_group_with_its_numbers(tmp_path: Path) -> None:
    page = without_scripts(comparison_page(comparison(tmp_path, CHANGES), COMMAND))
    found = re.findall(r'<tr data-group="(\w+)">(.*?)</tr>', page, re.S)
    assert [group for group, _ in found] == [change.group for change in CHANGES]
    for (_, cells), expected in zip(found, CHANGES, strict=True):
        numbers = [expected.difference, expected.low, expected.high, expected.p, expected.p_bh, expected.p_by]
        values = [float(value) for value in re.findall(r'<data value="([^"]+)">', cells)]
        assert values == [number for number in numbers if not math.isnan(number)]
        assert expected.verdict in cells and "1,234" in cells
    assert "Not tested, fewer than 8 captions: <bdi>Esperanto</bdi>." in page
    assert "3 tests, one a group, at a false discovery rate of 0.1" in page
    assert "There is no prompt of which both runs hold an image." in page
    assert re.findall(r"<dd>(\d)</dd>", page) == ["1", "1", "1", "1"]


@pytest.mark.parametrize("narrow", [False, True])
def test_the_chart_draws_the_tested_groups_in_their_order(tmp_path: Path, narrow: bool) -> None:
    figure = changes_figure(comparison(tmp_path, CHANGES), narrow=narrow)
    assert ["Finnish" in figure["layout"]["yaxis"]["ticktext"][0], len(figure["layout"]["yaxis"]["ticktext"])] == [
        True,
        3,
    ]
    drawn = {trace["name"]: (trace["x"], trace["y"]) for trace in figure["data"]}
    assert {name: (list(x), list(y)) for name, (x, y) in drawn.items()} == {
        "rose": ([0.25], [0]),
        "fell": ([-0.3], [2]),
        "no clear change": ([0.0], [1]),
    }
    (error,) = [trace["error_x"] for trace in figure["data"] if trace["name"] == "rose"]
    assert [*error["arrayminus"], *error["array"]] == pytest.approx([0.05, 0.07])


def test_of_many_groups_both_ends_are_drawn_and_all_are_listed(tmp_path: Path) -> None:
    changes = [change(f"g{place:02d}", 0.5 - place / 50, "no clear change") for place in range(50)]
    page = comparison_page(comparison(tmp_path, changes, by="style"), COMMAND)
    block = re.search(r'id="figures">(.*?)</script>', page, re.S)
    assert block is not None
    (trace,) = [t for t in json.loads(block.group(1))["changes"]["wide"]["data"] if t["name"] == "no clear change"]
    assert trace["x"] == pytest.approx([c.difference for c in [*changes[:20], *changes[-20:]]])
    assert "The 40 of 50 groups at both ends" in page
    assert page.count("<tr data-group=") == 50


def test_pairs_stand_side_by_side_and_one_that_cannot_be_read_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    draw(tmp_path, "one.png")
    (tmp_path / "a" / "two.png").write_bytes((tmp_path / "a" / "one.png").read_bytes())
    pairs = (pair("a dog", "one.png"), pair("a cat", "two.png"), pair("a fish", "../../outside.png"))
    page = without_scripts(comparison_page(comparison(tmp_path, CHANGES, pairs=pairs), COMMAND))
    sources = [attrs["src"] for tag, attrs in Tags(page).tags if tag == "img"]
    assert len(sources) == len(set(sources)) == 2
    assert all((source or "").startswith("data:image/webp;base64,") for source in sources)
    assert "a dog" in page and "a cat" not in page and "a fish" not in page
    assert re.findall(r"([AB]), rank <data value=\"([\d.]+)\">", page) == [("A", "0.125"), ("B", "0.875")]
    assert "two.png of run b is left out" in caplog.text


def test_hostile_texts_stay_texts_and_nothing_comes_from_the_network(tmp_path: Path) -> None:
    draw(tmp_path, "one.png")
    hostile = [change(text, 0.1, "not tested" if place % 2 else "rose") for place, text in enumerate(HOSTILE)]
    pairs = tuple(dataclasses.replace(pair(text, "one.png"), group=text, language=text) for text in HOSTILE)
    plain = comparison_page(comparison(tmp_path, CHANGES, pairs=(pair("a dog", "one.png"),)), COMMAND)
    found = comparison(tmp_path, hostile, pairs=pairs, by=HOSTILE[1])
    found = dataclasses.replace(found, a=ComparedRun(path=tmp_path / "a", ensemble=HOSTILE[0]))
    page = comparison_page(found, HOSTILE[0])
    block = re.search(r'id="figures">(.*?)</script>', page, re.S)
    assert block is not None and not set("<>&") & set(block.group(1))
    expected, parsed = Tags(without_scripts(plain)), Tags(without_scripts(page))
    assert {tag for tag, _ in parsed.tags} <= {tag for tag, _ in expected.tags}
    for _, attributes in parsed.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert "href" not in attributes and (attributes.get("src") or "data:").startswith("data:")
    assert HOSTILE[0] in parsed.text and "{{ 7 * 7 }}" in parsed.text
    assert "default-src &#39;none&#39;" in page


def test_text_is_aligned_and_control_characters_do_not_reach_the_terminal(tmp_path: Path) -> None:
    found = comparison(tmp_path, [*CHANGES, change("red \x1b[31m\nline", -0.4, "fell")])
    text = comparison_text(found)
    table = text.split("\n\n")[1].splitlines()
    assert len(table) == 6 and "\x1b" not in text
    assert len({re.search(r"(rose|fell|no clear|not tested|verdict)", line).start() for line in table}) == 1  # type: ignore[union-attr]
    assert re.split(r"  +", table[1]) == [
        *("fi", "1234", "56", "+0.250", "+0.200 to +0.320", "0.0123", "0.0321", "0.0765", "rose"),
    ]
    assert re.split(r"  +", table[3])[4:] == ["–", "–", "–", "–", "not tested"]


def test_json_is_strict_and_undefined_is_null(tmp_path: Path) -> None:
    stored = json.loads(json.dumps(comparison(tmp_path, CHANGES).to_json(), allow_nan=False))
    assert (stored["n_tests"], stored["n_only_a"], stored["n_only_b"], stored["fdr"]) == (3, 1, 2, 0.1)
    lone = stored["groups"][2]
    assert [lone[name] for name in ("low", "high", "p", "p_bh", "p_by")] == [None] * 5
    assert (lone["difference"], lone["verdict"]) == (-0.1, "not tested")


def test_a_page_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditError, match=r"page.html: cannot be written: .*; make room, or write elsewhere"):
        write_comparison(comparison(tmp_path, CHANGES), tmp_path / "file" / "page.html", COMMAND)
