"""Which model is audited and who judges it: the options of images that were made elsewhere."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from emoe_audit.cli.main import cli
from emoe_audit.errors import EnsembleError
from emoe_audit.experts.judges import MULTILINGUAL
from emoe_audit.runs.store import RunStore
from emoe_audit.types import EnsembleSpec


def invoke(*words: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, words)])


@pytest.fixture(scope="module")
def folder(tiny_spec: EnsembleSpec) -> Path:
    return Path(tiny_spec.base.source).parent


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """Four prompts; the last has no image."""
    rows = [("dog-en", "dog", "en"), ("dog-de", "Hund", "de"), ("dog-ja", "犬", "ja"), ("cat-en", "cat", "en")]
    with (tmp_path / "prompts.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [("prompt_id", "prompt", "language", "source_id"), *((*own, own[0].partition("-")[0]) for own in rows)]
        )
    (tmp_path / "images").mkdir()
    for name, *_ in rows[:3]:
        for number in range(2):
            Image.new("RGB", (64, 64), (number * 100, 20, 90)).save(tmp_path / "images" / f"{name}_{number}.png")
    return tmp_path / "prompts.csv"


@pytest.mark.slow
def test_a_closed_model_is_audited_by_its_images_to_a_report(prompts: Path, folder: Path, tmp_path: Path) -> None:
    words = ("run", prompts, "--images", tmp_path / "images", "--model-name", "closed 1.0", "--judge", folder / "judge")
    done = invoke(*words, "--out", tmp_path / "run", "--json")
    assert "1 rows were left out" in done.stderr
    assert json.loads(done.stdout)["n_scored"] == 0
    assert json.loads(done.stdout)["n_images"] == 3
    run = RunStore.open(tmp_path / "run")
    assert run.plan().ensemble.name == "closed 1.0"
    assert run.plan().ensemble.judge == f"local-dir:{folder / 'judge'}"
    assert [own.prompt_id for own in run.errors()] == ["cat-en"]
    assert (tmp_path / "run" / "report.html").is_file()
    assert invoke("report", tmp_path / "run").exit_code == 0
    for what in ("csv", "groups", "model-card"):
        assert invoke("export", tmp_path / "run", "--what", what, "--out", tmp_path / what).exit_code == 0
    assert "how well closed" in (tmp_path / "model-card").read_text(encoding="utf-8")
    assert "most unsure" not in (tmp_path / "model-card").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_dry_run_counts_the_images_and_says_what_the_judge_costs(prompts: Path, folder: Path, tmp_path: Path) -> None:
    words = ("run", prompts, "--images", tmp_path / "images", "--model-name", "closed", "--out", tmp_path / "run")
    done = invoke(*words, "--judge", folder / "judge", "--dry-run", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["images"], told["experts"], told["noises"]) == (6, 0, 0)
    assert "of which no cost is published here" in told["judge"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--model-name", "closed"], "give --images, too"),
        (["--model-name", "closed", "--images", "{images}", "--ensemble", "emoji-a"], "in the place of an ensemble"),
        (["--model-name", "closed", "--images", "{images}", "--n-images", "0"], "leave out --n-images"),
        (["--model-name", "closed", "--images", "{images}", "--fidelity", "0.95"], "no part is asked"),
        (
            ["--model-name", "closed", "--images", "{images}", "--judge", "nobody"],
            "give a folder, the name of an ensemble",
        ),
        (["--images", "{images}/gone"], "does not exist"),
    ],
)
def test_what_cannot_be_meant_is_said(words: list[str], why: str, prompts: Path, tmp_path: Path) -> None:
    named = [word.format(images=tmp_path / "images") for word in words]
    done = invoke("run", prompts, *named, "--out", tmp_path / "run")
    assert done.exit_code == 2 or isinstance(done.exception, EnsembleError)
    assert why in " ".join(f"{done.output} {done.exception}".split())
    assert not (tmp_path / "run").exists()


def test_by_default_a_judge_is_proposed_that_reads_many_languages(prompts: Path, tmp_path: Path) -> None:
    from emoe_audit.experts.images_alone import images_alone, judged_by
    from emoe_audit.experts.judges import judge_cost
    from emoe_audit.experts.spec import load_spec

    assert images_alone("closed").judge == MULTILINGUAL
    alike = images_alone("closed", "emoji-a")
    assert (alike.judge, alike.captions) == (load_spec("emoji-a").judge, load_spec("emoji-a").captions)
    large = "xlm-roberta-large-ViT-H-14/frozen_laion5b_s13b_b90k"
    assert judged_by(load_spec("sd15-community"), large).judge == large
    assert judge_cost(MULTILINGUAL, ["en", "th", "qu", "und"]) == (
        f"{MULTILINGUAL}: 1.4 GiB in float32, 46.82 GFLOP an image and 11.02 a prompt; reads 2 of 3 languages of which "
        "that is published"
    )
