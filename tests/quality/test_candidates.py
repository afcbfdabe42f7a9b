"""A caption is ranked among a hundred, whichever run and ensemble it stands in, so that risks compare."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from emoe_audit.analysis.refusal import CHANCE, judged
from emoe_audit.experts.spec import load_spec
from emoe_audit.prompts.emoji import caption_matrix
from emoe_audit.prompts.shipped import shipped_captions
from emoe_audit.quality.candidates import Candidates, draw_candidates, source_language
from emoe_audit.quality.illustrator import Illustrator
from emoe_audit.quality.images import Drawing
from emoe_audit.types import EnsembleSpec, ImageConfig, Prompt

N_IMAGES = 2000


class BlindMaker:
    """Draws noise whatever it is asked for."""

    def __init__(self, _spec: EnsembleSpec, config: ImageConfig) -> None:
        self.config = config

    def draw(self, prompts: Sequence[Prompt], _number: int) -> list[Drawing]:
        return [Drawing(image=Image.new("RGB", (1, 1)))] * len(prompts)


class RandomJudge:
    """Knows each text by a direction of its own, and sees another one in each image."""

    def __init__(self, _model: str, *, device: str) -> None:
        self._rng = np.random.default_rng(0)

    def image_features(self, images: Sequence[Image.Image]) -> np.ndarray:
        return _unit(self._rng.normal(size=(len(images), 512)))

    def text_features(self, texts: Sequence[str]) -> np.ndarray:
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) for text in texts]
        return np.concatenate([_unit(np.random.default_rng(seed).normal(size=(1, 512))) for seed in seeds])


def _unit(rows: np.ndarray) -> np.ndarray:
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


@pytest.mark.parametrize("n_captions", [1, 20, 1000])
@pytest.mark.parametrize("kind", ["of the set", "of the user"])
def test_random_images_are_misread_as_often_in_a_run_of_any_size(
    n_captions: int, kind: str, tiny_spec: EnsembleSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emoe_audit.quality.illustrator.ImageMaker", BlindMaker)
    monkeypatch.setattr("emoe_audit.quality.illustrator.ClipJudge", RandomJudge)
    candidates = draw_candidates(tiny_spec)
    names = candidates.captions if kind == "of the set" else [f"caption {number}" for number in range(n_captions)]
    sources = {str(place): names[place % len(names)] for place in range(n_captions)}
    prompts = [Prompt(prompt_id=str(n), prompt="x", source_id=str(n % n_captions)) for n in range(N_IMAGES)]
    illustrator = Illustrator(tiny_spec, ImageConfig(), sources, candidates)
    frame = illustrator.judge(prompts, [[prompt.source_id] for prompt in prompts]).rows
    risk = judged(frame.assign(score=0.0), "score", [])["loss"].mean()
    assert CHANCE == 0.9
    assert risk == pytest.approx(1 - 10 / 100, abs=4 * np.sqrt(0.9 * 0.1 / N_IMAGES))


def test_an_ensemble_s_own_captions_are_drawn_from_where_it_brings_enough() -> None:
    spec = load_spec("emoji-a")
    own = set(caption_matrix(spec)["en"])
    assert len(own) > 100
    drawn = draw_candidates(spec).captions
    assert len(drawn) == len(set(drawn)) == 100
    assert set(drawn) <= own
    assert draw_candidates(load_spec("emoji-b")).sha256 == draw_candidates(spec).sha256, "captions of both are the same"


def test_the_shipped_captions_make_up_for_what_is_lacking(tiny_spec: EnsembleSpec) -> None:
    own, shipped = set(caption_matrix(tiny_spec)["en"]), set(shipped_captions()["en"])
    drawn = draw_candidates(tiny_spec).captions
    assert own < set(drawn) < own | shipped
    without = draw_candidates(replace(tiny_spec, captions=None))
    assert set(without.captions) == shipped
    assert len(drawn) == len(without.captions) == 100


@pytest.mark.parametrize(("language", "stands_for"), [("fi", "fi"), ("en-US", "en"), ("de-AT", "de"), ("tlh", "en")])
def test_candidates_are_in_the_language_of_the_source_captions(
    language: str, stands_for: str, tiny_spec: EnsembleSpec
) -> None:
    drawn = draw_candidates(replace(tiny_spec, captions=None), language).captions
    assert set(drawn) == set(shipped_captions()[stands_for])


def test_every_shipped_language_has_a_hundred_different_captions() -> None:
    assert (shipped_captions().nunique() >= 100).all()


def test_the_order_of_a_captions_file_does_not_matter(tiny_spec: EnsembleSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    before = draw_candidates(tiny_spec)
    turned = caption_matrix(tiny_spec).iloc[::-1]
    monkeypatch.setattr("emoe_audit.quality.candidates.caption_matrix", lambda _: turned)
    assert draw_candidates(tiny_spec) == before


def test_a_caption_takes_its_own_place_or_the_last() -> None:
    candidates = Candidates(("dog", "cat", "sun"))
    assert [candidates.place_of(caption) for caption in ("cat", "moon")] == [1, 2]
    assert candidates.sha256 != Candidates(("dog", "sun", "cat")).sha256
    assert candidates.sha256 != Candidates(("dog", "catsun")).sha256


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        (["a dog", "a dog", "a cat", "a cat"], "en"),
        (["ein Hund", "ein Hund", "eine Katze", "eine Katze"], "de"),
        (["a dog", "a dog", "eine Katze", "eine Katze"], "en"),
        (["hound", "hound", None, None], "en"),
    ],
)
def test_the_source_language_is_that_of_most_source_captions(sources: list[str | None], expected: str) -> None:
    prompts = pd.DataFrame({"prompt": ["a dog", "ein Hund", "a cat", "eine Katze"], "language": ["en", "de"] * 2})
    assert source_language([prompts.assign(source_prompt=sources)]) == expected
    assert source_language([prompts]) == "en"
