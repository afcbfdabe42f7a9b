"""A pipeline that draws: of a base in any form, of an expert laid over it, or of the mixture of all experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from diffusers import DiffusionPipeline, UNet2DConditionModel

from emoe_audit.errors import EnsembleError, MissingPackageError, QualityError
from emoe_audit.experts.checkpoint import read_base, read_expert, read_whole_unet, whole
from emoe_audit.experts.drawer import who_draws
from emoe_audit.experts.models import build_unet
from emoe_audit.experts.own_texts import find_own_texts
from emoe_audit.experts.residency import TensorMover
from emoe_audit.experts.segmoe_recipe import is_segmoe_folder
from emoe_audit.experts.single_file import NO_VAE, holds_vae
from emoe_audit.experts.sources import UNetWeights, read_json
from emoe_audit.experts.text_encoders import build_text_encoder
from emoe_audit.mixture.mixed import mixed
from emoe_audit.quality.autoencoder import PART, load_autoencoder
from emoe_audit.quality.pipeline_folder import check_pipeline
from emoe_audit.quality.single_file_pipeline import load_single_file
from emoe_audit.types import MIXTURE, EnsembleSpec, ExpertSpec, SafetyPolicy

CPU = torch.device("cpu")
SCORE_ONLY = "give --n-images 0 to score only"
NO_PART: tuple[Any, ...] = (None, [], [None, None])
"""What `model_index.json` says of a part that is not there."""
NO_CHECKER = "has no safety checker; give --safety-checker off"
FITS = ("in_channels", "out_channels", "cross_attention_dim", "addition_embed_type")
"""What an expert's UNet has to have in common with the base's to be given the same in its pipeline."""


def check_source(spec: EnsembleSpec, expert: str | None, safety_checker: SafetyPolicy = "off") -> None:
    """Raise `QualityError` where an ensemble cannot be drawn with as it is asked for, as far as is seen at once.

    Of a base on the hub it is known only when the pipeline is loaded whether it has a safety checker.
    """
    names, who = [own.name for own in spec.experts], who_draws(spec, expert)
    if who not in (None, MIXTURE, *names):
        raise QualityError(f"{spec.name} has no expert {expert!r}; it has {', '.join(names)}, and {MIXTURE} is all")
    if who is not None and spec.emergent is not None:
        raise QualityError(f"{spec.name}: members of one checkpoint draw as the checkpoint does; leave the expert out")
    if who == MIXTURE:
        _check_mixture(spec)
    if spec.judge is None:
        raise QualityError(f"{spec.name}: names no judge; add `judge:` to the YAML of the ensemble, or {SCORE_ONLY}")
    base = Path(spec.base.source)
    try:
        if base.is_file() and spec.vae is None and not holds_vae(base):
            raise QualityError(f"{base}: {NO_VAE}, or {SCORE_ONLY}")
    except EnsembleError as error:
        raise QualityError(f"{error}; {SCORE_ONLY}") from error
    index = base / "model_index.json"
    lacks = base.is_file() or (index.is_file() and read_json(index).get("safety_checker") in NO_PART)
    if safety_checker != "off" and lacks:
        raise QualityError(f"{spec.base.source}: {NO_CHECKER}")


def _check_mixture(spec: EnsembleSpec) -> None:
    n = len(spec.experts)
    if spec.text_encoders == "own":
        raise QualityError(f"{spec.name}: a mixture draws by one text encoder; draw with one expert, or the base")
    if spec.assembly != "shared_trunk":
        raise QualityError(
            f"{spec.name}: experts are mixed layer by layer, which takes the assembly shared_trunk; draw with one of "
            f"{', '.join(own.name for own in spec.experts)}"
        )
    if spec.mixture is not None and not 1 <= spec.mixture.top_k <= n:
        raise QualityError(f"{spec.name}: mixture: top_k is {spec.mixture.top_k}, of {n} experts")
    if spec.mixture is not None and len(spec.mixture.prompts) not in (0, n):
        raise QualityError(f"{spec.name}: mixture: {len(spec.mixture.prompts)} prompts for {n} experts")


def load_pipeline(
    spec: EnsembleSpec,
    expert: str | None,
    safety_checker: SafetyPolicy = "off",
    *,
    is_guided: bool = True,
    device: torch.device = CPU,
    memory_budget: int | None = None,
) -> Any:
    """The whole pipeline in float32.

    Args:
        spec: The ensemble; its autoencoder is a part of the pipeline.
        expert: Who draws, see `who_draws`.
        safety_checker: The base's own is a part of the pipeline unless this is off.
        is_guided: Whether images are drawn under classifier-free guidance, both halves of which a mixture routes alike.
        device: Where it is to be.
        memory_budget: Bytes for the weights of a mixture, part of which lie in files where they take more.

    Raises:
        QualityError: there is no such expert, no safety checker to be run, or no pipeline that draws.
    """
    check_source(spec, expert, safety_checker)
    parts: dict[str, Any] = {"image_encoder": None}
    if safety_checker == "off":
        parts |= {"safety_checker": None, "feature_extractor": None}
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    try:
        if spec.vae is not None:
            parts[PART] = load_autoencoder(spec)
        pipeline = _drawn_by(spec, who_draws(spec, expert), parts, is_guided, device, memory_budget)
    except EnsembleError as error:
        raise QualityError(f"{error}; {SCORE_ONLY}") from error
    if safety_checker != "off" and getattr(pipeline, "safety_checker", None) is None:
        raise QualityError(f"{spec.base.source}: {NO_CHECKER}")
    return pipeline


def _drawn_by(
    spec: EnsembleSpec,
    who: str | None,
    parts: dict[str, Any],
    is_guided: bool,
    device: torch.device,
    memory_budget: int | None,
) -> Any:
    def load(unet: UNet2DConditionModel | None) -> Any:
        own = parts if unet is None else parts | {"unet": unet}
        return _with_parts(spec.base, own).to(device)

    source, is_expert_of = Path(spec.base.source), spec.base.segmoe_expert
    is_plain = not spec.base.loras and is_expert_of is None and not source.is_file() and not is_segmoe_folder(source)
    if who is None and is_plain:
        return load(None)
    if who == MIXTURE:
        return mixed(spec, load, halves=2 if is_guided else 1, device=device, memory_budget=memory_budget)
    base = read_whole_unet(spec.base)
    weights = base if who is None else _expert(spec, who, base)
    parts = parts if who is None else parts | _own_text_parts(spec, who)
    return load(build_unet(weights.config, TensorMover(device, torch.float32).move(weights.tensors), weights.where))


def _own_text_parts(spec: EnsembleSpec, name: str) -> dict[str, Any]:
    """The text encoders and tokenizers that an expert draws by, where these are its own."""
    place = next(place for place, own in enumerate(spec.experts) if own.name == name)
    if spec.text_encoders == "base":
        return {}
    found = find_own_texts(spec, [place], read_base(spec.base).read_texts())
    texts = found[place].read() if place in found else ()
    parts = zip(("", "_2"), texts, strict=False)
    return {
        f"{part}{suffix}": own
        for suffix, weights in parts
        for part, own in (
            ("text_encoder", build_text_encoder(weights, weights.tensors).model),
            ("tokenizer", weights.tokenizer),
        )
    }


def _expert(spec: EnsembleSpec, name: str, base: UNetWeights) -> UNetWeights:
    weights = whole(read_expert(next(own for own in spec.experts if own.name == name), base))
    for field in FITS:
        if weights.config.get(field, base.config[field]) != base.config[field]:
            raise EnsembleError(
                f"{weights.where}: {field} is {weights.config[field]!r}, and {base.config[field]!r} of the base, in "
                "whose pipeline an expert draws"
            )
    return weights


def _with_parts(base: ExpertSpec, parts: dict[str, Any]) -> Any:
    """The pipeline of the base with some parts in the place of its own, all in float32."""
    try:
        pipeline = load_single_file(Path(base.source), parts) if Path(base.source).is_file() else _loaded(base, parts)
    except (QualityError, EnsembleError, MissingPackageError):
        raise
    except Exception as error:  # its parts are built from the values of their configurations as they come
        raise QualityError(
            f"{base.source}: no Stable Diffusion pipeline that can draw: {error}; {SCORE_ONLY}"
        ) from error
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.float()
    return pipeline


def _loaded(base: ExpertSpec, parts: dict[str, Any]) -> Any:
    """The pipeline in a folder, or on the hub, whose files are looked through in the local cache."""
    given: dict[str, Any] = {"use_safetensors": True, "trust_remote_code": False, **parts}
    folder = Path(base.source)
    if not folder.is_dir():
        folder = Path(DiffusionPipeline.download(base.source, revision=base.revision, **given))
    try:
        check_pipeline(folder, parts)
        if "unet" not in parts and is_segmoe_folder(folder):
            raise QualityError(f"{base.source}: SegMoE saved this, so it draws where the experts are its own")
    except QualityError as error:
        raise QualityError(f"{error}; {SCORE_ONLY}") from error
    return DiffusionPipeline.from_pretrained(str(folder), local_files_only=True, **given)
