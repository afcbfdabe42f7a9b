"""What the engine saves against the naive way: up blocks never run, the prompt-free start done once per noise."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

from emoe_audit.experts.ensemble import load_ensemble
from emoe_audit.experts.spec import load_spec
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.types import ScoringConfig
from tests.benchmarks.record import paired_ratio, write_record
from tests.naive import NaiveEnsemble

N_PROMPTS = 256
BATCH_SIZES = (16, 64)


@pytest.mark.benchmark
def test_a_score_costs_much_less_than_the_naive_way() -> None:
    spec = load_spec("emoji-a")
    prompts = list(default_prompts(spec, n_concepts=10).prompts())[:N_PROMPTS]
    texts = [prompt.prompt for prompt in prompts]
    ensemble, naive = load_ensemble(spec, device="cpu"), NaiveEnsemble(spec)
    rows: list[dict[str, Any]] = []
    for size in BATCH_SIZES:
        engine = ScoringEngine(ensemble, ScoringConfig(n_noise=1, batch_size=size, device="cpu"))
        ratio, ratios = paired_ratio(
            functools.partial(naive_scores, naive, texts, size), functools.partial(engine.score, prompts)
        )
        rows.append({"batch_size": size, "speedup_vs_naive": ratio, "pairs": ratios})
    best = max(row["speedup_vs_naive"] for row in rows)
    write_record("scoring", {"speedup_vs_naive": best}, rows)
    assert best > 1.5


def naive_scores(naive: NaiveEnsemble, texts: list[str], size: int) -> list[np.ndarray]:
    batches = [texts[start : start + size] for start in range(0, len(texts), size)]
    features = [naive.features(batch, seed=0, noise_index=0) for batch in batches]
    return [np.var(own, axis=0, ddof=1).mean(axis=(1, 2, 3)) for own in features]
