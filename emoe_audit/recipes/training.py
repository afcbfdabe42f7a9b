"""The training loop that every part shares: warm-up and cosine decay, moving average of the weights, exact resume."""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

CHECKPOINT_SECONDS = 60.0
WARMUP_STEPS = 200
SAID_EVERY = 100


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
    training = _Training.of(
        model, steps=steps, learning_rate=learning_rate, weight_decay=weight_decay, ema_decay=ema_decay
    )
    first = training.resume(checkpoint) if checkpoint.exists() else 0
    model.train()
    pace = _Pace(name, first, steps)
    saved = time.monotonic()
    for step in range(first, steps):
        pace.note(step, training.descend(step, loss))
        if time.monotonic() - saved > CHECKPOINT_SECONDS:
            training.save(checkpoint, step + 1)
            saved = time.monotonic()
    model.load_state_dict(training.average.state_dict())
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, done)
    checkpoint.unlink(missing_ok=True)
    return model.eval()


@dataclass(frozen=True, kw_only=True)
class _Training:
    """Everything that a step changes, and hence that a checkpoint holds."""

    model: nn.Module
    average: nn.Module
    """The model itself where no average is kept."""
    optimizer: Optimizer
    schedule: LambdaLR
    ema_decay: float | None

    @classmethod
    def of(
        cls, model: nn.Module, *, steps: int, learning_rate: float, weight_decay: float, ema_decay: float | None
    ) -> _Training:
        parameters = [p for p in model.parameters() if p.requires_grad]
        optimizer = AdamW(parameters, lr=learning_rate, weight_decay=weight_decay, betas=(0.9, 0.99))
        return cls(
            model=model,
            average=copy.deepcopy(model) if ema_decay is not None else model,
            optimizer=optimizer,
            schedule=LambdaLR(optimizer, lambda step: _rate(step, steps)),
            ema_decay=ema_decay,
        )

    @property
    def parameters(self) -> list[Tensor]:
        """Those that are trained."""
        own: list[Tensor] = self.optimizer.param_groups[0]["params"]
        return own

    def descend(self, step: int, loss: Callable[[int], Tensor]) -> Tensor:
        """Take one step; returns the loss before it."""
        torch.manual_seed(step)
        value = loss(step)
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.schedule.step()
        if self.ema_decay is not None:
            _move_average(self.average, self.model, min(self.ema_decay, (1 + step) / (10 + step)))
        return value.detach()

    def save(self, path: Path, step: int) -> None:
        """Write a checkpoint of which `step` is the next step."""
        state = {name: part.state_dict() for name, part in self._parts().items()}
        torch.save({"step": step} | state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").rename(path)

    def resume(self, path: Path) -> int:
        """Take over a checkpoint; returns its next step."""
        state = torch.load(path, weights_only=True, map_location=self.parameters[0].device)
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        step: int = state["step"]
        return step

    def _parts(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "average": self.average,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
        }


class _Pace:
    """Says every hundred steps how large the loss is and how fast it goes."""

    def __init__(self, name: str, first: int, steps: int) -> None:
        self._name, self._first, self._steps = name, first, steps
        self._started = time.monotonic()
        self._losses: Tensor | float = 0.0

    def note(self, step: int, loss: Tensor) -> None:
        """Count a step that was taken. The sum stays on the device, which is not waited for at every step."""
        self._losses = loss + self._losses
        if (step + 1) % SAID_EVERY == 0:
            mean = float(self._losses) / SAID_EVERY
            pace = (time.monotonic() - self._started) / (step + 1 - self._first)
            text = f"{self._name}: step {step + 1}/{self._steps}, loss {mean:.4f}, {pace:.3f} s a step"
            print(text, file=sys.stderr, flush=True)
            self._losses = 0.0


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
