"""Tables from the field through a whole audit of the tiny ensemble: the run's own columns are the run's own."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from emoe_audit.cli.main import cli
from emoe_audit.report.export import export_results
from emoe_audit.runs.store import RunStore
from emoe_audit.types import EnsembleSpec

FIELD = Path(__file__).parents[1] / "field"
SCORED = ["--check-pairs", "0", "--n-noise", "1", "--min-sources", "1", "--image-steps", "1", "--device", "cpu"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tiny_spec: EnsembleSpec) -> str:
    return str(Path(tiny_spec.base.source).parent)


def run(table: Path, folder: str, out: Path, *, n_images: int = 0) -> tuple[int, RunStore]:
    words = [
        "run",
        str(table),
        "--ensemble",
        folder,
        "--out",
        str(out),
        "--n-images",
        str(n_images),
        *SCORED,
        "--quiet",
    ]
    return int(cli.main([*words, *SCORED], standalone_mode=False) or 0), RunStore.open(out)


@pytest.mark.parametrize(
    "table",
    [
        "image-column/prompts.csv",
        "own-measure-column/silent.parquet",
        "own-measure-column/traceback.parquet",
        "export-roundtrip/prompts.csv",
        "hf-image-parquet/prompts.parquet",
        "hf-image-parquet/bytes_and_list.parquet",
        "mixed-jsonl/prompts.jsonl",
        "lang-column/prompts.csv",
        "aliases/prompts.csv",
        "excel-delimiters/semicolon.csv",
        "coco-bad-annotation/null_caption.json",
    ],
)
def test_the_table_is_audited_to_the_end_and_measured_by_the_run_alone(table: str, folder: str, tmp_path: Path) -> None:
    code, store = run(FIELD / table, folder, tmp_path / "run")
    assert code == (4 if "bad" in table else 0)
    results = store.query("SELECT * FROM results")
    assert results["relative_disagreement"].notna().all()
    assert results[["image", "clip_cosine", "flagged"]].isna().all(axis=None), "no image was made"
    assert not any(by.endswith("(yours)") for by in store.query('SELECT DISTINCT "by" FROM groups')["by"])


def test_aliases_are_one_group_in_the_report(folder: str, tmp_path: Path) -> None:
    _, store = run(FIELD / "aliases" / "prompts.csv", folder, tmp_path / "run")
    groups = store.query('SELECT DISTINCT "by", "group" FROM groups ORDER BY ALL')
    assert groups.to_numpy().tolist() == [["language", "en"], ["language", "he"]]


@pytest.mark.parametrize("table", ["prompts.csv", "eng.csv"])
def test_en_us_is_where_captions_come_from(table: str, folder: str, tmp_path: Path) -> None:
    _, store = run(FIELD / "en-us" / table, folder, tmp_path / "run", n_images=3)
    drawn = store.query("SELECT * FROM results WHERE image IS NOT NULL")
    assert len(drawn) == 3
    assert drawn["clip_cosine_source"].notna().all()


@pytest.mark.parametrize(("table", "n_images", "needed"), [("prompts.csv", 2, 3), ("same_source.csv", 4, 6)])
def test_few_images_say_how_many_one_caption_needs(
    table: str, n_images: int, needed: int, folder: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = run(FIELD / "few-images" / table, folder, tmp_path / "run", n_images=n_images)
    said = capsys.readouterr()
    assert code == 0
    assert f"has {needed} prompts, and --n-images is {n_images}; give --n-images {needed} or more, or 0" in said.err
    assert ("all 6 prompts have the source_id 'coco'" in said.err) == (table == "same_source.csv")
    assert "images: 0" in said.out


def test_what_a_run_exports_can_be_audited_again_and_again(folder: str, tmp_path: Path) -> None:
    table = FIELD / "lang-column" / "prompts.csv"
    scores = []
    for number in range(3):
        _, store = run(table, folder, tmp_path / f"run{number}", n_images=3)
        scores.append(store.query("SELECT relative_disagreement FROM results ORDER BY prompt_id"))
        table = export_results(store, tmp_path / f"{number}.csv")
    for again in scores[1:]:
        pd.testing.assert_frame_equal(again, scores[0], rtol=1e-5)
