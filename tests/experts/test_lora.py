"""LoRA files: every way to write one gives the same weights, and they are those of the formula."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from emoe_audit.errors import EnsembleError
from emoe_audit.experts import lora
from emoe_audit.experts.lora import read_lora_unet
from emoe_audit.experts.lora_files import LORA_FILE, is_lora
from emoe_audit.experts.sources import UNetWeights, is_any, read_tensors, read_unet
from emoe_audit.types import EnsembleSpec
from tests.experts.original import original_name

RANK, ALPHA = 2, 0.5
DOWN = "down_blocks.1.attentions.0.transformer_blocks.0"
MID = "mid_block.attentions.0.transformer_blocks.0"
UP = "up_blocks.0.attentions.0.transformer_blocks.0"
QUERY, VALUE, OUT = f"{DOWN}.attn1.to_q", f"{DOWN}.attn2.to_v", f"{MID}.attn2.to_out.0"
ATTENTION = (QUERY, VALUE, OUT)
OTHERS = {
    "conv_in": "input_blocks_0_0",
    "time_embedding.linear_1": "time_embed_0",
    "time_embedding.linear_2": "time_embed_2",
    "down_blocks.0.resnets.0.conv1": "input_blocks_1_0_in_layers_2",
    "down_blocks.0.resnets.0.conv2": "input_blocks_1_0_out_layers_3",
    "down_blocks.0.downsamplers.0.conv": "input_blocks_2_0_op",
    "down_blocks.1.resnets.0.conv_shortcut": "input_blocks_3_0_skip_connection",
    "down_blocks.1.resnets.0.time_emb_proj": "input_blocks_3_0_emb_layers_1",
    "down_blocks.1.attentions.0.proj_in": "input_blocks_3_1_proj_in",
    f"{DOWN}.ff.net.0.proj": "input_blocks_3_1_transformer_blocks_0_ff_net_0_proj",
    "mid_block.resnets.1.conv1": "middle_block_2_in_layers_2",
    f"{MID}.ff.net.2": "middle_block_1_transformer_blocks_0_ff_net_2",
}
"""Other layers of the tiny UNet, convolutions too, and their names in LDM's code: an input block per step down."""
LDM = OTHERS | {
    QUERY: "input_blocks_3_1_transformer_blocks_0_attn1_to_q",
    VALUE: "input_blocks_3_1_transformer_blocks_0_attn2_to_v",
    OUT: "middle_block_1_transformer_blocks_0_attn2_to_out_0",
}
SDXL = {
    "down_blocks.0.resnets.1.conv1": "input_blocks_2_0_in_layers_2",
    "down_blocks.0.downsamplers.0.conv": "input_blocks_3_0_op",
    "down_blocks.1.resnets.0.conv_shortcut": "input_blocks_4_0_skip_connection",
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q": "input_blocks_4_1_transformer_blocks_0_attn1_to_q",
    "down_blocks.1.attentions.1.proj_in": "input_blocks_5_1_proj_in",
    "down_blocks.1.downsamplers.0.conv": "input_blocks_6_0_op",
    "down_blocks.2.attentions.1.transformer_blocks.9.ff.net.2": "input_blocks_8_1_transformer_blocks_9_ff_net_2",
    "down_blocks.2.resnets.1.time_emb_proj": "input_blocks_8_0_emb_layers_1",
    "mid_block.resnets.0.conv2": "middle_block_0_out_layers_3",
    "mid_block.attentions.0.transformer_blocks.9.attn2.to_k": "middle_block_1_transformer_blocks_9_attn2_to_k",
    "mid_block.resnets.1.conv1": "middle_block_2_in_layers_2",
    "add_embedding.linear_1": "label_emb_0_0",
    "add_embedding.linear_2": "label_emb_0_2",
}
"""Layers of Stable Diffusion XL, and their names in LoRAs by kohya-ss."""

Pairs = dict[str, tuple[Tensor, Tensor]]


@pytest.fixture(scope="module")
def base(tiny_spec: EnsembleSpec) -> UNetWeights:
    return read_unet(Path(tiny_spec.base.source))


