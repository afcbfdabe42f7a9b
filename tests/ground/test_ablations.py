"""The ablations on the tiny ensemble, each against a computation of its own from whole UNets."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from scipy.stats import spearmanr

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.expert_layers import is_expert_layer
from emoe_audit.ground.ablations import ablate, main, plain_prompts
from emoe_audit.ground.settings import (
    ABLATIONS,
    SCORED,
    assembly,
    elements,
    experts,
    in_principal_directions,
    noises,
    normalisation,
    path,
    readout,
    split,
    step,
    subsets,
    whitened,
)
from emoe_audit.ground.study import Study, from_block
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.scoring.first_step import draw_noise
from emoe_audit.types import EnsembleSpec, MoeLayers
from tests.experts.sdxl import make_tiny_sdxl
from tests.naive import NaiveEnsemble, _base_unet
from tests.naive_segmoe import expert_states

pytestmark = pytest.mark.slow

COVERAGE = {"de": 0.0995, "en": 0.9, "hi": 0.0005, "ja": 0.0}
EXPERT_LAYER = re.compile(
    r"(down|up)_blocks\.\d\.attentions\.\d\.transformer_blocks\.\d\.(attn[12]\.to_[qkv]|ff\.net\.\d(\.proj)?)\."
)
TIGHT: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def prompts(known_spec: EnsembleSpec) -> pd.DataFrame:
    return plain_prompts(known_spec, 3, 0)


@pytest.fixture(scope="module")
def texts(prompts: pd.DataFrame) -> list[str]:
    return prompts["prompt"].tolist()


@pytest.fixture(scope="module")
def study(known_spec: EnsembleSpec, texts: list[str]) -> Study:
    return Study(known_spec, texts, device="cpu")


@pytest.fixture(scope="module")
def table(known_spec: EnsembleSpec) -> pd.DataFrame:
    return ablate(known_spec, n_concepts=3, n_boot=20, device="cpu")


def only(settings: Any, name: str) -> torch.Tensor:
    """The features of a setting that has one draw of one noise."""
    ((features,),) = next(setting.draws for setting in settings if setting.name == name)
    return features  # type: ignore[no-any-return]


def relative(features: np.ndarray) -> np.ndarray:
    axes = tuple(range(2, features.ndim))
    power: np.ndarray = features.var(axis=0, ddof=1).mean(axis=tuple(a - 1 for a in axes))
    return power / np.square(features).mean(axis=(0, *axes))


def language_rho(scores: np.ndarray, prompts: pd.DataFrame) -> float:
    means = prompts.assign(score=scores).groupby("language")["score"].mean()
    return float(spearmanr(means, pd.Series(COVERAGE)).statistic)


def test_the_features_are_those_of_whole_unets(study: Study, known_spec: EnsembleSpec, texts: list[str]) -> None:
    np.testing.assert_allclose(study.features, NaiveEnsemble(known_spec).features(texts, 0, 0), **TIGHT)


def test_the_features_are_the_engines(study: Study) -> None:
    torch.testing.assert_close(study.features, study.engine.features(study.states, 0), **TIGHT)


def test_prompts_are_plain_and_in_the_order_of_the_grid(prompts: pd.DataFrame, known_spec: EnsembleSpec) -> None:
    frame = default_prompts(known_spec, n_concepts=3).frame
    grid = frame[frame["region"].isna() & frame["skin_tone"].isna()].pivot(
        index="language", columns="source_id", values="prompt"
    )
    assert grid.shape == (4, 3)
    assert prompts["prompt"].tolist() == grid.to_numpy().ravel().tolist()


def test_every_ablation_has_its_settings(table: pd.DataFrame) -> None:
    settings = table.groupby("ablation", sort=False)["setting"].unique().map(list).to_dict()
    assert settings == {
        "experts": ["2", "3", "3 + base"],
        "noises": ["1", "2", "4"],
        "step": ["0", "1", "5", "10", "20"],
        "readout": ["down block 0", "down block 1", "before mid-block", "mid-block", "prediction"],
        "assembly": ["shared trunk, attn", "shared trunk, ff", "shared trunk, all", "independent"],
        "split": ["down block 0", "down block 1", "down block 2", "mid-block"],
        "path": ["pure", "gated"],
        "elements": ["plain", "whitened per element", "whitened", "cosine"],
        "normalisation": ["none", "minus empty prompt", "minus expert's mean"],
    }
    assert list(settings) == list(ABLATIONS)
    assert not table.duplicated(["ablation", "setting", "score"]).any()


def test_what_is_the_ensembles_own_score_is_the_same_row_everywhere(table: pd.DataFrame) -> None:
    own = {
        "experts": "3", "step": "0", "readout": "mid-block", "assembly": "shared trunk, all", "path": "pure",
        "elements": "plain", "normalisation": "none",
    }  # fmt: skip
    for score in SCORED:
        rows = table[(table["score"] == score) & (table["ablation"].map(own) == table["setting"])]
        assert len(rows) == len(own)
        assert (rows.drop(columns=["ablation", "setting", "score"]).nunique(dropna=False) == 1).all()


def test_the_figures_of_subsets_of_experts_are_averaged(
    table: pd.DataFrame, known_spec: EnsembleSpec, prompts: pd.DataFrame
) -> None:
    features = NaiveEnsemble(known_spec).features(prompts["prompt"].tolist(), 0, 0)
    rhos = [language_rho(relative(features[list(own)]), prompts) for own in ((0, 1), (0, 2), (1, 2))]
    row = table.query("ablation == 'experts' and setting == '2' and score == 'relative_disagreement'").iloc[0]
    assert row["language_rho"] == pytest.approx(np.mean(rhos))
    assert row["language_rho_low"] <= row["language_rho"] <= row["language_rho_high"]


def test_one_ablation_alone_gives_its_rows(table: pd.DataFrame, known_spec: EnsembleSpec) -> None:
    alone = ablate(known_spec, n_concepts=3, n_boot=20, device="cpu", only=["elements"])
    expected = table[table["ablation"] == "elements"].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, expected)


def test_subsets_are_all_of_a_few_and_a_circle_of_many() -> None:
    assert subsets(4, 2) == [list(own) for own in combinations(range(4), 2)]
    assert subsets(8, 3)[6] == [6, 7, 0]
    assert np.bincount(np.ravel(subsets(8, 3))).tolist() == [3] * 8
    assert subsets(8, 8) == [list(range(8))]


@torch.no_grad()
def test_the_base_is_one_more_expert(study: Study, known_spec: EnsembleSpec, texts: list[str]) -> None:
    naive = NaiveEnsemble(known_spec)
    base = _base_unet(known_spec).eval()
    base.mid_block.register_forward_hook(lambda module, args, output: naive._keep(output))
    naive.unets.append(base)
    np.testing.assert_allclose(only(experts(study), "3 + base"), naive.features(texts, 0, 0), **TIGHT)


def test_noises_are_averaged_within_a_score_and_their_choice_over_figures(
    table: pd.DataFrame, study: Study, known_spec: EnsembleSpec, prompts: pd.DataFrame
) -> None:
    naive = NaiveEnsemble(known_spec)
    by_noise = np.stack([relative(naive.features(prompts["prompt"].tolist(), 0, noise)) for noise in range(4)])
    rows = table[(table["ablation"] == "noises") & (table["score"] == "relative_disagreement")].set_index("setting")
    assert rows.loc["4", "language_rho"] == pytest.approx(language_rho(by_noise.mean(axis=0), prompts))
    pairs = [language_rho(by_noise[list(pair)].mean(axis=0), prompts) for pair in combinations(range(4), 2)]
    assert rows.loc["2", "language_rho"] == pytest.approx(np.mean(pairs))
    assert [len(setting.draws) for setting in noises(study)] == [4, 6, 1]


@torch.no_grad()
def test_every_expert_walks_its_own_path(study: Study, known_spec: EnsembleSpec, texts: list[str]) -> None:
    naive = NaiveEnsemble(known_spec)
    states = naive.pipeline.encode_prompt(texts, "cpu", 1, do_classifier_free_guidance=False)[0]
    paths = []
    for expert in expert_states(known_spec):
        unet = _base_unet(known_spec).eval()
        own = {key: expert[key] for key in expert if EXPERT_LAYER.match(key)}
        assert any(key.startswith("up_blocks") for key in own)
        unet.load_state_dict(unet.state_dict() | own)
        unet.mid_block.register_forward_hook(lambda module, args, output: naive._keep(output))
        scheduler = DDIMScheduler.from_config(naive.pipeline.scheduler.config)
        scheduler.set_timesteps(50)
        latents = draw_noise(0, 0, (4, 8, 8)).expand(len(texts), -1, -1, -1)
        for timestep in scheduler.timesteps[:6]:
            latents = scheduler.step(unet(latents, timestep, states).sample, timestep, latents).prev_sample
        paths.append(naive._features[-1])
    np.testing.assert_allclose(only(step(study), "5"), np.stack(paths), rtol=1e-4, atol=1e-4)


def test_splitting_is_the_base_up_to_a_block_and_the_expert_from_there(study: Study, known_spec: EnsembleSpec) -> None:
    independent = NaiveEnsemble(dataclasses.replace(known_spec, assembly="independent")).unets
    for first in range(4):
        members = study.members(from_block(study.base, first))
        for member, expert in zip(members, independent, strict=True):
            expected = _base_unet(known_spec).eval()
            for number in range(first, 3):
                expected.down_blocks[number] = expert.down_blocks[number]
            expected.mid_block = expert.mid_block
            expected.up_blocks = expert.up_blocks
            assert all(torch.equal(own, expected.state_dict()[key]) for key, own in member.state_dict().items())


def test_a_later_split_leaves_less_to_disagree_about(study: Study) -> None:
    variances = [float(SCORED["disagreement"](setting.draws[0][0]).mean()) for setting in split(study)]
    assert len(variances) == 4
    assert variances[-1] < variances[0]


@pytest.mark.parametrize("layers", ["attn", "ff", "all"])
def test_an_assembly_is_the_engines_ensemble_of_that_assembly(
    study: Study, known_spec: EnsembleSpec, texts: list[str], layers: MoeLayers
) -> None:
    spec = dataclasses.replace(known_spec, moe_layers=layers)
    engine = Study(spec, texts, device="cpu").engine
    expected = engine.features(engine.text_states(texts), 0)
    torch.testing.assert_close(only(assembly(study), f"shared trunk, {layers}"), expected, **TIGHT)


def test_independent_experts_keep_their_whole_unets(study: Study, known_spec: EnsembleSpec, texts: list[str]) -> None:
    naive = NaiveEnsemble(dataclasses.replace(known_spec, assembly="independent"))
    np.testing.assert_allclose(only(assembly(study), "independent"), naive.features(texts, 0, 0), **TIGHT)


def test_readouts_before_the_mid_block_are_of_the_same_experts(study: Study) -> None:
    settings = {setting.name: setting.draws[0][0] for setting in readout(study)}
    torch.testing.assert_close(settings["mid-block"], study.features, **TIGHT)
    shared_start = settings["down block 0"]
    assert shared_start.shape == (3, 12, 8, 4, 4)
    assert settings["prediction"].shape == (3, 12, 4, 8, 8)


@torch.no_grad()
def test_a_gated_path_is_its_expert_first_and_the_mixture_after(study: Study) -> None:
    """Checked layer by layer: each layer's output from its input, by the definition of a mixture."""
    members, pure = study.gated(), study.members(lambda key: is_expert_layer(key, "all"))
    first = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    later = "down_blocks.1.attentions.0.transformer_blocks.0.ff"
    hidden = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))
    for member, own in zip(members, pure, strict=True):
        assert torch.equal(member.get_submodule(first)(hidden), own.get_submodule(first)(hidden))
        gate = member.get_submodule(later).gate
        for prompt in hidden:
            logits = prompt @ gate.T
            best = logits.sum(dim=0).argsort(descending=True)[:2]
            shares = logits[:, best].softmax(dim=-1)
            outputs = torch.stack([pure[i].get_submodule(later)(prompt[None])[0] for i in best], dim=1)
            mixed = (shares[..., None] * outputs).sum(dim=1)
            torch.testing.assert_close(member.get_submodule(later)(prompt[None])[0], mixed, **TIGHT)
    features = only(path(study), "gated")
    assert (features.var(dim=0) > 0).any()
    torch.testing.assert_close(only(path(study), "pure"), study.features, **TIGHT)


