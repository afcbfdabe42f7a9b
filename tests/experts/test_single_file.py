"""Single files in the original layout: what is read from them and under which names, and what is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import infer_diffusers_model_type
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from emoe_audit.errors import EnsembleError
from emoe_audit.experts import single_file, sources
from emoe_audit.experts.models import build_unet
from emoe_audit.experts.single_file import (
    is_single_file,
    read_single_file_scheduler,
    read_single_file_text_encoders,
    read_single_file_unet,
)
from tests.experts import original
from tests.experts.original import FAMILIES, MARK, SHIPPED, SPREAD, UNET, Checkpoint, make_checkpoint


@pytest.fixture(scope="module")
def small_configs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return original.small_configs(tmp_path_factory.mktemp("small") / "configs")


@pytest.fixture(autouse=True)
def use_small_configs(small_configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_file, "CONFIGS", small_configs)


@pytest.fixture(scope="module")
def checkpoints(small_configs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoints")
    return {family: make_checkpoint(family, small_configs, folder) for family in FAMILIES}


@pytest.fixture
def read_keys(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys whose tensors are read from disk."""
    keys: list[str] = []

    class Spy:
        def __init__(self, *args: Any, **options: Any) -> None:
            self.opened = safetensors.safe_open(*args, **options)

        def __enter__(self) -> Spy:
            self.file = self.opened.__enter__()
            return self

        def __exit__(self, *error: Any) -> None:
            self.opened.__exit__(*error)

        def keys(self) -> list[str]:
            return self.file.keys()

        def get_slice(self, key: str) -> Any:
            return self.file.get_slice(key)

        def get_tensor(self, key: str) -> Tensor:
            keys.append(key)
            return self.file.get_tensor(key)

    monkeypatch.setattr(sources, "safe_open", Spy)
    monkeypatch.setattr(sources, "safe_open", Spy)
    return keys


def changed(checkpoint: Checkpoint, path: Path, change: Callable[[dict[str, Tensor]], object]) -> Path:
    stored = load_file(checkpoint.path)
    change(stored)
    save_file(stored, path)
    return path


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


def scored(unet: dict[str, Tensor]) -> dict[str, Tensor]:
    unscored = ("up_blocks.", "conv_norm_out.", "conv_out.")
    return {key: tensor for key, tensor in unet.items() if not key.startswith(unscored)}


@pytest.mark.parametrize(("family", "kind"), [("sd1", "v1"), ("sd2-512", "v2"), ("sd2-768", "v2"), ("sdxl", "xl_base")])
def test_the_files_of_these_tests_look_to_diffusers_like_published_ones(
    family: str, kind: str, checkpoints: dict[str, Checkpoint]
) -> None:
    assert infer_diffusers_model_type(load_file(checkpoints[family].path)) == kind


@pytest.mark.parametrize("family", FAMILIES)
def test_the_scored_part_of_the_unet_is_read_under_diffusers_names(
    family: str, checkpoints: dict[str, Checkpoint], small_configs: Path
) -> None:
    checkpoint = checkpoints[family]
    read = read_single_file_unet(checkpoint.path)
    assert same(read.tensors, scored(checkpoint.unet))
    assert read.config == json.loads((small_configs / family / "unet" / "config.json").read_text())
    assert read.where == str(checkpoint.path)
    model = build_unet(read.config, read.tensors, read.where)
    assert model.config["cross_attention_dim"] == {"sd1": 768, "sdxl": 2048}.get(family, 1024)


@pytest.mark.parametrize("family", FAMILIES)
def test_neither_up_blocks_nor_vae_nor_averages_are_read(
    family: str, checkpoints: dict[str, Checkpoint], read_keys: list[str]
) -> None:
    read_single_file_unet(checkpoints[family].path)
    inner = ("time_embed", "label_emb", "input_blocks", "middle_block")
    expected = {
        key for key in load_file(checkpoints[family].path) if key.startswith(tuple(UNET + part for part in inner))
    }
    assert set(read_keys) == expected | ({MARK} if family in SPREAD else set())