def pairs_for(layers: tuple[str, ...], base: UNetWeights) -> Pairs:
    """A random down and up for each layer; a convolution's up has a kernel of size 1."""
    generator = torch.Generator().manual_seed(0)
    pairs = {}
    for layer in layers:
        fan_out, fan_in, *kernel = base.tensors[f"{layer}.weight"].shape
        down = torch.randn(RANK, fan_in, *kernel, generator=generator)
        up = torch.randn(fan_out, RANK, *[1] * len(kernel), generator=generator)
        pairs[layer] = down, up
    return pairs


def as_kohya(pairs: Pairs, names: dict[str, str] | None = None) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for layer, (down, up) in pairs.items():
        name = f"lora_unet_{names[layer] if names else layer.replace('.', '_')}"
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
        tensors[f"{name}.alpha"] = torch.tensor(ALPHA)
    return tensors


def as_kohya_ldm(pairs: Pairs) -> dict[str, Tensor]:
    return as_kohya(pairs, LDM)


def as_processors(pairs: Pairs) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for layer, (down, up) in pairs.items():
        attention, _, projection = layer.removesuffix(".0").rpartition(".")
        name = f"unet.{attention}.processor.{projection}_lora"
        tensors |= {f"{name}.down.weight": down, f"{name}.up.weight": up * (ALPHA / RANK)}
    return tensors


def as_peft(
    pairs: Pairs, down_name: str = "lora_A", up_name: str = "lora_B", prefix: str = "unet."
) -> dict[str, Tensor]:
    tensors = {}
    for layer, (down, up) in pairs.items():
        tensors[f"{prefix}{layer}.{down_name}.weight"] = down
        tensors[f"{prefix}{layer}.{up_name}.weight"] = up * (ALPHA / RANK)
    return tensors


def as_diffusers(pairs: Pairs) -> dict[str, Tensor]:
    return as_peft(pairs, "lora.down", "lora.up")


def as_peft_of_the_unet_alone(pairs: Pairs) -> dict[str, Tensor]:
    return as_peft(pairs, prefix="")


def write(tensors: dict[str, Tensor], folder: Path, metadata: dict[str, str] | None = None) -> Path:
    save_file({key: tensor.clone() for key, tensor in tensors.items()}, folder / "style.safetensors", metadata)
    return folder / "style.safetensors"


def naive(weight: Tensor, down: Tensor, up: Tensor, factor: float) -> np.ndarray:
    """The formula, an output and an input channel at a time, in float64."""
    merged = weight.double().numpy().copy()
    for out in range(up.shape[0]):
        for rank in range(down.shape[0]):
            merged[out] += factor * up.double().numpy()[out, rank].item() * down.double().numpy()[rank]
    return merged


def assert_merged(read: UNetWeights, base: UNetWeights, pairs: Pairs, factor: float = ALPHA / RANK) -> None:
    """The layers of `pairs` follow the formula, all else is the base's own."""
    changed = {f"{layer}.weight": pair for layer, pair in pairs.items()}
    assert read.tensors.keys() == base.tensors.keys()
    for key, tensor in read.tensors.items():
        if key in changed:
            expected = naive(base.tensors[key], *changed[key], factor)
            np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-5, atol=1e-6, err_msg=key)
            assert not torch.equal(tensor, base.tensors[key])
        else:
            assert tensor is base.tensors[key], key


WRITERS = [as_kohya, as_kohya_ldm, as_diffusers, as_peft, as_peft_of_the_unet_alone]


@pytest.mark.parametrize("write_as", [*WRITERS, as_processors])
def test_attention_in_every_format(
    write_as: Callable[[Pairs], dict[str, Tensor]], base: UNetWeights, tmp_path: Path
) -> None:
    pairs = pairs_for(ATTENTION, base)
    assert_merged(read_lora_unet(write(write_as(pairs), tmp_path), base), base, pairs)


@pytest.mark.parametrize("write_as", WRITERS)
def test_convolutions_embeddings_and_feed_forwards_in_every_format(
    write_as: Callable[[Pairs], dict[str, Tensor]], base: UNetWeights, tmp_path: Path
) -> None:
    pairs = pairs_for(tuple(OTHERS), base)
    assert_merged(read_lora_unet(write(write_as(pairs), tmp_path), base), base, pairs)


