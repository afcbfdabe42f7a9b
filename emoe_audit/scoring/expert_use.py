"""Which experts inside one checkpoint prompts use, where an ensemble is made of one (`emoe_audit.experts.emergent`)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.emergent import watched_use
from emoe_audit.progress import Progress, silent
from emoe_audit.scoring.conditioning import TextStates, encode_prompts
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.expert_path import mid_block_features

CAPTIONS = 50
"""Captions whose translations show which experts are used."""


def measure_use(engine: ScoringEngine, prompts: pd.DataFrame, progress: Progress = silent) -> pd.DataFrame:
    """Which experts of an emergent ensemble's checkpoint the prompts use, in every split layer of the UNet.

    The checkpoint runs densely; an expert is used by a token where the gate, without a member's bias, would keep it.

    Args:
        engine: Of an emergent ensemble.
        prompts: `prompt`, `language` and `source_id`; of all captions 50 are taken, those in most languages first.
        progress: Called with stage, done, total.

    Returns:
        A row per prompt, layer and expert: `source_id`, `language`, `layer`, `expert` (a number) and `share` of the
        prompt's tokens that use it, which sum to `top_k` over the experts of a layer.

    Raises:
        EnsembleError: the ensemble is not emergent.
    """
    own = engine.ensemble
    if own.spec.emergent is None:
        raise EnsembleError(f"{own.spec.name}: is no emergent ensemble, so it has no experts whose use can be seen")
    rows, size = sample_captions(prompts, CAPTIONS), engine.batch_size
    unet, start, frames = own.unets[0], engine.starts[0][0], []
    for place in range(0, len(rows), size):
        progress("expert use", place, len(rows))
        part = rows.iloc[place : place + size]
        states = _dense_states(engine, part["prompt"].tolist())
        with watched_use(unet) as use:
            mid_block_features(unet, start, states)
        frames += [_use_frame(part, layer, shares) for layer, shares in use.items()]
    progress("expert use", len(rows), len(rows))
    return pd.concat(frames, ignore_index=True)


def sample_captions(prompts: pd.DataFrame, n_captions: int) -> pd.DataFrame:
    """The prompts of so many captions, those in most languages first, else in an order that hashes decide."""
    widths = prompts.groupby("source_id")["language"].nunique()
    ranked = sorted(widths.index, key=lambda own: (-widths[own], hashlib.sha256(str(own).encode()).hexdigest()))
    return prompts[prompts["source_id"].isin(ranked[:n_captions])]


def _use_frame(prompts: pd.DataFrame, layer: str, shares: Tensor) -> pd.DataFrame:
    values = shares.cpu().double().numpy()
    n_experts = values.shape[1]
    return pd.DataFrame(
        {
            "source_id": np.repeat(prompts["source_id"].to_numpy(), n_experts),
            "language": np.repeat(prompts["language"].to_numpy(), n_experts),
            "layer": layer,
            "expert": np.tile(np.arange(n_experts), len(prompts)),
            "share": values.ravel(),
        }
    )


def _dense_states(engine: ScoringEngine, texts: Sequence[str]) -> TextStates:
    """Text states in which nothing is set to zero, in the layout that the members read."""
    encoders = list(engine.ensemble.text_encoders)
    with watched_use(encoders[0].model):
        return encode_prompts(texts, encoders, clip_skip=engine.ensemble.spec.clip_skip)
