"""What is judged of an image, and what a safety checker does to the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoe_audit.experts.spec import load_spec
from emoe_audit.quality.candidates import draw_candidates
from emoe_audit.quality.clip_score import ClipJudge
from emoe_audit.quality.illustrator import Illustrator
from emoe_audit.quality.judging import MEASURES
from emoe_audit.types import EnsembleSpec, ImageConfig, Prompt, SafetyPolicy
from tests.quality.safety_checker import ALWAYS, NEVER, write_safety_checker

CONFIG = ImageConfig(num_inference_steps=2, device="cpu")
PROMPTS = [Prompt(prompt_id=text, prompt=text, source_id=text) for text in ("dog", "cat")]
SOURCES = {"dog": "dog", "cat": "cat"}


def judged(spec: EnsembleSpec, policy: SafetyPolicy) -> tuple[pd.DataFrame, bool]:
    """The rows, and whether every image is black."""
    illustrator = Illustrator(spec, replace(CONFIG, safety_checker=policy), SOURCES, draw_candidates(spec))
    made = illustrator.judge(PROMPTS, [[prompt.source_id] for prompt in PROMPTS])
    return made.rows, all(np.asarray(image).max() == 0 for own in made.pictures for _, image in own)


@pytest.fixture
def without_checker(tiny_spec: EnsembleSpec) -> pd.DataFrame:
    return judged(tiny_spec, "off")[0]


@pytest.mark.parametrize(("threshold", "flagged"), [(ALWAYS, True), (NEVER, False)])
def test_a_flagged_image_is_kept_and_judged_as_any_other(
    threshold: float, flagged: bool, without_checker: pd.DataFrame, tiny_copy: Path
) -> None:
    write_safety_checker(tiny_copy / "base", threshold)
    frame, is_black = judged(load_spec(tiny_copy), "flag")
    assert not is_black
    assert frame["flagged"].tolist() == [flagged] * 2
    pd.testing.assert_frame_equal(frame.drop(columns="flagged"), without_checker)


def test_a_blanked_image_is_not_judged(without_checker: pd.DataFrame, tiny_copy: Path) -> None:
    write_safety_checker(tiny_copy / "base", ALWAYS)
    frame, is_black = judged(load_spec(tiny_copy), "blank")
    assert is_black
    assert frame["flagged"].all()
    assert frame[MEASURES].isna().all(axis=None)
    assert frame["image_seed"].tolist() == without_checker["image_seed"].tolist()


def test_without_a_checker_nothing_is_said_of_flags(without_checker: pd.DataFrame) -> None:
    assert "flagged" not in without_checker
    assert without_checker[MEASURES].notna().all(axis=None)


def test_an_image_is_judged_against_every_caption_of_its_text(tiny_spec: EnsembleSpec) -> None:
    """A text of two captions is drawn once: one cosine with it, and a cosine and a rank with each caption."""
    sources = {"1": "dog", "2": "cat"}
    illustrator = Illustrator(tiny_spec, CONFIG, sources, draw_candidates(tiny_spec))
    prompt = Prompt(prompt_id="p", prompt="kuusi", language="fi", source_id="1")
    made = illustrator.judge([prompt, PROMPTS[0]], [["1", "2"], ["3"]])
    frame, images = made.rows, [image for own in made.pictures for _, image in own]
    assert len(images) == 2
    assert frame["place"].tolist() == [0, 0, 1]
    assert frame["source_id"].tolist() == ["1", "2", "3"]
    judge = ClipJudge(str(tiny_spec.judge), device="cpu")
    seen, texts = judge.image_features(images), judge.text_features(["kuusi", "dog", "cat"])
    np.testing.assert_allclose(frame["clip_cosine"][:2], [seen[0] @ texts[0]] * 2, atol=1e-5)
    np.testing.assert_allclose(frame["clip_cosine_source"][:2], [seen[0] @ texts[1], seen[0] @ texts[2]], atol=1e-5)
    assert frame.loc[2, ["clip_cosine_source", "source_rank"]].isna().all(), "it has no source caption"


def test_a_caption_is_read_once(tiny_spec: EnsembleSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    candidates = draw_candidates(tiny_spec)
    sources = {"dog": candidates.captions[3], "cat": "a cat of the run"}
    illustrator = Illustrator(tiny_spec, CONFIG, sources, candidates)
    read: list[str] = []
    features = ClipJudge.text_features

    def watched(judge: ClipJudge, texts: Sequence[str]) -> np.ndarray:
        read.extend(texts)
        return features(judge, texts)

    monkeypatch.setattr(ClipJudge, "text_features", watched)
    for _ in range(2):
        illustrator.judge(PROMPTS, [[prompt.source_id] for prompt in PROMPTS])
    assert read == ["dog", "cat", "a cat of the run", "dog", "cat"], "prompts each time, captions never again"
