"""A whole recipe in a few steps on a world of eight drawings: what it packages is what every loader expects."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from emoe_audit.audit import run_audit
from emoe_audit.experts.spec import load_spec
from emoe_audit.ground.verify import verify
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.recipes import __main__ as recipe
from emoe_audit.recipes import contrastive, package, unet, vae
from emoe_audit.recipes.drawings import STYLES
from emoe_audit.recipes.plan import Plan
from emoe_audit.recipes.tokenizer import train_tokenizer
from emoe_audit.recipes.world import World
from emoe_audit.types import ImageConfig, ScoringConfig
from tests.ground.known_languages import known_by_few

pytestmark = pytest.mark.slow

STEPS = {
    contrastive: ("JUDGE_IMAGE_STEPS", "JUDGE_TEXT_STEPS", "TEXT_ENCODER_STEPS"),
    vae: ("STEPS",),
}
BATCHES = {
    contrastive: ("JUDGE_IMAGE_BATCH", "JUDGE_TEXT_BATCH", "TEXT_ENCODER_BATCH"),
    vae: ("BATCH",),
    unet: ("BATCH",),
}


def small_world() -> World:
    rng = np.random.default_rng(0)
    names = ["sun", "moon", "star", "rain", "snow", "wind", "fire", "leaf"]
    return World(
        concepts=pd.DataFrame(
            {
                "concept": names,
                "name": names,
                "characters": names,
                "kind": ["emoji"] * 4 + ["flag"] * 2 + ["skin_tone"] * 2,
                "group": [None] * 4 + ["014", "155", "light", "dark"],
            }
        ),
        captions=pd.DataFrame({"en": names, "de": [f"ein {name}" for name in names], "ko": [n[::-1] for n in names]}),
        drawings={style: rng.integers(0, 255, (8, 64, 64, 3), dtype=np.uint8) for style in STYLES},
        drawn={style: np.arange(8) for style in STYLES},
    )


def make_small(
    folder: Path,
    name: str,
    languages: dict[str, float],
    sibling: Path | None = None,
    concepts: dict[str, float] | None = None,
) -> Path:
    """The recipe in two steps of four examples a stage, narrow; what is there already is not made again."""
    plan = Plan(
        name=name,
        seed=0,
        languages=languages,
        regions={"014": 1.0, "155": 0.0},
        skin_tones={"light": 0.5, "dark": 0.5},
        concepts=concepts or {},
        base_steps=2,
        expert_steps=2,
    )
    plan.write(folder / f"{name}.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "build_world", lambda *_: small_world())
        for values, number in ((STEPS, 2), (BATCHES, 4)):
            for module, names in values.items():
                for constant in names:
                    patch.setattr(module, constant, number)
        patch.setattr(unet, "WIDTHS", (64, 64, 64))
        patch.setattr(vae, "WIDTHS", (16, 16, 16, 16))
        out = folder / name
        recipe.make_ensemble(folder / f"{name}.yaml", out, folder / f"cache-{name}", torch.device("cpu"), sibling)
    return out


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made, and made again from what the first time left."""
    folder = tmp_path_factory.mktemp("recipe")
    for _ in range(2):
        out = make_small(folder, "small", {"en": 0.7, "de": 0.3, "ko": 0.0})
    return out


def test_the_base_is_a_plain_pipeline_in_half_precision_with_published_names(packaged: Path) -> None:
    StableDiffusionPipeline.from_pretrained(packaged / "base", safety_checker=None)
    text = load_file(packaged / "base" / "text_encoder" / "model.safetensors")
    assert all(key.startswith("text_model.") for key in text)
    assert all(weight.dtype == torch.float16 for weight in text.values())
    assert (packaged / "base" / "tokenizer" / "merges.txt").is_file()


def test_an_expert_stores_only_what_it_changed(packaged: Path) -> None:
    base = load_file(packaged / "base" / "unet" / "diffusion_pytorch_model.safetensors")
    deltas = [load_file(packaged / "experts" / style / "unet_delta.safetensors") for style in STYLES]
    assert all(delta.keys() < base.keys() for delta in deltas)
    assert all(any((delta[key] != base[key]).any() for key in delta) for delta in deltas)
    assert sum(weight.numel() for weight in deltas[0].values()) < 0.4 * sum(weight.numel() for weight in base.values())


def test_the_coverage_table_counts_every_caption_that_was_drawn(packaged: Path) -> None:
    table = pd.read_csv(packaged / "coverage.csv", dtype={"group": str}).set_index(["by", "group"])
    languages = table.loc["language"]
    assert languages["drawn"].sum() == 2 * 4 + 2 * 4 + len(STYLES) * 2 * 4
    assert languages.loc["ko", "drawn"] == 0
    assert languages["coverage"].sum() == pytest.approx(1)
    assert table.loc[("region", "155"), "drawn"] == 0 < table.loc[("region", "014"), "drawn"]
    assert set(table.loc["skin_tone"].index) == {"light", "dark"}


