from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from emoe_audit.report import ReportData, collect
from emoe_audit.report.labels import clip_text, decimals, number
from emoe_audit.report.model_card import EACH_END, WORD_JOINER, escape, fenced, model_card, write_model_card
from emoe_audit.runs.store import RunStore
from tests.illustrated import HOSTILE, illustrated_frame

HOSTILE_MARKDOWN = (
    *HOSTILE,
    "[win](https://attacker.example)",
    "![x](https://attacker.example/x.png)",
    "<https://attacker.example>",
    "https://attacker.example www.attacker.example me@attacker.example @everyone",
    "a | b | c",
    "`code` ``more`` ```",
    "**bold** __bold__ *i* _i_ ~~gone~~ $x$",
    "# heading #",
    "- item",
    "1. item",
    "---",
    "===",
    "    indented",
    "[x]: https://attacker.example",
    "&lt;script&gt; &#42; \\* \\",
    "line\n\n## Heading\n\n| a |\n| - |",
)
LINES = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda text: clip_text(text, 1000))
MARKUP = st.text(st.sampled_from("\\`*_[]()<>&|~#$!-+=.1:@/wa; \n\"'{}^"), min_size=1).filter(str.strip)


def parse(markdown: str) -> list[Token]:
    """By CommonMark with tables and struck-through text, HTML and links included."""
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)


def body(card: str) -> str:
    return card.split("\n---\n", 1)[1]


def as_the_hub_reads(card: str) -> Any:
    """The metadata in front."""
    return ModelCard(card).data


def shown(inline: Token) -> str:
    return "".join(child.content for child in inline.children or []).replace(WORD_JOINER, "")


def kinds(tokens: list[Token]) -> set[str]:
    return {token.type for token in tokens} | {child.type for token in tokens for child in token.children or []}


def inside(tokens: list[Token], opening: str) -> list[str]:
    """The texts right inside of elements of one kind."""
    pairs = itertools.pairwise(tokens)
    return [shown(content) for start, content in pairs if start.type == opening and content.type == "inline"]


def table_rows(tokens: list[Token], place: int) -> list[list[str]]:
    """The cells of the body of one table."""
    starts = [i for i, token in enumerate(tokens) if token.type == "tbody_open"]
    ends = [i for i, token in enumerate(tokens) if token.type == "tbody_close"]
    rows: list[list[str]] = []
    for token in tokens[starts[place] : ends[place]]:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(shown(token))
    return rows


def spoiled(data: ReportData, text: str) -> ReportData:
    """The same report with this text wherever a text can come from outside."""
    manifest, verdict = data.manifest, data.verdict
    return replace(
        data,
        manifest=replace(
            manifest,
            ensemble=replace(manifest.ensemble, name=text),
            prompts_source=text,
            command=text,
            versions={text: text},
        ),
        verdict=replace(verdict, where=text, quality=text, validity=text, trust=text),
        groups=tuple(
            replace(table, title=text, by=text, rows=tuple(replace(row, group=text, label=text) for row in table.rows))
            for table in data.groups
        ),
        limits=(text,) * len(data.limits),
    )


@pytest.fixture(scope="module")
def card(report: ReportData) -> str:
    return model_card(report)


@pytest.fixture(scope="module")
def tokens(card: str) -> list[Token]:
    return parse(body(card))


def test_the_section_has_the_headings_of_the_hubs_cards(tokens: list[Token]) -> None:
    assert inside(tokens, "heading_open") == [
        "Bias, Risks, and Limitations",
        "Recommendations",
        "By language",
        "By region",
        "Limits of this audit",
        "How to do it again",
    ]


def test_the_table_of_languages_holds_the_means_of_plain_pandas_worst_first(tokens: list[Token]) -> None:
    measures = ["relative_disagreement", "disagreement", "clip_cosine_source"]
    means = illustrated_frame().groupby("language")[measures].mean().sort_values(measures[0], ascending=False)
    rows = table_rows(tokens, 0)
    assert [row[0] for row in rows] == [str(rank) for rank in range(1, len(means) + 1)]
    for place, measure in enumerate(measures):
        expected = [number(mean, decimals(list(means[measure]))) for mean in means[measure]]
        assert [row[3 + place].split(" (")[0] for row in rows] == expected


def test_a_mean_stands_with_its_interval_and_its_side(tokens: list[Token], report: ReportData) -> None:
    worst, best = report.groups[0].rows[0], report.groups[0].rows[-1]
    rows = table_rows(tokens, 0)
    assert (rows[0][1], rows[0][-1]) == (worst.label, "clearly more unsure")
    assert (rows[-1][1], rows[-1][-1]) == (best.label, "clearly surer")
    low, high = rows[0][3].removesuffix(")").split(" (")[1].split(" to ")
    stored = worst.estimates["relative_disagreement"]
    assert (float(low), float(high)) == pytest.approx((stored.low, stored.high), abs=5e-4)


def test_of_many_groups_both_ends_are_shown_with_their_ranks(report: ReportData) -> None:
    table = report.groups[0]
    many = replace(table, rows=tuple(replace(row, label=f"{n}{row.label}") for n in range(3) for row in table.rows))
    rows = table_rows(parse(body(model_card(replace(report, groups=(many,))))), 0)
    n = len(many.rows)
    assert [int(row[0]) for row in rows] == [*range(1, EACH_END + 1), *range(n - EACH_END + 1, n + 1)]
    assert [row[1] for row in rows] == [row.label for row in (*many.rows[:EACH_END], *many.rows[-EACH_END:])]


