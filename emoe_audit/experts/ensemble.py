"""An ensemble ready to be scored: one UNet path per expert, the shared parts held once in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import torch
from diffusers import SchedulerMixin, UNet2DConditionModel
from transformers import CLIPTokenizer

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.checkpoint import Base, read_base
from emoe_audit.experts.devices import is_out_of_memory, resolve_device, resolve_dtype
from emoe_audit.experts.emergent import Members, read_members
from emoe_audit.experts.hashing import UNET_FIELDS, TensorHasher, json_digest
from emoe_audit.experts.models import build_unet
from emoe_audit.experts.own_texts import OwnTexts, check_clip_skip, describe, find_own_texts, warn_of_own_texts
from emoe_audit.experts.paths import read_path
from emoe_audit.experts.public_readers import PublicReader, recognise
from emoe_audit.experts.residency import Footprint, Residency, Streamed, TensorMover, choose_residency
from emoe_audit.experts.sources import UNetWeights
from emoe_audit.experts.spec import load_spec
from emoe_audit.experts.spec_reader import nearest
from emoe_audit.experts.surveyed import latent_shape, survey_of
from emoe_audit.experts.text_encoders import TextEncoder, TextEncoderWeights, build_text_encoder
from emoe_audit.types import EnsembleSpec


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Experts, and what of the base they are scored with."""

    spec: EnsembleSpec
    experts: tuple[str, ...]
    """Names, in the order of `unets`."""
    tokenizer: CLIPTokenizer
    """That of the first text encoder, which counts tokens."""
    max_length: int
    """Tokens of a prompt, begin and end included; what is longer is cut."""
    text_encoders: Sequence[TextEncoder]
    """The base's, whose states experts are given: one, or the two of SDXL."""
    own_texts: Mapping[int, Sequence[TextEncoder]]
    """By its place in `unets` those of an expert that is given the states of its own."""
    public_reader: PublicReader | None
    """The public text encoder that these are, or look like; None for any other."""
    scheduler: SchedulerMixin
    unets: Sequence[UNet2DConditionModel]
    """One per expert, ending after the mid-block; tensors that are the same share memory."""
    footprint: Footprint
    memory_budget: int | None
    """Bytes; None where there is no limit."""
    residency: Residency
    """How many experts are in memory at a time; the others are read again each time they are needed."""
    ensemble_hash: str
    """SHA-256 over what takes part in a score; the order of the experts does not matter to it."""
    base_hash: str
    """The same without the experts."""
    expert_hashes: tuple[str, ...]
    """Of the path of each, in the order of `unets`."""
    latent_shape: tuple[int, int, int]
    """Channels, height and width of a latent."""
    device: torch.device
    dtype: torch.dtype


def load_ensemble(
    name_or_spec: str | Path | EnsembleSpec,
    *,
    device: str = "auto",
    dtype: str = "float32",
    memory_budget: int | None = None,
    n_noise: int = 1,
    experts: Sequence[str] | None = None,
) -> Ensemble:
    """Load the parts of an ensemble that a score needs, and hash them.

    `independent` gives every expert its whole UNet. `shared_trunk` is SegMoE's way (segmind/segmoe): attention
    projections and feed-forwards (`moe_layers`) of the down blocks are each expert's own, everything else, the
    mid-block too, is the base's. In both the base's is what comes before down block `split`. `top_k` takes part in the
    hash; the engine routes by it. Scheduler and counted tokens are the base's in both, and by default so is the text
    encoder: every expert is given the same states of a prompt, as in SegMoE, and an expert's own on this disk that
    differs is warned of. With `text_encoders: own` it takes part in that expert's path, see `own_texts`. Where the spec
    is `emergent`, the experts are members of one checkpoint, see `emoe_audit.experts.emergent`.

    An ensemble that does not fit into `memory_budget` bytes is streamed: experts and text encoders are read again
    each time they are needed, one at a time; where there is room for two experts, the next one while one is used. What
    prompts need of the budget grows with `n_noise`. Of the experts those that are named in `experts` are loaded, by
    default all, and none where `n_noise` is 0: then there are text encoders alone.

    Raises `EnsembleError` for weights that are not there, do not fit, or belong to another kind of model, for a
    budget that is too small for one expert, and where memory does not last for what is to be held in it.
    """
    spec = name_or_spec if isinstance(name_or_spec, EnsembleSpec) else load_spec(name_or_spec)
    asked = _asked(spec, experts if n_noise else ())
    parts = _Parts.of(spec, asked, device, dtype, keeps_weights=memory_budget is None)
    return _put_together(spec, parts, memory_budget, n_noise)


