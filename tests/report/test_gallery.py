from __future__ import annotations

import base64
import io
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from emoe_audit.report import ReportData, collect
from emoe_audit.report.gallery import embed_image, spread
from emoe_audit.runs.store import RunStore
from tests.illustrated import N_DRAWN_SOURCES, illustrated_frame
from tests.synthetic import LANGUAGES

FRAME = illustrated_frame().set_index("key", drop=False)


def test_columns_are_languages_from_most_to_least_unsure(report: ReportData) -> None:
    expected = FRAME.groupby("language")["relative_disagreement"].mean().sort_values(ascending=False)
    assert [c.language for c in report.gallery.columns] == list(expected.index)
    assert [c.score for c in report.gallery.columns] == pytest.approx(list(expected))
    assert len(report.gallery.columns) == len(LANGUAGES)


def test_every_cell_is_the_translation_that_its_row_and_column_name(report: ReportData) -> None:
    cells = [
        (row, column, cell)
        for row in report.gallery.rows
        for column, cell in zip(report.gallery.columns, row.cells, strict=True)
    ]
    assert len(cells) == 6 * len(LANGUAGES)
    for row, column, cell in cells:
        assert cell is not None
        stored = FRAME.loc[cell.key]
        assert (stored.source_id, stored.language) == (row.source_id, column.language)
        assert (stored.prompt, stored.image) == (cell.prompt, cell.image)
        assert stored.clip_cosine == pytest.approx(cell.clip_cosine)


def test_rows_run_from_the_best_to_the_worst_drawn_caption(report: ReportData) -> None:
    means = FRAME.groupby("source_id")["clip_cosine"].mean().dropna().sort_values(ascending=False)
    shown = [row.source_id for row in report.gallery.rows]
    assert (shown[0], shown[-1]) == (means.index[0], means.index[-1])
    assert [means[s] for s in shown] == sorted((means[s] for s in shown), reverse=True)
    assert report.gallery.n_sources == N_DRAWN_SOURCES


def test_a_row_is_named_by_its_english_caption(report: ReportData) -> None:
    for row in report.gallery.rows:
        assert row.caption == f"picture {row.source_id} in en"


def test_an_embedded_image_is_the_image_of_the_run(report: ReportData, run: RunStore) -> None:
    cell = report.gallery.rows[0].cells[0]
    assert cell is not None
    kind, data = cell.data_uri.split(",", 1)
    assert kind == "data:image/webp;base64"
    small = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"), dtype=float)
    whole = np.asarray(Image.open(run.path / cell.image), dtype=float)
    assert small.shape == whole.shape
    assert np.corrcoef(small.ravel(), whole.ravel())[0, 1] > 0.9


@pytest.mark.parametrize("budget", [40_000, 12_000, 4_000])
def test_a_large_image_is_made_to_fit_its_budget(tmp_path: Path, budget: int) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (512, 512, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "big.png")
    uri = embed_image(tmp_path, "big.png", budget)
    assert uri is not None
    assert len(uri) <= budget


def test_no_image_outside_the_run_folder_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = tmp_path / "run"
    run.mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    with caplog.at_level(logging.WARNING):
        assert embed_image(run, "../secret.png", 10_000) is None
        assert embed_image(run, str(tmp_path / "secret.png"), 10_000) is None
    assert "lies outside" in caplog.text


def test_a_lost_or_broken_image_leaves_its_cell_empty_and_the_report_whole(own_run: RunStore) -> None:
    images = sorted((own_run.path / "images").rglob("*.png"))
    images[0].unlink()
    images[1].write_bytes(b"no image")
    gallery = collect(own_run, gallery_concepts=N_DRAWN_SOURCES).gallery
    empty = [cell for row in gallery.rows for cell in row.cells if cell is None]
    assert len(empty) == 2


@given(st.integers(0, 300), st.integers(2, 40))
def test_a_spread_keeps_order_and_both_ends(n: int, count: int) -> None:
    items = list(range(n))
    chosen = spread(items, count)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(n, count)
    assert n == 0 or (chosen[0], chosen[-1]) == (0, n - 1)


def test_no_concepts_asked_for_means_no_gallery(run: RunStore) -> None:
    assert collect(run, gallery_concepts=0).gallery.rows == ()
