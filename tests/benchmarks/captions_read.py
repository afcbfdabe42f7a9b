"""Captions of an embedded ensemble as its text encoder reads them in every language, and companies of languages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import pandas as pd

from emoe_audit.analysis.calibration import Calibration
from emoe_audit.analysis.readings import Readings
from emoe_audit.analysis.translations import TRANSLATION_SCORE, Readers
from emoe_audit.experts.spec import load_spec
from emoe_audit.ground.verify import READABILITY, known_coverage
from emoe_audit.prompts.emoji import IMAGE_COLUMNS, caption_matrix, is_plain
from emoe_audit.prompts.regions import read_templates, region_prompts
from emoe_audit.prompts.shipped import shipped_prompts
from emoe_audit.scoring.calibration import calibrate, calibration_captions
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.loading import load_engine
from emoe_audit.types import ScoringConfig

READABLE = 0.5
"""Recall at 10 in the text encoder from which a language counts as readable."""
PLAIN, TEMPLATE = 200, 100
SIZES = (4, 5, 6, 8, 12, 20)


@dataclass(frozen=True)
class Read:
    """What an ensemble reads, and its calibration, from other captions."""

    engine: ScoringEngine
    calibration: Calibration
    captions: dict[str, pd.DataFrame]
    """By kind, a column per language: `plain`, `flags` and `tones`; none of them is in the calibration."""
    recall: pd.Series
    """Of the text encoder, by language."""
    coverage: pd.Series
    """Share of the training captions, by language."""

    @cached_property
    def readable(self) -> list[str]:
        """The languages that can be read."""
        return [str(name) for name in self.recall.index[self.recall >= READABLE]]

    def readings(self, kind: str) -> Readings:
        """Every caption of a kind in every language."""
        long = self.captions[kind].melt(ignore_index=False, var_name="language", value_name="text")
        return self._read(long["text"], long["language"], long.index)

    def region_prompts(self, countries: Sequence[str]) -> Readings:
        """What `prompts regions` makes of its first two nouns for some countries."""
        frame = region_prompts(read_templates(shipped_prompts() / "templates" / "places.csv"), countries).frame
        nouns = frame["source_id"].str.rsplit("-", n=1).str[0]
        frame = frame[nouns.isin(nouns.unique()[:2])]
        return self._read(frame["prompt"], frame["language"], frame["source_id"])

    def _read(self, texts: pd.Series, languages: pd.Series, sources: pd.Series | pd.Index) -> Readings:
        vectors = self.engine.read_texts(texts.astype(str).to_list())
        return Readings(vectors=vectors, languages=list(languages), sources=list(sources.astype(str)))


@cache
def read(name: str) -> Read:
    """Load an embedded ensemble and sample its captions."""
    spec = load_spec(name)
    engine = load_engine(spec, ScoringConfig(device="cpu", n_noise=1, batch_size=64, dtype="float32"))
    known = calibration_captions(spec)
    images = caption_matrix(spec).set_index("source_id", drop=False)
    images = images[~images.index.isin(known.index)]
    kinds = {
        "plain": images[is_plain(images)],
        "flags": images[images["region"].notna()],
        "tones": images[images["skin_tone"].notna()],
    }
    rng, texts = np.random.default_rng(1), {}
    for kind, rows in kinds.items():
        chosen = rng.permutation(len(rows))[: PLAIN if kind == "plain" else TEMPLATE]
        texts[kind] = rows.iloc[np.sort(chosen)].drop(columns=list(IMAGE_COLUMNS))
    table = known_coverage(spec)
    table = table[table["by"] == "language"].set_index("group")
    return Read(
        engine=engine,
        calibration=calibrate(engine, known).calibration,
        captions=texts,
        recall=table[READABILITY].astype(float),
        coverage=table["coverage"],
    )


def judged(readings: Readings, calibration: Calibration | None) -> pd.DataFrame:
    """A row per prompt: `language`, `source_id`, the score and its reliability."""
    names = {"language": readings.languages, "source_id": readings.sources}
    return pd.DataFrame(names).join(Readers.fit(readings, calibration).judge(readings))


def among(readings: Readings, languages: Sequence[str]) -> Readings:
    """The prompts in some languages."""
    return readings.take(np.flatnonzero(np.isin(readings.languages, list(languages))))


def joined(*parts: Readings) -> Readings:
    """The prompts of several readings."""
    return Readings(
        vectors=np.concatenate([part.vectors for part in parts]),
        languages=[name for part in parts for name in part.languages],
        sources=[name for part in parts for name in part.sources],
    )


def companies(known: Read, n: int, seed: int = 0) -> Iterator[list[str]]:
    """Random companies of four languages or more, of which two at least can be read."""
    rng, everyone = np.random.default_rng(seed), list(known.calibration.languages)
    for _ in range(n):
        two = list(rng.choice(known.readable, size=2, replace=False))
        others = [name for name in everyone if name not in two]
        yield two + list(rng.choice(others, size=rng.choice(SIZES) - 2, replace=False))


def by_language(table: pd.DataFrame) -> pd.Series:
    """Mean scores; NaN where a prompt has none."""
    means: pd.Series = table.groupby("language")[TRANSLATION_SCORE].agg(lambda own: own.mean(skipna=False))
    return means
