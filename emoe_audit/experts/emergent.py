"""Emergent experts: an ensemble from ONE checkpoint, without new weights and without training.

What it is. The hidden units of a trained feed-forward fire in groups. Its keys are clustered into groups of equal size
(`emoe_audit.experts.clustering`), its weights are reordered so that each group is one expert, and every token keeps the
`top_k` experts that it meets with the largest mean pre-activation (avg-k gate); what they give keeps weight 1. With all
experts kept it is the dense model again; the weights are the checkpoint's own, and merging them back is bit-exact.

Source. Emergent Mixture-of-Experts, Qiu et al., arXiv 2310.10908: the clusters, the avg-k gate, 64 experts of which 16
are kept.

What is ours. It is applied to diffusion UNets (down blocks and mid-block, gates of GEGLUs) and, if wanted, to CLIP's
text encoder; and members are made of it: member j adds a fixed seeded bias to the scores of the gates. Scores are first
scaled to deviation 1 over the experts of a token, so that the bias has no unit. Where a few experts stand out, every
member keeps those, and members agree; where none does, they choose differently, and disagree. With text members the
text encoder gives the states of all members side by side, and each member's UNet reads its own.

When to use it. When there is one checkpoint and no relatives of it, to see which experts each language uses and to
rank by `translation_disagreement`. The disagreement of the members themselves says nothing of coverage on the embedded
ensembles, no more than that of random clusters or of dropout: see the rows `emergent_members`, `emergent_text_members`,
`random_members` and `dropout_members` of `emoe-audit ensemble verify`, and `reports/benchmarks/experts.json`. Like any
ensemble it has to pass `emoe-audit ensemble check`.

What it costs. Members share every weight, so memory is that of one checkpoint. Units that are not kept are computed and
then set to zero, which is exact and saves no time: a member costs what the dense path does.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.activations import GEGLU
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import gelu

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.checkpoint import Base
from emoe_audit.experts.clustering import Clusters, clusters_of, read_clusters, split_weights
from emoe_audit.experts.hashing import json_digest
from emoe_audit.experts.paths import read_path
from emoe_audit.experts.text_encoders import TextEncoder, TextEncoderWeights, build_text_encoder
from emoe_audit.types import EnsembleSpec

BIAS_DEVIATION = 1.0
"""Of the members' biases, in standard deviations of the scores of a token's experts."""
SMALLEST = 1e-12
GateBias = Callable[[str], Float[Tensor, " expert"] | None]
"""What is added to the scores of a layer's gate, by the layer's name; None for nothing."""


def avg_k(pre: Float[Tensor, "*batch row"], n_experts: int) -> Float[Tensor, "*batch expert"]:
    """The score of every expert: the mean of its pre-activations, in float32."""
    return pre.unflatten(-1, (n_experts, -1)).float().mean(dim=-1)


def highest(scores: Float[Tensor, "*batch expert"], top_k: int) -> Bool[Tensor, "*batch expert"]:
    """Which experts have the `top_k` largest scores."""
    return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, scores.topk(top_k, dim=-1).indices, True)


class ExpertGate(nn.Module):
    """Sets to zero what experts give that a token does not keep; weights are split, see `split_weights`."""

    bias: Tensor | None

    def __init__(self, layer: str, n_experts: int, top_k: int, bias: Float[Tensor, " expert"] | None = None) -> None:
        super().__init__()
        self.layer, self.n_experts, self.top_k = layer, n_experts, top_k
        self.register_buffer("bias", bias, persistent=False)

    def scores(self, pre: Float[Tensor, "*batch row"]) -> Float[Tensor, "*batch expert"]:
        """What experts are chosen by."""
        scores = avg_k(pre, self.n_experts)
        if self.bias is None:
            return scores
        centred = scores - scores.mean(dim=-1, keepdim=True)
        return centred / centred.std(dim=-1, correction=0, keepdim=True).clamp_min(SMALLEST) + self.bias

    def forward(
        self, pre: Float[Tensor, "*batch row"], units: Float[Tensor, "*batch row"]
    ) -> Float[Tensor, "*batch row"]:
        """The hidden units of the kept experts; `pre` are pre-activations."""
        kept = highest(self.scores(pre), self.top_k)
        return (units.unflatten(-1, (self.n_experts, -1)) * kept[..., None]).flatten(-2)


class SplitGeglu(nn.Module):
    """A GEGLU with a gate behind it."""

    def __init__(self, dense: GEGLU, gate: ExpertGate) -> None:
        super().__init__()
        self.proj, self.gate = dense.proj, gate

    def forward(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch row"]:
        """The hidden units of the kept experts."""
        value, pre = self.proj(hidden).chunk(2, dim=-1)
        units: Tensor = self.gate(pre, value * gelu(pre))
        return units


class SplitActivation(nn.Module):
    """The activation of a plain feed-forward with a gate behind it."""

    def __init__(self, dense: nn.Module, gate: ExpertGate) -> None:
        super().__init__()
        self.dense, self.gate = dense, gate

    def forward(self, pre: Float[Tensor, "*batch row"]) -> Float[Tensor, "*batch row"]:
        """The hidden units of the kept experts."""
        units: Tensor = self.gate(pre, self.dense(pre))
        return units


class OwnStates(nn.Module):
    """A projection of text states that reads one member's part of the states of all members."""

    def __init__(self, dense: nn.Linear, member: int) -> None:
        super().__init__()
        self.dense, self.member = dense, member

    def forward(self, states: Float[Tensor, "batch token states"]) -> Float[Tensor, "batch token width"]:
        """The projection."""
        width = self.dense.in_features
        projected: Tensor = self.dense(states[..., self.member * width : (self.member + 1) * width])
        return projected


