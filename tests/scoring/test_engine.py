"""The engine against a naive implementation that shares nothing with it but the noise, and by what must always hold."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.ensemble import load_ensemble
from emoe_audit.scoring import disagreement as disagreement_module
from emoe_audit.scoring.begun import Begun
from emoe_audit.scoring.calibration import calibrate, calibration_captions
from emoe_audit.scoring.conditioning import TextStates, encode_prompts
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.loading import load_engine
from emoe_audit.scoring.sketch import BUCKETS, sketch
from emoe_audit.types import Assembly, EnsembleSpec, Prompt, ScoringConfig
from tests.naive import NaiveEnsemble

pytestmark = pytest.mark.slow

TEXTS = ["a dog", "ein roter Apfel", "कुत्ता", "犬", "", "a dog", "words and " * 9]
CONFIG = ScoringConfig(n_noise=3, batch_size=4, device="cpu")
MEASURED = [
    "disagreement",
    "relative_disagreement",
    "feature_power",
    "disagreement_noise_sd",
    "relative_disagreement_noise_sd",
]
COLUMNS = {
    "prompt_id",
    *MEASURED,
    "disagreement_noises",
    "relative_disagreement_noises",
    "feature_power_noises",
    "features",
    "n_noise",
    "reading",
    "n_tokens",
    "tokens_per_word",
    "truncated",
    "unfamiliarity",
}
OBJECTS = [own for own in COLUMNS if own.endswith("_noises") or own in ("features", "reading")]


def prompts(texts: list[str]) -> list[Prompt]:
    return [Prompt(prompt_id=f"p{index}", prompt=text) for index, text in enumerate(texts)]


def scores(spec: EnsembleSpec, texts: list[str] = TEXTS, **changes: Any) -> pd.DataFrame:
    config = dataclasses.replace(CONFIG, **changes)
    return ScoringEngine(load_ensemble(spec, device="cpu", dtype=config.dtype), config).score(prompts(texts))


def assert_same_scores(actual: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Scores within 1e-5; their spread over noises within 1e-4, as it is what is left of numbers that nearly cancel.

    So are readings: sums of elements of both signs.
    """
    spreads = [column for column in expected if column.endswith("_noise_sd")]
    other = [*spreads, *OBJECTS]
    pd.testing.assert_frame_equal(actual.drop(columns=other), expected.drop(columns=other), rtol=1e-5)
    pd.testing.assert_frame_equal(actual[spreads], expected[spreads], rtol=1e-4)
    np.testing.assert_allclose(readings(actual), readings(expected), rtol=1e-4, atol=1e-4)


def readings(frame: pd.DataFrame) -> np.ndarray:
    """`[prompt, bucket]`, the two parts side by side."""
    return np.stack(frame["reading"].to_list())


def naive_scores(spec: EnsembleSpec, n_noise: int) -> pd.DataFrame:
    """One prompt and noise at a time, the variance with numpy."""
    naive = NaiveEnsemble(spec)
    rows = []
    for text in TEXTS:
        per_noise = []
        for index in range(n_noise):
            features = naive.features([text], CONFIG.seed, index)
            variance, power = np.var(features, axis=0, ddof=1).mean(), np.square(features).mean()
            per_noise.append((variance, variance / power, power))
        rows.append([*np.mean(per_noise, axis=0), *np.std(per_noise, axis=0, ddof=1)[:2]])
    return pd.DataFrame(rows, columns=MEASURED)


@pytest.mark.parametrize("assembly", ["shared_trunk", "independent"])
def test_scores_equal_the_naive_implementation(tiny_spec: EnsembleSpec, assembly: Assembly) -> None:
    spec = dataclasses.replace(tiny_spec, assembly=assembly)
    expected = naive_scores(spec, CONFIG.n_noise)
    actual = scores(spec)[expected.columns.to_list()]
    means = ["disagreement", "relative_disagreement", "feature_power"]
    np.testing.assert_allclose(actual[means], expected[means], rtol=1e-5)
    np.testing.assert_allclose(actual, expected, rtol=1e-4)
    assert expected["disagreement"].nunique() == len(set(TEXTS))


