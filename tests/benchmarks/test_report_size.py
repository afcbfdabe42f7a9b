"""The report of 100,000 prompts: how long it takes, how large it is, whether a browser opens it offline."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from emoe_audit.report import write_report
from emoe_audit.report.export import export_results
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.summary import summarize
from tests.benchmarks.record import merge_record
from tests.browser.conftest import CHROMIUM
from tests.browser.test_report_page import WIDE, Watched
from tests.synthetic import synthetic_frame, synthetic_plan

COVERAGE = Path(__file__).parents[2] / "emoe_audit" / "embedded" / "emoji-a" / "coverage.csv"
N_CAPTIONS, N_DRAWN, SHARD = 2500, 8, 10_000
READING = 512
MOST_SECONDS, MOST_BYTES = 60, 5_000_000


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_a_report_of_a_hundred_thousand_prompts_takes_a_minute_and_five_megabytes(tmp_path: Path) -> None:
    store = large_run(tmp_path / "large")
    assert store.query("SELECT count(*) AS n FROM prompts").n[0] == 100_000
    seconds = {
        "analysis": timed(lambda: summarize(store)),
        "report": timed(lambda: write_report(store)),
        "csv": timed(lambda: export_results(store, tmp_path / "large.csv")),
    }
    page = store.path / "report.html"
    figures = {"report_100k_seconds": seconds["report"], "report_100k_mb": page.stat().st_size / 1e6}
    rows: list[dict[str, Any]] = [{"step": step, "seconds": taken} for step, taken in seconds.items()]
    merge_record("statistics", "report_size", figures, rows)
    assert seconds["report"] < MOST_SECONDS
    assert page.stat().st_size < MOST_BYTES
    assert problems_in_chromium(page) == []


def large_run(path: Path) -> RunStore:
    """2,500 captions in 40 languages: scores, readings and quality for all, images of eight captions."""
    languages = pd.read_csv(COVERAGE).query("by == 'language'")["group"].to_list()
    frame = frame_in(languages)
    store = RunStore.open(path, plan=synthetic_plan())
    store.write_prompts([frame[["key", "prompt_id", "source_id", "prompt", "language", "region"]]])
    for start in range(0, len(frame), SHARD):
        rows = frame.iloc[start : start + SHARD]
        store.append("scores", rows[["key", *frame.columns[6:15]]])
        store.append("readings", readings(rows))
        store.append("quality", rows[["key", "source_id", *frame.columns[15:]]])
    for place, image in enumerate(frame["image"].dropna()):
        draw(path / image, place)
    store.finish()
    return store


def frame_in(languages: list[str]) -> pd.DataFrame:
    """The synthetic rows, laid over other languages; scores rise with the place of the language."""
    frame = synthetic_frame(N_CAPTIONS * len(languages))
    place, source = np.arange(len(frame)) % len(languages), np.arange(len(frame)) // len(languages)
    frame["language"] = np.array(languages)[place]
    frame["source_id"] = pd.Series(source).map("s{:07d}".format)
    frame["prompt_id"] = frame["source_id"] + "-" + frame["language"]
    frame["prompt"] = "a picture of number " + frame["source_id"] + ", told in " + frame["language"]
    frame["relative_disagreement"] += 0.002 * place
    frame["disagreement"] = frame["relative_disagreement"] * frame["feature_power"]
    frame["image"] = ("images/" + frame["key"].str[-2:] + "/" + frame["key"] + ".png").where(source < N_DRAWN, None)
    return frame


def readings(rows: pd.DataFrame) -> pd.DataFrame:
    """Readings in which translations of a caption are alike."""
    sources = rows["source_id"].str[1:].astype(int).to_numpy()
    shared = {source: np.random.default_rng(source).normal(size=READING) for source in np.unique(sources)}
    noise = np.random.default_rng(sources[0] + 1).normal(size=(len(rows), READING))
    vectors = np.stack([shared[source] for source in sources]) + noise
    return pd.DataFrame({"key": rows["key"], "reading": [v.astype(np.float16).tobytes() for v in vectors]})


def draw(path: Path, place: int) -> None:
    """A picture that compresses as badly as a photograph."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(place).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((512, 512), Image.Resampling.BICUBIC).save(path)


def timed(work: Callable[[], object]) -> float:
    """Seconds."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def problems_in_chromium(page: Path) -> list[str]:
    """What the browser asks for or complains about when it opens the page without a network."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        watched = Watched(browser, page, WIDE)
        problems = [*watched.asked, *watched.complaints]
        browser.close()
    return problems
