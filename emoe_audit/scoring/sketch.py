"""How an ensemble reads a prompt, small enough to be kept for every prompt of a run.

A reading has two parts of `BUCKETS` numbers each: the state of the text encoder at the end of the text, and the
mid-block features, averaged over experts and noises. Each is a count sketch (Charikar, Chen and Farach-Colton
2002): every element is added to one of the buckets, chosen once and for all, with a sign. Inner products keep their
value in expectation, with a standard deviation of at most sqrt(2 / BUCKETS) times the norms.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

BUCKETS = 256


def sketch(vectors: Float[Tensor, "batch element"]) -> Float[Tensor, "batch bucket"]:
    """The sketches of some vectors; the same for every device, and for every ensemble of as many elements."""
    generator = torch.Generator().manual_seed(vectors.shape[1])
    buckets = torch.randint(BUCKETS, (vectors.shape[1],), generator=generator).to(vectors.device)
    signs = (2 * torch.randint(2, (vectors.shape[1],), generator=generator) - 1).to(vectors.device)
    wide = vectors.float() * signs
    return torch.zeros(len(vectors), BUCKETS, device=vectors.device).index_add_(1, buckets, wide)