def test_a_reading_is_the_text_state_and_the_mean_mid_block_in_sketches(tiny_spec: EnsembleSpec) -> None:
    """The text state as transformers pools it; the mid-block's mean over three experts and three noises."""
    naive = NaiveEnsemble(tiny_spec)
    tokens = naive.pipeline.tokenizer(TEXTS, padding="max_length", max_length=32, truncation=True, return_tensors="pt")
    with torch.no_grad():
        state = naive.pipeline.text_encoder(tokens.input_ids).pooler_output
    features = np.stack([naive.features(TEXTS, CONFIG.seed, index) for index in range(3)]).mean(axis=(0, 1))
    mid_block = torch.from_numpy(features).float().flatten(1)
    found = readings(scores(tiny_spec))
    assert found.shape == (len(TEXTS), 2 * BUCKETS)
    np.testing.assert_allclose(found[:, :BUCKETS], sketch(state), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[:, BUCKETS:], sketch(mid_block), rtol=1e-4, atol=1e-4)
    assert len(np.unique(found, axis=0)) == len(set(TEXTS))


def test_prompts_that_wait_for_the_next_expert_in_batches_are_read_alike(tiny_spec: EnsembleSpec) -> None:
    """Experts are streamed, with as much room as that leaves."""
    budget = load_ensemble(tiny_spec, device="cpu").footprint.needed("all") - 1
    streamed = load_ensemble(tiny_spec, device="cpu", memory_budget=budget)
    assert streamed.residency != "all"
    engine = ScoringEngine(streamed, dataclasses.replace(CONFIG, batch_size=2))
    assert_same_scores(engine.score(prompts(TEXTS)), scores(tiny_spec))


def test_the_two_assemblies_give_different_scores(tiny_spec: EnsembleSpec) -> None:
    independent = scores(dataclasses.replace(tiny_spec, assembly="independent"))
    assert (scores(tiny_spec)["disagreement"] < independent["disagreement"]).all()


def test_a_frame_has_one_row_per_prompt_in_order_and_the_promised_columns(tiny_spec: EnsembleSpec) -> None:
    frame = scores(tiny_spec)
    assert {*frame.columns} == COLUMNS
    assert list(frame["prompt_id"]) == [f"p{index}" for index in range(len(TEXTS))]
    assert list(frame["truncated"]) == [False] * 6 + [True]
    assert (frame["n_noise"] == 3).all()


