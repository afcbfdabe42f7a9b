"""From prompts to judged images: every image set against its prompt and against the caption it was translated from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL.Image import Image

from emoe_audit.errors import QualityError
from emoe_audit.quality.candidates import Candidates
from emoe_audit.quality.clip_score import ClipJudge
from emoe_audit.quality.images import Drawing, ImageMaker, image_seed
from emoe_audit.quality.judging import Judging
from emoe_audit.types import EnsembleSpec, ImageConfig, Prompt


@dataclass(frozen=True, kw_only=True)
class Illustrated:
    """Some prompts with their images, as they were judged."""

    rows: pd.DataFrame
    """As `Judging.rows` gives them, with `image_seed` of the first image, and `flagged` where a safety checker runs."""
    pictures: list[list[tuple[int, Image]]]
    """Of each prompt by their numbers, those that are judged first."""
    seen: list[np.ndarray]
    """What the judge sees in those of each prompt that it judges, `[image, feature]`."""


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
        self._judging = Judging(ClipJudge(spec.judge, device=config.device), sources, candidates)

    def judge(self, prompts: Sequence[Prompt], source_ids: Sequence[Sequence[str]]) -> Illustrated:
        """The images of some prompts, and a row for each caption that a prompt is a translation of.

        An image that a safety checker blanked is not judged.

        Args:
            prompts: Each is drawn from the noises of its own `source_id`.
            source_ids: The captions of each.
        """
        config = self._maker.config
        drawn = [self._maker.draw(prompts, number) for number in range(config.per_prompt)]
        of_prompts: list[tuple[Drawing, ...]] = list(zip(*drawn, strict=True))
        in_order = [sorted(enumerate(own), key=lambda numbered: self._is_blank(numbered[1])) for own in of_prompts]
        counted = [(place, one.image) for place, own in enumerate(of_prompts) for one in own if not self._is_blank(one)]
        of, seen = np.array([place for place, _ in counted], dtype=np.int64), self._seen([own for _, own in counted])
        rows = self._judging.rows(seen, of, [prompt.prompt for prompt in prompts], source_ids)
        seeds = np.array([image_seed(config.seed, prompt.source_id) for prompt in prompts], dtype=np.int64)
        rows.insert(2, "image_seed", seeds[rows["place"]])
        if config.safety_checker != "off":
            rows["flagged"] = [any(drawing.flagged for drawing in of_prompts[place]) for place in rows["place"]]
        return Illustrated(
            rows=rows,
            pictures=[[(number, drawing.image) for number, drawing in own] for own in in_order],
            seen=[seen[of == place] for place in range(len(prompts))],
        )

    def _is_blank(self, drawing: Drawing) -> bool:
        return bool(drawing.flagged) and self._maker.config.safety_checker == "blank"

    def _seen(self, images: list[Image]) -> np.ndarray:
        judge = self._judging.judge
        return judge.image_features(images) if images else np.empty((0, judge.width), dtype=np.float32)
