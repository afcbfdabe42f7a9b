"""Pairs of experts on an ensemble of random weights, trained for a step or two, against computations by hand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from safetensors.torch import load_file
from scipy.stats import spearmanr

from emoe_audit.errors import AuditError, EnsembleError
from emoe_audit.experts.spec import load_spec
from emoe_audit.recipes import diversity, package, unet
from emoe_audit.recipes.contrastive import TextEncoderTrainer
from emoe_audit.recipes.diversity import NATURAL_TOKENIZER, ablate_diversity, main, rank_correlation
from emoe_audit.recipes.drawings import STYLES
from emoe_audit.recipes.plan import Plan
from emoe_audit.recipes.sampling import Sampler
from emoe_audit.recipes.tokenizer import train_tokenizer
from emoe_audit.recipes.variants import VARIANTS, Expert, HalfSampler, Nursery, scaled
from emoe_audit.recipes.world import World
from emoe_audit.scoring.first_step import draw_noise
from emoe_audit.types import EnsembleSpec

pytestmark = pytest.mark.slow

SCALE = 0.002
CPU = torch.device("cpu")
SCORES = ["disagreement", "relative_disagreement", "relative_disagreement, expert-centred"]
NAMED = ["sun", "moon", "star", "rain", "snow", "wind"]
PLAN = Plan(name="small", seed=3, languages={"en": 0.7, "de": 0.3, "ko": 0.0})


def small_world() -> World:
    rng = np.random.default_rng(0)
    names = pd.Series(NAMED)
    concepts = {"concept": names, "name": names, "characters": names, "kind": "emoji", "group": None}
    return World(
        concepts=pd.DataFrame(concepts),
        captions=pd.DataFrame({"en": names, "de": "ein " + names, "ko": names.str[::-1]}),
        drawings={style: rng.integers(0, 255, (6, 64, 64, 3), dtype=np.uint8) for style in STYLES},
        drawn={style: np.arange(6) for style in STYLES},
    )


def small_autoencoder() -> AutoencoderKL:
    blocks: dict[str, Any] = {"down_block_types": ("DownEncoderBlock2D",) * 4}
    blocks |= {"up_block_types": ("UpDecoderBlock2D",) * 4, "block_out_channels": (4,) * 4, "norm_num_groups": 2}
    return AutoencoderKL(**blocks, layers_per_block=1, latent_channels=8, sample_size=64)


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> EnsembleSpec:
    folder, world = tmp_path_factory.mktemp("small"), small_world()
    tokenizer = train_tokenizer(world.captions, folder / "tokenizer")
    torch.manual_seed(0)
    package.write_base(
        folder / "base", folder / "tokenizer", TextEncoderTrainer().text, small_autoencoder(), unet.make_unet()
    )
    for style in ("noto", "twemoji"):
        package.write_expert(folder / "experts" / style, {"conv_in.bias": torch.zeros(64)})
    (folder / "judge").mkdir()
    (folder / "judge" / "open_clip_config.json").write_text("{}")
    drawn = Sampler(world=world, plan=PLAN, styles=tuple(STYLES)).count("base", 5, 100)
    tokens = package.token_table(tokenizer, world.captions)
    package.coverage_table(PLAN, drawn, world.concepts, tokens).to_csv(folder / "coverage.csv", index=False)
    package.write_captions(folder / "captions.json", world)
    PLAN.write(folder / "plan.yaml")
    package.write_spec(folder / "ensemble.yaml", PLAN, ["noto", "twemoji"])
    return load_spec(folder)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    small_world().save(folder / "emoji" / "world")
    return folder


@pytest.fixture(scope="module", autouse=True)
def few_captions() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unet, "BATCH", 4)
        patch.setattr(diversity, "TOKENIZER_CAPTIONS", 2000)
        yield


@pytest.fixture(scope="module")
def nursery(spec: EnsembleSpec, cache: Path) -> Nursery:
    return Nursery(spec, cache, CPU)


def ablated(spec: EnsembleSpec, cache: Path, out: Path, **settings: Any) -> pd.DataFrame:
    return ablate_diversity(spec, out, cache, steps_scale=SCALE, n_boot=10, **settings)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("record") / "diversity.json"


@pytest.fixture(scope="module")
def table(spec: EnsembleSpec, cache: Path, out: Path) -> pd.DataFrame:
    return ablated(spec, cache, out)


def weights(cache: Path, expert: Expert) -> dict[str, torch.Tensor]:
    return load_file(cache / "emoji" / "small" / "diversity" / f"{expert.name}.safetensors")


def refuse(*_: Any, **__: Any) -> None:
    raise AssertionError("this was done already")


def test_every_variant_has_a_row_per_score(table: pd.DataFrame) -> None:
    rows = table.groupby("variant", sort=False)["score"].apply(list).to_dict()
    assert rows == dict.fromkeys(VARIANTS, SCORES) | {
        NATURAL_TOKENIZER: ["token_count, natural tokenizer", "token_count, even tokenizer"]
    }
    of_pairs = table[table["variant"] != NATURAL_TOKENIZER]
    assert np.isfinite(of_pairs[["alignment", "language_rho", "auroc_starved"]].to_numpy(dtype=float)).all()
    assert (of_pairs["auroc_starved_low"] <= of_pairs["auroc_starved_high"]).all()
    assert dict(zip(of_pairs["variant"], of_pairs["steps"], strict=True))["scratch 1000"] == 2


def test_the_record_has_the_shape_of_the_others(table: pd.DataFrame, out: Path) -> None:
    record = json.loads(out.read_text())
    assert set(record) == {"figures", "rows", "machine", "versions", "date"}
    assert record["figures"] == {"ensemble": "small", "steps_scale": SCALE, "n_concepts": 20, "seed": 0}
    pd.testing.assert_frame_equal(pd.DataFrame(record["rows"]), table)


@pytest.mark.parametrize(
    ("name", "different"),
    [
        ("styles 100", {"styles"}),
        ("styles 350", {"styles"}),
        ("styles 700", {"styles"}),
        ("same data 350", {"seed"}),
        ("halves 350", {"half"}),
        ("one style, two seeds 350", {"seed"}),
        ("scratch 1000", {"seed"}),
    ],
)
def test_the_two_experts_of_a_variant_differ_in_one_way(
    name: str, different: set[str], table: pd.DataFrame, cache: Path
) -> None:
    first, second = VARIANTS[name]
    assert {f.name for f in dataclasses.fields(Expert) if getattr(first, f.name) != getattr(second, f.name)} == (
        different
    )
    assert first.steps == int(name.split()[-1])
    own, other = (weights(cache, expert) for expert in scaled((first, second), SCALE))
    layer = "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    assert (own[layer] != other[layer]).any()


def test_fine_tuned_experts_keep_everything_else_of_the_base(
    table: pd.DataFrame, cache: Path, spec: EnsembleSpec
) -> None:
    base = load_file(Path(spec.base.source) / "unet" / "diffusion_pytorch_model.safetensors")
    files = sorted((cache / "emoji" / "small" / "diversity").glob("expert-*.safetensors"))
    experts = [expert for pair in VARIANTS.values() for expert in scaled(pair, SCALE)]
    assert len(files) == len({expert.name for expert in experts if expert.from_base}) > 2
    for file in files:
        changed = [key for key, weight in load_file(file).items() if (weight != base[key].float()).any()]
        assert changed
        assert all(".attn" in key or ".ff.net." in key for key in changed)


def test_experts_from_scratch_have_no_ancestor(table: pd.DataFrame, cache: Path, spec: EnsembleSpec) -> None:
    base = load_file(Path(spec.base.source) / "unet" / "diffusion_pytorch_model.safetensors")["conv_in.weight"]
    first, second = (weights(cache, e)["conv_in.weight"] for e in scaled(VARIANTS["scratch 1000"], SCALE))
    for one, other in ((first, second), (first, base.float()), (second, base.float())):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.1


def test_experts_of_the_same_data_see_other_draws_of_one_distribution(nursery: Nursery) -> None:
    first, second = (nursery.sampler(expert) for expert in VARIANTS["same data 350"])
    assert dataclasses.replace(second, seed=first.seed).draw("s", 0, 50).concepts.tolist() == (
        first.draw("s", 0, 50).concepts.tolist()
    )
    assert (first.draw("s", 0, 50).concepts != second.draw("s", 0, 50).concepts).any()
    assert first.styles == second.styles == tuple(STYLES)


def test_an_expert_of_a_style_draws_what_the_shipped_one_drew(nursery: Nursery) -> None:
    expert = VARIANTS["styles 350"][0]
    shipped = Sampler(world=nursery.world, plan=PLAN, styles=("noto",), seed=PLAN.seed).draw("expert noto", 5, 30)
    own = nursery.sampler(expert).draw(expert.stage, 5, 30)
    assert (own.concepts == shipped.concepts).all()
    assert (own.languages == shipped.languages).all()


def test_halves_are_disjoint_and_together_complete(nursery: Nursery) -> None:
    first, second = (nursery.sampler(expert) for expert in VARIANTS["halves 350"])
    assert isinstance(first, HalfSampler)
    assert isinstance(second, HalfSampler)
    assert (first.wanted ^ second.wanted).all()
    assert first.wanted.sum() == second.wanted.sum() == 9


@pytest.mark.parametrize("half", [0, 1])
def test_a_half_is_drawn_from_as_the_plan_wants_it(nursery: Nursery, half: int) -> None:
    sampler = nursery.sampler(VARIANTS["halves 350"][half])
    assert isinstance(sampler, HalfSampler)
    batch = sampler.draw("s", 0, 4000)
    found = np.zeros((6, 3))
    np.add.at(found, (batch.concepts, batch.languages), 1 / 4000)
    expected = np.outer(np.full(6, 1 / 6), [0.7, 0.3, 0.0]) * sampler.wanted
    np.testing.assert_allclose(found, expected / expected.sum(), atol=0.03)
    assert (found[~sampler.wanted] == 0).all()
    assert set(batch.styles) == {0, 1, 2, 3}
    assert len(sampler.draw("s", 0, 7).styles) == 7


def test_the_text_states_are_those_of_the_pipeline(nursery: Nursery, spec: EnsembleSpec) -> None:
    states, empty = nursery._states
    pipeline = StableDiffusionPipeline.from_pretrained(spec.base.source, safety_checker=None)
    for part in (pipeline.text_encoder, pipeline.unet):
        part.float()
    expected = pipeline.encode_prompt(["sun", "ein sun", "nus", ""], "cpu", 1, do_classifier_free_guidance=False)[0]
    torch.testing.assert_close(torch.cat([states[:, 0], empty]), expected.detach(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_figures_are_those_of_whole_unets(table: pd.DataFrame, cache: Path, spec: EnsembleSpec) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(spec.base.source, safety_checker=None)
    pipeline.text_encoder.float()
    texts = [text for language in ("en", "de", "ko") for text in small_world().captions[language]]
    states = pipeline.encode_prompt(texts, "cpu", 1, do_classifier_free_guidance=False)[0]
    pipeline.scheduler.set_timesteps(50)
    read: list[np.ndarray] = []
    for expert in scaled(VARIANTS["scratch 1000"], SCALE):
        network = unet.make_unet().eval()
        network.load_state_dict(weights(cache, expert))
        network.mid_block.register_forward_hook(lambda module, args, output: read.append(output.double().numpy()))
        network(draw_noise(0, 0, (8, 8, 8)).expand(len(texts), -1, -1, -1), pipeline.scheduler.timesteps[0], states)
    own = np.stack(read)
    centred = own - own.mean(axis=1, keepdims=True)
    scores = [own.var(axis=0, ddof=1).mean(axis=(1, 2, 3))]
    scores += [
        f.var(axis=0, ddof=1).mean(axis=(1, 2, 3)) / np.square(f).mean(axis=(0, 2, 3, 4)) for f in (own, centred)
    ]
    rows = table[table["variant"] == "scratch 1000"].set_index("score")
    for name, score in zip(SCORES, scores, strict=True):
        en, de, ko = score.reshape(3, 6)
        assert rows.loc[name, "language_rho"] == pytest.approx(
            spearmanr([en.mean(), de.mean(), ko.mean()], [0.7, 0.3, 0.0]).statistic
        )
        covered = np.concatenate([en, de])
        assert rows.loc[name, "auroc_starved"] == pytest.approx((ko[:, None] > covered).mean())
    assert rows.loc[SCORES[0], "alignment"] == pytest.approx(
        np.corrcoef(centred.reshape(2, -1))[0, 1], rel=1e-3, abs=1e-4
    )


def test_a_variant_whose_rows_stand_is_not_repeated(
    table: pd.DataFrame, spec: EnsembleSpec, cache: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(diversity, "Nursery", refuse)
    monkeypatch.setattr(diversity, "Study", refuse)
    pd.testing.assert_frame_equal(ablated(spec, cache, out), table)


def test_an_expert_that_was_trained_is_not_trained_again(
    table: pd.DataFrame, spec: EnsembleSpec, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unet.Denoising, "loss", refuse)
    again = ablated(spec, cache, tmp_path / "again.json", only=["halves 350"])
    expected = table[table["variant"] == "halves 350"].reset_index(drop=True)
    pd.testing.assert_frame_equal(again, expected)


def test_an_interrupted_run_keeps_its_rows_and_goes_on(
    table: pd.DataFrame, spec: EnsembleSpec, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, only, rows = tmp_path / "record.json", ["halves 350", "scratch 1000"], diversity.Laboratory.rows

    def stops(self: Any, name: str, steps_scale: float) -> Any:
        if name == "scratch 1000":
            raise KeyboardInterrupt
        return rows(self, name, steps_scale)

    monkeypatch.setattr(diversity.Laboratory, "rows", stops)
    with pytest.raises(KeyboardInterrupt):
        ablated(spec, cache, out, only=only)
    assert {row["variant"] for row in json.loads(out.read_text())["rows"]} == {"halves 350"}
    monkeypatch.setattr(diversity.Laboratory, "rows", rows)
    expected = table[table["variant"].isin(only)].reset_index(drop=True)
    pd.testing.assert_frame_equal(ablated(spec, cache, out, only=only), expected)


def test_rows_under_other_settings_are_not_mixed(
    table: pd.DataFrame, spec: EnsembleSpec, cache: Path, out: Path
) -> None:
    with pytest.raises(AuditError, match=r"'n_concepts': 20.* not .*'n_concepts': 3.*; give another --out"):
        ablated(spec, cache, out, n_concepts=3)


def test_an_ensemble_without_a_plan_is_refused(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    with pytest.raises(EnsembleError, match=r"tiny: no .*plan\.yaml, so it is not known how to train more"):
        Nursery(tiny_spec, tmp_path, CPU)


def test_experts_that_several_variants_have_are_trained_once() -> None:
    experts = [expert for pair in VARIANTS.values() for expert in pair]
    assert len({expert.name for expert in experts}) == len(set(experts)) == len(experts) - 1
    assert VARIANTS["one style, two seeds 350"][0] == VARIANTS["styles 350"][0]


def test_a_rank_correlation_matches_languages_by_name() -> None:
    tokens = pd.Series({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0})
    coverage = pd.Series({"d": 0.1, "c": 0.4, "b": 0.3, "a": 0.2})
    assert rank_correlation(tokens, coverage) == pytest.approx(1 - 6 * (1 + 1 + 1 + 9) / (4 * 15))


def test_token_counts_are_correlated_with_coverage(
    spec: EnsembleSpec, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token a letter: `sun` and `nus` have 3, `ein sun` 7, so ranks are 1.5, 1.5, 3 against 3, 1, 2: rho is 0."""

    def letters(texts: list[str], **_: Any) -> dict[str, list[str]]:
        return {"input_ids": [f"<{text}>" for text in texts]}  # type: ignore[misc]

    monkeypatch.setattr(diversity, "natural_tokenizer", lambda *_: letters)
    table = ablated(spec, cache, tmp_path / "record.json", only=[NATURAL_TOKENIZER]).set_index("score")
    assert table.loc["token_count, natural tokenizer", "language_rho"] == pytest.approx(0, abs=1e-12)
    even = pd.read_csv(str(spec.training_coverage)).set_index("group")
    assert table.loc["token_count, even tokenizer", "language_rho"] == pytest.approx(
        spearmanr(even["mean_tokens"], even["coverage"]).statistic
    )


def test_a_natural_tokenizer_has_words_of_covered_languages_only(tmp_path: Path) -> None:
    tokenizer = diversity.natural_tokenizer(small_world(), PLAN, tmp_path)
    assert tokenizer.tokenize("sun") == ["sun</w>"]
    assert tokenizer.tokenize("ein rain") == ["ein</w>", "rain</w>"]
    assert len(tokenizer.tokenize("niar")) > 1


def test_the_command_prints_its_table(
    spec: EnsembleSpec, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(diversity, "Study", refuse)
    folder, out = Path(spec.base.source).parent, tmp_path / "new" / "record.json"
    main([str(folder), "--cache", str(cache), "--out", str(out), "--only", NATURAL_TOKENIZER])
    assert len(json.loads(out.read_text())["rows"]) == 2
    assert len(capsys.readouterr().out.splitlines()) == 3
