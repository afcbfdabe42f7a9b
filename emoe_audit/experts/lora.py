"""Low-rank experts: a LoRA file and the base that it was trained on make the weights of one UNet.

W' = W + scale * alpha / rank * up @ down, in every layer that the file names (Hu et al. 2021, arXiv:2106.09685).
Read are the names of kohya-ss (after diffusers' layers or after those of the original code, LDM), of diffusers' old
attention processors and of PEFT, LoCon's convolutions with `lora_mid` too. Up blocks are skipped unread where the base
was read without. Weights for text encoders are left out with a warning, since one text encoder speaks to all experts.
"""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Callable, Collection
from pathlib import Path

import torch
from torch import Tensor

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.folders import names_in
from emoe_audit.experts.lora_files import PEFT_PREFIX, adapter_alpha, header, lora_file
from emoe_audit.experts.sources import UNSCORED_PARTS, UNetWeights, is_whole, read_tensors, some

LAYER_KEY = re.compile(
    r"(.+?)(?:(?:\.lora_|[._]lora\.)(?:(?P<down>down|A)|(?P<up>up|B)|(?P<mid>mid))\.weight|\.(?P<alpha>alpha))"
)
WHOLE = (torch.int8, torch.int16, torch.int32, torch.int64)
TEXT_PREFIXES = ("lora_te", "text_encoder")
UNSCORED_PREFIXES = (*UNSCORED_PARTS, "output_blocks", "out_")
STEP = re.compile(r"(?:down_blocks\.\d+\.(?:resnets|downsamplers)|up_blocks\.\d+\.resnets)\.")
Step = tuple[str, int, bool, int]
LDM_NAMES = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "conv1": "in_layers.2",
    "conv2": "out_layers.3",
    "time_emb_proj": "emb_layers.1",
    "conv_shortcut": "skip_connection",
}


def read_lora_unet(
    path: Path, base: UNetWeights, *, wanted: Callable[[str], bool] | None = None, scale: float = 1.0
) -> UNetWeights:
    """The base with a LoRA added to it, computed in float32 and given back in the base's types.

    `wanted` narrows the keys of the base that may change. Tensors that do not change stay the base's own objects.
    Where a file gives no alpha it is the rank, as diffusers has it. Warns of text-encoder weights, which are left out.

    Raises `EnsembleError` for a file that is torn, was made for another kind of UNet, is no plain LoRA (LoHa, LoKr,
    DoRA), holds or makes what is no finite number, or changes nothing that is wanted.
    """
    file = path if path.is_file() else lora_file(path)
    if file is None:
        raise EnsembleError(f"{path}: no LoRA here; found: {some(names_in(path)) or 'nothing'}")
    keys, metadata = header(file)
    layers = _layers(file, keys, base)
    own = {weight: parts for weight, parts in layers.items() if wanted is None or wanted(weight)}
    alpha = adapter_alpha(file, keys, metadata)
    stored = read_tensors([file], {key for parts in own.values() for key in parts.values()}.__contains__)
    merged = {}
    for weight, parts in own.items():
        before = base.tensors[weight]
        _check_shapes(file, before, parts, stored)
        after = _merged(before, _numbers(file, parts, stored), alpha, scale)
        if not after.isfinite().all():
            raise EnsembleError(f"{file}: {weight} with what is added to it is no finite number in {before.dtype}")
        if not torch.equal(after, before):
            merged[weight] = after
    if not merged:
        found = f"what it would add to {some(sorted(own))} is zero" if own else f"it holds: {some(keys)}"
        raise EnsembleError(
            f"{file}: changes none of the weights that an expert on {base.where} has of its own, so it would only "
            f"repeat the base; {found}"
        )
    _warn_of_texts(file, keys)
    return UNetWeights(where=str(path), config=base.config, tensors={**base.tensors, **merged})


def _warn_of_texts(file: Path, keys: list[str]) -> None:
    texts = [key for key in keys if key.startswith(TEXT_PREFIXES)]
    if texts:
        warnings.warn(
            f"{file}: {len(texts)} text-encoder weights are left out, because all experts are given the text states "
            f"of the base's own text encoder: {some(texts, limit=2)}",
            stacklevel=3,
        )


def _layers(file: Path, keys: list[str], base: UNetWeights) -> dict[str, dict[str, str]]:
    """For each weight of the base that the LoRA changes, the file's keys of `down`, `up`, and `mid`, `alpha` if any."""
    weights = _weights_by_name(base)
    left_out = TEXT_PREFIXES if is_whole(base.tensors) else TEXT_PREFIXES + UNSCORED_PREFIXES
    layers: dict[str, dict[str, str]] = defaultdict(dict)
    unread, foreign, twice = [], [], []
    for key in keys:
        name = key.removeprefix(PEFT_PREFIX).removeprefix("lora_unet_").removeprefix("unet.")
        if name.startswith(left_out):
            continue
        match = LAYER_KEY.fullmatch(name)
        if match is None:
            unread.append(key)
            continue
        weight = weights.get(match[1].replace(".processor", "").replace(".", "_"))
        if weight is None:
            foreign.append(key)
        elif layers[weight].setdefault(str(match.lastgroup), key) != key:
            twice.append(key)
    lacking = [key for parts in layers.values() for key in parts.values() if not {"down", "up"} <= parts.keys()]
    for fault, found in (
        ("only plain LoRA and LoCon can be added to a UNet (not LoHa, LoKr, DoRA or biases), so not", unread),
        (f"was it trained on another kind of UNet? {base.where} has no layer for", foreign),
        ("names a layer's weights twice, in two ways", twice),
        ("down or up is missing beside", lacking),
    ):
        if found:
            raise EnsembleError(f"{file}: {fault}: {some(found)}")
    return layers


