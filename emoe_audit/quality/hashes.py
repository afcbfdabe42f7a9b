"""The hash of everything that draws and judges the images of a run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from emoe_audit.experts.drawer import who_draws
from emoe_audit.experts.images_alone import BROUGHT
from emoe_audit.experts.spec_reader import LOCAL_JUDGE
from emoe_audit.quality.autoencoder import files_of, with_autoencoder
from emoe_audit.quality.clip_score import weights_file
from emoe_audit.types import MIXTURE, EnsembleSpec, ImageConfig


def quality_hash(spec: EnsembleSpec, config: ImageConfig) -> str:
    """SHA-256 over what draws and judges: the files of pipeline, experts and judge; of a hub id its name.

    An autoencoder counts as a part of the pipeline wherever it lies. Of images that were brought along the judge alone
    counts, and that they were.
    """
    if config.n_images == 0:
        return ""
    if config.brought is not None:
        spec = replace(spec, base=BROUGHT, experts=(), vae=None, text_encoders="base", clip_skip=None)
        config = replace(config, expert=None)
    who, judge = who_draws(spec, config.expert), spec.judge or ""
    drawn_by = [own for own in spec.experts if who in (MIXTURE, own.name)]
    checkpoints = [(f"{own.source}@{own.revision or ''}", own.source) for own in (spec.base, *drawn_by)]
    if who == MIXTURE:
        checkpoints = list(dict.fromkeys(checkpoints))
    sources = [*checkpoints, (judge, judge.removeprefix(LOCAL_JUDGE))]
    if spec.vae is not None and not Path(spec.vae).exists():
        sources.append((f"vae {spec.vae}", ""))
    sources += [(lora, lora) for lora in spec.base.loras]
    digest = hashlib.sha256()
    if (spec.text_encoders, spec.clip_skip) != ("base", None):
        digest.update(repr((spec.text_encoders, spec.clip_skip)).encode())
    if who == MIXTURE:
        digest.update(repr((spec.moe_layers, spec.split, spec.mixture)).encode())
    for index, (name, place) in enumerate(sources):
        files = _files(place)
        if not files:
            digest.update(name.encode())
        if index == 0:
            files = with_autoencoder(files, spec.vae)
        _add(digest, files)
    for own in drawn_by:
        digest.update(b"" if own.segmoe_expert is None else f"expert {own.segmoe_expert}".encode())
        for lora in own.loras:
            digest.update(lora.encode())
            _add(digest, _files(lora))
    weights = weights_file(spec.judge or "")
    if weights is not None and weights.is_file():
        digest.update(_file_digest(weights))
    return digest.hexdigest()


def _add(digest: Any, files: Mapping[Path, Path]) -> None:
    for inside, file in sorted(files.items()):
        digest.update(str(inside).encode())
        digest.update(_file_digest(file))


def _files(source: str) -> dict[Path, Path]:
    """A single file, or those of a folder by their place there; none of what is not on this disk."""
    path = Path(source)
    if not source or not path.exists():
        return {}
    return {Path(): path} if path.is_file() else files_of(path)


def _file_digest(file: Path) -> bytes:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()
