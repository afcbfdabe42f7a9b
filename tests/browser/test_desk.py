"""What somebody does on each page of the dashboard, done in a browser; numbers are those of plain pandas."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emoe_audit.runs.store import RunStore
from tests.browser.desk import PAGES, Scheme, Visit, contrast, serve
from tests.illustrated import illustrated_frame

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
FRAME = illustrated_frame()
SCORE = FRAME["relative_disagreement"]
AUDIT_SECONDS = 240
FOCUS = "(own => `${own.tagName} ${own.ariaLabel || own.innerText.trim()}`)(document.activeElement)"
Look = Callable[..., Visit]


@pytest.fixture
def root(known: Path) -> Path:
    return known


@pytest.fixture
def look(browser: Browser, known_address: str) -> Iterator[Look]:
    """Open a page in a tab of its own; what it says after it is checked for errors and for asking other hosts."""
    visits: list[Visit] = []

    def at(page: str = "", size: tuple[int, int] = (1400, 1800), scheme: Scheme = "light", **query: str) -> Visit:
        visits.append(Visit(browser, known_address, size, scheme))
        return visits[-1].open(page, **query)

    yield at
    for visit in visits:
        assert visit.is_unharmed(), (visit.outside, visit.complaints)
        visit.close()


def expect(locator: Locator) -> object:
    from playwright.sync_api import expect as wait

    return wait(locator)


def captions(visit: Visit) -> Locator:
    return visit.page.get_by_test_id("stCaptionContainer")


def test_the_overview_says_the_verdict_and_gives_the_report(look: Look, root: Path) -> None:
    from emoe_audit.report import collect

    visit = look(run="plain")
    verdict = collect(RunStore.open(root / "plain")).verdict
    shown = visit.page.locator(".ea .verdict").inner_text()
    for said in (verdict.where, verdict.quality, verdict.validity, verdict.trust):
        assert said in shown
    assert visit.download("Report as one HTML file") == (root / "plain" / "report.html").read_text(encoding="utf-8")


def test_a_chosen_reference_language_stands_in_the_address_and_moves_the_gaps(look: Look) -> None:
    visit = look("languages", run="plain", measure="relative_disagreement")
    visit.choose("Reference", "Finnish")
    visit.page.get_by_text("Each language minus Finnish").wait_for()
    visit.settle()
    assert "reference=Finnish" in visit.page.url
    means = SCORE.groupby(FRAME["language"]).mean()

    def check() -> None:
        gaps = {row["Language"]: row["Gap"] for row in visit.rows(visit.table("Gaps of languages to Finnish"))}
        assert float(gaps["Swahili"]) == pytest.approx(means["sw"] - means["fi"], rel=0.01)
        assert float(gaps["English"]) == pytest.approx(means["en"] - means["fi"], rel=0.01)

    check()
    visit.open("languages", **dict(pair.split("=") for pair in visit.page.url.split("?")[1].split("&")))
    assert visit.page.get_by_role("combobox", name="Reference").input_value() == "Finnish"
    check()


def test_a_link_into_the_dashboard_works_before_anything_else_was_opened(browser: Browser, root: Path) -> None:
    with serve(root) as fresh:
        visit = Visit(browser, fresh).open("method", run="plain")
        heading = visit.page.get_by_role("heading", name="What the numbers mean")
        heading.wait_for(timeout=60_000)
        found = heading.count()
        visit.close()
    assert found == 1


def test_the_map_of_regions_is_drawn_without_asking_another_host(look: Look) -> None:
    visit = look("regions", run="plain")
    assert visit.page.locator(".st-key-wide-map .main-svg path.js-fill:visible").count() >= 3
    assert visit.outside == []


def test_prompts_are_searched_sorted_opened_blurred_and_left(look: Look) -> None:
    visit = look("prompts", run="plain")
    visit.page.get_by_label("Containing").fill("S0000003")
    visit.page.keyboard.press("Enter")
    captions(visit).get_by_text(re.compile("^10 prompts")).wait_for()
    visit.choose("Order", "best")
    surest = FRAME[FRAME["source_id"] == "s0000003"].sort_values("relative_disagreement")
    visit.page.wait_for_url("**order=best**")
    visit.settle()
    table = visit.table("Prompts with their scores")
    assert [row["Prompt"] for row in visit.rows(table)] == list(surest["prompt"])
    box = table.locator("canvas").first.bounding_box()
    assert box is not None
    visit.page.mouse.click(box["x"] + 16, box["y"] + 52)
    cards = visit.page.locator(".ea .card")
    cards.first.wait_for()
    assert f"prompt={surest['prompt_id'].iloc[0]}" in visit.page.url
    assert sorted(cards.locator("[lang]").all_inner_texts()) == sorted(surest["prompt"])
    image = visit.page.locator(".ea .card img").first
    assert image.evaluate("image => getComputedStyle(image).filter") == "none"
    visit.page.get_by_text("Blur images").click()
    visit.page.locator(".ea .grid.blurred").wait_for()
    filters = visit.page.locator(".ea img").evaluate_all("all => all.map(image => getComputedStyle(image).filter)")
    assert set(filters) == {"blur(9px)"}
    visit.page.get_by_role("button", name="Back to the table").click()
    table.last.wait_for()  # for a moment the table of before is there, too
    assert "prompt=" not in visit.page.url


def test_a_box_drawn_in_the_chart_shows_the_prompts_inside(look: Look) -> None:
    visit = look("quality", run="plain")
    plot = visit.page.locator(".st-key-cloud .js-plotly-plot")
    low, high = plot.evaluate("plot => plot._fullLayout.xaxis.range")
    area = plot.locator(".nsewdrag").first.bounding_box()
    assert area is not None
    left, top = area["x"] + area["width"] / 2, area["y"] + 2
    visit.page.mouse.move(left, top)
    visit.page.mouse.down()
    visit.page.mouse.move(area["x"] + area["width"] - 2, area["y"] + area["height"] - 2, steps=8)
    visit.page.mouse.up()
    inside = FRAME["image"].notna() & SCORE.gt(10 ** ((low + high) / 2))
    captions(visit).get_by_text(f"The first {inside.sum()} prompts in the box").wait_for()
    visit.settle()
    highest = FRAME[inside].sort_values("relative_disagreement", ascending=False)["prompt"]
    shown = [row["Prompt"] for row in visit.rows(visit.table("Prompts in the box"))]
    assert shown[:5] == list(highest[:5])


def test_the_threshold_decides_who_is_refused(look: Look) -> None:
    visit = look("quality", run="plain", **{"refused-by": "language"})
    captions(visit).get_by_text("Refused: 50% of 400 prompts").wait_for()
    slider = visit.page.get_by_role("slider", name=re.compile("Refuse where"))
    slider.focus()
    for _ in range(30):
        visit.page.keyboard.press("ArrowRight")
    captions(visit).get_by_text("Refused: 20% of 400 prompts").wait_for()
    visit.settle()
    expected = SCORE.gt(SCORE.quantile(0.8)).groupby(FRAME["language"]).mean()
    shown = {
        row["Language"]: row["Refused"] for row in visit.rows(visit.table("Share refused at the threshold by group"))
    }
    assert float(shown["Swahili (sw)"].rstrip("%")) in (
        pytest.approx(expected["sw"]),
        pytest.approx(100 * expected["sw"]),
    )


def test_two_runs_are_compared_group_by_group_and_image_by_image(look: Look) -> None:
    visit = look("compare", run="first", **{"with": "second"})
    visit.page.locator(".ea .pair img").first.wait_for()
    rows = visit.rows(visit.table("Change of rank by group"))
    assert {row["Language"] for row in rows} == {"English", "German", "French", "Finnish"}
    assert sum(float(row["Change"]) for row in rows) == pytest.approx(0, abs=0.01), "ranks only change places"
    assert visit.page.locator(".ea .pair").count() * 2 == visit.page.locator(".ea .pair img").count() > 0
    widths = visit.page.locator(".ea .pair img").evaluate_all("all => all.map(image => image.naturalWidth)")
    assert min(widths) > 0


def test_a_typed_prompt_is_scored_placed_among_the_run_and_drawn(look: Look, root: Path) -> None:
    visit = look("try_prompt", run="first")
    known = (
        RunStore.open(root / "first").query("SELECT * FROM results WHERE language = 'en' ORDER BY disagreement").iloc[5]
    )
    visit.page.get_by_role("textbox", name="One line a language").fill(f"en: {known.prompt}\nxx-nonsense-tag: none")
    visit.page.keyboard.press("Control+Enter")
    visit.page.get_by_text("line 2:").wait_for()
    visit.page.get_by_role("button", name="Score and draw").click()
    visit.page.locator('[data-testid="stImage"] img').first.wait_for()
    (row,) = visit.rows(visit.table("Scores of what was typed"))
    assert row["Prompt"] == known.prompt
    assert float(row["Disagreement, plain"]) == pytest.approx(known.disagreement, rel=0.01)
    width = visit.page.locator('[data-testid="stImage"] img').first.evaluate("image => image.naturalWidth")
    assert width == 256


def test_a_bad_table_is_answered_with_line_and_column(look: Look) -> None:
    visit = look("new_audit")
    upload(visit, "bad.csv", "prompt,language\na dog,en\na cat,xx-nonsense-tag\n,en\n")
    visit.page.get_by_text("1 prompts in 1 languages; 2 rows are left out.").wait_for()
    rows = visit.rows(visit.table("Rows that are left out"))
    assert [(row["Line"], row["Column"]) for row in rows] == [("3", "language"), ("4", "prompt")]
    upload(visit, "own.csv", "prompt,language,image\na dog,en,dog.png\n")
    visit.page.get_by_text("set aside, as the run has columns of these names: 'image'").wait_for()
    upload(visit, "worse.csv", "words\na dog\n")
    visit.page.get_by_text("line 1: no column 'prompt'").wait_for()


def test_an_audit_is_started_watched_cancelled_resumed_and_opened(look: Look, root: Path) -> None:
    visit = look("new_audit")
    rows = "".join(f"{n} dogs on a sofa,{tag},s{n}\n" for n in range(200) for tag in ("en", "de"))
    upload(visit, "good.csv", f"prompt,language,source_id\n{rows}")
    visit.page.get_by_text("400 prompts in 2 languages; 0 rows are left out.").wait_for()
    visit.page.get_by_label("Name of the run").fill("dogs")
    visit.choose("Ensemble", "mine")
    visit.page.get_by_label("Images at most").fill("0")
    visit.page.get_by_label("Noises to average over").fill("16")
    visit.page.get_by_role("button", name="Start", exact=True).click()
    visit.page.get_by_text("dogs has been started.").wait_for()
    visit.page.get_by_text(re.compile(r"scoring: \d+ of 400")).wait_for(timeout=1000 * AUDIT_SECONDS)
    visit.page.get_by_role("button", name="Cancel").click()
    visit.page.get_by_text(re.compile("^stopped: ")).wait_for()
    assert not RunStore.open(root / "dogs").is_complete
    visit.page.get_by_role("button", name="Resume").click()
    visit.page.get_by_text("finished", exact=True).wait_for(timeout=1000 * AUDIT_SECONDS)
    visit.page.get_by_role("link", name="Open").click()
    visit.page.locator(".ea .verdict").wait_for()
    assert "run=dogs" in visit.page.url
    assert "400 prompts scored" in visit.page.locator(".ea .sub").inner_text()


def upload(visit: Visit, name: str, text: str) -> None:
    file = {"name": name, "mimeType": "text/csv", "buffer": text.encode()}
    visit.page.locator('input[type="file"]').set_input_files(file)  # type: ignore[arg-type]


def test_the_method_is_told_in_words(look: Look) -> None:
    visit = look("method", run="plain")
    assert visit.page.locator(".ea .terms dt").count() >= 5
    assert "emoe-audit run prompts.csv --out reports/synthetic" in visit.page.get_by_test_id("stCode").inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("at", ["languages", "regions", "quality"])
def test_the_words_of_a_chart_stand_out_in_light_and_dark(look: Look, at: str, scheme: str) -> None:
    visit = look(at, scheme=scheme, run="plain")
    background = visit.page.locator(".stApp").evaluate("app => getComputedStyle(app).backgroundColor")
    fills = visit.page.locator(".js-plotly-plot text:visible").evaluate_all(
        "all => all.filter(t => t.textContent.trim()).map(t => [t.textContent, getComputedStyle(t).fill])"
    )
    assert fills
    assert [text for text, fill in fills if contrast(fill, background) < 4.5] == []


@pytest.mark.parametrize("at", PAGES)
def test_a_narrow_page_shows_each_chart_once_and_never_scrolls_sideways(look: Look, at: str) -> None:
    visit = look(at, size=(420, 900), run="first", **{"with": "second"})
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    forms = visit.page.locator('[class*="st-key-wide-"]:visible').count()
    assert forms == 0


def test_every_control_is_reached_with_the_tab_key(look: Look) -> None:
    visit = look("languages", run="plain")
    reached = set()
    for _ in range(90):
        visit.page.keyboard.press("Tab")
        reached.add(visit.page.evaluate(FOCUS))
    links = visit.page.get_by_test_id("stTopNavLink").all_inner_texts()
    assert len(links) == len(PAGES)
    assert {f"A {link.strip()}" for link in links} <= reached
    assert {f"INPUT {label}" for label in ("Run", "Reference", "Measure")} <= reached
    assert {own.split(" ")[0] for own in reached} >= {"CANVAS", "BUTTON"}
    assert any("Table as CSV" in own for own in reached) and "BUTTON Download plot" in reached


def test_no_table_gives_a_csv_in_which_a_formula_would_run(look: Look) -> None:
    visit = look("languages", run="plain")
    visit.page.locator('[data-testid="stDataFrame"]').first.hover()
    assert visit.page.get_by_role("button", name=re.compile("^Search")).first.is_visible()
    assert visit.page.get_by_role("button", name=re.compile("^Download as CSV")).count() == 0
