"""Floating-point operations of a path and of a score, the rate at which a machine could do them, and where time goes.

A multiplication with an addition counts as two operations.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from emoe_audit.experts.designs import N_TIME_IDS
from tests.benchmarks.stopwatch import CPU, seconds

GIGA = 1e9
N_TOKENS = 77
PATH = ("conv_in", "time_embedding", "down_blocks", "mid_block")
FIRST = "down_blocks.0.attentions.0"
PROMPT_FREE = (
    "conv_in",
    "time_embedding",
    "down_blocks.0.resnets.0",
    f"{FIRST}.proj_in",
    f"{FIRST}.transformer_blocks.0.attn1",
)
"""Everything before the first cross-attention."""
PROMPT_FREE_OF_SDXL = ("conv_in", "time_embedding")
"""There the pooled text enters the first residual block."""
OPERATORS = {
    "attention": r"scaled_dot_product|softmax|bmm",
    "convolution": r"conv",
    "gemm": r"\b(?:add)?mm\b|linear|matmul",
    "norms": r"norm",
    "activations": r"silu|gelu|sigmoid",
}
"""What the names of a group's operators hold; the first group that fits, else `other`."""
GROUPS = (*OPERATORS, "other")


@dataclass(frozen=True, kw_only=True)
class Gemm:
    """A product of matrices, `[rows, inner] x [inner, columns]`."""

    rows: int
    inner: int
    columns: int

    @property
    def gflop(self) -> float:
        return 2 * self.rows * self.inner * self.columns / GIGA


@dataclass(frozen=True, kw_only=True)
class PathCost:
    """GFLOP of one prompt and one expert."""

    whole: float
    """Of the whole UNet."""
    path: float
    """Up to the mid-block."""
    prompt_free: float
    """Of that, what no prompt enters."""

    @property
    def least(self) -> float:
        """What a score has to do for every prompt."""
        return self.path - self.prompt_free


def path_cost(config: dict[str, Any]) -> PathCost:
    """Counted on the meta device, by the parts of diffusers' own UNet of that configuration."""
    counter = FlopCounterMode(display=False)
    with counter:
        _call(_meta(config), batch=1)
    counts = {key: sum(own.values()) / GIGA for key, own in counter.get_flop_counts().items()}

    def of(parts: tuple[str, ...]) -> float:
        return sum(counts[f"UNet2DConditionModel.{part}"] for part in parts)

    is_sdxl = config.get("addition_embed_type") is not None
    downs = tuple(f"down_blocks.{index}" for index in range(len(config["block_out_channels"])))
    path = of(("conv_in", "time_embedding", *(["add_embedding"] if is_sdxl else []), *downs, "mid_block"))
    return PathCost(whole=counts["Global"], path=path, prompt_free=of(PROMPT_FREE_OF_SDXL if is_sdxl else PROMPT_FREE))


def layer_gemms(config: dict[str, Any], batch: int) -> Counter[Gemm]:
    """The linear layers and convolutions (as products of unfolded patches) up to the mid-block, with their number."""
    gemms: Counter[Gemm] = Counter()

    def count(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, Tensor)
        columns, inner = weight.shape[0], weight[0].numel()
        gemms[Gemm(rows=output.numel() // columns, inner=inner, columns=columns)] += 1

    unet = _meta(config)
    for name, module in unet.named_modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and name.partition(".")[0] in PATH:
            module.register_forward_hook(count)
    _call(unet, batch)
    return gemms


def gemm_rate(
    gemm: Gemm, dtype: torch.dtype, device: torch.device = CPU, *, repeats: int = 5, at_once: int = 1
) -> float:
    """GFLOP a second, in the best of some repeats after a first one, of so many products one after the other."""
    left = torch.randn(gemm.rows, gemm.inner, device=device).to(dtype)
    right = torch.randn(gemm.columns, gemm.inner, device=device).to(dtype).t()

    def multiply() -> None:
        for _ in range(at_once):
            left @ right

    return at_once * gemm.gflop / min([seconds(multiply, device) for _ in range(repeats + 1)][1:])


def count_gflop(work: Callable[[], object]) -> dict[str, float]:
    """GFLOP by group of operators."""
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # torch itself counts it on GPUs alone
    counter = FlopCounterMode(display=False, custom_mapping={attention: _attention_flop})
    with counter:
        work()
    gflop = dict.fromkeys(GROUPS, 0.0)
    for operator, count in counter.get_flop_counts()["Global"].items():
        gflop[_group(str(operator))] += count / GIGA
    return gflop


def time_shares(work: Callable[[], object]) -> dict[str, float]:
    """Each group's share of the time, by torch's profiler; what passes between operators is in `other`."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler, record_function("between operators"):
        work()
    spent = dict.fromkeys(GROUPS, 0.0)
    for event in profiler.key_averages():
        spent[_group(event.key)] += event.self_cpu_time_total
    total = sum(spent.values())
    return {group: own / total for group, own in spent.items()}


def _attention_flop(query: torch.Size, key: torch.Size, value: torch.Size, *args: object, **kwargs: object) -> int:
    return int(sdpa_flop_count(query, key, value))


def _group(operator: str) -> str:
    return next((group for group, names in OPERATORS.items() if re.search(names, operator)), "other")


def _meta(config: dict[str, Any]) -> UNet2DConditionModel:
    with torch.device("meta"):
        return UNet2DConditionModel.from_config(config)


def _call(unet: UNet2DConditionModel, batch: int) -> None:
    own = unet.config
    with torch.device("meta"):
        latent = torch.empty(batch, own.in_channels, own.sample_size, own.sample_size)
        states = torch.empty(batch, N_TOKENS, own.cross_attention_dim)
        unet(latent, torch.empty(()), encoder_hidden_states=states, added_cond_kwargs=_beside(own, batch))


def _beside(config: Any, batch: int) -> dict[str, Tensor]:
    """What SDXL is told beside the prompt: its pooled text, and size and crop."""
    if config.addition_embed_type is None:
        return {}
    pooled = config.projection_class_embeddings_input_dim - N_TIME_IDS * config.addition_time_embed_dim
    return {"text_embeds": torch.empty(batch, pooled), "time_ids": torch.empty(batch, N_TIME_IDS)}
