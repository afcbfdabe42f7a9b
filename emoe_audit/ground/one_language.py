"""Other scores for prompts in one language, as rows of the bench: some of what `unfamiliarity` was chosen among.

Each is made for one engine, with the captions that its languages are known by, and maps prompts to one number each;
high is meant as uncertain, and a prompt's number depends on no other prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from emoe_audit.analysis.familiarity import Familiarity
from emoe_audit.analysis.readings import unit
from emoe_audit.progress import chunks
from emoe_audit.scoring.calibration import calibration_captions
from emoe_audit.scoring.conditioning import TEXTS
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.types import Prompt

Candidate = Callable[[Sequence[Prompt]], np.ndarray]
LEADING = 64
"""Directions of the text state."""
WRITTEN = ("{0}", "{0}.", '"{0}"', "{0} {0}")
"""Ways to write a prompt in any language."""


def normed_length(engine: ScoringEngine) -> Candidate:
    """`unfamiliarity` of the state after the last layer norm, by which CLIP compares texts."""
    captions = _captions(engine)
    known = Familiarity.fit(_summaries(engine, captions["text"]), captions["language"])
    return lambda prompts: known.judge(_summaries(engine, _texts(prompts)), _languages(prompts))


def leading_length(engine: ScoringEngine) -> Candidate:
    """The same in the directions in which captions of one language differ most."""
    captions = _captions(engine)
    states = _summaries(engine, captions["text"])
    means = pd.DataFrame(states).groupby(captions["language"].to_numpy()).transform("mean").to_numpy()
    _, _, directions = np.linalg.svd(states - means, full_matrices=False)
    leading = directions[:LEADING].T
    known = Familiarity.fit(states @ leading, captions["language"])
    return lambda prompts: known.judge(_summaries(engine, _texts(prompts)) @ leading, _languages(prompts))


def token_length(engine: ScoringEngine) -> Candidate:
    """Minus the mean length of the prompt's token embeddings: what was never trained stays short or shrinks.

    After Land and Bartolo, Fishing for Magikarp (arXiv 2405.05417), who find tokens that a model was not trained on.
    """
    encoder = engine.ensemble.text_encoders[len(engine.ensemble.text_encoders) - 1]
    lengths = encoder.model.get_input_embeddings().weight.detach().float().norm(dim=1).cpu().numpy()

    def compute(prompts: Sequence[Prompt]) -> np.ndarray:
        ids = encoder.tokenizer(_texts(prompts), add_special_tokens=False, verbose=False).input_ids
        return np.array([-lengths[own].mean() if own else np.nan for own in ids])

    return compute


def prompt_effect(engine: ScoringEngine) -> Candidate:
    """Minus the length of what the prompt does in the mid-block, against the empty prompt, on average over experts."""
    empty = _mid_blocks(engine, [""])

    def compute(prompts: Sequence[Prompt]) -> np.ndarray:
        effect = (_mid_blocks(engine, _texts(prompts)) - empty).mean(dim=0)
        lengths: np.ndarray = -effect.norm(dim=1).double().cpu().numpy()
        return lengths

    return compute


def rewritten(engine: ScoringEngine) -> Candidate:
    """How far the text states of four ways to write a prompt lie apart: 1 minus the length of their mean direction."""
    captions = _captions(engine)

    def means(way: str) -> pd.DataFrame:
        states = pd.DataFrame(_summaries(engine, _written(way, captions["text"])))
        return states.groupby(captions["language"].to_numpy()).mean()

    known = {way: means(way) for way in WRITTEN}

    def compute(prompts: Sequence[Prompt]) -> np.ndarray:
        texts, languages = _texts(prompts), _languages(prompts)
        states = [_summaries(engine, _written(way, texts)) - known[way].reindex(languages) for way in WRITTEN]
        spread = 1 - np.linalg.norm(np.mean([unit(own.to_numpy()) for own in states], axis=0), axis=1)
        return np.where(states[0].isna().any(axis=1), np.nan, spread)

    return compute


ONE_LANGUAGE: dict[str, Callable[[ScoringEngine], Candidate]] = {
    make.__name__: make for make in (normed_length, leading_length, token_length, prompt_effect, rewritten)
}
"""Every one by name."""


def _captions(engine: ScoringEngine) -> pd.DataFrame:
    """`language` and `text` of the captions that languages are known by."""
    captions = calibration_captions(engine.ensemble.spec).astype(str)
    return captions.melt(var_name="language", value_name="text")


def _summaries(engine: ScoringEngine, texts: Sequence[str]) -> np.ndarray:
    parts = [engine.text_states(part).summary.float().cpu() for part in chunks(list(texts), TEXTS)]
    return torch.cat(parts).numpy()


def _mid_blocks(engine: ScoringEngine, texts: Sequence[str]) -> Tensor:
    """From the first noise, `[expert, text, element]`."""
    return engine.features(engine.text_states(texts), 0).float().flatten(2)


def _written(way: str, texts: Sequence[str]) -> list[str]:
    return [way.format(text) for text in texts]


def _texts(prompts: Sequence[Prompt]) -> list[str]:
    return [prompt.prompt for prompt in prompts]


def _languages(prompts: Sequence[Prompt]) -> list[str]:
    return [prompt.language for prompt in prompts]
