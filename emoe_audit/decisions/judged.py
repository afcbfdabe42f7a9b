"""What a ranking by images rests on: whether their judge is known to read the captions that they are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from emoe_audit.analysis.image_agreement import IMAGE_AGREEMENT
from emoe_audit.analysis.rows import records, to_float
from emoe_audit.analysis.summary import NATIVE_QUALITY, SOURCE_QUALITY
from emoe_audit.prompts.tags import language_name
from emoe_audit.runs.query import RunReader

Basis = Literal["reference images", "published", "unknown"]
OF_SOURCES = (SOURCE_QUALITY, "source_rank")
READINGS = "SELECT * FROM judge_reading ORDER BY reads NULLS LAST, reading, language"


@dataclass(frozen=True, kw_only=True)
class JudgeReading:
    """Whether the judge of a run reads one of its languages, and how that is known."""

    language: str
    basis: Basis
    reading: float
    """By reference images the share of other captions that it puts behind that of a real image; else recall at 10."""
    n_captions: int
    """Of real images; 0 for what is published."""
    reads: bool | None
    """None where nothing is known."""
    is_source: bool
    """Whether source captions are in it."""

    def in_words(self) -> str:
        """How it is known."""
        if self.basis == "unknown":
            return f"how well it reads {language_name(self.language)} is not known"
        verb = "reads" if self.reads else "does not read"
        known = f"{verb} {language_name(self.language)}"
        if self.basis == "published":
            return f"it {known} (published recall at 10: {self.reading:.2f})"
        return f"it {known} (it puts {self.reading:.0%} of other captions behind that of a real image)"


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Who judged the images of a run."""

    name: str
    readings: tuple[JudgeReading, ...]
    """The languages that it does not read first, those of which nothing is known last."""
    shares_encoder: bool
    """Whether it reads with the text encoder that is audited: then it does not see what that cannot read."""

    def of(self, *, reads: bool | None) -> list[JudgeReading]:
        """The languages that it reads, does not read, or of which that is not known."""
        return [own for own in self.readings if own.reads is reads]

    @property
    def source(self) -> JudgeReading | None:
        """Of the language of the source captions."""
        return next((own for own in self.readings if own.is_source), None)


def read_judge(store: RunReader) -> Judge | None:
    """The judge of a run; None where no image was judged."""
    if not store.has_analysis("judge_reading"):
        return None
    frame = store.query(READINGS)
    if frame.empty:
        return None
    readings = tuple(
        JudgeReading(
            language=r.language,
            basis=r.basis,
            reading=to_float(r.reading),
            n_captions=0 if pd.isna(r.n_captions) else int(r.n_captions),
            reads=None if pd.isna(r.reads) else bool(r.reads),
            is_source=bool(r.is_source),
        )
        for r in records(frame.astype({"reads": object}))
    )
    return Judge(
        name=str(frame["judge"].iloc[0]),
        readings=readings,
        shares_encoder=bool(frame["shares_encoder"].fillna(False).any()),
    )


def withheld(measure: str, judge: Judge | None) -> dict[str, str]:
    """Languages of which a measure is not shown, as the judge does not read what images are held against, and why."""
    if judge is None:
        return {}
    if measure == NATIVE_QUALITY:
        return {own.language: f"withheld, judge {judge.name}: {own.in_words()}" for own in judge.of(reads=False)}
    source = judge.source
    if measure not in OF_SOURCES or source is None or source.reads is not False:
        return {}
    return {own.language: f"withheld, judge {judge.name}: {source.in_words()}" for own in judge.readings}


def rests_on_images(measure: str, judge: Judge | None, ratings: Sequence[str]) -> tuple[bool, str]:
    """Whether a ranking by a measure of images is known to be what it says, and why, in words."""
    if measure in ratings:
        return True, "images are ranked by ratings that were imported, and these are as good as who gave them"
    if measure == IMAGE_AGREEMENT:
        return True, (
            "images of a caption's translations are held against each other, for which no judge has to read; a wrong "
            "image that all languages share is not seen"
        )
    if judge is None:
        return False, "no image was judged"
    if measure == SOURCE_QUALITY:
        source = judge.source
        told = "nothing is known of its reading" if source is None else source.in_words()
        return bool(
            source and source.reads
        ), f"images are held against their source captions by {judge.name}, and {told}"
    read, unknown = judge.of(reads=True), judge.of(reads=None)
    told = f"it is known to read {len(read)} of {len(judge.readings)} languages, and not known of {len(unknown)}"
    return not unknown and bool(read), f"each image is held against its own prompt by {judge.name}, and {told}"
