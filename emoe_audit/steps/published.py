"""How an ensemble's reading of languages goes with what is published of its text encoder, before any run.

The captions that ship are read in forty languages by the text encoder alone. Languages in which the score is high ought
to be those in which the published encoder finds few pictures.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from emoe_audit.analysis.contrasts import correlate_groups
from emoe_audit.analysis.intervals import Interval, flat
from emoe_audit.analysis.readings import Readings
from emoe_audit.analysis.summary import PUBLISHED_RECALL
from emoe_audit.analysis.translations import TRANSLATION_SCORE, Readers
from emoe_audit.errors import EnsembleError
from emoe_audit.experts.public_readers import PUBLIC_READERS, PublicReader, published_recall
from emoe_audit.progress import Progress, silent
from emoe_audit.prompts.shipped import shipped_captions
from emoe_audit.scoring.conditioning import count_tokens
from emoe_audit.steps.checks import find_languages

if TYPE_CHECKING:
    from emoe_audit.scoring.engine import ScoringEngine


@dataclass(frozen=True, kw_only=True)
class PublishedReadings:
    """The translation score of languages against the published recall of the text encoder."""

    reader: PublicReader
    n_languages: int
    """Languages that have both."""
    rho: Interval
    """Spearman's, over languages; -1 where the score is high just where little is found. NaN where it has no number."""
    given_tokens: Interval
    """The same with the mean number of tokens partialled out."""

    def to_json(self) -> dict[str, Any]:
        """Everything; what is undefined is None."""
        figures = flat("rho", self.rho) | flat("given_tokens", self.given_tokens)
        return asdict(self.reader) | {"score": TRANSLATION_SCORE, "n_languages": self.n_languages} | figures

    def to_text(self) -> str:
        """For a terminal."""
        what = self.reader.name if self.reader.exact else f"{self.reader.name}, of the same design"
        if not self.n_languages:
            return f"published readings ({what}): {TRANSLATION_SCORE} gives no language a number on this ensemble"
        figures = f"Spearman {_told(self.rho)}; given the number of tokens {_told(self.given_tokens)}"
        return f"published readings ({what}): {TRANSLATION_SCORE} in {self.n_languages} languages, {figures}"


def compare_published(engine: ScoringEngine, progress: Progress = silent) -> PublishedReadings:
    """Read the captions that ship, and hold the languages against the published recall.

    Raises:
        EnsembleError: the text encoder is no public one.
    """
    reader = engine.ensemble.public_reader
    if reader is None:
        raise EnsembleError(
            f"{engine.ensemble.spec.name}: its text encoder is none that readings are published of; where it was "
            f"fine-tuned from one, say from which: `published: {PUBLIC_READERS[0]}` in its YAML, or "
            f"{' or '.join(PUBLIC_READERS[1:])}"
        )
    rows = _scored(engine, progress)
    recall = published_recall(reader.name, sorted(rows["language"].unique()))
    plain, given = (
        correlate_groups(rows, TRANSLATION_SCORE, PUBLISHED_RECALL, by="language", given=given, known=recall).iloc[0]
        for given in (None, "n_tokens")
    )
    return PublishedReadings(
        reader=reader, n_languages=int(plain["n"]), rho=_interval(plain), given_tokens=_interval(given)
    )


def _scored(engine: ScoringEngine, progress: Progress) -> pd.DataFrame:
    """A row per caption and language: `language, source_id, n_tokens` and the score."""
    rows = shipped_captions().astype(str).melt(ignore_index=False, var_name="language", value_name="prompt")
    rows = rows.rename_axis("source_id").reset_index()
    texts = rows["prompt"].to_list()
    readings = Readings(
        vectors=engine.read_texts(texts, progress),
        languages=rows["language"].to_list(),
        sources=rows["source_id"].astype(str).to_list(),
    )
    judged = Readers.fit(readings, find_languages(engine, progress).calibration).judge(readings)
    counts = count_tokens(texts, engine.ensemble.tokenizer, engine.ensemble.max_length)
    scores = {TRANSLATION_SCORE: judged[TRANSLATION_SCORE], "n_tokens": [count.n_tokens for count in counts]}
    return rows[["language", "source_id"]].assign(**scores)


def _interval(row: pd.Series) -> Interval:
    return Interval(value=float(row["rho"]), low=float(row["low"]), high=float(row["high"]))


def _told(own: Interval) -> str:
    return f"{own.value:.2f} ({own.low:.2f} to {own.high:.2f})"
