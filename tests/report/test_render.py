from __future__ import annotations

import base64
import errno
import hashlib
import json
import math
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from emoe_audit.errors import AuditError
from emoe_audit.report import ReportData, collect, render_html, write_report
from emoe_audit.report.labels import decimals, number
from emoe_audit.report.render import SECTIONS, sections_of, table_measures
from emoe_audit.runs.store import RunStore
from tests.illustrated import HOSTILE, illustrated_frame, known_coverage
from tests.synthetic import synthetic_plan, synthetic_run

WITH_INTERVAL = ("relative_disagreement", "disagreement", "clip_cosine_source")
VOID = {"meta", "img", "br", "line", "ellipse"}
Attributes = dict[str, str | None]


class Page(HTMLParser):
    """A page as a list of elements: tag, attributes, own text; each knows its ancestors."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[dict[str, Any]] = []
        self._open: list[dict[str, Any]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = {"tag": tag, "attrs": dict(attrs), "text": "", "inside": list(self._open)}
        self.elements.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open[-1]["tag"] == tag, f"<{self._open[-1]['tag']}> is closed by </{tag}>"
            self._open.pop()

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element["text"] += data

    def all(self, tag: str) -> list[dict[str, Any]]:
        return [e for e in self.elements if e["tag"] == tag]

    def within(self, ancestor: dict[str, Any], tag: str) -> list[dict[str, Any]]:
        return [e for e in self.all(tag) if any(a is ancestor for a in e["inside"])]


@pytest.fixture(scope="module")
def parsed(page: str) -> Page:
    return Page(page)


@pytest.fixture(scope="module")
def hostile_page(hostile_run: RunStore) -> str:
    return render_html(collect(hostile_run))


def table_of(page: Page, **data: str) -> dict[str, Any]:
    wanted = {f"data-{name}": value for name, value in data.items()}
    return next(t for t in page.all("table") if wanted.items() <= t["attrs"].items())


@pytest.mark.slow
def test_numbers_of_the_groups_table_are_those_of_plain_pandas(parsed: Page) -> None:
    expected = illustrated_frame().groupby("language")[list(WITH_INTERVAL)].mean()
    table = table_of(parsed, table="groups", by="language")
    rows = [r for r in parsed.within(table, "tr") if "data-group" in r["attrs"]]
    assert len(rows) == len(expected)
    for row in rows:
        for measure in expected.columns:
            cell = next(c for c in parsed.within(row, "td") if c["attrs"].get("data-measure") == measure)
            shown = parsed.within(cell, "data")[0]
            value = expected.loc[row["attrs"]["data-group"], measure]
            assert float(shown["attrs"]["value"]) == pytest.approx(value)
            assert shown["text"] == number(value, decimals(list(expected[measure])))


def test_page_and_json_hold_the_same_groups_quartiles_and_correlations(parsed: Page, run: RunStore) -> None:
    stored = json.loads(write_report(run).with_suffix(".json").read_text(encoding="utf-8"))
    assert numbers_of_groups(parsed) == {
        (t["by"], r["group"], m): (e["mean"], e["low"], e["high"])
        for t in stored["groups"] for r in t["rows"] for m, e in r["estimates"].items()
        if m in WITH_INTERVAL and e["mean"] is not None
    }  # fmt: skip
    quartiles = table_of(parsed, table="quartiles")
    cells = [c for c in parsed.within(quartiles, "td") if "data-quartile" in c["attrs"]]
    means = [float(parsed.within(cell, "data")[0]["attrs"]["value"]) for cell in cells]
    assert means == [q["quality"]["mean"] for t in stored["quartiles"] for q in t["quartiles"]]
    rows = [r for r in parsed.within(table_of(parsed, table="correlations"), "tr") if "data-x" in r["attrs"]]
    rhos = {
        tuple(r["attrs"][f"data-{k}"] for k in ("x", "y", "level", "given")): [
            float(d["attrs"]["value"]) for d in parsed.within(r, "data")
        ]
        for r in rows
    }
    assert rhos == {
        (c["x"], c["y"], c["level"], c["given"] or ""): [c["n"], c["rho"], c["low"], c["high"]]
        for c in stored["correlations"]
    }


def numbers_of_groups(page: Page) -> dict[tuple[str, str, str], tuple[float, ...]]:
    found = {}
    for table in (t for t in page.all("table") if t["attrs"].get("data-table") == "groups"):
        for row in (r for r in page.within(table, "tr") if "data-group" in r["attrs"]):
            for cell in (c for c in page.within(row, "td") if c["attrs"].get("data-measure") in WITH_INTERVAL):
                values = tuple(float(d["attrs"]["value"]) for d in page.within(cell, "data"))
                if values:
                    found[(table["attrs"]["data-by"], row["attrs"]["data-group"], cell["attrs"]["data-measure"])] = (
                        values
                    )
    return found


def test_groups_stand_worst_first_with_their_rank_by_the_plain_score(parsed: Page) -> None:
    means = illustrated_frame().groupby("language")[["relative_disagreement", "disagreement"]].mean()
    rows = [
        r for r in parsed.within(table_of(parsed, table="groups", by="language"), "tr") if "data-group" in r["attrs"]
    ]
    assert [r["attrs"]["data-group"] for r in rows] == list(means.sort_values("relative_disagreement").index[::-1])
    plain = means["disagreement"].rank(ascending=False).astype(int)
    for row in rows:
        assert parsed.within(row, "td")[-1]["text"] == str(plain[row["attrs"]["data-group"]])


@pytest.mark.parametrize(
    ("ranking", "scores"),
    [
        ("translation_disagreement", ("translation_disagreement", "disagreement", "relative_disagreement")),
        ("relative_disagreement", ("relative_disagreement", "disagreement")),
        ("disagreement", ("disagreement", "relative_disagreement")),
    ],
)
def test_the_score_that_ranks_is_the_first_column_of_a_table(ranking: str, scores: tuple[str, ...]) -> None:
    assert table_measures(ranking, "clip_cosine") == (*scores, "clip_cosine", "training_coverage", "n_tokens")


@pytest.mark.slow
def test_known_training_coverage_stands_next_to_the_scores(own_run: RunStore) -> None:
    known = known_coverage().set_index("group")["coverage"]
    groups = own_run.query("SELECT * FROM groups")
    rows = groups[(groups["by"] == "language") & (groups["measure"] == "n_tokens")].copy()
    rows["measure"], rows["mean"] = "training_coverage", rows["group"].map(known)
    rows[["low", "high", "gap", "gap_low", "gap_high"]] = float("nan")
    own_run.write_analysis("groups", pd.concat([groups, rows]))
    page = Page(render_html(collect(own_run)))
    table = table_of(page, table="groups", by="language")
    shown = {
        row["attrs"]["data-group"]: float(page.within(cell, "data")[0]["attrs"]["value"])
        for row in page.within(table, "tr")
        for cell in page.within(row, "td")
        if cell["attrs"].get("data-measure") == "training_coverage"
    }
    assert shown == pytest.approx(known.to_dict())


def test_every_section_is_there_under_its_heading(parsed: Page, report: ReportData) -> None:
    anchors = [anchor for anchor, _ in sections_of(report)]
    assert [s["attrs"]["id"] for s in parsed.all("section")] == anchors
    assert {h["attrs"].get("id") for h in parsed.all("h2")} == {f"{anchor}-title" for anchor in anchors}
    assert {anchor for anchor, _ in SECTIONS} - {*anchors} == {"agreement", "judge"}, "this run says nothing of these"


def test_the_verdict_the_command_and_the_hashes_are_on_the_page(parsed: Page, report: ReportData) -> None:
    text = " ".join(e["text"] for e in parsed.all("main"))
    for said in (report.verdict.where, report.verdict.quality, report.verdict.trust, report.manifest.command):
        assert said in text
    assert [e["text"] for e in parsed.all("p") if "status" in e["attrs"].get("class", "")] == [report.standing.word]
    assert report.manifest.ensemble_hash in text and report.manifest.prompts_hash in text
    for limit in report.limits:
        assert limit in text


def test_nothing_on_the_page_points_outside_of_it(parsed: Page) -> None:
    assert not {e["tag"] for e in parsed.elements} & {"link", "iframe", "object", "embed", "base", "form", "video"}
    for element in parsed.elements:
        for name in ("src", "href", "action", "srcset", "data", "poster", "background"):
            target = element["attrs"].get(name)
            assert target is None or target.startswith(("data:image/webp;base64,", "#")), (element["tag"], target)
    styles = "".join(e["text"] for e in parsed.all("style"))
    assert "url(" not in styles and "@import" not in styles


def test_only_the_scripts_of_the_page_may_run_and_nothing_may_be_fetched(parsed: Page) -> None:
    policy = next(e for e in parsed.all("meta") if e["attrs"].get("http-equiv") == "Content-Security-Policy")
    rules = policy["attrs"]["content"]
    assert "default-src 'none'" in rules and "img-src data:" in rules
    assert "connect-src" not in rules and "'unsafe-eval'" not in rules
    scripts = [s["text"] for s in parsed.all("script") if s["attrs"].get("type") != "application/json"]
    hashes = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert re.search(r"script-src ([^;]+)", rules).group(1).split() == [f"'sha256-{h}'" for h in hashes]  # type: ignore[union-attr]


def test_plotly_is_inlined_once_with_its_licence(page: str) -> None:
    assert page.count("plotly.js (basic - minified)") == 1
    assert "Licensed under the MIT license" in page


def test_every_chart_on_the_page_finds_its_figure(parsed: Page) -> None:
    figures = json.loads(next(s for s in parsed.all("script") if s["attrs"].get("id") == "figures")["text"])
    places = [e["attrs"]["data-figure"] for e in parsed.elements if "data-figure" in e["attrs"]]
    assert sorted(places) == sorted(figures)
    assert {"groups-0", "groups-1", "gaps-0", "quality"} <= set(figures)
    assert all(set(forms) == {"wide", "narrow"} for forms in figures.values())


@pytest.mark.slow
def test_hostile_texts_stay_texts(hostile_page: str, parsed: Page) -> None:
    page = Page(hostile_page)
    assert len(page.all("script")) == len(parsed.all("script"))
    assert {e["tag"] for e in page.elements} <= {e["tag"] for e in parsed.elements}
    for element in page.elements:
        assert not any(name.startswith("on") for name in element["attrs"])
        assert (element["attrs"].get("src") or "data:image/").startswith("data:image/")
    text = " ".join(e["text"] for e in page.all("body"))
    assert HOSTILE[0] in text and "{{ 7 * 7 }}" in text


def test_data_blocks_hold_no_markup_that_could_end_them(hostile_page: str) -> None:
    block = re.search(r'<script type="application/json" id="figures">(.*?)</script>', hostile_page, re.S)
    assert block is not None
    assert not set("<>&\u2028\u2029") & set(block.group(1))
    json.loads(block.group(1))


def test_prompts_choose_their_own_direction_and_names_are_isolated(hostile_page: str) -> None:
    page = Page(hostile_page)
    prompts = [e for e in page.all("span") if e["attrs"].get("class") == "prompt"]
    assert prompts and all(e["attrs"].get("dir") == "auto" for e in prompts)
    names = [
        e for e in page.all("th") if "name" in (e["attrs"].get("class") or "") and e["attrs"].get("scope") == "row"
    ]
    rows = [e for e in names if any("data-group" in a["attrs"] for a in e["inside"])]
    assert rows and all(page.within(e, "bdi") for e in rows)


def test_report_json_is_strict_json_without_images(run: RunStore) -> None:
    text = write_report(run).with_suffix(".json").read_text(encoding="utf-8")

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    stored = json.loads(text, parse_constant=refuse)
    assert "data_uri" not in text
    assert stored["gallery"]["rows"][0]["cells"][0]["image"].startswith("images/")
    assert stored["standing"]["rung"] == "coverage"


def test_an_unfinished_run_says_so(tmp_path: Path) -> None:
    data = collect(synthetic_run(tmp_path / "half", 200, n_boot=10))
    page = Page(render_html(data))
    assert any(e["text"] == "unfinished" for e in page.all("strong"))
    assert data.limits[0].startswith("The run is unfinished")


def test_a_run_from_python_has_no_command_to_show(tmp_path: Path, run: RunStore) -> None:
    from dataclasses import replace

    data = replace(collect(run), manifest=synthetic_plan(command=""))
    assert "started from Python" in render_html(data)


def test_a_report_that_cannot_be_written_leaves_the_old_one(own_run: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    before = write_report(own_run).read_text(encoding="utf-8")

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(AuditError, match=r"report\.json: cannot be written: No space left on device; make room"):
        write_report(own_run)
    assert (own_run.path / "report.html").read_text(encoding="utf-8") == before


def test_the_report_hardly_grows_with_the_prompts(tmp_path: Path) -> None:
    few, many = (write_report(synthetic_run(tmp_path / str(n), n, n_boot=10)) for n in (1000, 8000))
    for suffix in (".html", ".json"):
        assert many.with_suffix(suffix).stat().st_size < 1.1 * few.with_suffix(suffix).stat().st_size
    assert json.loads(many.with_suffix(".json").read_text(encoding="utf-8"))["scope"]["n_prompts"] == 8000


def test_the_means_in_json_are_those_of_the_parquet_files(run: RunStore) -> None:
    stored = json.loads(write_report(run).with_suffix(".json").read_text(encoding="utf-8"))
    parquet = pd.read_parquet(run.path / "analysis" / "groups.parquet")
    for table in stored["groups"]:
        for row in table["rows"]:
            part = parquet[(parquet["by"] == table["by"]) & (parquet["group"] == row["group"])]
            means = part.set_index("measure")["mean"].to_dict()
            shown = {m: math.nan if e["mean"] is None else e["mean"] for m, e in row["estimates"].items()}
            assert shown == pytest.approx(means, nan_ok=True)
