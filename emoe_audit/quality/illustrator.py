"""From prompts to judged images: every image set against its prompt and against the caption it was translated from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from PIL.Image import Image

from emoe_audit.errors import QualityError
from emoe_audit.quality.candidates import Candidates
from emoe_audit.quality.clip_score import ClipJudge, cosines, text_ranks
from emoe_audit.quality.images import ImageMaker, image_seed
from emoe_audit.types import EnsembleSpec, ImageConfig, Prompt

MEASURES = ["clip_cosine", "clip_cosine_source", "source_rank"]


class Illustrator:
    """Draws prompts and judges the images."""

    def __init__(
        self, spec: EnsembleSpec, config: ImageConfig, sources: Mapping[str, str], candidates: Candidates
    ) -> None:
        """Load pipeline and judge.

        Args:
            spec: The ensemble.
            config: How images are made.
            sources: The source-language caption of each `source_id` that has one.
            candidates: What source captions are ranked among.

        Raises:
            QualityError: the ensemble names no judge, or one of both cannot be loaded.
        """
        if spec.judge is None:
            raise QualityError(f"{spec.name}: names no judge; add `judge:` to its YAML, or give --n-images 0")
        self._maker = ImageMaker(spec, config)
        self._judge = ClipJudge(spec.judge, device=config.device)
        self._sources, self._candidates = sources, candidates
        self._read: dict[str, np.ndarray] = {}
        self._others = self._texts(candidates.captions)

    def judge(self, prompts: Sequence[Prompt], source_ids: Sequence[Sequence[str]]) -> tuple[pd.DataFrame, list[Image]]:
        """One image a prompt, in order, and a row for each caption that the prompt is a translation of.

        Columns: `place` of the prompt; `source_id`; `image_seed`; `clip_cosine` with the prompt and
        `clip_cosine_source` with the source caption, both in [-1, 1]; `source_rank`, the place of the source caption
        among the candidates by falling cosine, 1 for the first. The last two are NaN where there is no source caption.
        Where a safety checker runs also `flagged`; an image that was blanked is not judged, and all three measures are
        NaN.

        Args:
            prompts: Each is drawn from the noise of its own `source_id`.
            source_ids: The captions of each: a word that means two things has two.
        """
        drawings = self._maker.draw(prompts)
        pictures = [drawing.image for drawing in drawings]
        seen = self._judge.image_features(pictures)
        cosine = cosines(seen, self._judge.text_features([prompt.prompt for prompt in prompts]))
        seeds = np.array([image_seed(self._maker.config.seed, prompt.source_id) for prompt in prompts])
        place = np.repeat(np.arange(len(prompts)), [len(own) for own in source_ids])
        sources = [source for own in source_ids for source in own]
        frame = pd.DataFrame({"place": place, "source_id": sources, "image_seed": seeds[place]})
        frame["clip_cosine"] = cosine[place]
        frame[["clip_cosine_source", "source_rank"]] = self._against_sources(seen[place], sources)
        return self._checked(frame, [drawings[own].flagged for own in place]), pictures

    def _against_sources(self, seen: np.ndarray, source_ids: Sequence[str]) -> np.ndarray:
        """Cosine with the source caption and its rank, `[row, 2]`; NaN where there is none."""
        measured = np.full((len(seen), 2), np.nan)
        captions = {row: self._sources[own] for row, own in enumerate(source_ids) if own in self._sources}
        if captions:
            rows, texts = list(captions), list(captions.values())
            meant, own = self._texts(texts), np.array([self._candidates.place_of(text) for text in texts])
            measured[rows, 0] = cosines(seen[rows], meant)
            measured[rows, 1] = text_ranks(seen[rows], meant, self._others, own)
        return measured

    def _texts(self, captions: Sequence[str]) -> np.ndarray:
        """Features of captions, each of which is read once."""
        new = [caption for caption in dict.fromkeys(captions) if caption not in self._read]
        if new:
            self._read |= dict(zip(new, self._judge.text_features(new), strict=True))
        return np.stack([self._read[caption] for caption in captions])

    def _checked(self, frame: pd.DataFrame, flagged: list[bool | None]) -> pd.DataFrame:
        policy = self._maker.config.safety_checker
        if policy == "off":
            return frame
        frame["flagged"] = pd.Series(flagged, dtype=bool)
        if policy == "blank":
            frame.loc[frame["flagged"], MEASURES] = np.nan
        return frame
