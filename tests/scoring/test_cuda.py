"""On a GPU, where there is one: the same scores as on the CPU, with all experts in memory and streamed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from emoe_audit.experts.ensemble import load_ensemble
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.types import EnsembleSpec, Prompt, ScoringConfig

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
PROMPTS = [Prompt(prompt_id=str(n), prompt=f"{n} dogs on a sofa") for n in range(9)]
SCORES = ["disagreement", "relative_disagreement", "feature_power"]


def scores(spec: EnsembleSpec, device: str, budget: int | None = None) -> pd.DataFrame:
    ensemble = load_ensemble(spec, device=device, memory_budget=budget)
    return ScoringEngine(ensemble, ScoringConfig(n_noise=2, device=device, memory_budget=budget)).score(PROMPTS)


def test_a_gpu_scores_as_the_cpu_does(tiny_spec: EnsembleSpec) -> None:
    np.testing.assert_allclose(scores(tiny_spec, "cuda")[SCORES], scores(tiny_spec, "cpu")[SCORES], rtol=1e-3)


def test_experts_streamed_to_a_gpu_score_as_they_do_when_all_are_there(tiny_spec: EnsembleSpec) -> None:
    one = load_ensemble(tiny_spec, device="cuda").footprint.needed("one")
    np.testing.assert_allclose(scores(tiny_spec, "cuda", one)[SCORES], scores(tiny_spec, "cuda")[SCORES], rtol=1e-4)