def test_a_gates_row_is_the_experts_own_input_under_the_empty_prompt(study: Study) -> None:
    """The self-attention's input of the second down block, from diffusers' UNet with a hook."""
    layer = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    gate = study.gated()[0].get_submodule(layer).gate
    scheduler = copy.deepcopy(study.engine.ensemble.scheduler)
    scheduler.set_timesteps(50)
    empty = study.engine.text_states([""]).embeds
    for row, member in zip(gate, study.members(lambda key: is_expert_layer(key, "all")), strict=True):
        kept: list[torch.Tensor] = []
        hook = member.get_submodule(layer).register_forward_hook(
            lambda module, args, output, kept=kept: kept.append(args[0])
        )
        _call(member, draw_noise(0, 0, (4, 8, 8)), scheduler.timesteps[0], empty)
        hook.remove()
        mean = kept[0][0].mean(dim=0)
        torch.testing.assert_close(row, mean / mean.norm(), **TIGHT)


@torch.inference_mode()
def _call(unet: UNet2DConditionModel, latents: torch.Tensor, timestep: torch.Tensor, states: torch.Tensor) -> None:
    unet(latents, timestep, states)


def test_whitening_divides_by_the_variance_over_prompts(study: Study) -> None:
    own = study.features.double().flatten(2).numpy()
    expected = (own.var(axis=0, ddof=1) / own.mean(axis=0).var(axis=0, ddof=1)).mean(axis=1)
    np.testing.assert_allclose(SCORED["disagreement"](whitened(study.features)), expected, rtol=1e-3)


