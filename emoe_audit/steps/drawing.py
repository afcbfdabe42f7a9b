"""The job of whoever draws: prompts become images, and these are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from emoe_audit.runs.batches import as_prompt, one_by_one_if_it_fails
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.hands import Row
from emoe_audit.steps.pictures import Pictured, keep_pictures

if TYPE_CHECKING:
    from emoe_audit.quality.illustrator import Illustrator


@dataclass(frozen=True, kw_only=True)
class Drawing(Pictured):
    """Prompts are drawn, and the images judged."""

    def load(self) -> Illustrator:
        """Load pipeline and judge. Raises `QualityError`."""
        from emoe_audit.quality.illustrator import Illustrator

        return Illustrator(self.ensemble, self.images, self.captions, self.candidates)

    def work(self, loaded: Illustrator, own: RunStore, rows: Sequence[Row]) -> None:
        """Write images and a shard of what the judge says; each row has the `source_ids` that it is judged against."""
        frames = one_by_one_if_it_fails(list(rows), lambda part: _draw_and_judge(own, loaded, part), self.stage, own)
        if frames:
            own.append("quality", pd.concat(frames, ignore_index=True))


def _draw_and_judge(store: RunStore, illustrator: Illustrator, rows: Sequence[Row]) -> pd.DataFrame:
    from emoe_audit.quality.images import made_from, png

    prompts, plan = [as_prompt(row) for row in rows], store.plan()
    made = illustrator.judge(prompts, [row["source_ids"] for row in rows])
    files = [
        [
            png(picture, made_from(prompt, plan.ensemble, plan.images, plan.ensemble_hash, number))
            for number, picture in pictures
        ]
        for prompt, pictures in zip(prompts, made.pictures, strict=True)
    ]
    return keep_pictures(store, rows, files, made.seen, made.rows)
