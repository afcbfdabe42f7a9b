"""What a safety checker does to the judged rows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoe_audit.experts.spec import load_spec
from emoe_audit.quality.illustrator import MEASURES, Illustrator
from emoe_audit.types import EnsembleSpec, ImageConfig, Prompt, SafetyPolicy
from tests.quality.safety_checker import ALWAYS, NEVER, write_safety_checker

CONFIG = ImageConfig(num_inference_steps=2, device="cpu")
PROMPTS = [Prompt(prompt_id=text, prompt=text, source_id=text) for text in ("dog", "cat")]
SOURCES = {"dog": "dog", "cat": "cat"}


def judged(spec: EnsembleSpec, policy: SafetyPolicy) -> tuple[pd.DataFrame, bool]:
    """The rows, and whether every image is black."""
    frame, images = Illustrator(spec, replace(CONFIG, safety_checker=policy), SOURCES).judge(PROMPTS)
    return frame, all(np.asarray(image).max() == 0 for image in images)


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
