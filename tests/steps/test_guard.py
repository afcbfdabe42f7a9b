"""A judge that does not read a language says nothing of images in it; how that is known, and what follows from it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from torch import Tensor, tensor

from emoe_audit.analysis.summary import SOURCE_QUALITY
from emoe_audit.audit import run_audit
from emoe_audit.decisions.evidence import read_standing
from emoe_audit.decisions.gate import Policy, Rule, judge_run, to_json, to_text
from emoe_audit.experts.images_alone import images_alone
from emoe_audit.experts.tiny import CONCEPTS
from emoe_audit.prompts.table import PromptTable, check_rows
from emoe_audit.report import collect
from emoe_audit.runs.store import RunStore
from emoe_audit.types import EnsembleSpec, ImageConfig

WIDTH = 64
N_CAPTIONS = len(CONCEPTS["en"])
MEANT = {text: place for own in CONCEPTS.values() for place, text in enumerate(own)}
NATIVE = "SELECT language, count(clip_cosine) AS native, count(clip_cosine_source) AS source FROM results GROUP BY 1"


class StubJudge:
    """Sees which concept a picture of one colour is of, and reads it in all languages but some."""

    unread: tuple[str, ...] = ()
    width = WIDTH

    def __init__(self, _model: str, *, device: str) -> None:
        pass

    def pixels(self, image: Image.Image) -> Tensor:
        return tensor(np.asarray(image)[0, 0, 0])

    def features_of(self, pixels: Sequence[Tensor]) -> np.ndarray:
        return np.eye(WIDTH, dtype=np.float32)[[int(own) for own in pixels]]

    def image_features(self, images: Sequence[Image.Image]) -> np.ndarray:
        return self.features_of([self.pixels(image) for image in images])

    def text_features(self, texts: Sequence[str]) -> np.ndarray:
        return np.stack([self._read(text) for text in texts]).astype(np.float32)

    def _read(self, text: str) -> np.ndarray:
        if text in MEANT and not any(text in CONCEPTS[own] for own in self.unread):
            return np.eye(WIDTH)[MEANT[text]]
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])
        random = np.random.default_rng(seed).normal(size=WIDTH)
        return random / np.linalg.norm(random)


def table(source: str = "en") -> PromptTable:
    rows = [
        {"prompt_id": f"{place}-{language}", "prompt": text, "language": language, "source_id": f"c{place}"}
        | {"source_prompt": CONCEPTS[source][place], "reference_image": f"{place}.png"}
        for language, texts in CONCEPTS.items()
        for place, text in enumerate(texts)
    ]
    return check_rows(enumerate(rows, start=1), "concepts")


def perfect(folder: Path, names: Sequence[str]) -> Path:
    """Images of what every prompt says, by a model that is good in every language."""
    folder.mkdir()
    for name in names:
        Image.new("RGB", (8, 8), (int(name.partition("-")[0]), 0, 0)).save(folder / f"{name}.png")
    return folder


def audited(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    judge: str = "hf-hub:nobody/judge",
    unread: tuple[str, ...] = (),
    source: str = "en",
    with_references: bool = True,
) -> RunStore:
    monkeypatch.setattr("emoe_audit.quality.clip_score.ClipJudge", type("Judge", (StubJudge,), {"unread": unread}))
    prompts = table(source)
    real = perfect(tmp_path / "real", [str(place) for place in range(N_CAPTIONS)]) if with_references else None
    images = ImageConfig(
        device="cpu",
        brought=str(perfect(tmp_path / "images", prompts.frame["prompt_id"].to_list())),
        reference_images=None if real is None else str(real),
    )
    run_audit(prompts, images_alone("closed", judge), tmp_path / "run", images=images)
    return RunStore.open(tmp_path / "run")


def told(run: RunStore) -> pd.DataFrame:
    return run.query("SELECT * FROM judge_reading").set_index("language")


def seen(run: RunStore) -> dict[str, tuple[int, int]]:
    return {row.language: (int(row.native), int(row.source)) for row in run.query(NATIVE).itertuples()}


def test_real_images_tell_which_languages_a_judge_reads_and_what_it_says_of_others_is_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        run = audited(tmp_path, monkeypatch, unread=("hi", "ja"))
    assert "does not read 'hi', 'ja'" in caplog.text
    found = told(run)
    assert found["basis"].eq("reference images").all()
    assert found["reads"].to_dict() == {"de": True, "en": True, "hi": False, "ja": False}
    whole, none = (N_CAPTIONS, N_CAPTIONS), (0, N_CAPTIONS)
    assert seen(run) == {"de": whole, "en": whole, "hi": none, "ja": none}
    shown = run.query("SELECT \"group\" FROM groups WHERE measure = 'clip_cosine' AND \"by\" = 'language'")["group"]
    assert sorted(shown) == ["de", "en"]
    assert run.query("SELECT clip_cosine FROM quality")["clip_cosine"].notna().all(), "it is kept, and not shown"


def test_neither_verdict_nor_gate_rests_on_what_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model draws every language well; only the judge cannot read two of them."""
    run = audited(tmp_path, monkeypatch, unread=("hi", "ja"))
    report = collect(run)
    assert "No language stands out" in report.verdict.where
    assert "does not read Hindi and Japanese" in report.verdict.validity
    assert report.standing.rung == "measured"
    assert "puts 100% of other captions behind that of a real image" in report.standing.sentence
    policy = Policy(rules=(Rule(by="language", measure="clip_cosine", at_least=0.5),), min_sources=2)
    found = {own.group: own for own in judge_run(run, policy)}
    assert (found["hi"].verdict, found["hi"].n_sources, found["en"].reason) == ("inconclusive", 0, "")
    assert "0 captions, withheld, judge" in to_text([found["hi"]], report.standing)
    assert "it does not read Hindi (it puts" in to_json([found["hi"]], report.standing)["findings"][0]["reason"]
    of_sources = Policy(rules=(Rule(by="language", measure=SOURCE_QUALITY, at_least=0.5),), min_sources=2)
    assert not any(own.reason for own in judge_run(run, of_sources)), "the source captions are read"
    page = (run.path / "report.html").read_text(encoding="utf-8")
    assert "does not read Hindi and Japanese" in page and 'data-table="judge"' in page


