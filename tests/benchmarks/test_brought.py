"""Images that were brought along: the numbers of the run that drew them, at the speed of the judge, whatever they are.

`judge_share` is what plain open_clip takes to read the files and to embed images and prompts, over what a run takes to
judge them. `image_agreement_language_rho` is that of 1 minus the agreement of images with the training coverage of
languages; its rows hold the same measure by images of the same noise, which is what it would be worth without care.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import pytest
import torch
from PIL import Image

from emoe_audit.analysis.image_agreement import IMAGE_AGREEMENT, fit_images
from emoe_audit.analysis.rank_correlation import spearman
from emoe_audit.analysis.summary import SOURCE_QUALITY
from emoe_audit.analysis.translations import TRANSLATION_SCORE
from emoe_audit.audit import run_audit, start_run
from emoe_audit.decisions.gate import Policy, Rule, judge_run
from emoe_audit.experts.coverage import read_coverage
from emoe_audit.experts.images_alone import images_alone
from emoe_audit.experts.spec import load_spec
from emoe_audit.experts.spec_reader import LOCAL_JUDGE
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.prompts.table import PromptTable
from emoe_audit.quality.attributes import SHOWN_TONE, subject_prompts, subjects
from emoe_audit.quality.clip_score import ClipJudge
from emoe_audit.readers.pictures import numbered
from emoe_audit.runs.sights import sights_of
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.depicted import measure_depicted
from emoe_audit.steps.images import judge_pending
from emoe_audit.types import ImageConfig, ScoringConfig
from tests.benchmarks.record import merge_record
from tests.benchmarks.sd15 import all_cores
from tests.quality.hostile_images import look_at, write_hostile_images

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(0)]
WORLD = "emoji-b"
SCORING = ScoringConfig(n_noise=0, check_pairs=0, device="cpu")
DRAWN = ImageConfig(n_images=480, per_prompt=2, device="cpu")
MEASURES = ("clip_cosine", SOURCE_QUALITY, IMAGE_AGREEMENT)
RULES = (
    Rule(by="language", measure=SOURCE_QUALITY, figure="gap", at_least=-0.2),
    Rule(by="language", measure="clip_cosine", at_least=0.1, at_most=0.9),
)
CLOSE = 1e-5
N_IMAGES, N_LANGUAGES, SIZE = 2000, 40, 512
BATCH, REPEATS = 64, 3


def test_a_run_of_brought_images_has_the_numbers_of_the_run_that_drew_them(tmp_path: Path) -> None:
    spec = load_spec(WORLD)
    with all_cores():
        run_audit(default_prompts(spec, n_concepts=30), spec, tmp_path / "drawn", scoring=SCORING, images=DRAWN)
        drawn = RunStore.open(tmp_path / "drawn")
        brought = _brought(default_prompts(spec, n_concepts=30), drawn, tmp_path / "given", tmp_path / "brought")
        same = _same(drawn, brought) | {"depicted": _same_depicted(tmp_path)}
    figures, rows = _agreement(drawn)
    figures["equal_numbers"] = float(all(same.values()))
    merge_record("brought", "worth", figures, [{"what": name, "is_equal": own} for name, own in same.items()] + rows)
    assert all(same.values()), same


def _brought(prompts: PromptTable, drawn: RunStore, folder: Path, out: Path) -> RunStore:
    """The images of a run given to one of a model of which nothing is known."""
    folder.mkdir()
    for row in drawn.query("SELECT * FROM results WHERE image IS NOT NULL").itertuples():
        for number in range(1, int(row.n_images) + 1):
            shutil.copy(drawn.path / numbered(str(row.image), number), folder / f"{row.prompt_id}_{number}.png")
    run_audit(prompts, images_alone("closed", WORLD), out, images=ImageConfig(brought=str(folder), device="cpu"))
    return RunStore.open(out)


def _same(drawn: RunStore, brought: RunStore) -> dict[str, bool]:
    """Whether each kind of number is equal."""
    by_id = "SELECT * FROM results WHERE image IS NOT NULL ORDER BY prompt_id"
    ours, theirs = drawn.query(by_id), brought.query(by_id)
    found = {name: _close(ours[name], theirs[name]) for name in (*MEASURES, "source_rank", "n_images")}
    for table in ("groups", "gaps", "disparity"):
        sides = [_of_images(own, table) for own in (drawn, brought)]
        found[table] = len(sides[0]) == len(sides[1]) and all(
            _close(sides[0][name], sides[1][name]) for name in sides[0].select_dtypes("number")
        )
    verdicts = [[(own.group, own.verdict) for own in judge_run(run, Policy(rules=RULES))] for run in (drawn, brought)]
    return found | {"gate": verdicts[0] == verdicts[1]}


def _of_images(run: RunStore, table: str) -> pd.DataFrame:
    frame = run.query(f"SELECT * FROM {table} ORDER BY ALL")
    return frame[frame["measure"].isin(MEASURES)].reset_index(drop=True)


def _close(a: pd.Series, b: pd.Series) -> bool:
    return bool(np.allclose(a, b, atol=CLOSE, equal_nan=True))


def _same_depicted(tmp_path: Path) -> bool:
    """Who is depicted, of subjects that are named without a tone; labelled are images that were asked for one."""
    spec = load_spec(WORLD)
    prompts, images = subject_prompts(spec), ImageConfig(n_images=240, device="cpu")
    run_audit(prompts, spec, tmp_path / "subjects", scoring=SCORING, images=images)
    drawn = RunStore.open(tmp_path / "subjects")
    brought = _brought(prompts, drawn, tmp_path / "given subjects", tmp_path / "brought subjects")
    labelled = _labelled(RunStore.open(tmp_path / "drawn"), tmp_path / "labelled")
    reference = dict.fromkeys(SHOWN_TONE.classes, 1 / len(SHOWN_TONE.classes))
    concepts = tmp_path / "subjects.txt"
    concepts.write_text("\n".join(subjects(spec)["en"]), encoding="utf-8")
    tables = []
    for run in (drawn, brought):
        with run.locked():
            tables.append(measure_depicted(run, "shown_tone", labelled, reference, concepts))
    assert tables[0]["share_seen"].notna().any(), "nobody is depicted, so that nothing is compared"
    return all(_close(tables[0][name], tables[1][name]) for name in tables[0].select_dtypes("number"))


def _labelled(run: RunStore, folder: Path) -> Path:
    folder.mkdir()
    known = subjects(load_spec(WORLD))["en"]
    toned = run.query("SELECT * FROM results WHERE image IS NOT NULL AND skin_tone IS NOT NULL ORDER BY prompt_id")
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("image", "concept", "class"))
        for row in toned.itertuples():
            shutil.copy(run.path / str(row.image), folder / f"{row.key}.png")
            rows.writerow((f"{row.key}.png", known[str(row.source_id).rpartition("-")[0]], row.skin_tone))
    return folder


def _agreement(run: RunStore) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """What the agreement of images is worth by language, and what that by images of the same noise would be."""
    results = run.query("SELECT * FROM results WHERE image IS NOT NULL")
    coverage = read_coverage(str(load_spec(WORLD).training_coverage))
    known = coverage[coverage["by"] == "language"].set_index("group")["coverage"]
    means = results.groupby("language")[[IMAGE_AGREEMENT, SOURCE_QUALITY]].mean()
    sights = sights_of(run)
    readers = fit_images(sights)
    same_noise = readers.judge(sights.first)[TRANSLATION_SCORE].groupby(np.array(sights.first.languages)).mean()
    languages = means.index
    figures = {
        "image_agreement_language_rho": spearman(1 - means[IMAGE_AGREEMENT].to_numpy(), known[languages].to_numpy()),
        "image_agreement_quality_r": float(np.corrcoef(means[IMAGE_AGREEMENT], means[SOURCE_QUALITY])[0, 1]),
        "same_noise_language_rho": spearman(same_noise[languages].to_numpy(), known[languages].to_numpy()),
    }
    bounds = run.query("SELECT * FROM image_bounds ORDER BY agreement").set_index("language")
    never = known.index[known == 0].intersection(languages)
    figures["never_seen_agreement"] = float(means.loc[never, IMAGE_AGREEMENT].mean())
    figures["never_seen_same_noise"] = float(1 - same_noise[never].mean())
    rows = [
        {
            "language": language,
            "coverage": float(known[language]),
            "quality": float(means.loc[language, SOURCE_QUALITY]),
        }
        | {name: float(row[name]) for name in ("agreement", "ceiling", "floor")}
        | {"same_noise": float(1 - same_noise[language])}
        for language, row in bounds.iterrows()
    ]
    return figures, rows


def test_a_folder_of_two_thousand_is_judged_at_the_speed_of_the_judge(tmp_path: Path) -> None:
    spec = load_spec(WORLD)
    prompts = default_prompts(spec, n_concepts=N_IMAGES // N_LANGUAGES // 3 + 1)
    table = prompts.frame.head(N_IMAGES)
    folder = _photographs(tmp_path / "images", table["prompt_id"].to_list())
    config = ImageConfig(brought=str(folder), device="cpu")
    from emoe_audit.prompts.table import table_of

    taken = table_of(table, "two thousand")
    with all_cores():
        started = time.perf_counter()
        run_audit(taken, images_alone("closed", WORLD), tmp_path / "whole", images=config)
        whole = time.perf_counter() - started
        shares, rows = [], []
        for number in range(REPEATS):
            store = start_run(taken, images_alone("closed", WORLD), tmp_path / f"run-{number}", images=config)
            started = time.perf_counter()
            bare = _bare(str(spec.judge), folder, table)
            between = time.perf_counter()
            with store.locked():
                judge_pending(store)
            ours = time.perf_counter() - between
            shares.append(bare / ours)
            rows.append({"what": "speed", "bare_seconds": bare, "run_seconds": ours, "share": shares[-1]})
            assert between - started >= bare
    figures = {"judge_share": float(np.median(shares)), "report_seconds": whole, "n_images": len(table)}
    merge_record("brought", "speed", figures, rows)
    assert whole < 120


def _photographs(folder: Path, names: list[str]) -> Path:
    """Pictures with something in all parts of them, as cameras and services give them."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in names:
        coarse = Image.fromarray(rng.integers(0, 255, (24, 24, 3), dtype=np.uint8))
        coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(folder / f"{name}.jpg", quality=90)
    return folder


