"""What a judge makes of images: how well each shows its prompt, and the captions that it was translated from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from emoe_audit.quality.candidates import Candidates
from emoe_audit.quality.clip_score import ClipJudge, cosines, text_ranks

MEASURES = ["clip_cosine", "clip_cosine_source", "source_rank"]


class Judging:
    """Holds images against texts; a caption is read once."""

    def __init__(self, judge: ClipJudge, sources: Mapping[str, str], candidates: Candidates) -> None:
        """Read the candidates.

        Args:
            judge: Sees images and reads texts.
            sources: The source-language caption of each `source_id` that has one.
            candidates: What source captions are ranked among.
        """
        self.judge = judge
        self._sources, self._candidates = sources, candidates
        self._read: dict[str, np.ndarray] = {}
        self._others = self._texts(candidates.captions)

    def rows(
        self,
        seen: Float[np.ndarray, "image feature"],
        of: Int[np.ndarray, " image"],
        texts: Sequence[str],
        source_ids: Sequence[Sequence[str]],
    ) -> pd.DataFrame:
        """A row for each caption that a prompt is a translation of, from the images of the prompt.

        Columns: `place` of the prompt; `source_id`; `n_images`, those that are judged; `clip_cosine` with the prompt
        and `clip_cosine_source` with the source caption, both in [-1, 1] and averaged over the images; `source_rank`,
        the place of the source caption among the candidates by falling cosine, 1 for the first, the median over the
        images. NaN where there is no image, and the last two where there is no source caption.

        Args:
            seen: What the judge sees, at length 1.
            of: The place of the prompt that each image belongs to.
            texts: The prompts.
            source_ids: The captions of each: a word that means two things has two.
        """
        place = np.repeat(np.arange(len(texts)), [len(own) for own in source_ids])
        frame = pd.DataFrame({"place": place, "source_id": [source for own in source_ids for source in own]})
        frame["n_images"] = np.bincount(of, minlength=len(texts))[place]
        images = pd.DataFrame({"place": of, "image": np.arange(len(of))})
        pairs = frame[["place", "source_id"]].rename_axis("row").reset_index().merge(images, on="place")
        cosine = cosines(seen, self.judge.text_features(list(texts))[of])
        shown = pairs["image"].to_numpy()
        pairs[MEASURES[0]] = cosine[shown]
        pairs[MEASURES[1:]] = self._against_sources(seen[shown], pairs["source_id"].to_list())
        measured = pairs.groupby("row")[MEASURES].agg(dict.fromkeys(MEASURES[:2], "mean") | {MEASURES[2]: "median"})
        return frame.join(measured)

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
            self._read |= dict(zip(new, self.judge.text_features(new), strict=True))
        return np.stack([self._read[caption] for caption in captions])