def test_all_formats_give_the_same_bits(base: UNetWeights, tmp_path: Path) -> None:
    pairs = pairs_for(ATTENTION, base)
    first, *others = (
        read_lora_unet(write(write_as(pairs), tmp_path), base).tensors for write_as in [*WRITERS, as_processors]
    )
    assert all(torch.equal(other[key], first[key]) for other in others for key in first)


def test_every_layer_of_the_base_is_found_by_its_name(base: UNetWeights, tmp_path: Path) -> None:
    layers = [key.removesuffix(".weight") for key, tensor in base.tensors.items() if tensor.ndim > 1]
    pairs = pairs_for(tuple(layers), base)
    assert_merged(read_lora_unet(write(as_kohya(pairs), tmp_path), base), base, pairs)


def test_names_of_stable_diffusion_xl(tmp_path: Path) -> None:
    steps = ["0.resnets.0", "1.resnets.1", "2.resnets.0"]
    layers = [*SDXL, *(f"down_blocks.{step}.conv1" for step in steps)]
    weights = {f"{layer}.weight": torch.full((1, 1), float(index)) for index, layer in enumerate(layers)}
    base = UNetWeights(where="sdxl", config={}, tensors=weights)
    pairs = {layer: (torch.ones(1, 1), torch.full((1, 1), index + 1.0)) for index, layer in enumerate(SDXL)}
    assert_merged(read_lora_unet(write(as_kohya(pairs, SDXL), tmp_path), base), base, pairs, factor=ALPHA)


def test_a_merged_convolution_does_what_its_two_halves_do(base: UNetWeights, tmp_path: Path) -> None:
    layer = "down_blocks.0.resnets.0.conv1"
    down, up = pairs_for((layer,), base)[layer]
    image = torch.randn(1, down.shape[1], 6, 6, generator=torch.Generator().manual_seed(1))
    read = read_lora_unet(write(as_kohya({layer: (down, up)}), tmp_path), base).tensors[f"{layer}.weight"]
    halves = functional.conv2d(functional.conv2d(image, down, padding=1), up) * (ALPHA / RANK)
    whole = functional.conv2d(image, base.tensors[f"{layer}.weight"], padding=1) + halves
    torch.testing.assert_close(functional.conv2d(image, read, padding=1), whole)


def test_a_convolution_through_the_middle_does_what_its_three_parts_do(base: UNetWeights, tmp_path: Path) -> None:
    layer = "mid_block.resnets.0.conv2"
    weight = base.tensors[f"{layer}.weight"]
    fan_out, fan_in = weight.shape[:2]
    generator = torch.Generator().manual_seed(0)
    shapes = {"lora_down": (3, fan_in, 1, 1), "lora_mid": (3, 3, 3, 3), "lora_up": (fan_out, 3, 1, 1)}
    parts = {part: torch.randn(shape, generator=generator) for part, shape in shapes.items()}
    name = "lora_unet_mid_block_resnets_0_conv2"
    file = write({f"{name}.{part}.weight": kernel for part, kernel in parts.items()}, tmp_path)
    change = read_lora_unet(file, base).tensors[f"{layer}.weight"] - weight
    image = torch.randn(1, fan_in, 6, 6, generator=torch.Generator().manual_seed(1))
    halfway = functional.conv2d(functional.conv2d(image, parts["lora_down"]), parts["lora_mid"], padding=1)
    expected = functional.conv2d(halfway, parts["lora_up"])
    torch.testing.assert_close(functional.conv2d(image, change, padding=1), expected, rtol=1e-4, atol=1e-5)


def test_a_linear_lora_fits_a_convolution_of_size_1(base: UNetWeights, tmp_path: Path) -> None:
    layer = "down_blocks.1.attentions.0.proj_in"
    assert base.tensors[f"{layer}.weight"].ndim == 4
    down, up = pairs_for((layer,), base)[layer]
    file = write(as_kohya({layer: (down.flatten(1), up.flatten(1))}), tmp_path)
    assert_merged(read_lora_unet(file, base), base, {layer: (down, up)})


def test_without_an_alpha_it_is_the_rank(base: UNetWeights, tmp_path: Path) -> None:
    pairs = pairs_for(ATTENTION, base)
    tensors = {key: tensor for key, tensor in as_kohya(pairs).items() if not key.endswith("alpha")}
    assert_merged(read_lora_unet(write(tensors, tmp_path), base), base, pairs, factor=1.0)


