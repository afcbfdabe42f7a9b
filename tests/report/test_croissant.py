"""Runs and prompt tables as Croissant, read by the library that others read it with."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from emoe_audit.cli.main import cli
from emoe_audit.errors import StoreError
from emoe_audit.report import collect
from emoe_audit.report.croissant import describe_run
from emoe_audit.runs.store import RunStore
from tests.illustrated import illustrated_run

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import mlcroissant

TABLE = "prompt_id,prompt,language,source_id,weight\na,=1+1,en,s,1.5\nb,ein Hund,de,s,2\n"


def loaded(file: Path, name: str, n: int) -> list[dict[str, Any]]:
    """The first records of a set, with names as texts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = mlcroissant.Dataset(jsonld=file)
        assert not dataset.metadata.issues.errors
        return [
            {str(key).rpartition("/")[2]: own.decode() if isinstance(own, bytes) else own for key, own in row.items()}
            for row in itertools.islice(dataset.records(name), n)
        ]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    store = illustrated_run(tmp_path_factory.mktemp("runs") / "plain", 80)
    with store.locked():
        store.join()
        store.finish()
    return store


def test_a_run_is_loaded_by_its_description(run: RunStore, tmp_path: Path) -> None:
    describe_run(run, collect(run), tmp_path / "croissant.json", "CC-BY-4.0")
    rows = loaded(tmp_path / "croissant.json", "results", 5)
    expected = run.query("SELECT * FROM results ORDER BY prompt_id LIMIT 5").to_dict("records")
    for row, own in zip(rows, expected, strict=True):
        assert row["prompt"] == own["prompt"]
        assert row["relative_disagreement"] == pytest.approx(own["relative_disagreement"])
        assert (row["clip_cosine"] == pytest.approx(own["clip_cosine"])) or math.isnan(own["clip_cosine"])
    assert len(loaded(tmp_path / "croissant.json", "groups", 3)) == 3


def test_a_run_says_what_the_audit_found_and_what_it_does_not_show(run: RunStore, tmp_path: Path) -> None:
    report = collect(run)
    told = json.loads(describe_run(run, report, tmp_path / "c.json").read_text(encoding="utf-8"))
    assert told["conformsTo"] == ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
    assert told["rai:dataBiases"][0] == report.verdict.where
    assert told["rai:dataLimitations"] == list(report.limits)
    assert "license" not in told


def test_files_are_named_from_where_the_description_lies(run: RunStore, tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    file = describe_run(run, collect(run), tmp_path / "deep" / "er" / "c.json")
    urls = [own["contentUrl"] for own in json.loads(file.read_text(encoding="utf-8"))["distribution"]]
    assert all((file.parent / url).is_file() for url in urls)
    assert not any(url.startswith("/") for url in urls)


def test_a_run_that_was_not_analysed_is_not_described(run: RunStore, tmp_path: Path) -> None:
    report = collect(run)
    bare = RunStore.open(tmp_path / "bare", plan=run.plan())
    with pytest.raises(StoreError, match="emoe-audit analyze"):
        describe_run(bare, report, tmp_path / "c.json")


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_prompt_table_is_loaded_by_its_description(ending: str, tmp_path: Path) -> None:
    import io

    import pandas as pd

    file = tmp_path / f"my prompts.{ending}"
    if ending == "csv":
        file.write_text(TABLE, encoding="utf-8")
    else:
        pd.read_csv(io.StringIO(TABLE)).to_parquet(file)
    done = CliRunner().invoke(
        cli, ["prompts", "croissant", str(file), "--out", str(tmp_path / "c.json"), "--license", "MIT"]
    )
    assert done.exit_code == 0, done.output
    rows = loaded(tmp_path / "c.json", "prompts", 5)
    assert [(row["prompt_id"], row["prompt"], float(row["weight"])) for row in rows] == [
        ("a", "=1+1", 1.5), ("b", "ein Hund", 2.0)
    ]  # fmt: skip
    told = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    assert (told["license"], told["inLanguage"], told["name"]) == ("MIT", ["de", "en"], "my-prompts")


def test_a_table_of_another_form_says_which_are_described(tmp_path: Path) -> None:
    (tmp_path / "coco.json").write_text('{"images": [], "annotations": []}', encoding="utf-8")
    done = CliRunner().invoke(
        cli, ["prompts", "croissant", str(tmp_path / "coco.json"), "--out", str(tmp_path / "c.json")]
    )
    assert done.exit_code != 0
    assert not (tmp_path / "c.json").exists()
