"""The same weights in every public form of a checkpoint give the same ensemble: equal hash, equal scores."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel

from emoe_audit.errors import EnsembleError
from emoe_audit.experts import single_file
from emoe_audit.experts.ensemble import Ensemble, load_ensemble
from emoe_audit.experts.segmoe import write_segmoe_folder
from emoe_audit.experts.segmoe_recipe import SegmoeRecipe
from emoe_audit.experts.spec import load_spec, save_spec
from emoe_audit.experts.tiny import write_text_encoder
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.types import EnsembleSpec, ExpertSpec, GatePrompts, Prompt, ScoringConfig
from tests.experts.original import UNET, original_name
from tests.naive_segmoe import random_gates

pytestmark = pytest.mark.slow

TEXT = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2}
DESIGN = {"block_out_channels": [8, 16, 16, 16], "norm_num_groups": 4, "cross_attention_dim": 16, "sample_size": 8}
PROMPTS = [Prompt(prompt_id=text, prompt=text) for text in ("a dog", "ein Hund", "")]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One model in diffusers' layout and in the original one."""

    unet: dict[str, Tensor]
    folder: Path
    file: Path


@pytest.fixture(scope="module")
def configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped configuration of Stable Diffusion 1.x, of a narrow model."""
    folder = Path(shutil.copytree(single_file.CONFIGS, tmp_path_factory.mktemp("configs") / "configs"))
    for part, fields in (("unet", DESIGN), ("text_encoder", TEXT)):
        path = folder / "sd1" / part / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return folder


@pytest.fixture(autouse=True)
def narrow(configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_file, "CONFIGS", configs)
    monkeypatch.setattr(single_file, "FAMILIES", {DESIGN["cross_attention_dim"]: "sd1"})


@pytest.fixture(scope="module")
def checkpoints(configs: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    """A base and two experts; all have the base's text encoder."""
    root = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    text = CLIPTextModel(CLIPTextConfig.from_json_file(configs / "sd1" / "text_encoder" / "config.json"))
    return [make_checkpoint(root, name, text, configs / "sd1") for name in ("base", "a", "b")]


def make_checkpoint(root: Path, name: str, text: CLIPTextModel, config: Path) -> Checkpoint:
    unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(config / "unet"))
    folder, state = root / name, unet.state_dict()
    unet.save_pretrained(folder / "unet")
    write_text_encoder(text, folder / "text_encoder")
    shutil.copytree(config / "scheduler", folder / "scheduler")
    single_file._tokenizer(config / "tokenizer").save_pretrained(folder / "tokenizer")
    up_attention = ["CrossAttn" in kind for kind in unet.config.up_block_types]
    stored = {UNET + original_name(key, up_attention): tensor for key, tensor in state.items()}
    stored |= {f"cond_stage_model.transformer.text_model.{key}": t for key, t in text.state_dict().items()}
    save_file({key: tensor.clone() for key, tensor in stored.items()}, root / f"{name}.safetensors")
    return Checkpoint(unet=state, folder=folder, file=root / f"{name}.safetensors")


def spec_of(*sources: ExpertSpec | Path) -> EnsembleSpec:
    """The first source is the base."""
    base, *experts = (
        dataclasses.replace(source, name=f"e{index}") if isinstance(source, ExpertSpec) else expert(source, index)
        for index, source in enumerate(sources)
    )
    return EnsembleSpec(name="formats", base=base, experts=tuple(experts))


def expert(source: Path, index: int = 0) -> ExpertSpec:
    return ExpertSpec(name=f"e{index}", source=str(source))


def load(spec: EnsembleSpec) -> Ensemble:
    return load_ensemble(spec, device="cpu")


def scores(ensemble: Ensemble) -> np.ndarray:
    engine = ScoringEngine(ensemble, ScoringConfig(n_noise=1, device="cpu"))
    values: np.ndarray = engine.score(PROMPTS)["disagreement"].to_numpy()
    return values


@pytest.fixture(scope="module")
def expected(checkpoints: list[Checkpoint]) -> Ensemble:
    return load(spec_of(*(checkpoint.folder for checkpoint in checkpoints)))


def assert_same(ensemble: Ensemble, expected: Ensemble) -> None:
    assert ensemble.ensemble_hash == expected.ensemble_hash
    np.testing.assert_allclose(scores(ensemble), scores(expected), rtol=1e-5)


def test_single_files(checkpoints: list[Checkpoint], expected: Ensemble) -> None:
    assert_same(load(spec_of(*(checkpoint.file for checkpoint in checkpoints))), expected)


def test_files_and_folders_mixed(checkpoints: list[Checkpoint], expected: Ensemble) -> None:
    base, a, b = checkpoints
    assert_same(load(spec_of(base.folder, a.file, b.folder)), expected)


def test_shards(checkpoints: list[Checkpoint], expected: Ensemble, tmp_path: Path) -> None:
    base, a, b = checkpoints
    UNet2DConditionModel.from_pretrained(a.folder / "unet").save_pretrained(tmp_path / "unet", max_shard_size="100KB")
    assert len(list((tmp_path / "unet").glob("*.safetensors"))) > 2
    assert_same(load(spec_of(base.folder, tmp_path, b.folder)), expected)


