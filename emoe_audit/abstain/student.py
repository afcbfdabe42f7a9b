"""The student: a network with one head for each labeller, which learns to answer like it, also where nobody has been.

Two hidden layers of 256 with ELU, shared by all heads. The weights of the last quarter of the steps are averaged
(Izmailov et al. 2018). Network, loss and averaging are those of Qu et al., arXiv 2406.01825; steps, batch and learning
rate are ours. All of it runs on one thread: matrices this small gain nothing from more, and the model does not depend
on how many there are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

WIDTH = 256
STEPS, BATCH, LEARNING_RATE = 1000, 128, 1e-3
AVERAGED_SHARE = 0.25
EXPANDED_WEIGHT = 0.5


class Student(nn.Module):
    """Points to the logit of every head."""

    def __init__(self, n_directions: int, n_heads: int) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Linear(n_directions, WIDTH), nn.ELU(), nn.Linear(WIDTH, WIDTH), nn.ELU())
        self.heads = nn.Linear(WIDTH, n_heads)

    def forward(self, z: Float[Tensor, "row direction"]) -> Float[Tensor, "row head"]:
        """Logits."""
        return self.heads(self.shared(z))

    @torch.inference_mode()
    def probabilities(self, z: np.ndarray) -> np.ndarray:
        """The probability that every head gives a point, `[row, head]`."""
        with _one_thread():
            given: np.ndarray = self(_tensor(z)).sigmoid().double().numpy()
        return given


def matching_loss(
    logits: Float[Tensor, "row head"],
    labels: Float[Tensor, "row head"],
    expanded_logits: Float[Tensor, "point head"],
    expanded_labels: Float[Tensor, "point head"],
) -> Float[Tensor, ""]:
    """How far heads are from their labellers.

        BCE(heads, labels) + mean_rows |mean_heads - mean_labels| + 1/2 BCE(expanded heads, expanded labels)

    The cross-entropies are means over rows and heads; the last one is 0 where there are no expanded points.
    """
    together = (logits.sigmoid().mean(dim=1) - labels.mean(dim=1)).abs().mean()
    loss = F.binary_cross_entropy_with_logits(logits, labels) + together
    if len(expanded_logits):
        loss = loss + EXPANDED_WEIGHT * F.binary_cross_entropy_with_logits(expanded_logits, expanded_labels)
    return loss


def train_student(
    z: np.ndarray,
    labels: np.ndarray,
    expanded: np.ndarray,
    expanded_labels: np.ndarray,
    *,
    seed: int = 0,
) -> Student:
    """A student of labels `[row, labeller]` at points `[row, direction]`, and of those at expanded points.

    Args:
        z: Points of prompts.
        labels: Probabilities.
        expanded: Points further out; there may be none.
        expanded_labels: Their probabilities.
        seed: Of first weights and batches. PyTorch's own generator is left as it was.
    """
    real, outside = (_tensor(z), _tensor(labels)), (_tensor(expanded), _tensor(expanded_labels))
    with _one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = Student(z.shape[1], labels.shape[1])
        average = AveragedModel(student)
        optimizer = torch.optim.Adam(student.parameters(), lr=LEARNING_RATE)
        for step in range(STEPS):
            (points, answers), (far, far_answers) = _batch(*real), _batch(*outside)
            loss = matching_loss(student(points), answers, student(far), far_answers)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if step >= (1 - AVERAGED_SHARE) * STEPS:
                average.update_parameters(student)
    student.load_state_dict(average.module.state_dict())
    return student.eval()


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batch(points: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Some rows, drawn with replacement; none of none."""
    rows = torch.randint(max(len(points), 1), (BATCH if len(points) else 0,))
    return points[rows], labels[rows]


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
