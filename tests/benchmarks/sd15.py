"""An ensemble of Stable Diffusion 1.5's format and size with random weights, and the naive way to its features.

Configurations are the published ones, weights are float16 and sharded, and every size is a parameter, so that what is
measured at true size can be tried at a small one. The experts are the base with a little noise in their own layers,
once as whole UNets (`independent`) and once as what differs (`shared_trunk`): both assemblies give the same paths.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args
from unittest import SkipTest

import torch
from diffusers import PNDMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from emoe_audit.experts.expert_layers import is_expert_layer
from emoe_audit.experts.single_file import CONFIGS, _clip_vocabulary
from emoe_audit.experts.sources import DELTA_FILE, TEXT_ENCODER_STEM, UNET_STEM, UNSCORED_PARTS, read_json
from emoe_audit.experts.spec import save_spec
from emoe_audit.scoring.first_step import draw_noise
from emoe_audit.types import Assembly, EnsembleSpec, ExpertSpec
from tests.benchmarks import record
from tests.benchmarks.stopwatch import CPU

SD1 = CONFIGS / "sd1"
N_PARAMETERS = 859_520_964
"""Of the UNet of Stable Diffusion 1.5."""
EXPERT_NOISE = 0.3
"""Standard deviation of what an expert adds to its own layers, in units of each weight's own."""
EMBEDDING_DEVIATION = 0.02
STEPS, GUIDANCE = 50, 7.5
SHARD_BYTES = 512 << 20
WHERE = "SD15_FOLDER"
"""The environment variable that names where the true-size ensemble lies, or is to be written (10 GB)."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """What may differ from Stable Diffusion 1.5, whose values are the defaults."""

    channels: tuple[int, ...] = (320, 640, 1280, 1280)
    sample_size: int = 64
    n_heads: int = 8
    text_width: int = 768
    text_layers: int = 12
    text_heads: int = 12
    n_experts: int = 4


TRUE = Size()
SMALL = Size(channels=(32, 64, 64, 64), sample_size=16, n_heads=2, text_width=32, text_layers=2, text_heads=2)


@dataclass(frozen=True, kw_only=True)
class Normal:
    """How one tensor is drawn."""

    shape: tuple[int, ...]
    mean: float
    deviation: float

    def draw(self, *seeds: object, device: torch.device = CPU) -> Tensor:
        """float32; the same seeds give the same numbers on a kind of device, whatever else was drawn before."""
        digest = hashlib.sha256(":".join(map(str, seeds)).encode()).digest()
        generator = torch.Generator(device).manual_seed(int.from_bytes(digest[:7], "big"))
        return torch.empty(self.shape, device=device).normal_(self.mean, self.deviation, generator=generator)


def unet_config(size: Size) -> dict[str, Any]:
    """The published `unet/config.json`, at that size."""
    return read_json(SD1 / "unet" / "config.json") | {
        "attention_head_dim": size.n_heads,
        "block_out_channels": list(size.channels),
        "cross_attention_dim": size.text_width,
        "sample_size": size.sample_size,
    }


def text_config(size: Size) -> dict[str, Any]:
    """The published `text_encoder/config.json`, at that size."""
    return read_json(SD1 / "text_encoder" / "config.json") | {
        "hidden_size": size.text_width,
        "intermediate_size": 4 * size.text_width,
        "num_attention_heads": size.text_heads,
        "num_hidden_layers": size.text_layers,
        "projection_dim": size.text_width,
    }


def meta_unet(size: Size) -> UNet2DConditionModel:
    """The whole UNet without weights."""
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(unet_config(size)).requires_grad_(False)


def meta_text_encoder(size: Size) -> CLIPTextModel:
    """The text encoder without weights."""
    with torch.device("meta"):
        return CLIPTextModel(CLIPTextConfig.from_dict(text_config(size)))


def count_parameters(size: Size) -> dict[str, int]:
    """Of the text encoder, of one expert's path to the mid-block, and of the layers of it that are the expert's own."""
    unet = meta_unet(size).state_dict()
    scored = {key: own.numel() for key, own in unet.items() if key.partition(".")[0] not in UNSCORED_PARTS}
    return {
        "text": sum(own.numel() for own in meta_text_encoder(size).parameters()),
        "path": sum(scored.values()),
        "own": sum(n for key, n in scored.items() if is_expert_layer(key, "all")),
    }


def write_ensemble(folder: Path, size: Size = TRUE, *, seed: int = 0, shard_bytes: int = SHARD_BYTES) -> Path:
    """Write base and experts unless they are there; `load_spec(folder / assembly)` reads either assembly.

    One shard is in memory at a time.
    """
    folder = folder.absolute()
    mark, wanted = folder / "size.json", {**asdict(size), "channels": list(size.channels), "seed": seed}
    if mark.is_file() and json.loads(mark.read_text(encoding="utf-8")) == wanted:
        return folder
    mark.unlink(missing_ok=True)
    base, unet = folder / "base", normals(meta_unet(size))

    def draw(key: str) -> Tensor:
        return unet[key].draw(seed, "unet", key)

    _write_texts(base, size, seed, shard_bytes)
    write_json(base / "scheduler" / "scheduler_config.json", read_json(SD1 / "scheduler" / "scheduler_config.json"))
    write_json(base / "unet" / "config.json", unet_config(size))
    _write_shards(base / "unet", UNET_STEM, unet, draw, shard_bytes)
    for index in range(size.n_experts):
        _write_expert(folder, f"expert-{index}", size, unet, draw, seed, shard_bytes)
    for assembly in get_args(Assembly):
        save_spec(_spec(folder, assembly, size), folder / assembly)
    write_json(mark, wanted)
    return folder


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _spec(folder: Path, assembly: Assembly, size: Size) -> EnsembleSpec:
    names = [f"expert-{index}" for index in range(size.n_experts)]
    return EnsembleSpec(
        name=f"sd15-{assembly}",
        base=ExpertSpec(name="base", source=str(folder / "base")),
        experts=tuple(ExpertSpec(name=name, source=str(folder / assembly / name)) for name in names),
        assembly=assembly,
    )


def _write_texts(base: Path, size: Size, seed: int, shard_bytes: int) -> None:
    vocabulary, merges = _clip_vocabulary()
    write_json(base / "tokenizer" / "vocab.json", vocabulary)
    write_json(base / "tokenizer" / "tokenizer_config.json", read_json(SD1 / "tokenizer" / "tokenizer_config.json"))
    lines = ["#version: 0.2", *(f"{left} {right}" for left, right in merges)]
    (base / "tokenizer" / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    texts = {f"text_model.{key}": own for key, own in normals(meta_text_encoder(size)).items()}
    write_json(base / "text_encoder" / "config.json", text_config(size))
    _write_shards(base / "text_encoder", TEXT_ENCODER_STEM, texts, lambda key: texts[key].draw(seed, key), shard_bytes)


def _write_expert(
    folder: Path,
    name: str,
    size: Size,
    unet: dict[str, Normal],
    draw: Callable[[str], Tensor],
    seed: int,
    shard_bytes: int,
) -> None:
    """The whole UNet for one assembly, the expert layers alone for the other."""

    def draw_own(key: str) -> Tensor:
        weight = draw(key)
        if is_expert_layer(key, "all"):
            weight += EXPERT_NOISE * (unet[key].draw(seed, name, key) - unet[key].mean)
        return weight

    write_json(folder / "independent" / name / "config.json", unet_config(size))
    _write_shards(folder / "independent" / name, UNET_STEM, unet, draw_own, shard_bytes)
    delta = folder / "shared_trunk" / name / DELTA_FILE
    delta.parent.mkdir(parents=True, exist_ok=True)
    own = {key: draw_own(key).half() for key in unet if is_expert_layer(key, "all")}
    save_file(own, delta, metadata={"format": "pt"})


def normals(model: nn.Module) -> dict[str, Normal]:
    """Every tensor at the scale of torch's own initialisation."""
    return {
        f"{path}.{name}": _normal(module, name, tuple(weight.shape))
        for path, module in model.named_modules()
        for name, weight in module.named_parameters(recurse=False)
    }