def test_tensors_that_are_not_wanted_are_not_read(checkpoints: dict[str, Checkpoint], read_keys: list[str]) -> None:
    read = read_single_file_unet(checkpoints["sd1"].path, lambda key: key.startswith("mid_block.attentions.0.norm."))
    assert sorted(read.tensors) == ["mid_block.attentions.0.norm.bias", "mid_block.attentions.0.norm.weight"]
    assert sorted(read_keys) == [f"{UNET}middle_block.1.norm.bias", f"{UNET}middle_block.1.norm.weight"]


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_clip_keys_are_those_of_transformers(
    family: str, checkpoints: dict[str, Checkpoint], read_keys: list[str]
) -> None:
    first = read_single_file_text_encoders(checkpoints[family].path)[0]
    assert same(first.tensors, checkpoints[family].clip)
    CLIPTextModel(first.config).load_state_dict(first.tensors)
    assert not any(key.startswith((UNET, "first_stage_model", "model_ema")) for key in read_keys)


def test_clip_keys_without_the_inner_prefix_are_read_too(checkpoints: dict[str, Checkpoint], tmp_path: Path) -> None:
    def shorten(stored: dict[str, Tensor]) -> None:
        for key in [key for key in stored if ".text_model." in key]:
            stored[key.replace(".text_model.", ".")] = stored.pop(key)

    path = changed(checkpoints["sd1"], tmp_path / "short.safetensors", shorten)
    assert same(read_single_file_text_encoders(path)[0].tensors, checkpoints["sd1"].clip)


@pytest.mark.parametrize("family", ["sd2-512", "sd2-768"])
def test_stable_diffusion_2_reads_texts_like_open_clip_up_to_the_last_layer_but_one(
    family: str, checkpoints: dict[str, Checkpoint], read_keys: list[str]
) -> None:
    (read,) = read_single_file_text_encoders(checkpoints[family].path)
    assert not any("resblocks.23." in key for key in read_keys)
    model = CLIPTextModel(read.config).eval()
    model.load_state_dict(read.tensors)
    tower, ids = checkpoints[family].open_clip, torch.randint(0, 50, (2, 77))
    states = tower.token_embedding(ids) + tower.positional_embedding
    for block in tower.transformer.resblocks[:23]:
        states = block(states, attn_mask=tower.attn_mask)
    torch.testing.assert_close(model(ids).last_hidden_state, tower.ln_final(states), rtol=1e-4, atol=1e-4)


def test_sdxls_second_encoder_pools_like_open_clip(checkpoints: dict[str, Checkpoint]) -> None:
    second = read_single_file_text_encoders(checkpoints["sdxl"].path)[1]
    tensors = second.tensors
    assert tensors["text_projection.weight"].shape == (24, 16)
    model = CLIPTextModelWithProjection(second.config).eval()
    model.load_state_dict({key if "projection" in key else f"text_model.{key}": tensors[key] for key in tensors})
    ids = torch.randint(0, 49, (2, 77))
    ids[:, 20] = 49
    expected = checkpoints["sdxl"].open_clip(ids)
    torch.testing.assert_close(model(ids).text_embeds, expected, rtol=1e-4, atol=1e-4)


PROMPTS = (
    "a photo of a cat",
    "An Astronaut riding a HORSE on Mars",
    "it's we're they've I'll don't",
    "3 red apples, 12 green pears; 2024",
    "well-known (half-open) [brackets] {braces}",
    "ein großer Bär über der Straße",
    "un garçon mange des crêpes à Noël",
    "un niño pequeño en el jardín",
    "uma maçã não é um pão",
    "żółta łódź na jeziorze",
    "kırmızı çiçekli ağaç",
    "một con mèo trên cây",
    "красный дом у реки",
    "жовтий соняшник",
    "ένα κόκκινο σπίτι",
    "בית אדום ליד הים",
    "قطة على شجرة",
    "یک گربه روی درخت",
    "एक लाल सेब",
    "একটি লাল আপেল",
    "ஒரு சிவப்பு ஆப்பிள்",
    "แมวบนต้นไม้",
    "一只猫在树上",
    "木の上の猫",
    "リンゴを食べる人",
    "나무 위의 고양이",
    "წითელი ვაშლი",
    "կարմիր խնձոր",
    "ቀይ ፖም",
    "🐱",
    "😀 🍎 👩‍🚀",
    "naïve café, 50% off & more",
    "supercalifragilisticexpialidocious",
    "",
)


@pytest.fixture(scope="module")
def simple_tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer()