@pytest.mark.parametrize("prefix", ["", "unet."])
def test_alpha_is_read_from_the_metadata_of_diffusers(base: UNetWeights, tmp_path: Path, prefix: str) -> None:
    pairs = pairs_for(ATTENTION, base)
    tensors = {key: tensor * (RANK / ALPHA if "lora_B" in key else 1) for key, tensor in as_peft(pairs).items()}
    config = {f"{prefix}r": 1, f"{prefix}lora_alpha": 6, "text_encoder.lora_alpha": 50}
    file = write(tensors, tmp_path, {"lora_adapter_metadata": json.dumps(config)})
    assert_merged(read_lora_unet(file, base), base, pairs, factor=6 / RANK)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ('{"unet.use_rslora": true, "unet.lora_alpha": 4}', "asks for use_rslora, which is not computed here; fuse"),
        ('{"unet.alpha_pattern": {"to_q": 4}}', "asks for alpha_pattern, which is not computed here; fuse"),
        ('{"unet.use_dora": true, "unet.lora_alpha": 4}', "asks for use_dora, which is not computed here; fuse"),
        ('{"unet.lora_alpha": "much"}', "lora_alpha: input should be a valid number, found 'much'"),
        ('{"unet.lora_alpha": true}', "lora_alpha: input should be a valid number, found True"),
        ('{"unet.lora_alpha": NaN}', "NaN is no finite number"),
        ('{"unet.lora_alpha": 1e999}', "inf is no finite number"),
        ('{"unet.init_lora_weights": "pissa"}', "init_lora_weights is 'pissa', which changes the base too; fuse"),
        ("[1]", "expected a JSON object"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "nested more than 64 levels deep"),
    ],
)
def test_metadata_that_cannot_be_followed_is_refused(
    base: UNetWeights, tmp_path: Path, metadata: str, message: str
) -> None:
    file = write(as_peft(pairs_for(ATTENTION, base)), tmp_path, {"lora_adapter_metadata": metadata})
    with pytest.raises(EnsembleError, match=rf"style.safetensors: lora_adapter_metadata.*{message}"):
        read_lora_unet(file, base)


@pytest.mark.parametrize("scale", [-1.0, 0.5, 2.0])
def test_scale_multiplies_what_is_added(base: UNetWeights, tmp_path: Path, scale: float) -> None:
    pairs = pairs_for(ATTENTION, base)
    read = read_lora_unet(write(as_kohya(pairs), tmp_path), base, scale=scale)
    assert_merged(read, base, pairs, factor=scale * ALPHA / RANK)


def test_half_precision_is_merged_in_full_and_rounded_once(base: UNetWeights, tmp_path: Path) -> None:
    half = UNetWeights(where="half", config={}, tensors={key: tensor.half() for key, tensor in base.tensors.items()})
    pairs = {layer: (down.half(), up.half()) for layer, (down, up) in pairs_for(ATTENTION, base).items()}
    read = read_lora_unet(write(as_kohya(pairs), tmp_path), half).tensors
    for layer, pair in pairs.items():
        key = f"{layer}.weight"
        expected = naive(half.tensors[key], *pair, ALPHA / RANK).astype(np.float32).astype(np.float16)
        assert read[key].dtype == torch.float16
        steps = np.abs(read[key].numpy().view(np.int16).astype(int) - expected.view(np.int16).astype(int))
        assert (steps > 0).mean() < 0.01
        assert steps.max() <= 1