def _normal(module: nn.Module, name: str, shape: tuple[int, ...]) -> Normal:
    match module:
        case nn.GroupNorm() | nn.LayerNorm():
            return Normal(shape=shape, mean=float(name == "weight"), deviation=0.0)
        case nn.Linear() | nn.Conv2d():
            return Normal(shape=shape, mean=0.0, deviation=1 / math.sqrt(3 * module.weight[0].numel()))
        case nn.Embedding():
            return Normal(shape=shape, mean=0.0, deviation=EMBEDDING_DEVIATION)
    return Normal(shape=shape, mean=0.0, deviation=EMBEDDING_DEVIATION)


def _write_shards(
    folder: Path, stem: str, weights: dict[str, Normal], draw: Callable[[str], Tensor], shard_bytes: int
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shards = _split({key: 2 * math.prod(own.shape) for key, own in weights.items()}, shard_bytes)
    names = [f"{stem}-{index:05}-of-{len(shards):05}.safetensors" for index in range(1, len(shards) + 1)]
    if len(shards) == 1:
        names = [f"{stem}.safetensors"]
    for name, keys in zip(names, shards, strict=True):
        save_file({key: draw(key).half() for key in keys}, folder / name, metadata={"format": "pt"})
    if len(shards) > 1:
        weight_map = {key: name for name, keys in zip(names, shards, strict=True) for key in keys}
        total = sum(2 * math.prod(own.shape) for own in weights.values())
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        write_json(folder / f"{stem}.safetensors.index.json", index)


def _split(n_bytes: dict[str, int], shard_bytes: int) -> list[list[str]]:
    shards: list[list[str]] = []
    filled = shard_bytes
    for key, n in n_bytes.items():
        if filled + n > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(key)
        filled += n
    return shards


class NaiveSd15:
    """Every expert's whole UNet as diffusers runs it; of the package it takes the noise alone.

    What the experts have in common is in memory once, which makes no difference to their speed.
    """

    def __init__(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        base = folder / "base"
        self.tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
        self.text_encoder = CLIPTextModel.from_pretrained(base / "text_encoder").to(dtype).eval()
        self.scheduler = PNDMScheduler.from_pretrained(base / "scheduler")
        whole = UNet2DConditionModel.from_pretrained(base / "unet").to(dtype).requires_grad_(False)
        self.unets = [_grafted(whole, delta, dtype) for delta in sorted(folder.glob(f"shared_trunk/*/{DELTA_FILE}"))]

    @torch.inference_mode()
    def mid_blocks(
        self, texts: Sequence[str], n_experts: int | None = None, *, guided: bool = False, stop: bool = False
    ) -> Tensor:
        """`[expert, batch, channel, height, width]` after the mid-block.

        `guided` runs the empty prompt's half with it, `stop` leaves each UNet there.
        """
        states = self.states([*[""] * len(texts), *texts] if guided else texts)
        features = [mid_block(unet, *self._first(len(states)), states, stop=stop) for unet in self.unets[:n_experts]]
        return torch.stack(features)[:, -len(texts) :]

    @torch.inference_mode()
    def draw_images(self, states: Tensor, n_steps: int) -> Tensor:
        """The first steps of an image of each prompt by the first expert, with classifier-free guidance.

        `states` are those of as many empty prompts and then the prompts.
        """
        latent, _ = self._first(len(states) // 2)
        for timestep in self.scheduler.timesteps[:n_steps]:
            given = self.scheduler.scale_model_input(torch.cat([latent, latent]), timestep)
            without, text = self.unets[0](given, timestep, encoder_hidden_states=states).sample.chunk(2)
            latent = self.scheduler.step(without + GUIDANCE * (text - without), timestep, latent).prev_sample
        return latent

    @torch.inference_mode()
    def states(self, texts: Sequence[str]) -> Tensor:
        """`[batch, token, state]`."""
        tokens = self.tokenizer(
            list(texts), padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        ).input_ids
        return self.text_encoder(tokens).last_hidden_state

    def _first(self, n: int) -> tuple[Tensor, Tensor]:
        """The latent, for `n` prompts, and the timestep that the UNet is given first."""
        self.scheduler.set_timesteps(STEPS)
        config, timestep = self.unets[0].config, self.scheduler.timesteps[0]
        noise = draw_noise(0, 0, (config.in_channels, config.sample_size, config.sample_size))
        latent = self.scheduler.scale_model_input(noise * self.scheduler.init_noise_sigma, timestep)
        return latent.to(self.unets[0].dtype).repeat(n, 1, 1, 1), timestep


class _Stopped(Exception):
    pass


def mid_block(
    unet: UNet2DConditionModel,
    latent: Tensor,
    timestep: Tensor,
    states: Tensor,
    *,
    added_cond_kwargs: dict[str, Tensor] | None = None,
    stop: bool = False,
) -> Tensor:
    """What diffusers' own UNet computes there; `stop` leaves it then."""
    kept: list[Tensor] = []

    def keep(module: nn.Module, args: object, output: Tensor) -> None:
        kept.append(output)
        if stop:
            raise _Stopped

    hook = unet.mid_block.register_forward_hook(keep)
    with suppress(_Stopped):
        unet(latent, timestep, encoder_hidden_states=states, added_cond_kwargs=added_cond_kwargs)
    hook.remove()
    return kept[0]


def _grafted(whole: UNet2DConditionModel, delta: Path, dtype: torch.dtype) -> UNet2DConditionModel:
    own = {key: tensor.to(dtype) for key, tensor in load_file(delta).items()}
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(whole.config)
    unet.load_state_dict(whole.state_dict() | own, assign=True)
    return unet.requires_grad_(False).eval()


def true_size_folder() -> Path:
    """Where the true-size ensemble lies; written if it is not there yet. Skips where nobody said where."""
    if WHERE not in os.environ:
        raise SkipTest(f"takes an hour and 10 GB of disk: `make bench-sd15`, or {WHERE}=folder")
    return write_ensemble(Path(os.environ[WHERE]))


@contextmanager
def all_cores() -> Iterator[None]:
    """Tests run on one thread; what is measured runs on all of them."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def merge_record(part: str, figures: dict[str, float], rows: list[dict[str, Any]]) -> None:
    """Write one part into `reports/benchmarks/sd15.json`; the other part's figures and rows stay."""
    record.merge_record("sd15", part, figures, rows)