@pytest.fixture(scope="module")
def second_tokenizer(checkpoints: dict[str, Checkpoint]) -> CLIPTokenizer:
    return read_single_file_text_encoders(checkpoints["sdxl"].path)[1].tokenizer


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_prompt_has_the_ids_that_open_clip_gives_it(
    prompt: str, simple_tokenizer: SimpleTokenizer, second_tokenizer: CLIPTokenizer
) -> None:
    ids = second_tokenizer(prompt, padding="max_length", truncation=True, return_tensors="pt").input_ids
    assert ids.equal(simple_tokenizer(prompt))


@pytest.mark.parametrize(
    ("family", "pads"), [("sd1", [49407]), ("sd2-512", [0]), ("sd2-768", [0]), ("sdxl", [49407, 0])]
)
def test_the_vocabulary_is_clips_and_the_padding_the_familys(
    family: str, pads: list[int], checkpoints: dict[str, Checkpoint]
) -> None:
    tokenizers = [text.tokenizer for text in read_single_file_text_encoders(checkpoints[family].path)]
    assert [tokenizer.pad_token_id for tokenizer in tokenizers] == pads
    for tokenizer in tokenizers:
        assert len(tokenizer) == 49408
        assert tokenizer.convert_tokens_to_ids(["<|startoftext|>", "<|endoftext|>", "!"]) == [49406, 49407, 0]
        assert tokenizer.model_max_length == 77
        assert tokenizer("hello world").input_ids == [49406, 3306, 1002, 49407]


def test_an_exclamation_mark_is_a_piece_unless_it_pads(checkpoints: dict[str, Checkpoint]) -> None:
    first, second = (text.tokenizer for text in read_single_file_text_encoders(checkpoints["sdxl"].path))
    assert first("hello world!").input_ids == [49406, 3306, 1002, 256, 49407]
    assert second("hello world!").input_ids == [49406, 3306, 1002, 0, 49407]


@pytest.mark.parametrize(
    ("family", "name", "prediction"),
    [
        ("sd1", "PNDMScheduler", "epsilon"),
        ("sd2-512", "PNDMScheduler", "epsilon"),
        ("sd2-768", "DDIMScheduler", "v_prediction"),
        ("sdxl", "EulerDiscreteScheduler", "epsilon"),
    ],
)
def test_the_scheduler_is_the_one_published_with_the_family(
    family: str, name: str, prediction: str, checkpoints: dict[str, Checkpoint]
) -> None:
    config, scheduler = read_single_file_scheduler(checkpoints[family].path)
    assert config["_class_name"] == type(scheduler).__name__ == name
    assert scheduler.config.prediction_type == prediction
    assert scheduler.config.steps_offset == 1
    assert scheduler.config.timestep_spacing == "leading"
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    torch.testing.assert_close(scheduler.alphas_cumprod, torch.cumprod(1 - betas, 0))


@pytest.mark.parametrize(
    ("family", "parameters", "sample_size"),
    [
        ("sd1", 859_520_964, 64),
        ("sd2-512", 865_910_724, 64),
        ("sd2-768", 865_910_724, 96),
        ("sdxl", 2_567_463_684, 128),
    ],
)
def test_the_shipped_unets_have_the_published_sizes(family: str, parameters: int, sample_size: int) -> None:
    config = json.loads((SHIPPED / family / "unet" / "config.json").read_text())
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(config)
    assert sum(tensor.numel() for tensor in unet.parameters()) == parameters
    assert unet.config["sample_size"] == sample_size


@pytest.mark.parametrize(
    ("encoder", "parameters"),
    [
        ("sd1/text_encoder", 123_060_480),
        ("sd2-512/text_encoder", 340_387_840),
        ("sd2-768/text_encoder", 340_387_840),
        ("sdxl/text_encoder", 123_060_480),
        ("sdxl/text_encoder_2", 694_659_840),
    ],
)
def test_the_shipped_text_encoders_have_the_published_sizes(encoder: str, parameters: int) -> None:
    config = CLIPTextConfig.from_dict(json.loads((SHIPPED / encoder / "config.json").read_text()))
    model_class = CLIPTextModelWithProjection if encoder.endswith("_2") else CLIPTextModel
    with torch.device("meta"):
        model = model_class(config)
    assert sum(tensor.numel() for tensor in model.parameters()) == parameters