def test_a_prompt_is_judged_by_its_language_once_languages_are_known(tiny_spec: EnsembleSpec) -> None:
    engine = ScoringEngine(load_ensemble(tiny_spec, device="cpu"), ScoringConfig(n_noise=1, device="cpu"))
    texts = TEXTS[:2]
    prompts = [
        Prompt(prompt_id=f"{n}", prompt=texts[n // 3], language=own) for n, own in enumerate(("en", "de", "und") * 2)
    ]
    assert engine.score(prompts)["unfamiliarity"].isna().all()
    engine.languages = calibrate(engine, calibration_captions(tiny_spec))
    states = encode_prompts(texts, engine.ensemble.text_encoders, 1).unnormed.numpy()
    expected = engine.languages.familiarity.judge(np.repeat(states, 3, axis=0), ["en", "de", "und"] * 2)
    found = engine.score(prompts)["unfamiliarity"].to_numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert np.isfinite(found[[0, 1, 3, 4]]).all() and len(set(found[[0, 1, 3, 4]])) == 4
    np.testing.assert_allclose(engine.score(prompts[3:4])["unfamiliarity"], found[3], rtol=1e-5)


def test_no_prompts_give_an_empty_frame_with_the_same_columns(tiny_spec: EnsembleSpec) -> None:
    frame = scores(tiny_spec, [])
    assert {*frame.columns} == COLUMNS and len(frame) == 0
    objects = ["prompt_id", *OBJECTS]
    assert frame.dtypes.drop(objects).equals(scores(tiny_spec).dtypes.drop(objects))


@pytest.mark.parametrize("assembly", ["shared_trunk", "independent"])
def test_permuting_experts_changes_nothing(tiny_spec: EnsembleSpec, assembly: Assembly) -> None:
    spec = dataclasses.replace(tiny_spec, assembly=assembly)
    permuted = dataclasses.replace(spec, experts=spec.experts[1:] + spec.experts[:1])
    assert_same_scores(scores(spec), scores(permuted))


@pytest.mark.parametrize("both_halves", [False, True])
def test_equal_experts_disagree_by_exactly_zero(tiny_spec: EnsembleSpec, both_halves: bool) -> None:
    twins = tuple(dataclasses.replace(tiny_spec.experts[0], name=name) for name in "abc")
    frame = scores(dataclasses.replace(tiny_spec, experts=twins, assembly="independent"), both_halves=both_halves)
    assert (frame[["disagreement", "relative_disagreement", "disagreement_noise_sd"]] == 0).all(axis=None)
    assert (frame["feature_power"] > 0).all()


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_batch_size_does_not_matter(tiny_spec: EnsembleSpec, batch_size: int) -> None:
    assert_same_scores(scores(tiny_spec, batch_size=batch_size), scores(tiny_spec, batch_size=100))


def test_the_other_prompts_do_not_matter(tiny_spec: EnsembleSpec) -> None:
    together = scores(tiny_spec).drop(columns="prompt_id")
    for index, text in enumerate(TEXTS):
        alone = scores(tiny_spec, [text]).drop(columns="prompt_id")
        assert_same_scores(alone, together.iloc[[index]].reset_index(drop=True))


def test_equal_texts_are_computed_once(tiny_spec: EnsembleSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScoringEngine(load_ensemble(tiny_spec, device="cpu"), CONFIG)
    encoded: list[str] = []

    def encode(texts: list[str], *args: Any, **options: Any) -> TextStates:
        encoded.extend(texts)
        return encode_prompts(texts, *args, **options)

    monkeypatch.setattr("emoe_audit.scoring.engine.encode_prompts", encode)
    frame = engine.score(prompts(["b", "a", "b", "b"]))
    assert encoded == ["b", "a"]
    assert frame["disagreement"].iloc[[0, 2, 3]].nunique() == 1 != frame["disagreement"].nunique()


def test_one_noise_has_no_noise_floor(tiny_spec: EnsembleSpec) -> None:
    frame = scores(tiny_spec, n_noise=1)
    assert frame[["disagreement_noise_sd", "relative_disagreement_noise_sd"]].isna().all(axis=None)
    assert frame["disagreement"].notna().all()


def test_more_noises_average_in_the_fewer(tiny_spec: EnsembleSpec) -> None:
    one, two = scores(tiny_spec, n_noise=1)["disagreement"], scores(tiny_spec, n_noise=2)
    second = 2 * two["disagreement"] - one
    np.testing.assert_allclose(two["disagreement_noise_sd"], np.abs(one - second) / np.sqrt(2), rtol=1e-6)


def test_noises_that_are_begun_are_not_asked_again(tiny_spec: EnsembleSpec) -> None:
    """And give, with the further ones, what all give at once; the third text is that of the first."""
    texts = [TEXTS[0], TEXTS[1], TEXTS[0], TEXTS[2]]
    one, three = (scores(tiny_spec, texts, n_noise=n) for n in (1, 3))
    names = ["disagreement", "relative_disagreement", "feature_power"]
    noises = {name: np.stack(one[f"{name}_noises"].to_list()) for name in names}
    begun = Begun(noises=noises, features=np.stack(one["features"].to_list()))
    engine = ScoringEngine(load_ensemble(tiny_spec, device="cpu"), CONFIG)
    grown = engine.score(prompts(texts), begun)
    pd.testing.assert_frame_equal(grown[MEASURED], three[MEASURED], rtol=1e-6)
    ours, theirs = (np.stack(own["features"].to_list()) for own in (grown, three))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    wrong = dataclasses.replace(begun, noises={name: own + 1 for name, own in noises.items()})
    assert (engine.score(prompts(texts), wrong)["disagreement"] > three["disagreement"] + 0.3).all(), "it is used"


def test_what_was_begun_with_other_measures_is_measured_anew(tiny_spec: EnsembleSpec) -> None:
    begun = Begun(noises={"beauty": np.zeros((1, 1))}, features=np.zeros((1, BUCKETS), np.float32))
    engine = ScoringEngine(load_ensemble(tiny_spec, device="cpu"), CONFIG)
    found = engine.score(prompts(TEXTS[:1]), begun)
    pd.testing.assert_frame_equal(found[MEASURED], scores(tiny_spec, TEXTS[:1])[MEASURED])


def test_without_noises_the_text_encoder_reads_alone(tiny_spec: EnsembleSpec) -> None:
    config = dataclasses.replace(CONFIG, n_noise=0)
    engine = load_engine(tiny_spec, config)
    frame = engine.score(prompts(TEXTS))
    assert len(engine.ensemble.unets) == 0 and {*frame.columns} == COLUMNS
    assert frame[MEASURED].isna().all(axis=None) and (frame["n_noise"] == 0).all()
    whole = scores(tiny_spec)
    np.testing.assert_allclose(readings(frame)[:, :BUCKETS], readings(whole)[:, :BUCKETS], rtol=1e-5, atol=1e-5)
    assert not readings(frame)[:, BUCKETS:].any()
    assert engine.ensemble.base_hash == load_ensemble(tiny_spec, device="cpu").base_hash


def test_some_experts_score_as_an_ensemble_of_them_does(tiny_spec: EnsembleSpec) -> None:
    names = tuple(own.name for own in tiny_spec.experts[1:])
    engine = load_engine(tiny_spec, dataclasses.replace(CONFIG, experts=names))
    expected = scores(dataclasses.replace(tiny_spec, experts=tiny_spec.experts[1:]))
    assert_same_scores(engine.score(prompts(TEXTS)), expected)
    with pytest.raises(EnsembleError, match=r"no expert 'nobody'"):
        load_engine(tiny_spec, dataclasses.replace(CONFIG, experts=("nobody",)))


def test_both_halves_average_the_prompt_with_the_empty_one(tiny_spec: EnsembleSpec) -> None:
    names = ["disagreement", "relative_disagreement", "feature_power"]
    half = scores(tiny_spec)[names]
    empty = half.iloc[TEXTS.index("")]
    np.testing.assert_allclose(scores(tiny_spec, both_halves=True)[names], (half + empty) / 2, rtol=1e-5)


def test_another_seed_and_another_number_of_steps_give_other_scores(tiny_spec: EnsembleSpec) -> None:
    base = scores(tiny_spec)["disagreement"]
    assert (scores(tiny_spec, seed=1)["disagreement"] != base).all()
    assert (scores(tiny_spec, num_inference_steps=2)["disagreement"] != base).all()


def test_bfloat16_is_close_to_float32(tiny_spec: EnsembleSpec) -> None:
    frame = scores(tiny_spec, dtype="bfloat16")
    np.testing.assert_allclose(frame["disagreement"], scores(tiny_spec)["disagreement"], rtol=0.2)


def test_a_score_that_overflows_is_nan(tiny_spec: EnsembleSpec) -> None:
    ensemble = load_ensemble(tiny_spec, device="cpu")
    with torch.no_grad():
        for unet in ensemble.unets:
            unet.mid_block.resnets[-1].conv2.bias.fill_(torch.inf)
    frame = ScoringEngine(ensemble, CONFIG).score(prompts(TEXTS))
    assert frame[MEASURED].isna().all(axis=None)
    assert frame["n_tokens"].notna().all()


def test_a_registered_score_gets_its_columns(tiny_spec: EnsembleSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disagreement_module, "SCORES", dict(disagreement_module.SCORES))
    for module in ("engine", "columns"):
        monkeypatch.setattr(f"emoe_audit.scoring.{module}.SCORES", disagreement_module.SCORES)
    disagreement_module.register_score("half")(lambda features: disagreement_module.disagreement(features) / 2)
    frame = scores(tiny_spec)
    np.testing.assert_allclose(frame["half"] * 2, frame["disagreement"])
    np.testing.assert_allclose(frame["half_noise_sd"] * 2, frame["disagreement_noise_sd"])


def test_the_engine_carries_the_hash_of_its_ensemble(tiny_spec: EnsembleSpec) -> None:
    ensemble = load_ensemble(tiny_spec, device="cpu")
    assert ScoringEngine(ensemble, CONFIG).ensemble_hash == ensemble.ensemble_hash


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"dtype": "bfloat16"}, "load it with dtype='bfloat16'"),
        ({"n_noise": -1}, "n_noise=-1"),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_settings_that_cannot_be_scored_are_refused(
    tiny_spec: EnsembleSpec, changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(EnsembleError, match=expected):
        ScoringEngine(load_ensemble(tiny_spec, device="cpu"), dataclasses.replace(CONFIG, **changes))


def test_one_expert_is_refused_before_anything_is_scored(tiny_spec: EnsembleSpec) -> None:
    single = dataclasses.replace(tiny_spec, experts=tiny_spec.experts[:1])
    with pytest.raises(EnsembleError, match="tiny: has 1 expert; a score needs at least two"):
        ScoringEngine(load_ensemble(single, device="cpu"), CONFIG)