def _weights_by_name(base: UNetWeights) -> dict[str, str]:
    """Keys of the base by the names that a LoRA may call their layers, underscores for dots."""
    layers = [key.removesuffix(".weight") for key in base.tensors if key.endswith(".weight")]
    steps = sorted({_step(layer) for layer in layers if STEP.match(layer)})
    # Old attention processors say `to_out` for `to_out.0`.
    return {
        name.replace(".", "_"): f"{layer}.weight"
        for layer in layers
        for name in (layer, layer.removesuffix(".0"), _ldm_name(layer, steps, layers))
    }


def _step(layer: str) -> Step:
    """Where a layer lies on the way down, or up: its block, the downsampler after the rest, and its place in these."""
    way, block, kind, place, *_ = layer.split(".")
    return way, int(block), kind == "downsamplers", int(place)


def _ldm_name(layer: str, steps: list[Step], layers: Collection[str]) -> str:
    """The layer in the original code of Stable Diffusion, where each step down or up is one numbered block."""
    down, up = ([step for step in steps if step[0] == way] for way in ("down_blocks", "up_blocks"))
    match layer.split("."):
        case ["down_blocks", _, "downsamplers", _, "conv"]:
            return f"input_blocks.{1 + down.index(_step(layer))}.0.op"
        case ["down_blocks", _, kind, _, *rest]:
            where = f"input_blocks.{1 + down.index(_step(layer))}.{int(kind == 'attentions')}"
        case ["up_blocks", block, "upsamplers", _, "conv"]:
            last = max(place for place, step in enumerate(up) if step[1] == int(block))
            attends = any(own.startswith(f"up_blocks.{block}.attentions.") for own in layers)
            return f"output_blocks.{last}.{1 + attends}.conv"
        case ["up_blocks", _, kind, _, *rest]:
            where = f"output_blocks.{up.index(_step(layer))}.{int(kind == 'attentions')}"
        case ["mid_block", kind, place, *rest]:
            where = f"middle_block.{2 * int(place) + int(kind == 'attentions')}"
        case _:
            return LDM_NAMES.get(layer, layer)
    return ".".join([where, *(LDM_NAMES.get(name, name) for name in rest)])


def _check_shapes(file: Path, weight: Tensor, keys: dict[str, str], stored: dict[str, Tensor]) -> None:
    """Raise `EnsembleError` where a part does not fit the weight; only `mid` or, without one, `down` has a kernel."""
    shapes = {part: list(stored[key].shape) for part, key in keys.items()}
    rank = max([1, *shapes["down"][:1]])
    fan_out, fan_in, *kernel = [*weight.shape, 1, 1][: max(2, weight.ndim)]
    expected = {"down": [rank, fan_in, *kernel], "up": [fan_out, rank]}
    if "alpha" in keys:
        expected["alpha"] = [1] * len(shapes["alpha"])
    if "mid" in keys:
        expected |= {"down": [rank, fan_in], "mid": [rank, rank, *kernel]}
    for part, key in keys.items():
        found = shapes[part]
        if _as_linear(found) != _as_linear(expected[part]):
            raise EnsembleError(
                f"{file}: {key} has shape {found}, but a weight of shape {list(weight.shape)} needs {expected[part]}; "
                "was the LoRA trained on another kind of UNet?"
            )


def _numbers(file: Path, keys: dict[str, str], stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parts in float32. Raises `EnsembleError` for what is no finite number; alone alpha may be a whole one."""
    found = {}
    for part, key in keys.items():
        kind = stored[key].dtype
        if not (kind.is_floating_point or (part == "alpha" and kind in WHOLE)):
            raise EnsembleError(f"{file}: {key} holds {kind}, expected floating-point numbers")
        found[part] = stored[key].float()
        if not found[part].isfinite().all():
            raise EnsembleError(f"{file}: {key} holds NaN or infinity")
    return found


def _as_linear(shape: list[int]) -> list[int]:
    """Without a kernel of size 1: such a convolution is a linear layer, and files store it as one or the other."""
    return shape[:2] if set(shape[2:]) == {1} else shape


def _merged(weight: Tensor, parts: dict[str, Tensor], alpha: float | None, scale: float) -> Tensor:
    rank, down = len(parts["down"]), parts["down"].flatten(1)
    if "mid" in parts:
        down = torch.einsum("pq...,qi->pi...", parts["mid"], down).flatten(1)
    own_alpha = parts["alpha"].item() if "alpha" in parts else rank if alpha is None else alpha
    change = scale * own_alpha / rank * (parts["up"].flatten(1) @ down)
    return (weight.float() + change.reshape(weight.shape)).to(weight.dtype)