def footprint_of(spec: EnsembleSpec, experts: Sequence[str], dtype: str = "float32") -> Footprint:
    """What some experts of an ensemble take in memory under one noise; no weight is read. Raises `EnsembleError`."""
    return _Parts.of(spec, _asked(spec, experts), "cpu", dtype, keeps_weights=False).footprint(1)


def weights_hash(base_hash: str, expert_hashes: Sequence[str]) -> str:
    """SHA-256 over what takes part in a score, from the hash of the base and those of some experts."""
    return json_digest([base_hash, sorted(expert_hashes)])


def _asked(spec: EnsembleSpec, names: Sequence[str] | None) -> list[int]:
    """The places of some experts. Raises `EnsembleError` for a name that none has."""
    known = [expert.name for expert in spec.experts]
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise EnsembleError(f"{spec.name}: no expert {unknown[0]!r:.60}{nearest(unknown[0], known)}")
    return [place for place, name in enumerate(known) if names is None or name in names]


def _put_together(spec: EnsembleSpec, parts: _Parts, memory_budget: int | None, n_noise: int) -> Ensemble:
    footprint = parts.footprint(n_noise)
    residency = choose_residency(footprint, memory_budget, spec.name)
    base, texts = parts.base, parts.texts
    with _told_of_memory(spec.name):
        digests, unets = parts.paths(residency)
        text_encoders, own_texts = parts.text_encoders(residency), parts.own_text_encoders(residency)
    return Ensemble(
        spec=spec,
        experts=tuple(spec.experts[place].name for place in parts.loads),
        tokenizer=texts[0].tokenizer,
        max_length=texts[0].max_length,
        text_encoders=text_encoders,
        own_texts=own_texts,
        public_reader=recognise(texts, spec.published),
        scheduler=base.scheduler,
        unets=unets,
        footprint=footprint,
        memory_budget=memory_budget,
        residency=residency,
        ensemble_hash=_ensemble_hash(base, digests, texts, spec),
        base_hash=_ensemble_hash(base, (), texts, spec),
        expert_hashes=tuple(digests),
        latent_shape=latent_shape(base.unet),
        device=parts.place[0],
        dtype=parts.place[1],
    )


@contextmanager
def _told_of_memory(name: str) -> Iterator[None]:
    """Raise `EnsembleError` where the device has too little memory for the weights: another process may hold it."""
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise EnsembleError(
            f"{name}: out of memory while experts are loaded; give a --memory-budget below what is free, so that they "
            "are streamed, or a --dtype of fewer bytes"
        ) from error


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What an ensemble is put together from; the experts' weights are read when they are asked for."""

    base: Base
    members: Members | None
    """Where the ensemble is emergent."""
    texts: Sequence[TextEncoderWeights]
    own: Mapping[int, OwnTexts]
    """Of the experts that are given the states of their own text encoders, by their places in the ensemble."""
    loads: Mapping[int, Callable[[], UNetWeights]]
    """What reads each expert's path, by its place in the ensemble."""
    place: tuple[torch.device, torch.dtype]

    @classmethod
    def of(cls, spec: EnsembleSpec, asked: Sequence[int], device: str, dtype: str, *, keeps_weights: bool) -> _Parts:
        """With `keeps_weights` a path is read once and stays in memory, else each time that it is asked for."""
        place = resolve_device(device), resolve_dtype(dtype)
        members, base = None, read_base(spec.base)
        warn_of_own_texts(spec, base.read_texts)
        if spec.emergent is not None:
            members, base = read_members(spec, base)
        loads, texts = _loads(spec, base, members), base.read_texts()
        check_clip_skip(spec, texts)
        return cls(
            base=base,
            members=members,
            texts=texts,
            own=find_own_texts(spec, asked, texts),
            loads={place: cache(loads[place]) if keeps_weights else loads[place] for place in asked},
            place=place,
        )

    def footprint(self, n_noise: int) -> Footprint:
        """Raises `EnsembleError` for parts that do not fit together."""
        n_states = 1 + len(self.own) if self.members is None else self.members.n_states
        size = self.place[1].itemsize
        found = survey_of([*self.loads.values()], self.texts, self.base.unet, size, n_noise, n_states)
        own = [texts.n_bytes[size] for texts in self.own.values()]
        return replace(
            found, texts=max([found.texts, *own]), own_texts=found.texts + sum(own) - max([found.texts, *own])
        )

    def paths(self, residency: Residency) -> tuple[list[str], Sequence[UNet2DConditionModel]]:
        """The digest of each expert's path, and its UNet. One path is read at a time."""
        shared, members = self.base.unet.tensors, self.members
        hasher, mover = TensorHasher(shared), TensorMover(*self.place, shared=shared)
        digests, unets = [], []
        for index, load in self.loads.items():
            path = load()
            digests.append(_path_digest(path, hasher, members, index, self.own.get(index)))
            if residency == "all":
                unets.append(_unet(path, mover, members, index))
            del path
        if residency == "all":
            return digests, unets
        loaders = [partial(_load_unet, load, self.place, members, index) for index, load in self.loads.items()]
        return digests, Streamed(loaders, reads_ahead=residency == "two")

    def text_encoders(self, residency: Residency) -> Sequence[TextEncoder]:
        """The base's, all in memory where all experts are."""
        return _text_encoders(self.base, self.texts, TensorMover(*self.place), residency == "all", self.members)

    def own_text_encoders(self, residency: Residency) -> dict[int, Sequence[TextEncoder]]:
        """Those of experts that are given the states of their own, by their places among those that are asked."""
        places = {place: index for index, place in enumerate(self.loads)}
        return {
            places[place]: _built(texts.read, self.place, n=len(self.texts), is_resident=residency == "all")
            for place, texts in self.own.items()
        }


