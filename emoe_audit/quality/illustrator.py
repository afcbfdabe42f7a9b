"""From prompts to judged images: every image set against its prompt and against the caption it was translated from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from PIL.Image import Image

from emoe_audit.errors import PromptTableError, QualityError
from emoe_audit.prompts.emoji import SOURCE_LANGUAGE, caption_matrix
from emoe_audit.quality.clip_score import ClipJudge, cosines, text_ranks
from emoe_audit.quality.images import ImageMaker, image_seed
from emoe_audit.types import EnsembleSpec, ImageConfig, Prompt

MEASURES = ["clip_cosine", "clip_cosine_source", "source_rank"]


class Illustrator:
    """Draws prompts and judges the images."""

    def __init__(self, spec: EnsembleSpec, config: ImageConfig, sources: Mapping[str, str]) -> None:
        """Load pipeline and judge; `sources` gives the source-language caption of a `source_id`.

        Raises:
            QualityError: the ensemble names no judge, or one of both cannot be loaded.
        """
        if spec.judge is None:
            raise QualityError(f"{spec.name}: names no judge; add `judge:` to its YAML, or give --n-images 0")
        self._maker = ImageMaker(spec, config)
        self._judge = ClipJudge(spec.judge, device=config.device)
        self._sources = sources
        self._candidates = self._judge.text_features(_candidates(spec, sources))

    def judge(self, prompts: Sequence[Prompt]) -> tuple[pd.DataFrame, list[Image]]:
        """One row and one image a prompt, in order.

        Columns: `image_seed`; `clip_cosine` with the prompt and `clip_cosine_source` with the source caption, both in
        [-1, 1]; `source_rank`, the place of the source caption among all by falling cosine, 1 for the first. The last
        two are NaN where there is no source caption. Where a safety checker runs also `flagged`; an image that was
        blanked is not judged, and all three measures are NaN.
        """
        drawings = self._maker.draw(prompts)
        pictures = [drawing.image for drawing in drawings]
        captions = pd.Series([self._sources.get(prompt.source_id) for prompt in prompts])
        seen, meant = self._judge.image_features(pictures), self._judge.text_features(captions.fillna("").tolist())
        columns = {
            "image_seed": [image_seed(self._maker.config.seed, prompt.source_id) for prompt in prompts],
            "clip_cosine": cosines(seen, self._judge.text_features([prompt.prompt for prompt in prompts])),
            "clip_cosine_source": pd.Series(cosines(seen, meant)).where(captions.notna()),
            "source_rank": pd.Series(text_ranks(seen, meant, self._candidates)).where(captions.notna()),
        }
        frame = pd.DataFrame(columns).astype({"source_rank": float})
        return self._checked(frame, [drawing.flagged for drawing in drawings]), pictures

    def _checked(self, frame: pd.DataFrame, flagged: list[bool | None]) -> pd.DataFrame:
        policy = self._maker.config.safety_checker
        if policy == "off":
            return frame
        frame["flagged"] = pd.Series(flagged, dtype=bool)
        if policy == "blank":
            frame.loc[frame["flagged"], MEASURES] = np.nan
        return frame


def _candidates(spec: EnsembleSpec, sources: Mapping[str, str]) -> list[str]:
    """What a source caption is ranked among: the ensemble's own, where it brings any, else those of the run."""
    try:
        own = caption_matrix(spec).get(SOURCE_LANGUAGE)
    except PromptTableError:
        own = None
    return sorted(set(sources.values() if own is None else own)) or [""]