def test_full_whitening_divides_by_the_variance_along_principal_directions(study: Study) -> None:
    own = study.features.double().flatten(2).numpy()
    values, vectors = np.linalg.eigh(np.cov(own.mean(axis=0).T))
    kept = values > 1e-10 * values.max()
    assert kept.sum() == 11  # one less than there are prompts
    expected = ((own @ vectors[:, kept]).var(axis=0, ddof=1) / values[kept]).mean(axis=1)
    found = SCORED["disagreement"](only(elements(study), "whitened"))
    np.testing.assert_allclose(found, expected, rtol=1e-2)


def test_no_more_than_64_directions_are_kept() -> None:
    features = torch.randn(2, 100, 90, 1, 1, generator=torch.Generator().manual_seed(0))
    assert in_principal_directions(features).shape == (2, 100, 64, 1, 1)


def test_constant_elements_are_left_out() -> None:
    features = torch.randn(2, 5, 3, 1, 1, generator=torch.Generator().manual_seed(0))
    features[:, :, 1] = 2.0
    assert whitened(features).shape == (2, 5, 2, 1, 1)


def test_relative_disagreement_of_unit_length_is_one_minus_the_mean_cosine(study: Study) -> None:
    own = study.features.double().flatten(2).numpy()
    unit = own / np.linalg.norm(own, axis=2, keepdims=True)
    cosines = [(unit[i] * unit[j]).sum(axis=1) for i, j in combinations(range(3), 2)]
    found = SCORED["relative_disagreement"](only(elements(study), "cosine"))
    np.testing.assert_allclose(found, 1 - np.mean(cosines, axis=0), rtol=1e-3)


