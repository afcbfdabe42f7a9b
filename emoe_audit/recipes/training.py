"""The training loop that every part shares: warm-up and cosine decay, moving average of the weights, exact resume."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

CHECKPOINT_SECONDS = 60.0
WARMUP_STEPS = 200


def bfloat16_where_fast(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16, except on a CPU that would have to emulate it."""
    return torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu" or has_bfloat16())


def has_bfloat16() -> bool:
    """Whether this CPU multiplies in bfloat16."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def train(
    name: str,
    model: nn.Module,
    loss: Callable[[int], Tensor],
    *,
    steps: int,
    learning_rate: float,
    folder: Path,
    ema_decay: float | None = None,
    weight_decay: float = 0.01,
) -> nn.Module:
    """Minimise `loss(step)` over the parameters of `model` that require gradients.

    Returns at once when `folder/name.safetensors` exists; goes on from `folder/name.checkpoint` when that exists.

    Args:
        name: Of the files.
        model: Trained in place; on return it holds the (averaged) weights and is in eval mode.
        loss: The loss of one step; it alone knows the data, which must depend on the step only.
        steps: In all.
        learning_rate: Peak of AdamW's.
        folder: Where weights and checkpoints go.
        ema_decay: Keep an exponential moving average of the weights and return that.
        weight_decay: AdamW's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done, checkpoint = folder / f"{name}.safetensors", folder / f"{name}.checkpoint"
    if done.exists():
        model.load_state_dict(load_file(done))
        return model.eval()
    parameters = [p for p in model.parameters() if p.requires_grad]
    device = parameters[0].device
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    average = copy.deepcopy(model) if ema_decay is not None else model
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location=device)
        first = state["step"]
        model.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
    model.train()
    started = saved = time.monotonic()
    running = torch.zeros((), device=device)
    for step in range(first, steps):
        torch.manual_seed(step)
        value = loss(step)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if ema_decay is not None:
            _move_average(average, model, min(ema_decay, (1 + step) / (10 + step)))
        running = running + value.detach()
        if (step + 1) % 100 == 0:
            pace = (time.monotonic() - started) / (step + 1 - first)
            _say(f"{name}: step {step + 1}/{steps}, loss {running.item() / 100:.4f}, {pace:.3f} s a step")
            running = torch.zeros_like(running)
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            _save_checkpoint(checkpoint, step + 1, model, average, optimizer, schedule)
            saved = time.monotonic()
    model.load_state_dict(average.state_dict())
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, done)
    checkpoint.unlink(missing_ok=True)
    return model.eval()


def _rate(step: int, steps: int) -> float:
    warm = min(1.0, (step + 1) / WARMUP_STEPS)
    return warm * 0.5 * float(1 + torch.cos(torch.tensor(torch.pi * step / steps)))


@torch.no_grad()
def _move_average(average: nn.Module, model: nn.Module, decay: float) -> None:
    ours: list[Tensor] = [p for p in average.parameters() if p.is_floating_point()]
    theirs = [p.detach() for p in model.parameters() if p.is_floating_point()]
    torch._foreach_lerp_(ours, theirs, 1 - decay)
    for mine, other in zip(average.buffers(), model.buffers(), strict=True):
        mine.copy_(other)


def _save_checkpoint(path: Path, step: int, model: nn.Module, average: nn.Module, optimizer, schedule) -> None:  # type: ignore[no-untyped-def]
    state = {
        "step": step,
        "model": model.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
    }
    torch.save(state, path.with_suffix(".tmp"))
    path.with_suffix(".tmp").rename(path)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