REFUSED: dict[str, tuple[str, Callable[[dict[str, Tensor]], object], str]] = {
    "inpainting": (
        "sd1",
        lambda stored: stored.update({f"{UNET}input_blocks.0.0.weight": torch.zeros(8, 9, 3, 3)}),
        r"has shape \[8, 9, 3, 3\], expected 4 input channels.*inpainting.*from a single file",
    ),
    "refiner": (
        "sdxl",
        lambda stored: stored.update(
            {key: torch.zeros(16, 1280) for key in stored if key.endswith("attn2.to_k.weight")}
        ),
        r"the refiner of SDXL.*name the base",
    ),
    "controlnet": ("sd1", lambda stored: stored.update({"control_model.x": torch.zeros(1)}), r"a ControlNet; only"),
    "playground": ("sdxl", lambda stored: stored.update({"edm_mean": torch.zeros(1)}), r"another noise process"),
    "velocity": ("sdxl", lambda stored: stored.update({"v_pred": torch.zeros(0)}), r"predict velocity; only"),
    "unclip": (
        "sd2-512",
        lambda stored: stored.update({f"{UNET}label_emb.0.0.weight": torch.zeros(1)}),
        r"unexpected keys: model.diffusion_model.label_emb.0.0.weight; only",
    ),
    "no label embedding": (
        "sdxl",
        lambda stored: stored.pop(f"{UNET}label_emb.0.0.weight"),
        r"missing keys: model.diffusion_model.label_emb.0.0.weight",
    ),
    "no mark": ("sd2-512", lambda stored: stored.pop(MARK), r"cannot be told.*name a whole checkpoint"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_models_of_another_kind_are_refused(kind: str, checkpoints: dict[str, Checkpoint], tmp_path: Path) -> None:
    family, change, message = REFUSED[kind]
    path = changed(checkpoints[family], tmp_path / "other.safetensors", change)
    with pytest.raises(EnsembleError, match=rf"^{re.escape(str(path))}: .*{message}"):
        read_single_file_unet(path)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("first_stage_model.encoder.conv_in.weight", "no keys model.diffusion_model"),
        ("lora_unet_mid_block_attentions_0_proj_in.alpha", "found: lora_unet.*a LoRA.*name a whole checkpoint"),
        ("down_blocks.0.resnets.0.conv1.weight", "in diffusers' layout is read from a folder"),
        (f"{UNET}double_blocks.0.img_attn.qkv.weight", "unknown architecture"),
    ],
)
def test_files_without_such_a_unet_are_refused(key: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({key: torch.zeros(1)}, path)
    for read in (read_single_file_unet, read_single_file_text_encoders, read_single_file_scheduler):
        with pytest.raises(EnsembleError, match=message):
            read(path)


def test_a_unet_alone_is_read_as_an_expert_but_has_no_text_encoder(
    checkpoints: dict[str, Checkpoint], tmp_path: Path
) -> None:
    def keep_unet(stored: dict[str, Tensor]) -> None:
        for key in [key for key in stored if not key.startswith(UNET)]:
            del stored[key]

    path = changed(checkpoints["sdxl"], tmp_path / "alone.safetensors", keep_unet)
    assert same(read_single_file_unet(path).tensors, scored(checkpoints["sdxl"].unet))
    with pytest.raises(EnsembleError, match=r"no text encoder \(keys conditioner.embedders.0.*as base"):
        read_single_file_text_encoders(path)


def test_a_torn_file_is_named(checkpoints: dict[str, Checkpoint], tmp_path: Path) -> None:
    path = tmp_path / "torn.safetensors"
    path.write_bytes(checkpoints["sd1"].path.read_bytes()[:5000])
    for read in (is_single_file, read_single_file_unet, read_single_file_text_encoders, read_single_file_scheduler):
        with pytest.raises(EnsembleError, match=r"torn.safetensors: not a readable safetensors file"):
            read(path)


def test_what_a_single_file_is(checkpoints: dict[str, Checkpoint], tmp_path: Path) -> None:
    save_file({"decoder.conv_in.weight": torch.zeros(1)}, tmp_path / "vae.safetensors")
    shutil.copy(checkpoints["sd1"].path, tmp_path / "dream.ckpt")
    assert all(is_single_file(checkpoints[family].path) for family in FAMILIES)
    assert not any(
        is_single_file(tmp_path / name) for name in ("", "vae.safetensors", "dream.ckpt", "missing.safetensors")
    )
