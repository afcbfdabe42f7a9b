"""What a run would do and how long it would take, from a short measurement of this ensemble on this machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from emoe_audit.loading import load_engine, settle_dtype
from emoe_audit.progress import in_words
from emoe_audit.prompts.table import PromptTable
from emoe_audit.types import EnsembleSpec, ImageConfig, ScoringConfig

PROBE_PROMPTS, PROBE_IMAGES = 32, 4
IMAGE_KIB = 5
HALVES_A_PAIR, N_SHIPPED_LANGUAGES = 5, 40
"""Of the validity check: two probes in every language and one in half of them, two halves each."""
ALWAYS_CHECKED = 1250
"""Prompts that the check scores whatever the number of pairs: English words, captions that pairs are held against."""


def estimate(
    prompts: PromptTable, spec: EnsembleSpec, out: Path, scoring: ScoringConfig, images: ImageConfig
) -> dict[str, Any]:
    """Score a few prompts and draw a few images to say what the whole would cost; nothing is stored."""
    from emoe_audit.experts.hub import fetch_notice

    to_fetch = fetch_notice(spec)
    n_images = min(images.n_images, len(prompts.frame))
    return {
        "prompts": len(prompts.frame),
        "left_out": len(prompts.row_errors),
        "experts": len(spec.experts),
        "noises": scoring.n_noise,
        "images": n_images,
        "from_the_hub": to_fetch or "nothing",
        "stored_in": str(out),
        "stored_mib": round((len(prompts.frame) * 1.3 + n_images * IMAGE_KIB) / 1024, 1),
        "time": "not known before the checkpoints are here"
        if to_fetch
        else _time(prompts, spec, out, scoring, images, n_images),
    }


def _time(
    prompts: PromptTable, spec: EnsembleSpec, out: Path, scoring: ScoringConfig, images: ImageConfig, n_images: int
) -> str:
    sample = list(prompts.prompts())[:PROBE_PROMPTS]
    engine = load_engine(spec, settle_dtype(scoring, out))
    engine.score(sample[:1])
    n_checked = HALVES_A_PAIR * scoring.check_pairs * N_SHIPPED_LANGUAGES + ALWAYS_CHECKED * bool(scoring.check_pairs)
    seconds = _seconds(lambda: engine.score(sample)) / len(sample) * (len(prompts.frame) + n_checked)
    if n_images:
        from emoe_audit.quality.images import ImageMaker

        maker = ImageMaker(spec, images)
        seconds += _seconds(lambda: maker.make(sample[:PROBE_IMAGES])) / len(sample[:PROBE_IMAGES]) * n_images
    return in_words(seconds)


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
