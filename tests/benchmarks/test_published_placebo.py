"""How far text encoders of random weights, in the design of Stable Diffusion 1.x's, follow what is published of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from open_clip.tokenizer import SimpleTokenizer

from emoe_audit.analysis.calibration import Calibration
from emoe_audit.analysis.contrasts import correlate_groups
from emoe_audit.analysis.readings import Readings
from emoe_audit.analysis.summary import PUBLISHED_RECALL
from emoe_audit.analysis.translations import TRANSLATION_SCORE, Readers
from emoe_audit.experts.public_readers import VIT_L, published_recall
from emoe_audit.prompts.shipped import shipped_captions
from emoe_audit.scoring.sketch import sketch
from tests.benchmarks.random_reader import RandomReader
from tests.benchmarks.record import merge_record

SEEDS = range(3)
VIT_L_SIZES = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "quick_gelu",
}


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_random_weights_of_a_public_design_do_not_follow_published_readings() -> None:
    rows = shipped_captions().astype(str).melt(ignore_index=False, var_name="language", value_name="prompt")
    rows = rows.rename_axis("source_id").reset_index()
    texts, languages = rows["prompt"].to_list(), rows["language"].to_list()
    recall = published_recall(VIT_L, sorted(set(languages)))
    found: list[dict[str, Any]] = []
    for seed in SEEDS:
        reader = RandomReader(seed=seed, tokenizer=SimpleTokenizer(), sizes=VIT_L_SIZES)
        vectors = sketch(torch.tensor(reader.read(texts))).numpy()
        readings = Readings(vectors=vectors, languages=languages, sources=rows["source_id"].astype(str).to_list())
        calibration = Calibration.fit(readings)
        judged = Readers.fit(readings, calibration).judge(readings)
        own = rows.assign(**{TRANSLATION_SCORE: judged[TRANSLATION_SCORE], "n_tokens": reader.count(texts)})
        row = correlate_groups(own, TRANSLATION_SCORE, PUBLISHED_RECALL, by="language", known=recall).iloc[0]
        figures = {name: float(row[name]) if row["n"] else None for name in ("rho", "low", "high")}
        read = float(np.prod(np.sort(calibration.loadings)[-2:]))
        found.append({"seed": seed, "n_languages": int(row["n"]), "largest_loadings": read} | figures)
    answered = sum(row["n_languages"] > 0 for row in found)
    merge_record("statistics", "published placebo", {"published_placebo_answered": answered}, found)
    assert all(row["n_languages"] == 0 or row["high"] > 0 for row in found)
