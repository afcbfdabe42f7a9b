"""The judge against open_clip used by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from emoe_audit.errors import QualityError
from emoe_audit.quality import clip_score
from emoe_audit.quality.clip_score import ClipJudge, cosines, text_ranks
from emoe_audit.types import EnsembleSpec


@pytest.fixture(scope="module")
def judge(tiny_spec: EnsembleSpec) -> ClipJudge:
    assert tiny_spec.judge is not None
    return ClipJudge(tiny_spec.judge, device="cpu")


def pictures(n: int) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)) for _ in range(n)]


def test_cosines_are_those_of_open_clip(
    judge: ClipJudge, tiny_spec: EnsembleSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clip_score, "BATCH_SIZE", 2)
    images, texts = pictures(5), ["dog", "猫", "", "a" * 300, "🦊"]
    assert tiny_spec.judge is not None
    model, _, preprocess = open_clip.create_model_and_transforms(tiny_spec.judge)
    tokenizer = open_clip.get_tokenizer(tiny_spec.judge)
    with torch.no_grad():
        a = model.encode_image(torch.stack([preprocess(image) for image in images]))
        b = model.encode_text(tokenizer(texts))
    expected = torch.nn.functional.cosine_similarity(a, b).numpy()
    np.testing.assert_allclose(cosines(judge.image_features(images), judge.text_features(texts)), expected, atol=1e-5)


def test_features_have_length_one(judge: ClipJudge) -> None:
    np.testing.assert_allclose(np.linalg.norm(judge.image_features(pictures(3)), axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(judge.text_features(["dog", "cat"]), axis=1), 1, rtol=1e-5)


def test_a_rank_is_the_place_of_the_own_text_by_falling_cosine() -> None:
    rng = np.random.default_rng(0)
    images, candidates = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in rng.normal(size=(2, 9, 4)))
    own = candidates[[4, 0, 8, 2, 7, 1, 3, 6, 5]]
    expected = [
        1 + sorted(candidates @ image, reverse=True).index(pytest.approx(text @ image))
        for image, text in zip(images, own, strict=True)
    ]
    assert text_ranks(images, own, candidates).tolist() == expected


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(QualityError, match=r"no open_clip_config\.json here"):
        ClipJudge(f"local-dir:{tmp_path}")


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-33/openai", "judge"])
def test_another_name_is_told_the_three_forms(name: str) -> None:
    with pytest.raises(QualityError, match=r"give local-dir:FOLDER, hf-hub:ORG/NAME or MODEL/PRETRAINED"):
        ClipJudge(name)