def test_the_captions_are_a_coco_file_with_a_language_each(packaged: Path) -> None:
    captions = json.loads((packaged / "captions.json").read_text())
    assert len(captions["images"]) == 8
    assert len(captions["annotations"]) == 24
    assert {a["language"] for a in captions["annotations"]} == {"en", "de", "ko"}
    assert [i.get("region") or i.get("skin_tone") for i in captions["images"][3:]] == [
        None, "014", "155", "light", "dark",
    ]  # fmt: skip


def test_the_card_names_licences_steps_and_every_language(packaged: Path) -> None:
    card = (packaged / "MODEL_CARD.md").read_text()
    for words in ("Unicode-3.0", "CC-BY-4.0", "base UNet 2,", "| ko |", "judge_top1_on_drawings"):
        assert words in card


def test_an_audit_runs_on_it(packaged: Path, tmp_path: Path) -> None:
    spec = load_spec(packaged)
    with known_by_few(["en", "de", "ko"]):
        result = run_audit(
            default_prompts(spec),
            spec,
            tmp_path / "run",
            scoring=ScoringConfig(n_noise=1, device="cpu", check_pairs=1),
            images=ImageConfig(n_images=3, num_inference_steps=1, device="cpu"),
        )
    assert (result.n_scored, result.n_images, result.n_errors) == (24, 3, 0)
    assert "training_coverage" in result.report.with_suffix(".json").read_text()


def test_a_sibling_lends_its_judge_and_autoencoder_to_another_plan(packaged: Path, tmp_path: Path) -> None:
    own_tokenizer = tmp_path / "cache-other" / "emoji-flag-skin_tone" / "tokenizer"
    train_tokenizer(small_world().captions[["ko"]], own_tokenizer)
    other = make_small(tmp_path, "other", {"en": 0.0, "de": 0.1, "ko": 0.9}, packaged, {"moon": 0.0})
    for part in ("judge/open_clip_model.safetensors", "base/vae/diffusion_pytorch_model.safetensors"):
        lent, own = load_file(packaged / part), load_file(other / part)
        assert all(torch.equal(lent[key], own[key]) for key in lent)
    folders = packaged / "judge", other / "judge", other / "base" / "tokenizer"
    merges = [(folder / "merges.txt").read_text() for folder in folders]
    assert merges[0] == merges[1] != merges[2], "a judge reads with the tokenizer that it learned with"
    coverage = pd.read_csv(other / "coverage.csv").set_index(["by", "group"])
    assert coverage.loc[("language", "en"), "drawn"] == 0
    concepts = coverage.loc["concept"]
    assert set(concepts.index) == {"sun", "moon", "star", "rain"} and concepts["coverage"].sum() == pytest.approx(1)
    assert concepts.loc["moon", "drawn"] == 0 < concepts.loc["sun", "drawn"]
    assert "1 plain concepts were never drawn" in (other / "MODEL_CARD.md").read_text()
    assert not list((tmp_path / "cache-other").rglob("judge-*"))


def test_what_an_embedded_sibling_has_byte_for_byte_is_referred_to(tmp_path: Path) -> None:
    sibling = load_spec("emoji-a")
    vae = tmp_path / "base" / package.VAE_WEIGHTS
    shutil.copytree(package.judge_folder(sibling), tmp_path / "judge")
    vae.parent.mkdir(parents=True)
    shutil.copy(Path(sibling.base.source) / package.VAE_WEIGHTS, vae)
    (tmp_path / "captions.json").write_text("{}")
    expected = {
        "judge": "embedded:emoji-a/judge",
        "vae": "embedded:emoji-a/base/vae/diffusion_pytorch_model.safetensors",
    }
    assert package.keep_once(tmp_path, sibling) == expected
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["captions.json"]


def test_a_sibling_that_may_move_is_not_referred_to(packaged: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(packaged, tmp_path / "copy")
    assert package.keep_once(copy, load_spec(packaged)) == {}
    assert load_spec(copy).judge == f"local-dir:{copy / 'judge'}"


def test_the_bench_runs_on_the_ensemble_of_any_plan(packaged: Path, tmp_path: Path) -> None:
    scoring = ScoringConfig(n_noise=2, device="cpu", check_pairs=1)
    with known_by_few(["en", "de", "ko"]):
        found = verify(
            load_spec(packaged), tmp_path, n_concepts=8, scoring=scoring, images=ImageConfig(n_images=0), n_boot=5
        )
    assert {point.language: point.coverage > 0 for point in found.languages} == {"en": True, "de": True, "ko": False}
    assert {"disagreement", "feature_power", "token_count", "noise_variance"} <= {row.name for row in found.scores}
