"""The ensembles that ship, measured again on the weights as they are shipped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from emoe_audit.analysis.readings import Readings
from emoe_audit.analysis.translations import TRANSLATION_SCORE, Readers
from emoe_audit.experts.ensemble import load_ensemble
from emoe_audit.experts.spec import EMBEDDED, embedded_names, load_spec
from emoe_audit.prompts.emoji import SOURCE_LANGUAGE, default_prompts
from emoe_audit.quality.clip_score import ClipJudge
from emoe_audit.quality.images import ImageMaker
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.types import EnsembleSpec, ImageConfig, Prompt, ScoringConfig
from tests.naive import NaiveEnsemble

pytestmark = pytest.mark.slow

N_CONCEPTS = 20
"""Captions of each kind that are read, a third of which are drawn in the languages that are looked at."""
TOP = 10


@pytest.fixture(scope="module", params=embedded_names())
def spec(request: pytest.FixtureRequest) -> EnsembleSpec:
    return load_spec(request.param)


only_the_first = pytest.mark.parametrize("spec", ["emoji-a"], indirect=True)
"""Of what is true of a way to compute, whatever the weights."""


@pytest.fixture(scope="module")
def coverage(spec: EnsembleSpec) -> pd.DataFrame:
    table = pd.read_csv(EMBEDDED / spec.name / "coverage.csv", keep_default_na=False)
    return table[table["by"] == "language"].set_index("group")


@pytest.fixture(scope="module")
def prompts(spec: EnsembleSpec) -> list[Prompt]:
    return list(default_prompts(spec, n_concepts=N_CONCEPTS).prompts())


@pytest.fixture(scope="module")
def engine(spec: EnsembleSpec) -> ScoringEngine:
    return ScoringEngine(load_ensemble(spec, device="cpu"), ScoringConfig(n_noise=2, batch_size=64, device="cpu"))


def test_the_weights_are_small_and_hold_no_pickle(spec: EnsembleSpec) -> None:
    files = [file for file in (EMBEDDED / spec.name).rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files if file.suffix == ".safetensors") < 60e6
    assert {file.suffix for file in files} <= {".safetensors", ".json", ".txt", ".yaml", ".csv", ".md"}


def test_prompts_are_read_the_further_from_their_translations_the_less_is_read_of_their_language(
    engine: ScoringEngine, prompts: list[Prompt], coverage: pd.DataFrame
) -> None:
    readings = Readings(
        vectors=engine.read_texts([prompt.prompt for prompt in prompts]),
        languages=[str(prompt.language) for prompt in prompts],
        sources=[str(prompt.source_id) for prompt in prompts],
    )
    distance = Readers.fit(readings).judge(readings)[TRANSLATION_SCORE]
    means = distance.groupby(np.array(readings.languages)).mean()
    read = coverage["text_recall_at_10"].astype(float).reindex(means.index)
    assert spearmanr(means, read).statistic < -0.6
    shares = coverage["coverage"].astype(float).reindex(means.index)
    if shares.max() < 0.9:
        assert spearmanr(means, shares).statistic < -0.7


@only_the_first
def test_scores_equal_the_naive_implementation(
    spec: EnsembleSpec, engine: ScoringEngine, prompts: list[Prompt]
) -> None:
    chosen = [prompts[place] for place in np.linspace(0, len(prompts) - 1, 12).astype(int)]
    scores, naive = engine.score(chosen), NaiveEnsemble(spec)
    features = np.stack([naive.features([own.prompt for own in chosen], seed=0, noise_index=n) for n in range(2)])
    variance = features.var(axis=1, ddof=1).mean(axis=(2, 3, 4))
    power = np.square(features).mean(axis=(1, 3, 4, 5))
    np.testing.assert_allclose(scores["disagreement"], variance.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(scores["relative_disagreement"], (variance / power).mean(axis=0), rtol=1e-5)


@only_the_first
def test_bfloat16_ranks_prompts_as_float32_does(spec: EnsembleSpec, prompts: list[Prompt]) -> None:
    chosen = prompts[:: len(prompts) // 200][:200]
    wide, narrow = (
        ScoringEngine(
            load_ensemble(spec, device="cpu", dtype=dtype),
            ScoringConfig(n_noise=1, batch_size=50, device="cpu", dtype=dtype),  # type: ignore[arg-type]
        ).score(chosen)
        for dtype in ("float32", "bfloat16")
    )
    for score in ("disagreement", "relative_disagreement", "feature_power"):
        assert spearmanr(wide[score], narrow[score]).statistic >= 0.99


def test_what_was_learned_can_be_seen_and_an_unknown_script_cannot(
    spec: EnsembleSpec, prompts: list[Prompt], coverage: pd.DataFrame
) -> None:
    assert spec.judge is not None and spec.captions is not None
    judge, maker = ClipJudge(spec.judge, device="cpu"), ImageMaker(spec, ImageConfig(device="cpu"))
    sources = source_captions(Path(spec.captions))
    features = judge.text_features(list(sources.values()))

    def top10(language: str) -> float:
        own = [prompt for prompt in prompts if prompt.language == language][::3]
        similarity = judge.image_features(maker.make(own)) @ features.T
        wanted = [list(sources).index(prompt.source_id) for prompt in own]
        better = (similarity > similarity[np.arange(len(own)), wanted][:, None]).sum(axis=1)
        return float((better < TOP).mean())

    alone = coverage[(coverage["drawn"].astype(int) == 0) & (coverage["script_family"] == "single")]
    assert top10(coverage.index[0]) >= 0.6
    assert max(top10(language) for language in alone.index) <= 0.05


def source_captions(path: Path) -> dict[str, str]:
    coco = json.loads(path.read_text(encoding="utf-8"))
    names = {image["id"]: Path(image["file_name"]).stem for image in coco["images"]}
    return {names[a["image_id"]]: a["caption"] for a in coco["annotations"] if a["language"] == SOURCE_LANGUAGE}