def test_verdict_validity_limits_and_command_are_told(tokens: list[Token], report: ReportData) -> None:
    told = " ".join(shown(token) for token in tokens if token.type == "inline")
    verdict = report.verdict
    for text in (verdict.where, verdict.quality, verdict.validity, verdict.trust, *report.limits):
        assert text in told
    assert f"{report.standing.word}. {verdict.trust}" in told
    assert [token.content for token in tokens if token.type == "fence"] == [report.manifest.command + "\n"]
    assert report.manifest.ensemble_hash in told and report.manifest.prompts_hash in told


def test_the_hub_reads_the_metrics(card: str) -> None:
    frame = illustrated_frame()
    results = as_the_hub_reads(card).eval_results
    assert {(r.task_type, r.dataset_name) for r in results} == {("text-to-image", "synthetic")}
    values = {r.metric_name: r.metric_value for r in results}
    judged = frame["clip_cosine_source"].mean()
    assert values["CLIP cosine, source caption, mean over all prompts"] == pytest.approx(judged, rel=1e-5)
    worst = frame.groupby("language")["relative_disagreement"].mean().max()
    assert values["Relative disagreement, Swahili, most unsure of 10 languages"] == pytest.approx(worst, rel=1e-5)


def test_an_undefined_number_is_a_dash_in_the_table_and_no_metric(report: ReportData) -> None:
    table = report.groups[0]
    nan, known = float("nan"), table.rows[0].estimates["clip_cosine_source"]
    nothing = replace(known, mean=nan, low=nan, high=nan)
    rows = tuple(replace(row, estimates=row.estimates | {"clip_cosine_source": nothing}) for row in table.rows)
    overall = {measure: mean for measure, mean in table.overall.items() if measure != "clip_cosine_source"}
    card = model_card(replace(report, groups=(replace(table, rows=rows, overall=overall),)))
    assert {row[5] for row in table_rows(parse(body(card)), 0)} == {"–"}
    assert not any("CLIP" in result.metric_name for result in as_the_hub_reads(card).eval_results)


@pytest.mark.parametrize("text", HOSTILE_MARKDOWN)
def test_a_hostile_text_stays_a_text_everywhere(text: str, report: ReportData, tokens: list[Token]) -> None:
    card = model_card(spoiled(report, text))
    found = parse(body(card))
    assert [token.type for token in found] == [token.type for token in tokens]
    assert kinds(found) <= kinds(tokens)
    assert not kinds(found) & {"html_block", "html_inline", "link_open", "image", "code_inline", "em_open", "s_open"}
    line = clip_text(text, 60)
    assert inside(found, "heading_open")[2:4] == [line, line]
    assert {row[1] for place in (0, 1) for row in table_rows(found, place)} == {line}
    assert as_the_hub_reads(card).model_name == line


def test_a_card_of_a_hostile_run_holds_no_markup_of_the_data(hostile_run: RunStore) -> None:
    found = parse(body(model_card(collect(hostile_run))))
    assert not kinds(found) & {"html_block", "html_inline", "link_open", "image"}
    assert any("</script>" in row[1] for row in table_rows(found, 2))


@pytest.mark.parametrize("around", ["{}", "x {} y", "- {}", "## {}", "| a |\n| --- |\n| {} |"])
@settings(deadline=None)
@given(text=st.one_of(LINES, MARKUP))
def test_any_text_is_shown_as_it_is_and_does_nothing(around: str, text: str) -> None:
    inlines = [token for token in parse(around.format(escape(text))) if token.type == "inline"]
    assert kinds(inlines) <= {"inline", "text"}
    expected = around.rsplit("\n", 1)[-1].strip("-#| ").format(clip_text(text, 1000).replace(WORD_JOINER, ""))
    assert shown(inlines[-1]) == expected


@pytest.mark.parametrize("text", ["https://a.example", "HTTP://a.example", "www.a.example", "me@a.example", "@team"])
def test_what_hubs_turn_into_links_is_parted(text: str) -> None:
    written = escape(text)
    assert written.replace(WORD_JOINER, "") == text
    assert not any(part in written.lower() for part in ("://", "www.", "@a", "@t"))


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\r")), st.text("`~\n ", max_size=12))
def test_code_cannot_end_its_block(code: str, fences: str) -> None:
    (block,) = parse(fenced(code + fences))
    assert (block.type, block.content) == ("fence", code + fences + "\n")


def test_an_unfinished_run_and_one_without_a_command_say_so(report: ReportData) -> None:
    manifest = replace(report.manifest, command="")
    tokens = parse(body(model_card(replace(report, complete=False, manifest=manifest))))
    told = [shown(token) for token in tokens if token.type == "inline"]
    assert any("The run is unfinished." in text for text in told)
    assert "The run was started from Python." in told
    assert not any(token.type == "fence" for token in tokens)


def test_a_card_is_written_whole(report: ReportData, card: str, tmp_path: Path) -> None:
    file = write_model_card(report, tmp_path / "folder" / "card.md")
    assert file.read_text(encoding="utf-8") == card
    assert [path.name for path in file.parent.iterdir()] == ["card.md"]


def test_a_run_without_groups_has_no_table(report: ReportData) -> None:
    card = model_card(replace(report, groups=()))
    assert "table_open" not in kinds(parse(body(card)))
    assert not as_the_hub_reads(card).eval_results