def install_gates(
    model: nn.Module,
    clusters: Clusters,
    top_k: int,
    bias: GateBias = lambda _layer: None,
    make_gate: type[ExpertGate] = ExpertGate,
) -> None:
    """Put a gate into every clustered feed-forward of a UNet or a text encoder, whose weights are split already."""
    modules = dict(model.named_modules())
    for layer, rows in clusters.items():
        if layer not in modules:
            continue
        feed_forward, own = modules[layer], bias(layer)
        device = next(feed_forward.parameters()).device
        gate = make_gate(layer, len(rows), top_k, None if own is None else own.to(device)).eval()
        if hasattr(feed_forward, "fc1"):
            feed_forward.activation_fn = SplitActivation(feed_forward.activation_fn, gate)
        elif isinstance(feed_forward.net[0], GEGLU):
            feed_forward.net[0] = SplitGeglu(feed_forward.net[0], gate)
        else:
            raise EnsembleError(f"{layer}: {type(feed_forward.net[0]).__name__} is not split; only GEGLU is")


def member_bias(seed: int, layer: str, member: int, n_experts: int) -> Float[Tensor, " expert"]:
    """The bias of one member's gate: normal, the same on every machine."""
    digest = hashlib.sha256(f"{seed}:{layer}:{member}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    return BIAS_DEVIATION * torch.randn(n_experts, generator=generator)


@dataclass(frozen=True, kw_only=True)
class Members:
    """How the members of an ensemble are made of one checkpoint's split weights."""

    clusters: Clusters
    """Of the layers that are split; those of the text encoder among them if it is."""
    top_k: int
    seed: int
    n_members: int

    @property
    def split_text(self) -> bool:
        """Whether every member has text states of its own."""
        return any(layer.startswith("encoder.") for layer in self.clusters)

    @property
    def n_states(self) -> int:
        """How many text states there are of a prompt."""
        return self.n_members if self.split_text else 1

    def bias(self, member: int) -> GateBias:
        """The biases of one member."""
        return lambda layer: member_bias(self.seed, layer, member, len(self.clusters[layer]))

    def unet(self, member: int, unet: UNet2DConditionModel) -> UNet2DConditionModel:
        """The member, from a UNet of split weights, which is changed."""
        install_gates(unet, self.clusters, self.top_k, self.bias(member))
        if self.split_text:
            for name, module in list(unet.named_modules()):
                if name.endswith((".attn2.to_k", ".attn2.to_v")):
                    unet.set_submodule(name, OwnStates(module, member))
        return unet

    def text_encoder(self, weights: TextEncoderWeights, tensors: dict[str, Tensor]) -> TextEncoder:
        """The encoder of split weights `tensors`, which gives the states of all members side by side.

        What it says of a text as a whole, by which texts are compared, stays the dense encoder's.
        """
        encoder = build_text_encoder(weights, tensors)
        if not self.split_text:
            return encoder
        members = [build_text_encoder(weights, tensors).model for _ in range(self.n_members)]
        for member, model in enumerate(members):
            install_gates(model, self.clusters, self.top_k, self.bias(member))

        def side_by_side(_model: nn.Module, args: object, kwargs: object, output: object) -> object:
            states = [model(*args, **kwargs).last_hidden_state for model in members]  # type: ignore[misc,arg-type]
            output.last_hidden_state = torch.cat(states, dim=-1)  # type: ignore[attr-defined]
            return output

        encoder.model.add_module("members", nn.ModuleList(members))
        encoder.model.register_forward_hook(side_by_side, with_kwargs=True)
        return encoder

    def digest(self, member: int) -> str:
        """SHA-256 of what sets a member apart from the others; the weights are not in it."""
        return json_digest([self.top_k, self.seed, member, BIAS_DEVIATION, self.split_text])


def read_members(spec: EnsembleSpec, base: Base) -> tuple[Members, Base]:
    """The members of an emergent ensemble, and its base with the checkpoint's weights split.

    Raises `EnsembleError` for members of several checkpoints, a `top_k` of more experts than there are, clusters of
    another checkpoint or of other parts, and text members of SDXL.
    """
    own = spec.emergent
    if own is None or spec.top_k is not None:
        raise EnsembleError(f"{spec.name}: needs `emergent:` and no top_k beside it, which is for gated paths")
    if len({dataclasses.replace(expert, name="") for expert in spec.experts}) > 1:
        raise EnsembleError(f"{spec.name}: the experts of an emergent ensemble are members of one checkpoint")
    path, texts = read_path(spec, spec.experts[0], base.unet), base.read_texts()
    with_text = own.what == "unet+text"
    check_text(spec.name, texts, with_text)
    known = path.tensors | (texts[0].tensors if with_text else {})
    clusters = read_clusters(Path(own.clusters), known)
    found = {len(rows) for rows in clusters.values()}
    if found != {own.n_clusters} or not 1 <= own.top_k <= own.n_clusters:
        raise EnsembleError(
            f"{spec.name}: top_k is {own.top_k} of n_clusters {own.n_clusters}, and {own.clusters} holds {min(found)}; "
            "make the ensemble again with `emoe-audit ensemble emergent`"
        )
    members = Members(clusters=clusters, top_k=own.top_k, seed=own.seed, n_members=len(spec.experts))
    if members.split_text != with_text:
        raise EnsembleError(f"{spec.name}: what is {own.what!r}, but {own.clusters} holds no text encoder's clusters")
    unet = dataclasses.replace(path, tensors=split_weights(path.tensors, clusters_of(clusters, path.tensors)))
    return members, dataclasses.replace(base, unet=unet, read_texts=partial(_split_texts, base, clusters))


@contextmanager
def watched_use(model: nn.Module) -> Iterator[dict[str, Float[Tensor, "batch expert"]]]:
    """Run a member as its dense checkpoint, and see which experts its tokens would keep.

    While it lasts nothing is set to zero. At every call of a gate the share of a prompt's tokens that every expert is
    among the `top_k` for, without any bias, is put down under the layer's name. A row sums to `top_k`.
    """
    use: dict[str, Tensor] = {}

    def watch(gate: ExpertGate, args: tuple[Tensor, Tensor], _closed: Tensor) -> Tensor:
        pre, units = args
        use[gate.layer] = highest(avg_k(pre, gate.n_experts), gate.top_k).float().mean(dim=1)
        return units

    hooks = [module.register_forward_hook(watch) for module in model.modules() if isinstance(module, ExpertGate)]
    try:
        yield use
    finally:
        for hook in hooks:
            hook.remove()


def _split_texts(base: Base, clusters: Clusters) -> tuple[TextEncoderWeights, ...]:
    return tuple(
        dataclasses.replace(text, tensors=split_weights(text.tensors, clusters_of(clusters, text.tensors)))
        for text in base.read_texts()
    )


def check_text(name: str, texts: Sequence[TextEncoderWeights], with_text: bool) -> None:
    """Raise `EnsembleError` where the text encoder is to be split and there are two, as in SDXL, or keys do not fit."""
    if with_text and len(texts) > 1:
        raise EnsembleError(f"{name}: has two text encoders, which are not split; leave the text encoder out")
    if with_text:
        build_text_encoder(texts[0], texts[0].tensors)
