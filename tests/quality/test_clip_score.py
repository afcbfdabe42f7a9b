"""The judge against open_clip used by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from emoe_audit.errors import QualityError
from emoe_audit.quality import clip_score
from emoe_audit.quality.clip_score import ClipJudge, cosines, text_ranks, weights_file
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
    place = np.array([4, 0, 8, 2, 7, 1, 3, 6, 5])
    own = candidates[place]
    expected = [
        1 + sorted(candidates @ image, reverse=True).index(pytest.approx(text @ image))
        for image, text in zip(images, own, strict=True)
    ]
    assert text_ranks(images, own, candidates, place).tolist() == expected


def test_a_text_that_is_no_candidate_takes_the_place_of_one() -> None:
    image, text = np.array([[1.0, 0.0]]), np.array([[0.8, 0.6]])
    candidates = np.array([[0.6, 0.8], [0.96, 0.28], [0.9, np.sqrt(0.19)]])
    ranks = [float(text_ranks(image, text, candidates, np.array([place]))[0]) for place in range(3)]
    assert ranks == [3, 2, 2], "two are nearer to the image, and it takes the place of none or of one of them"


def test_a_judge_that_takes_all_texts_for_the_same_ranks_as_chance_does() -> None:
    same = np.tile([1.0, 0.0], (100, 1))
    assert text_ranks(same[:3], same[:3], same, np.array([0, 50, 99])).tolist() == [50.5] * 3


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(QualityError, match=r"no open_clip_config\.json here"):
        ClipJudge(f"local-dir:{tmp_path}")


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-33/openai", "judge"])
def test_another_name_is_told_the_three_forms(name: str) -> None:
    with pytest.raises(QualityError, match=r"give local-dir:FOLDER, hf-hub:ORG/NAME, MODEL/PRETRAINED"):
        ClipJudge(name)


@pytest.fixture
def judge_folder(tiny_copy: Path) -> Path:
    return tiny_copy / "judge"


def pickle_weights(folder: Path) -> None:
    """Put a pickled file in place of the safetensors."""
    weights = folder / "open_clip_model.safetensors"
    torch.save(load_file(weights), folder / "open_clip_pytorch_model.bin")
    weights.unlink()


def test_a_folder_without_weights_is_no_judge_of_random_weights(judge_folder: Path) -> None:
    (judge_folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(QualityError, match=r"no weights here; put them into open_clip_model\.safetensors"):
        ClipJudge(f"local-dir:{judge_folder}")


def test_pickled_weights_are_refused_and_the_command_that_is_told_converts_them(
    judge_folder: Path, judge: ClipJudge
) -> None:
    pickle_weights(judge_folder)
    with pytest.raises(QualityError, match=r"open_clip_pytorch_model\.bin: pickled weights can run code") as refused:
        ClipJudge(f"local-dir:{judge_folder}")
    command = re.search(r'python -c "(.*)"$', str(refused.value))
    assert command is not None
    exec(command[1])
    converted = ClipJudge(f"local-dir:{judge_folder}", device="cpu")
    np.testing.assert_array_equal(converted.image_features(pictures(2)), judge.image_features(pictures(2)))


def test_pickled_weights_beside_safe_ones_are_not_read(judge_folder: Path, judge: ClipJudge) -> None:
    torch.save({"nothing": torch.zeros(1)}, judge_folder / "open_clip_pytorch_model.bin")
    same = ClipJudge(f"local-dir:{judge_folder}", device="cpu")
    np.testing.assert_array_equal(same.image_features(pictures(2)), judge.image_features(pictures(2)))


def test_weights_that_are_no_safetensors_are_an_error(judge_folder: Path) -> None:
    (judge_folder / "open_clip_model.safetensors").write_bytes(b"version https://git-lfs")
    with pytest.raises(QualityError, match="cannot be loaded"):
        ClipJudge(f"local-dir:{judge_folder}")


def test_a_folder_on_the_hub_without_weights_is_no_judge_of_random_weights(
    judge_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise FileNotFoundError("no weights")

    config = json.loads((judge_folder / "open_clip_config.json").read_text(encoding="utf-8"))
    monkeypatch.setattr(open_clip.factory, "_get_hf_config", lambda *_, **__: config)
    monkeypatch.setattr(open_clip.factory, "download_pretrained_from_hf", fail)
    with pytest.raises(QualityError, match="judge hf-hub:org/judge: cannot be loaded: Required pretrained weights"):
        ClipJudge("hf-hub:org/judge")


@pytest.fixture
def known_model(tiny_spec: EnsembleSpec, monkeypatch: pytest.MonkeyPatch) -> open_clip.CLIP:
    """A model that open_clip knows by the name `tiny-clip`, with open_clip's own tokenizer."""
    assert tiny_spec.judge is not None
    file = Path(tiny_spec.judge.removeprefix("local-dir:")) / "open_clip_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))["model_cfg"]
    config["text_cfg"] = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-clip", config)
    return open_clip.CLIP(**config)


def test_weights_in_a_file_are_those_of_the_model_that_is_named(known_model: open_clip.CLIP, tmp_path: Path) -> None:
    save_file(known_model.state_dict(), tmp_path / "own.safetensors")
    own, texts = ClipJudge(f"tiny-clip/{tmp_path / 'own.safetensors'}", device="cpu"), ["a dog", "a cat"]
    with torch.no_grad():
        expected = known_model.eval().encode_text(open_clip.get_tokenizer("tiny-clip")(texts), normalize=True)
    np.testing.assert_allclose(own.text_features(texts), expected.numpy(), atol=1e-6)


def test_a_file_is_found_from_the_working_folder_too(
    known_model: open_clip.CLIP, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_file(known_model.state_dict(), tmp_path / "own.safetensors")
    monkeypatch.chdir(tmp_path)
    assert ClipJudge("tiny-clip/own.safetensors", device="cpu").text_features(["a dog"]).shape == (1, 16)


def test_a_file_that_is_not_there_or_pickled_is_told(known_model: open_clip.CLIP, tmp_path: Path) -> None:
    with pytest.raises(QualityError, match=r"gone\.safetensors: no such file"):
        ClipJudge(f"tiny-clip/{tmp_path / 'gone.safetensors'}")
    torch.save(known_model.state_dict(), tmp_path / "own.pt")
    with pytest.raises(QualityError, match=r"own\.pt: pickled weights .*own\.safetensors'\)"):
        ClipJudge(f"tiny-clip/{tmp_path / 'own.pt'}")


@pytest.mark.parametrize(
    ("model", "file"),
    [
        ("ViT-B-32//data/own.safetensors", "/data/own.safetensors"),
        ("ViT-B-32/data/own.pt", "data/own.pt"),
        ("ViT-B-32/laion2b_s34b_b79k", None),
        ("hf-hub:org/name.safetensors", None),
        ("local-dir:/data/own.safetensors", None),
    ],
)
def test_only_the_form_with_a_file_names_one(model: str, file: str | None) -> None:
    assert weights_file(model) == (None if file is None else Path(file))
