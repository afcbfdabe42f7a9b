from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from emoe_audit.report import write_report
from tests.illustrated import illustrated_run, known_coverage
from tests.report.translated import add_translations
from tests.synthetic import LANGUAGES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request

pytestmark = pytest.mark.browser
WIDE, NARROW = {"width": 1400, "height": 900}, {"width": 420, "height": 900}


class Watched:
    """A page of a report, and everything it asked for or complained about."""

    def __init__(self, browser: Browser, report: Path, viewport: dict[str, int]) -> None:
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page: Page = browser.new_page(viewport=viewport)  # type: ignore[arg-type]
        self.page.on("request", self._note)
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.context.set_offline(True)
        self.page.goto(report.as_uri())
        self.page.wait_for_selector("[data-figure] svg.main-svg")

    def _note(self, request: Request) -> None:
        if not request.url.startswith(("file:", "data:")):
            self.asked.append(request.url)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(illustrated_run(tmp_path_factory.mktemp("runs") / "plain", coverage=known_coverage()))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(illustrated_run(tmp_path_factory.mktemp("runs") / "hostile", hostile=True))


@pytest.fixture(scope="module")
def translated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(add_translations(illustrated_run(tmp_path_factory.mktemp("runs") / "translated")))


LOOKS = {"wide": ("plain", WIDE), "narrow": ("plain", NARROW), "translated": ("translated", WIDE)}


@pytest.fixture(scope="module", params=LOOKS)
def shown(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Watched]:
    """A report that is looked at and not touched."""
    yield from look(request, browser)


@pytest.fixture(params=LOOKS)
def printed(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Watched]:
    """One that is sent to a printer."""
    yield from look(request, browser)


def look(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Watched]:
    report, viewport = LOOKS[request.param]
    watched = Watched(browser, request.getfixturevalue(report), viewport)
    yield watched
    watched.page.close()


@pytest.fixture
def attacked(browser: Browser, hostile: Path) -> Iterator[Watched]:
    watched = Watched(browser, hostile, WIDE)
    yield watched
    watched.page.close()


def test_the_page_asks_for_nothing_and_complains_of_nothing(shown: Watched) -> None:
    assert shown.asked == []
    assert shown.complaints == []


def test_every_chart_is_drawn(shown: Watched) -> None:
    places = shown.page.locator("[data-figure]").count()
    assert shown.page.locator("[data-figure] svg.main-svg:first-of-type").count() >= places >= 6


def test_the_chart_of_languages_has_a_mark_and_a_label_for_each(shown: Watched) -> None:
    chart = shown.page.locator('[data-figure="groups-0"]')
    assert chart.locator(".subplot.xy .points path.point").count() == len(LANGUAGES)
    labels = chart.locator(".ytick text").all_text_contents()
    assert len(labels) == len(LANGUAGES)
    assert any("Swahili" in label for label in labels)


def test_nothing_makes_the_page_scroll_sideways(shown: Watched) -> None:
    assert shown.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_no_label_of_a_chart_is_cut_or_lies_on_another(shown: Watched) -> None:
    boxes = shown.page.evaluate(
        """() => [...document.querySelectorAll('[data-figure]')].map(chart => ({
            frame: chart.getBoundingClientRect().toJSON(),
            texts: [...chart.querySelectorAll('text')].filter(t => t.textContent.trim())
                .map(t => ({...t.getBoundingClientRect().toJSON(), text: t.textContent}))}))"""
    )
    for chart in boxes:
        frame, texts = chart["frame"], chart["texts"]
        assert texts
        for text in texts:
            assert text["left"] >= frame["left"] - 1 and text["right"] <= frame["right"] + 1, text["text"]
        for i, a in enumerate(texts):
            for b in texts[i + 1 :]:
                apart_x = min(a["right"], b["right"]) - max(a["left"], b["left"]) <= 1
                apart_y = min(a["bottom"], b["bottom"]) - max(a["top"], b["top"]) <= 4
                assert apart_x or apart_y, (a["text"], b["text"])


def test_every_image_of_the_gallery_is_decoded(shown: Watched) -> None:
    widths = shown.page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert len(widths) == 6 * len(LANGUAGES)
    assert min(widths) > 0


def test_on_paper_every_table_is_open(printed: Watched) -> None:
    printed.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert printed.page.evaluate("[...document.querySelectorAll('details')].every(details => details.open)")
    widths = printed.page.evaluate("[...document.querySelectorAll('.main-svg')].map(svg => svg.clientWidth)")
    assert set(widths) == {700}


def test_hostile_texts_run_nothing_and_lead_nowhere(attacked: Watched) -> None:
    assert attacked.page.evaluate("window.hacked") is None
    assert attacked.page.locator('a:not([href^="#"])').count() == 0
    assert attacked.page.locator("svg a").count() == 0
    assert (attacked.asked, attacked.complaints) == ([], [])


def test_a_script_that_got_into_the_page_would_not_run(browser: Browser, plain: Path, tmp_path: Path) -> None:
    injected = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'></main>"
    changed = tmp_path / "changed.html"
    changed.write_text(plain.read_text(encoding="utf-8").replace("</main>", injected), encoding="utf-8")
    watched = Watched(browser, changed, WIDE)
    assert watched.page.evaluate("window.hacked") is None
    assert any("Content Security Policy" in complaint for complaint in watched.complaints)
    watched.page.close()