def test_of_a_judge_that_reads_everything_everything_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control."""
    run = audited(tmp_path, monkeypatch)
    assert set(seen(run).values()) == {(N_CAPTIONS, N_CAPTIONS)}
    assert "is known to read all 4 languages" in collect(run).verdict.validity


def test_without_real_images_published_recall_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = audited(tmp_path, monkeypatch, judge="ViT-B-32/laion2b_s34b_b79k", with_references=False)
    found = told(run)
    assert found["basis"].eq("published").all()
    assert found["reads"].to_dict() == {"de": False, "en": True, "hi": False, "ja": False}
    assert found.loc["de", "reading"] == pytest.approx(0.4894)
    assert "published recall at 10: 0.84" in read_standing(run).sentence


def test_real_images_are_believed_before_what_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = audited(tmp_path, monkeypatch, judge="ViT-B-32/laion2b_s34b_b79k", unread=("en",))
    found = told(run)
    assert found["basis"].eq("reference images").all()
    assert found["reads"].to_dict() == {"de": True, "en": False, "hi": True, "ja": True}


def test_where_nothing_is_known_everything_is_shown_and_the_doubt_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = audited(tmp_path, monkeypatch, with_references=False)
    assert told(run)["reads"].isna().all()
    assert set(seen(run).values()) == {(N_CAPTIONS, N_CAPTIONS)}
    assert read_standing(run).rung == "unproven"
    assert "is not known to read German, English, Hindi and Japanese" in collect(run).verdict.validity


def test_source_captions_that_a_judge_does_not_read_judge_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = audited(tmp_path, monkeypatch, unread=("ja",), source="ja")
    assert told(run)["is_source"].to_dict() == {"de": False, "en": False, "hi": False, "ja": True}
    assert {own: counts[1] for own, counts in seen(run).items()} == dict.fromkeys(CONCEPTS, 0)
    assert run.query("SELECT source_rank FROM results")["source_rank"].isna().all()
    assert collect(run).ranking == "clip_cosine"


def test_a_run_that_is_measured_again_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = audited(tmp_path, monkeypatch, unread=("hi",))
    before = {
        name: run.query(f"SELECT * FROM {name} ORDER BY ALL") for name in ("judge_bias", "judge_reading", "results")
    }
    run_audit(table(), images_alone("closed", "hf-hub:nobody/judge"), run.path, images=run.plan().images)
    for name, expected in before.items():
        pd.testing.assert_frame_equal(run.query(f"SELECT * FROM {name} ORDER BY ALL"), expected)


def test_a_judge_that_reads_with_the_audited_text_encoder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emoe_audit.experts.public_readers import PublicReader
    from emoe_audit.steps.guard import guard_judge
    from emoe_audit.steps.readers import keep_reader

    run = audited(tmp_path, monkeypatch, judge="ViT-L-14-quickgelu/openai", with_references=False)
    assert not told(run)["shares_encoder"].any()
    with run.locked():
        keep_reader(run, PublicReader(name="ViT-L-14/openai", exact=True))
        guard_judge(run)
    assert told(run)["shares_encoder"].all()
    assert "what that cannot read, it cannot see" in collect(run).verdict.validity


def test_a_judge_on_this_disk_is_known_by_its_embeddings(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    from dataclasses import replace

    from safetensors.torch import load_file, save_file

    from emoe_audit.experts.judges import shares_text_encoder

    assert not shares_text_encoder(tiny_spec)
    encoder = load_file(Path(tiny_spec.base.source) / "text_encoder" / "model.safetensors")
    embedding = next(own for key, own in encoder.items() if key.endswith("token_embedding.weight"))
    save_file({"text.token_embedding.weight": embedding.half()}, tmp_path / "open_clip_model.safetensors")
    assert shares_text_encoder(replace(tiny_spec, judge=f"local-dir:{tmp_path}"))
    (tmp_path / "open_clip_model.safetensors").write_bytes(b"no weights")
    assert not shares_text_encoder(replace(tiny_spec, judge=f"local-dir:{tmp_path}"))
