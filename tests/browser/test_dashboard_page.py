"""Two real runs of a hostile prompt table: wherever its texts are shown they stay texts, and nothing breaks."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emoe_audit.prompts.read import read_prompts
from emoe_audit.report.export import export_results
from emoe_audit.runs.store import RunStore
from tests.browser.desk import PAGES, Visit, audit, warm_dashboard
from tests.browser.hostile import COLUMN, LANGUAGES, TEXTS, hostile_csv, line_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
FORBIDDEN = ", ".join(f".ea {tag}" for tag in ("script", "iframe", "style", "svg", "a", "[onerror]", "[onload]"))
Look = Callable[..., Visit]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    table = tmp_path_factory.mktemp("tables") / "hostile.csv"
    table.write_bytes(hostile_csv())
    for seed, name in enumerate(["first", "second"]):
        audit(folder, name, read_prompts(table), seed=seed, command=f"emoe-audit run '{TEXTS[0]}'")
    return folder


@pytest.fixture(scope="module")
def address(root: Path, browser: Browser) -> Iterator[str]:
    with warm_dashboard(root, browser) as address:
        yield address


@pytest.fixture
def look(browser: Browser, address: str) -> Iterator[Look]:
    """Open a page of the first run; after the test nothing must have run, asked another host or failed."""
    visits: list[Visit] = []

    def at(page: str = "", **query: str) -> Visit:
        visits.append(Visit(browser, address, (1400, 1800)))
        return visits[-1].open(page, **({"run": "first"} | query))

    yield at
    for visit in visits:
        assert visit.is_unharmed(), (visit.outside, visit.complaints)
        assert visit.page.locator(FORBIDDEN).count() == 0
        visit.close()


def squeezed(text: str) -> str:
    """A text without white space and control characters, which a page may show as it likes."""
    return "".join(character for character in text if character.isprintable() and not character.isspace())


def test_an_uploaded_hostile_table_is_shown_as_text_and_its_faults_are_named(look: Look) -> None:
    visit = look("new_audit")
    file = {"name": "hostile.csv", "mimeType": "text/csv", "buffer": hostile_csv()}
    visit.page.locator('input[type="file"]').set_input_files(file)  # type: ignore[arg-type]
    visit.page.get_by_text("40 prompts in 4 languages; 2 rows are left out.").wait_for()
    faults = visit.rows(visit.table("Rows that are left out"))
    assert [(row["Line"], row["Column"]) for row in faults] == [
        (str(line_of("long")), "prompt"),
        (str(line_of("nul")), "prompt"),
    ]
    assert "100,000 characters, at most 20,000 are taken" in faults[0]["What is wrong"]
    assert "NUL" in faults[1]["What is wrong"]
    visit.page.get_by_text("The first prompts").click()
    shown = visit.rows(visit.table("The first prompts of the table"))
    assert squeezed(shown[0]["prompt"]) == squeezed(f"{TEXTS[0]} en")


def test_what_is_said_of_a_hostile_header_is_text(look: Look) -> None:
    visit = look("new_audit")
    file = {"name": "hostile.csv", "mimeType": "text/csv", "buffer": f"{COLUMN},{TEXTS[4]}\na dog,en\n".encode()}
    visit.page.locator('input[type="file"]').set_input_files(file)  # type: ignore[arg-type]
    said = visit.page.get_by_test_id("stAlert")
    said.wait_for()
    assert "no column 'prompt'" in said.inner_text()
    assert said.locator("img").count() == 0
    for link in said.locator("a").all():
        assert link.get_attribute("href") == link.inner_text(), "an address may be followed, but not hide"


@pytest.mark.parametrize("at", PAGES)
def test_every_page_of_a_hostile_run_stands(look: Look, at: str) -> None:
    visit = look(at, by=COLUMN, **{"with": "second", "refused-by": COLUMN})
    assert visit.page.locator("h1, h2, h3").first.is_visible()
    if at == "compare":
        visit.page.locator(".ea .pair img").first.wait_for()


def test_every_hostile_prompt_is_shown_letter_by_letter(look: Look, root: Path) -> None:
    rows = RunStore.open(root / "first").query("SELECT prompt, prompt_id FROM results WHERE language = 'en'")
    assert len(rows) == len(TEXTS)
    visit = look("prompts")
    for row in rows.itertuples():
        visit.open("prompts", run="first", prompt=str(row.prompt_id))
        visit.page.locator(".ea .card").nth(len(LANGUAGES) - 1).wait_for()
        assert squeezed(visit.page.locator(".ea .text").text_content() or "") == squeezed(row.prompt)
        assert visit.page.locator(".ea .text").get_attribute("dir") == "auto"
        assert visit.is_unharmed()


def test_hostile_prompts_stand_in_the_table_and_a_hostile_group_is_chosen(look: Look) -> None:
    visit = look("prompts", order="as written")
    shown = {squeezed(row["Prompt"]) for row in visit.rows(visit.table("Prompts with their scores"))}
    assert shown <= {squeezed(f"{text} {language}") for text in TEXTS for language in LANGUAGES}
    visit.choose("Group by", COLUMN)
    box = visit.page.get_by_role("combobox", name="Only")
    box.click()
    visit.page.get_by_role("option").nth(1).click()
    visit.page.get_by_text("20 prompts, page 1 of 1.").wait_for()


def test_a_hostile_text_can_be_typed_and_scored(look: Look) -> None:
    visit = look("try_prompt")
    box = visit.page.get_by_role("textbox", name="One line a language")
    box.fill(f"en: {TEXTS[0]}\nde: {TEXTS[4]}\nfr: {TEXTS[6]}")
    visit.page.keyboard.press("Control+Enter")
    visit.page.get_by_role("button", name="Score", exact=True).click()
    table = visit.table("Scores of what was typed")
    table.wait_for()
    typed = [squeezed(row["Prompt"]) for row in visit.rows(table)]
    assert typed == [squeezed(text) for text in (TEXTS[0], TEXTS[4], TEXTS[6])]


def test_no_cell_of_a_downloaded_table_is_a_formula(look: Look) -> None:
    visit = look("prompts", containing="1+1")
    visit.page.get_by_text("8 prompts, page 1 of 1.").wait_for()
    rows = list(csv.DictReader(io.StringIO(visit.download("Table as CSV"))))
    assert {row["prompt"] for row in rows} == {
        f"'{text} {language}" for text in TEXTS if "1+1" in text for language in LANGUAGES
    }
    assert all(row["prompt_id"].startswith("'") for row in rows)


def test_no_cell_of_an_exported_run_is_a_formula(root: Path, tmp_path: Path) -> None:
    export_results(RunStore.open(root / "first"), tmp_path / "run.csv")
    with (tmp_path / "run.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [cell for row in rows for name, cell in row.items() if name in ("prompt", "prompt_id", "source_id", COLUMN)]
    assert len(rows) == len(TEXTS) * len(LANGUAGES)
    assert [text for text in texts if text[:1] in tuple("=+-@\t\r\n")] == []


def test_the_report_of_a_hostile_run_runs_nothing_and_asks_nobody(browser: Browser, root: Path) -> None:
    visit = Visit(browser, (root / "first" / "report.html").as_uri())
    visit.page.goto(visit.address)
    visit.page.wait_for_selector("[data-figure] svg.main-svg")
    assert visit.is_unharmed(), (visit.outside, visit.complaints)
    assert visit.page.locator("iframe, a:not([href^='#']), [onerror], [onload]").count() == 0
    visit.close()