def test_a_lora_equals_the_checkpoint_that_it_was_merged_into(checkpoints: list[Checkpoint], tmp_path: Path) -> None:
    base, a, b = checkpoints
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
    width, cross = base.unet[f"{layer}.weight"].shape
    down, up = torch.randn(2, cross), torch.randn(width, 2)
    stem = "lora_unet_" + layer.replace(".", "_")
    save_file({f"{stem}.lora_down.weight": down, f"{stem}.lora_up.weight": up}, tmp_path / "lora.safetensors")
    for name, own in (("base", base), ("a", a)):
        merged = UNet2DConditionModel.from_pretrained(own.folder / "unet")
        with torch.no_grad():
            merged.get_parameter(f"{layer}.weight").add_(up @ down)
        merged.save_pretrained(tmp_path / name / "unet")
    lora = tmp_path / "lora.safetensors"
    on_base = load(spec_of(base.folder, lora, b.folder))
    on_expert = load(spec_of(base.folder, dataclasses.replace(expert(a.folder), loras=(str(lora),)), b.folder))
    assert scores(on_base) == pytest.approx(scores(load(spec_of(base.folder, tmp_path / "base", b.folder))), rel=1e-5)
    assert scores(on_expert) == pytest.approx(scores(load(spec_of(base.folder, tmp_path / "a", b.folder))), rel=1e-5)


def test_a_folder_that_segmoe_saved_is_the_ensemble_with_a_shared_trunk(
    checkpoints: list[Checkpoint], tmp_path: Path
) -> None:
    base, a, b = checkpoints
    spec = dataclasses.replace(spec_of(base.folder, a.folder, b.folder), assembly="shared_trunk")
    (base.folder / "model_index.json").write_text("{}")
    prompts = tuple(GatePrompts(positive=one.name, negative="") for one in spec.experts)
    recipe = SegmoeRecipe(spec=spec, type="sd", top_k=1, init="random", prompts=prompts)
    gates = random_gates(base.unet, sd_layers(), 2)
    write_segmoe_folder(recipe, base.folder, base.unet, [a.unet, b.unet], gates, tmp_path / "mixture")
    assert_same(load(load_spec(tmp_path / "mixture")), load(spec))


def sd_layers() -> list[str]:
    """Stable Diffusion 1.x: down blocks 0 to 2 with two attentions, up blocks 1 to 3 with three."""
    parts = [f"attn{n}.to_{x}" for n in (1, 2) for x in "qkv"] + ["ff"]
    places = [f"down_blocks.{i}.attentions.{j}" for i in range(3) for j in range(2)]
    places += [f"up_blocks.{i}.attentions.{j}" for i in range(1, 4) for j in range(3)]
    return [f"{place}.transformer_blocks.0.{part}" for place in places for part in parts]


def test_a_segmoe_recipe_is_an_ensemble(checkpoints: list[Checkpoint], tmp_path: Path) -> None:
    base, a, b = checkpoints
    experts = "".join(
        f"  - source_model: {one.folder}\n    positive_prompt: x\n    negative_prompt: ''\n" for one in (a, b)
    )
    (tmp_path / "mixture.yaml").write_text(
        f"base_model: {base.folder}\nnum_experts: 2\nmoe_layers: all\ntype: sd\nexperts:\n{experts}"
    )
    spec = dataclasses.replace(spec_of(base.folder, a.folder, b.folder), assembly="shared_trunk")
    assert_same(load(load_spec(tmp_path / "mixture.yaml")), load(spec))


def test_loras_segmoe_experts_and_routes_survive_a_round_trip_through_yaml(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "detail.safetensors").touch()
    base = ExpertSpec(name="base", source=str(tmp_path / "base"))
    experts = (
        ExpertSpec(name="a", source=base.source, loras=(str(tmp_path / "detail.safetensors"), "org/light")),
        ExpertSpec(name="b", source=base.source, segmoe_expert=0),
    )
    spec = EnsembleSpec(name="round", base=base, experts=experts, assembly="shared_trunk", split=1, top_k=2)
    save_spec(spec, tmp_path)
    assert load_spec(tmp_path) == spec


def test_an_expert_that_a_segmoe_folder_does_not_have_is_refused(checkpoints: list[Checkpoint], tmp_path: Path) -> None:
    base, a, _ = checkpoints
    shutil.copytree(a.folder, tmp_path / "mixture")
    config = tmp_path / "mixture" / "unet" / "config.json"
    segmoe = {"num_experts": 2, "num_experts_per_tok": 1, "moe_layers": "attn", "type": "sd"}
    segmoe |= {"down_idx_start": 0, "down_idx_end": 0, "up_idx_start": 0, "up_idx_end": 0}
    config.write_text(json.dumps(json.loads(config.read_text()) | {"segmoe_config": segmoe}))
    third = dataclasses.replace(expert(tmp_path / "mixture"), segmoe_expert=2)
    with pytest.raises(EnsembleError, match="has no expert 2; they are numbered from 0 to 1"):
        load(spec_of(base.folder, third))
