"""Before the first step: what will be done, with everything the result depends on, and whether it can be."""

from __future__ import annotations

import importlib.metadata
import platform
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from emoe_audit.errors import EnsembleError, QualityError
from emoe_audit.experts.drawer import who_draws
from emoe_audit.prompts.table import PromptTable
from emoe_audit.types import MIXTURE, EnsembleSpec, ImageConfig, RunManifest, ScoringConfig

if TYPE_CHECKING:
    from emoe_audit.quality.candidates import Candidates
    from emoe_audit.scoring.anywhere import Described

VERSIONS_OF = ("emoe-audit", "torch", "diffusers", "transformers", "open_clip_torch")


def plan_run(
    prompts: PromptTable,
    spec: EnsembleSpec,
    ensemble_hash: str,
    scoring: ScoringConfig,
    images: ImageConfig,
    command: str,
    described: Described | None = None,
) -> RunManifest:
    """The plan of a run, as it is stored before anything is computed; `described` is the ensemble, where it scores."""
    from emoe_audit.experts.commits import fetched_commits

    candidates = _candidates(prompts, spec) if images.n_images else None
    return RunManifest(
        ensemble=spec,
        scoring=scoring,
        images=replace(images, expert=who_draws(spec, images.expert)) if _is_drawn(images) else images,
        ensemble_hash=ensemble_hash,
        base_hash=described.base_hash if described else "",
        expert_hashes=described.expert_hashes if described else (),
        quality_hash=_quality_hash(spec, images),
        candidates_hash=candidates.sha256 if candidates else "",
        n_candidates=len(candidates.captions) if candidates else 0,
        prompts_hash=prompts.sha256,
        prompts_source=prompts.source,
        command=command,
        sources=fetched_commits(spec),
        versions={"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in VERSIONS_OF},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _is_drawn(images: ImageConfig) -> bool:
    return images.n_images > 0 and images.brought is None


def _quality_hash(spec: EnsembleSpec, images: ImageConfig) -> str:
    if not images.n_images:
        return ""  # as it would say, and no torch is loaded for that
    from emoe_audit.quality.hashes import quality_hash

    return quality_hash(spec, images)


def _candidates(prompts: PromptTable, spec: EnsembleSpec) -> Candidates:
    from emoe_audit.quality.candidates import draw_candidates, source_language

    return draw_candidates(spec, source_language(prompts.parts))


def check_prefix(scoring: ScoringConfig, described: Described | None) -> None:
    """Raise `EnsembleError` where a part of an ensemble is asked that was measured with other weights."""
    if scoring.prefix is None or described is None:
        return
    from emoe_audit.experts.ensemble import weights_hash

    if weights_hash(described.base_hash, described.expert_hashes) != scoring.prefix.weights_hash:
        name = described.spec.name
        raise EnsembleError(
            f"{name}: its weights are others than those of which it is known what a part is worth; "
            f"`emoe-audit ensemble elastic {name}` measures it anew"
        )


def check_drawable(spec: EnsembleSpec, images: ImageConfig) -> None:
    """Raise `QualityError` before anything is scored where the images that are asked for cannot be made, or judged."""
    if images.brought is not None:
        if spec.judge is None:
            raise QualityError(f"{spec.name}: names no judge of the images; add `judge:` to its YAML, or give --judge")
        if not Path(images.brought).is_dir():
            raise QualityError(f"--images {images.brought}: no such folder")
    elif images.n_images:
        from emoe_audit.quality.pipelines import check_source

        check_source(spec, images.expert, images.safety_checker)
        if images.lossy and (who_draws(spec, images.expert) != MIXTURE or images.memory_budget is None):
            raise QualityError(f"{spec.name}: only a mixture under a memory budget draws by a part of its experts")
