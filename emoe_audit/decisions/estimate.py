"""What a run would do and how long it would take, from a short measurement of this ensemble on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from PIL import Image

from emoe_audit.progress import in_words
from emoe_audit.prompts.captions import choose_captions, compact
from emoe_audit.prompts.columns import listed
from emoe_audit.prompts.table import PromptTable
from emoe_audit.runs.manifest import stored_dtype
from emoe_audit.scoring.loading import load_engine, settle_dtype
from emoe_audit.types import EnsembleSpec, ImageConfig, Prompt, ScoringConfig
from emoe_audit.validity.probes import MOST_TEXTS

if TYPE_CHECKING:
    from emoe_audit.quality.brought import Found

PROBE_PROMPTS, PROBE_IMAGES = 32, 4
IMAGE_KIB = 5


def estimate(
    prompts: PromptTable, spec: EnsembleSpec, out: Path, scoring: ScoringConfig, images: ImageConfig
) -> dict[str, Any]:
    """Score a few prompts and draw a few images to say what the whole would cost; nothing is stored."""
    from emoe_audit.experts.hub import fetch_notice
    from emoe_audit.experts.judges import judge_cost

    to_fetch, n_images = fetch_notice(spec), n_shown(prompts, images)
    languages = {str(tag) for part in prompts.parts for tag in part["language"].unique()}
    return {
        "prompts": prompts.n_prompts,
        "left_out": len(prompts.row_errors),
        "experts": len(spec.experts if scoring.experts is None else scoring.experts) if scoring.n_noise else 0,
        "noises": scoring.n_noise if spec.experts else 0,
        "images": n_images,
        **({} if images.brought is None else {"without_an_image": n_without(prompts, images)}),
        "judge": judge_cost(spec.judge if n_images else None, sorted(languages)),
        "from_the_hub": to_fetch or "nothing",
        "stored_in": str(out),
        "stored_mib": round((prompts.n_prompts * 2.4 + n_images * IMAGE_KIB) / 1024, 1),
        "time": "not known before the checkpoints are here"
        if to_fetch
        else _time(prompts, spec, out, scoring, images, n_images),
    }


def n_shown(prompts: PromptTable, images: ImageConfig) -> int:
    """How many images there will be: drawn, or found in the folder of those that were made elsewhere.

    Raises:
        QualityError: there is no such folder, or no image in it belongs to a prompt.
    """
    if not images.n_images:
        return 0
    if images.brought is not None:
        return sum(map(len, _found(prompts, images.brought).files.values()))
    return choose_captions(compact(prompts.parts), images.n_images, images.seed).n_images * images.per_prompt


def n_without(prompts: PromptTable, images: ImageConfig) -> str:
    """How many prompts have no image among those that were brought, with the first of them."""
    missing = [str(error.prompt_id) for error in _found(prompts, str(images.brought)).row_errors]
    return f"{len(missing)}: {listed(missing)}" if missing else "none"


def _found(prompts: PromptTable, folder: str) -> Found:
    from emoe_audit.quality.brought import COLUMN, find_images

    parts = [part.reindex(columns=["prompt_id", COLUMN]) for part in prompts.parts]
    return find_images(pd.concat(parts), Path(folder))


def seconds_each(
    sample: Sequence[Prompt], spec: EnsembleSpec, scoring: ScoringConfig, images: ImageConfig | None
) -> tuple[float, float]:
    """Seconds to score a prompt and to draw an image, measured on some prompts.

    The first is 0 where nothing is scored, the second without `images`; where these were brought along it is that to
    judge one.

    Raises:
        AuditError: the ensemble cannot be loaded, or cannot draw.
    """
    a_prompt = 0.0
    if spec.experts:
        engine = load_engine(spec, scoring)
        engine.score(sample[:1])
        scored = sample[:PROBE_PROMPTS]
        a_prompt = _seconds(lambda: engine.score(scored)) / len(scored)
    if images is None:
        return a_prompt, 0.0
    if images.brought is not None:
        from emoe_audit.quality.clip_score import ClipJudge

        judge = ClipJudge(str(spec.judge), device=images.device)
        shown = [Image.new("RGB", (512, 512))] * PROBE_PROMPTS
        return a_prompt, _seconds(lambda: judge.image_features(shown)) / len(shown)
    from emoe_audit.quality.images import ImageMaker

    maker, drawn = ImageMaker(spec, images), sample[:PROBE_IMAGES]
    return a_prompt, _seconds(lambda: maker.make(drawn)) / len(drawn)


def seconds_of_parts(
    prompts: PromptTable, spec: EnsembleSpec, scoring: ScoringConfig, images: ImageConfig, experts: Sequence[str]
) -> tuple[float, float, float]:
    """What the parts of an audit take here, measured on a few prompts by two experts under one noise.

    Args:
        prompts: What is audited.
        spec: The ensemble.
        scoring: How it scores.
        images: How it draws.
        experts: Two of its experts, or more.

    Returns:
        Seconds in which the text encoder reads a prompt, in which a prompt passes an expert under one noise, and in
        which all images are drawn.

    Raises:
        AuditError: the ensemble cannot be loaded, or cannot draw.
    """
    sample = list(islice(prompts.prompts(), PROBE_PROMPTS))
    n_images = n_shown(prompts, images)
    a_text, an_image = seconds_each(sample, spec, replace(scoring, n_noise=0), images if n_images else None)
    some, _ = seconds_each(sample, spec, replace(scoring, n_noise=1, experts=tuple(experts)), None)
    return a_text, max(0.0, some - a_text) / len(experts), an_image * n_images


def n_read(spec: EnsembleSpec, scoring: ScoringConfig) -> tuple[int, int]:
    """Texts that a run reads besides its own by the text encoder alone, and that it scores at most (`n_checked`)."""
    if not scoring.check_pairs:
        return 0, 0
    from emoe_audit.scoring.calibration import calibration_captions

    return calibration_captions(spec).size, n_checked(scoring)


def n_checked(scoring: ScoringConfig) -> int:
    """Prompts that the validity check of a run scores besides its own, at most; none where it was kept."""
    return MOST_TEXTS * bool(scoring.check_pairs)


def _time(
    prompts: PromptTable, spec: EnsembleSpec, out: Path, scoring: ScoringConfig, images: ImageConfig, n_images: int
) -> str:
    sample = list(islice(prompts.prompts(), PROBE_PROMPTS))
    settled = settle_dtype(scoring, stored_dtype(out)) if spec.experts else scoring
    a_prompt, an_image = seconds_each(sample, spec, settled, images if n_images else None)
    return in_words(a_prompt * (prompts.n_prompts + n_checked(scoring)) + an_image * n_images)


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
