"""Other scores for one language: each by hand, and none that depends on a prompt's company."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from emoe_audit.ground.one_language import ONE_LANGUAGE, WRITTEN
from emoe_audit.scoring.calibration import calibration_captions
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.loading import load_engine
from emoe_audit.types import EnsembleSpec, Prompt, ScoringConfig

pytestmark = pytest.mark.slow
PROMPTS = [
    Prompt(prompt_id=f"{place}", prompt=text, language=language)
    for place, (text, language) in enumerate(
        [("a red dog", "en"), ("ein Hund", "de"), ("a cat", "en"), ("Katze", "und")]
    )
]


@pytest.fixture(scope="module")
def engine(tiny_spec: EnsembleSpec) -> ScoringEngine:
    return load_engine(tiny_spec, ScoringConfig(n_noise=1, batch_size=2, device="cpu"))


def summaries(engine: ScoringEngine, texts: list[str]) -> np.ndarray:
    return torch.cat([engine.text_states([text]).summary for text in texts]).numpy()


@pytest.mark.parametrize("name", ONE_LANGUAGE)
def test_a_prompt_has_the_same_number_alone_and_with_others(engine: ScoringEngine, name: str) -> None:
    compute = ONE_LANGUAGE[name](engine)
    together = compute(PROMPTS)
    alone = np.concatenate([compute([prompt]) for prompt in PROMPTS])
    np.testing.assert_allclose(alone, together, rtol=1e-4)
    needs_language = name not in ("token_length", "prompt_effect")
    assert np.isnan(together).tolist() == [False, False, False, needs_language]


def test_lengths_are_those_of_the_state_by_which_clip_compares(engine: ScoringEngine, tiny_spec: EnsembleSpec) -> None:
    captions = calibration_captions(tiny_spec).astype(str)
    lengths = {}
    for language in captions:
        states = summaries(engine, captions[language].tolist())
        lengths[language] = np.linalg.norm(states - states.mean(axis=0), axis=1).mean()
    english = summaries(engine, captions["en"].tolist()).mean(axis=0)
    own = np.linalg.norm(summaries(engine, ["a red dog"])[0] - english)
    for name in ("normed_length", "leading_length"):  # sixteen numbers have no more than sixteen leading directions
        found = ONE_LANGUAGE[name](engine)(PROMPTS[:1])
        np.testing.assert_allclose(found, max(lengths.values()) / own, rtol=1e-3)


def test_token_length_is_that_of_the_embeddings(engine: ScoringEngine) -> None:
    encoder = engine.ensemble.text_encoders[0]
    ids = encoder.tokenizer("a red dog").input_ids[1:-1]
    embeddings = encoder.model.get_input_embeddings()(torch.tensor(ids)).detach()
    assert ONE_LANGUAGE["token_length"](engine)(PROMPTS[:1])[0] == pytest.approx(-embeddings.norm(dim=1).mean().item())


def test_the_effect_of_a_prompt_is_what_it_adds_to_the_empty_one(engine: ScoringEngine) -> None:
    own, empty = (engine.features(engine.text_states([text]), 0).flatten(1) for text in ("a red dog", ""))
    found = ONE_LANGUAGE["prompt_effect"](engine)([*PROMPTS[:1], Prompt(prompt_id="e", prompt="")])
    np.testing.assert_allclose(found, [-(own - empty).mean(dim=0).norm().item(), 0], rtol=1e-4, atol=1e-5)


def test_ways_to_write_a_prompt_are_compared_each_by_its_own_mean(
    engine: ScoringEngine, tiny_spec: EnsembleSpec
) -> None:
    captions = calibration_captions(tiny_spec)["en"].astype(str)
    units = []
    for way in WRITTEN:
        mean = summaries(engine, [way.format(text) for text in captions]).mean(axis=0)
        state = summaries(engine, [way.format("a red dog")])[0] - mean
        units.append(state / np.linalg.norm(state))
    expected = 1 - np.linalg.norm(np.mean(units, axis=0))
    assert ONE_LANGUAGE["rewritten"](engine)(PROMPTS[:1])[0] == pytest.approx(expected, rel=1e-3)
