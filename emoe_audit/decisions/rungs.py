"""The rungs of the ladder of evidence, by falling weight: what each is called, rests on, and lets be done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Rung = Literal["coverage", "quality", "measured", "published", "checks", "design", "unproven", "none", "contradicted"]


@dataclass(frozen=True, kw_only=True)
class RungWords:
    """What one rung is called, what has to be there for it, and what may be done with a ranking that reaches it."""

    word: str
    rests_on: str
    sentence: str
    """`{basis}` is the evidence in words."""


LADDER: dict[Rung, RungWords] = {
    "coverage": RungWords(
        word="Confirmed by known training coverage",
        rests_on="the share of the training captions is known of ten groups or more, and the score rises as it falls",
        sentence="Act on the ranking: the score rises as {basis} falls",
    ),
    "quality": RungWords(
        word="Confirmed by image quality",
        rests_on="images were judged of ten languages or regions or more, or of thirty prompts where all are in one "
        "language, and the score rises as their cosine with the source caption falls",
        sentence="Act on the ranking where images count: the score rises as {basis} falls",
    ),
    "measured": RungWords(
        word="Measured on images",
        rests_on="nothing is scored, groups are ranked by their images, and the judge is known to read the captions, "
        "or has not to",
        sentence="Act on the ranking where images count: {basis}",
    ),
    "published": RungWords(
        word="Supported by published readings of its text encoder",
        rests_on="the text encoder is a public one, byte for byte, and over ten languages or more the score rises as "
        "its published recall falls, beyond what the number of tokens explains",
        sentence="Follow the ranking as a lead: the score rises as {basis} falls",
    ),
    "checks": RungWords(
        word="Supported by checks beyond placebo",
        rests_on="prompts that must be strange to every model score higher than their placebos do",
        sentence="Take the ranking as a question to ask: it is supported by {basis}",
    ),
    "design": RungWords(
        word="Hinted at by published readings of the same design",
        rests_on="as for published readings, of a text encoder of the same design whose weights may be others",
        sentence="Take the ranking as a hint: the score rises as {basis} falls",
    ),
    "unproven": RungWords(
        word="Measured by a judge that was not tested",
        rests_on="nothing is scored, groups are ranked by their images, and how the judge reads is not known",
        sentence="Take the ranking as the word of the judge, which real images would test: {basis}",
    ),
    "none": RungWords(
        word="Supported by nothing in this run",
        rests_on="nothing of the above",
        sentence="Do not act on the ranking: nothing in this run supports it",
    ),
    "contradicted": RungWords(
        word="Contradicted in this run",
        rests_on="any of the above clearly points the other way",
        sentence="Do not use the ranking: the score points the wrong way against {basis}",
    ),
}
"""Every rung by falling weight; below them what stands on none."""