def _built(
    read: Callable[[], Sequence[TextEncoderWeights]],
    place: tuple[torch.device, torch.dtype],
    *,
    n: int,
    is_resident: bool,
) -> Sequence[TextEncoder]:
    def load(index: int) -> TextEncoder:
        weights = read()[index]
        return build_text_encoder(weights, TensorMover(*place).move(weights.tensors))

    return (
        [load(index) for index in range(n)] if is_resident else Streamed([partial(load, index) for index in range(n)])
    )


def _loads(spec: EnsembleSpec, base: Base, members: Members | None) -> list[Callable[[], UNetWeights]]:
    """What reads each expert's path; members of one checkpoint have one."""
    if members is not None:
        return [lambda: base.unet for _ in spec.experts]
    return [partial(read_path, spec, expert, base.unet) for expert in spec.experts]


def _unet(path: UNetWeights, mover: TensorMover, members: Members | None, index: int) -> UNet2DConditionModel:
    unet = build_unet(path.config, mover.move(path.tensors), path.where)
    return unet if members is None else members.unet(index, unet)


def _load_unet(
    load: Callable[[], UNetWeights], place: tuple[torch.device, torch.dtype], members: Members | None, index: int
) -> UNet2DConditionModel:
    return _unet(load(), TensorMover(*place), members, index)


def _text_encoders(
    base: Base,
    texts: Sequence[TextEncoderWeights],
    mover: TensorMover,
    is_resident: bool,
    members: Members | None,
) -> Sequence[TextEncoder]:
    def build(weights: TextEncoderWeights) -> TextEncoder:
        tensors = mover.move(weights.tensors)
        return build_text_encoder(weights, tensors) if members is None else members.text_encoder(weights, tensors)

    def load(index: int) -> TextEncoder:
        return build(base.read_texts()[index])

    if is_resident:
        return [build(weights) for weights in texts]
    return Streamed([partial(load, index) for index in range(len(texts))])


def _path_digest(
    path: UNetWeights, hasher: TensorHasher, members: Members | None, index: int, texts: OwnTexts | None
) -> str:
    own = [*([] if members is None else [members.digest(index)]), *([] if texts is None else [texts.digest])]
    return json_digest([hasher.state(path.tensors), {field: path.config[field] for field in UNET_FIELDS}, *own])


def _ensemble_hash(base: Base, experts: Sequence[str], texts: Sequence[TextEncoderWeights], spec: EnsembleSpec) -> str:
    """The hash is of effective paths: the same experts assembled or stored in another way give the same hash."""
    scheduler = {key: value for key, value in base.scheduler_config.items() if key != "_diffusers_version"}
    return json_digest(
        {
            "experts": sorted(experts),
            "texts": describe(texts),
            "scheduler": scheduler,
            "latent_shape": latent_shape(base.unet),
        }
        | {name: own for name in ("top_k", "clip_skip") if (own := getattr(spec, name)) is not None}
    )