@torch.no_grad()
def _bare(judge: str, folder: Path, table: pd.DataFrame) -> float:
    """Seconds in which plain open_clip embeds all images and prompts."""
    started = time.perf_counter()
    model, _, preprocess = open_clip.create_model_and_transforms(LOCAL_JUDGE + judge.removeprefix(LOCAL_JUDGE))
    tokenizer = open_clip.get_tokenizer(judge)
    model.eval()
    names, texts = table["prompt_id"].to_list(), table["prompt"].to_list()
    cosines = []
    for start in range(0, len(names), BATCH):
        pixels = []
        for name in names[start : start + BATCH]:
            with Image.open(folder / f"{name}.jpg") as image:
                pixels.append(preprocess(image.convert("RGB")))
        seen = model.encode_image(torch.stack(pixels), normalize=True)
        read = model.encode_text(tokenizer(texts[start : start + BATCH]), normalize=True)
        cosines.append((seen * read).sum(dim=1))
    assert len(torch.cat(cosines)) == len(names)
    return time.perf_counter() - started


def test_no_hostile_image_is_misjudged() -> None:
    with tempfile.TemporaryDirectory() as place:
        images = write_hostile_images(Path(place) / "images")
        judge = ClipJudge(str(load_spec(WORLD).judge), device="cpu")
        wrong = [{"what": "hostile image", "name": own.name} for own in look_at(judge, Path(place) / "images", images)]
    figures = {"hostile_images_tried": float(len(images)), "hostile_images_wrong": float(len(wrong))}
    merge_record("brought", "hostile", figures, wrong)
    assert not wrong