def test_only_what_is_wanted_is_read_and_changed(
    base: UNetWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = pairs_for(ATTENTION, base)
    up_block = {f"lora_unet_{UP.replace('.', '_')}_attn1_to_q.lora_down.weight": torch.zeros(2, 2)}
    seen: set[str] = set()

    def watched(files: list[Path], wanted: Callable[[str], bool]) -> dict[str, Tensor]:
        tensors = read_tensors(files, wanted)
        seen.update(tensors)
        return tensors

    monkeypatch.setattr(lora, "read_tensors", watched)
    file = write(as_kohya(pairs) | up_block, tmp_path)
    read = read_lora_unet(file, base, wanted=lambda key: key.startswith("down_blocks"))
    kept = {layer: pair for layer, pair in pairs.items() if layer != OUT}
    assert_merged(read, base, kept)
    assert seen == set(as_kohya(kept))


@pytest.mark.parametrize(
    "key",
    [
        f"unet.{UP}.attn1.to_q.lora_A.weight",
        f"unet.{UP}.attn1.processor.to_q_lora.down.weight",
        "lora_unet_up_blocks_0_resnets_0_conv1.hada_w1_a",
        "lora_unet_output_blocks_4_1_proj_in.lora_down.weight",
        "lora_unet_out_2.lora_down.weight",
        "unet.conv_out.lora_A.weight",
    ],
)
def test_what_no_score_passes_through_does_not_matter(base: UNetWeights, tmp_path: Path, key: str) -> None:
    pairs = pairs_for(ATTENTION, base)
    assert_merged(read_lora_unet(write(as_kohya(pairs) | {key: torch.ones(1)}, tmp_path), base), base, pairs)


@pytest.mark.parametrize(
    "key",
    [
        "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight",
        "lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight",
        "lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha",
        "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.down.weight",
        "text_encoder_2.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight",
    ],
)
def test_text_encoder_weights_are_left_out_with_a_warning(base: UNetWeights, tmp_path: Path, key: str) -> None:
    pairs = pairs_for(ATTENTION, base)
    file = write(as_kohya(pairs) | {key: torch.ones(1)}, tmp_path)
    with pytest.warns(UserWarning, match=rf"style.safetensors: 1 text-encoder weights are left out.*: {key}"):
        read = read_lora_unet(file, base)
    assert_merged(read, base, pairs)


def test_no_warning_without_text_encoder_weights(base: UNetWeights, tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_lora_unet(write(as_kohya(pairs_for(ATTENTION, base)), tmp_path), base)
    assert not caught


@pytest.mark.parametrize(
    "key",
    [
        f"unet.{UP}.attn1.to_q.lora_A.weight",
        "lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight",
    ],
)
def test_a_lora_that_leaves_the_base_as_it_is_is_refused(base: UNetWeights, tmp_path: Path, key: str) -> None:
    with pytest.raises(EnsembleError, match=rf"style.safetensors: changes none of the weights .* it holds: {key}"):
        read_lora_unet(write({key: torch.ones(1)}, tmp_path), base)


def test_a_lora_that_changes_nothing_wanted_is_refused(base: UNetWeights, tmp_path: Path) -> None:
    file = write(as_kohya(pairs_for(ATTENTION, base)), tmp_path)
    with pytest.raises(EnsembleError, match="changes none of the weights that an expert"):
        read_lora_unet(file, base, wanted=lambda key: ".ff." in key)


@pytest.mark.parametrize(
    "key",
    [
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_1_attn1_to_q.lora_down.weight",
        "lora_unet_double_blocks_0_img_attn_proj.lora_down.weight",
        "lora_unet_input_blocks_7_1_transformer_blocks_0_attn1_to_q.lora_down.weight",
        "transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight",
        "base_model.model.double_blocks.0.img_attn.proj.lora_A.weight",
    ],
)
def test_layers_of_another_kind_of_model_are_refused_by_name(base: UNetWeights, tmp_path: Path, key: str) -> None:
    file = write(as_kohya(pairs_for(ATTENTION, base)) | {key: torch.ones(2, 2)}, tmp_path)
    with pytest.raises(EnsembleError, match=rf"another kind of UNet\? {base.where} has no layer for: {key}"):
        read_lora_unet(file, base)


@pytest.mark.parametrize(
    "ending",
    ["hada_w1_a", "lokr_w1", "dora_scale", "diff", "lora_magnitude_vector", "lora_B.bias"],
)
def test_what_is_no_plain_lora_is_refused_by_name(base: UNetWeights, tmp_path: Path, ending: str) -> None:
    key = f"unet.{QUERY}.{ending}"
    file = write(as_peft(pairs_for(ATTENTION, base)) | {key: torch.ones(2, 2)}, tmp_path)
    with pytest.raises(EnsembleError, match=rf"only plain LoRA and LoCon .*, so not: {key}"):
        read_lora_unet(file, base)


@pytest.mark.parametrize(
    ("part", "shape", "expected"),
    [
        ("lora_down.weight", (2, 15), r"\[2, 15\], but a weight of shape \[16, 16\] needs \[2, 16\]"),
        ("lora_down.weight", (2, 16, 3, 3), r"\[2, 16, 3, 3\], .* needs \[2, 16\]"),
        ("lora_down.weight", (), r"\[\], .* needs \[1, 16\]"),
        ("lora_down.weight", (0, 16), r"\[0, 16\], .* needs \[1, 16\]"),
        ("lora_up.weight", (32, 2), r"\[32, 2\], .* needs \[16, 2\]"),
        ("lora_up.weight", (16, 3), r"\[16, 3\], .* needs \[16, 2\]"),
        ("alpha", (2,), r"\[2\], .* needs \[1\]"),
    ],
)
def test_a_shape_that_does_not_fit_is_named_with_its_key(
    base: UNetWeights, tmp_path: Path, part: str, shape: tuple[int, ...], expected: str
) -> None:
    tensors = as_kohya(pairs_for((QUERY,), base))
    key = f"lora_unet_{QUERY.replace('.', '_')}.{part}"
    file = write(tensors | {key: torch.ones(shape)}, tmp_path)
    with pytest.raises(EnsembleError, match=rf"style.safetensors: {key} has shape {expected}"):
        read_lora_unet(file, base)


@pytest.mark.parametrize(
    ("part", "value", "told"),
    [
        ("alpha", torch.tensor(torch.nan), "holds NaN or infinity"),
        ("alpha", torch.tensor(-torch.inf), "holds NaN or infinity"),
        ("alpha", torch.tensor(True), "holds torch.bool, expected floating-point numbers"),
        ("lora_up.weight", torch.full((16, 2), torch.nan), "holds NaN or infinity"),
        ("lora_down.weight", torch.ones(2, 16, dtype=torch.int8), "holds torch.int8, expected floating-point numbers"),
    ],
)
def test_what_is_no_finite_number_is_named_with_its_key(
    base: UNetWeights, tmp_path: Path, part: str, value: Tensor, told: str
) -> None:
    key = f"lora_unet_{QUERY.replace('.', '_')}.{part}"
    file = write(as_kohya(pairs_for((QUERY,), base)) | {key: value}, tmp_path)
    with pytest.raises(EnsembleError, match=rf"style.safetensors: {key} {told}"):
        read_lora_unet(file, base)


def test_a_whole_number_is_an_alpha(base: UNetWeights, tmp_path: Path) -> None:
    pairs = pairs_for((QUERY,), base)
    key = f"lora_unet_{QUERY.replace('.', '_')}.alpha"
    file = write(as_kohya(pairs) | {key: torch.tensor(4)}, tmp_path)
    assert_merged(read_lora_unet(file, base), base, pairs, factor=4 / RANK)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_what_leaves_the_range_of_the_base_is_told(base: UNetWeights, tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {key: tensor.to(dtype) for key, tensor in base.tensors.items()}
    pairs = pairs_for((QUERY,), base)
    file = write(as_kohya(pairs) | {f"lora_unet_{QUERY.replace('.', '_')}.alpha": torch.tensor(3e38)}, tmp_path)
    with pytest.raises(EnsembleError, match=rf"{QUERY}.weight with what is added to it is no finite number in {dtype}"):
        read_lora_unet(file, UNetWeights(where="base", config={}, tensors=tensors))


@pytest.mark.parametrize(("part", "factor"), [("alpha", 0.0), ("lora_up.weight", 0.0), ("lora_down.weight", 1e-12)])
def test_a_lora_that_adds_nothing_is_refused(base: UNetWeights, tmp_path: Path, part: str, factor: float) -> None:
    tensors = as_kohya(pairs_for(ATTENTION, base))
    file = write({key: own * factor if key.endswith(part) else own for key, own in tensors.items()}, tmp_path)
    with pytest.raises(EnsembleError, match=r"would only repeat the base; what it would add to .* is zero"):
        read_lora_unet(file, base)


def test_what_a_lora_leaves_as_it_is_stays_the_bases_own(base: UNetWeights, tmp_path: Path) -> None:
    pairs = pairs_for((QUERY, OUT), base)
    tensors = as_kohya(pairs)
    tensors[f"lora_unet_{OUT.replace('.', '_')}.lora_up.weight"] *= 0
    assert_merged(read_lora_unet(write(tensors, tmp_path), base), base, {QUERY: pairs[QUERY]})


@pytest.mark.parametrize("part", ["lora_A", "lora_B"])
def test_half_a_layer_is_refused(base: UNetWeights, tmp_path: Path, part: str) -> None:
    tensors = as_peft(pairs_for((QUERY,), base))
    del tensors[f"unet.{QUERY}.{part}.weight"]
    with pytest.raises(EnsembleError, match=rf"down or up is missing beside: unet.{QUERY}.lora_[AB].weight$"):
        read_lora_unet(write(tensors, tmp_path), base)


def test_a_layer_under_two_names_is_refused(base: UNetWeights, tmp_path: Path) -> None:
    pairs = pairs_for((QUERY,), base)
    with pytest.raises(EnsembleError, match=rf"twice, in two ways: unet.{QUERY}.lora_A.weight"):
        read_lora_unet(write(as_kohya(pairs) | as_peft(pairs), tmp_path), base)


def test_a_file_and_a_folder_of_diffusers_are_known_as_loras_and_read_alike(base: UNetWeights, tmp_path: Path) -> None:
    pairs = pairs_for(ATTENTION, base)
    file = write(as_peft(pairs), tmp_path)
    folder = tmp_path / "folder"
    folder.mkdir()
    assert is_lora(file)
    assert not is_lora(folder)
    file.rename(folder / LORA_FILE)
    assert is_lora(folder)
    read = read_lora_unet(folder, base)
    assert_merged(read, base, pairs)
    assert read.where == str(folder)
    assert read.config is base.config


@pytest.mark.parametrize("write_as", [*WRITERS, as_processors])
def test_every_format_is_known_as_a_lora(
    write_as: Callable[[Pairs], dict[str, Tensor]], base: UNetWeights, tmp_path: Path
) -> None:
    assert is_lora(write(write_as(pairs_for(ATTENTION, base)), tmp_path))


def test_checkpoints_are_no_loras(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    pipeline = Path(tiny_spec.base.source)
    (tmp_path / "lora.ckpt").touch()
    for path in (
        pipeline,
        pipeline / "unet" / "diffusion_pytorch_model.safetensors",
        Path(tiny_spec.experts[0].source),
        tmp_path / "lora.ckpt",
        tmp_path / "nowhere.safetensors",
    ):
        assert not is_lora(path), path


def test_a_torn_file_is_named(base: UNetWeights, tmp_path: Path) -> None:
    file = write(as_kohya(pairs_for(ATTENTION, base)), tmp_path)
    file.write_bytes(file.read_bytes()[:200])
    for read in (is_lora, lambda path: read_lora_unet(path, base)):
        with pytest.raises(EnsembleError, match=r"style.safetensors: not a readable safetensors file"):
            read(file)


def test_layers_of_up_blocks_are_those_of_the_original_code() -> None:
    """Counted off by `original_name`, for every weight of Stable Diffusion 1.5, whose blocks have two layers."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(cross_attention_dim=8, attention_head_dim=2)
    keys = [key for key, weight in unet.state_dict().items() if key.endswith(".weight") and weight.ndim > 1]
    names = lora._weights_by_name(UNetWeights(where="meta", config={}, tensors=dict.fromkeys(keys, torch.empty(0))))
    up_attention = ["CrossAttn" in name for name in unet.config.up_block_types]
    for key in keys:
        assert names[original_name(key, up_attention).removesuffix(".weight").replace(".", "_")] == key


@pytest.mark.parametrize("write_as", [as_kohya, as_peft, as_processors])
def test_a_whole_base_takes_up_what_is_meant_for_its_up_blocks(
    write_as: Callable[[Pairs], dict[str, Tensor]], tiny_spec: EnsembleSpec, tmp_path: Path
) -> None:
    whole = read_unet(Path(tiny_spec.base.source), wanted=is_any)
    layer = f"{UP}.attn1.to_q"
    pairs = pairs_for((layer, QUERY), whole)
    merged = read_lora_unet(write(write_as(pairs), tmp_path), whole).tensors
    for own, (down, up) in pairs.items():
        expected = naive(whole.tensors[f"{own}.weight"], down, up, ALPHA / RANK)
        np.testing.assert_allclose(merged[f"{own}.weight"].numpy(), expected, atol=1e-5)
    assert sum(merged[key] is not whole.tensors[key] for key in whole.tensors) == 2