def test_the_power_of_unit_length_has_no_row(table: pd.DataFrame) -> None:
    assert set(table.query("setting == 'cosine'")["score"]) == {"disagreement", "relative_disagreement"}


def test_what_is_taken_off(study: Study, known_spec: EnsembleSpec, texts: list[str]) -> None:
    naive = NaiveEnsemble(known_spec).features([*texts, ""], 0, 0)
    own, empty = naive[:, :-1], naive[:, -1:]
    np.testing.assert_allclose(only(normalisation(study), "minus empty prompt"), own - empty, **TIGHT)
    centred = own - own.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(only(normalisation(study), "minus expert's mean"), centred, **TIGHT)


def test_feature_power_is_turned(table: pd.DataFrame, study: Study, prompts: pd.DataFrame) -> None:
    power = np.square(study.features.double().numpy()).mean(axis=(0, 2, 3, 4))
    row = table.query("ablation == 'normalisation' and setting == 'none' and score == 'feature_power'").iloc[0]
    assert row["language_rho"] == pytest.approx(language_rho(-power, prompts))


def test_the_size_of_batches_does_not_matter(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emoe_audit.ground.study.BATCH", 5)
    torch.testing.assert_close(study.mid_block(study.unets), study.features, **TIGHT)
    torch.testing.assert_close(study.walked([(0, "mid-block")])[0, "mid-block"], study.features, **TIGHT)


def test_an_ensemble_of_unknown_training_is_refused(tiny_spec: EnsembleSpec) -> None:
    with pytest.raises(EnsembleError, match="tiny: says not what it was trained on"):
        ablate(tiny_spec)


def test_sdxl_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EnsembleError, match=r"only Stable Diffusion 1\.x and 2\.x are taken apart, not SDXL"):
        Study(make_tiny_sdxl(tmp_path), ["dog"], device="cpu")


def test_the_record_holds_the_table_with_null_for_what_is_undefined(
    known_spec: EnsembleSpec, table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    own = table.assign(language_partial_rho=np.nan)
    monkeypatch.setattr("emoe_audit.ground.ablations.load_spec", lambda name: known_spec)
    monkeypatch.setattr("emoe_audit.ground.ablations.ablate", lambda spec, **_: own)
    main(["tiny", "--out", str(tmp_path / "new" / "record.json"), "--concepts", "3"])
    record = json.loads((tmp_path / "new" / "record.json").read_text())
    assert set(record) == {"figures", "rows", "machine", "versions", "date"}
    assert len(record["rows"]) == len(own)
    assert record["rows"][0]["language_partial_rho"] is None
    assert record["rows"][0]["language_rho"] == own["language_rho"].iloc[0]
    assert record["figures"]["n_concepts"] == 3
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(own)
