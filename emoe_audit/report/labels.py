"""Names for people: of measures, of groups, of correlations; and prompts made safe to show in a chart."""

from __future__ import annotations

import html
import math
import unicodedata
from dataclasses import dataclass
from functools import cache

from langcodes import Language
from langcodes.tag_parser import LanguageTagError

from emoe_audit.analysis.familiarity import UNFAMILIARITY
from emoe_audit.analysis.image_agreement import IMAGE_AGREEMENT
from emoe_audit.analysis.summary import COVERAGE, PUBLISHED_RECALL
from emoe_audit.analysis.translations import RELIABILITY, TRANSLATION_SCORE
from emoe_audit.decisions.ranking import ranks_by_images

MEASURES = {
    TRANSLATION_SCORE: "Translation disagreement",
    RELIABILITY: "Reliability of translation disagreement",
    UNFAMILIARITY: "Unfamiliarity",
    "relative_disagreement": "Relative disagreement",
    "disagreement": "Disagreement, plain",
    "feature_power": "Feature power",
    "clip_cosine": "CLIP cosine",
    "clip_cosine_source": "CLIP cosine, source caption",
    IMAGE_AGREEMENT: "Agreement of images",
    "n_tokens": "Tokens",
    "tokens_per_word": "Tokens per word",
    "truncated": "Cut short",
    "log_length": "Length in characters",
    "script": "Script",
    COVERAGE: "Training coverage",
    PUBLISHED_RECALL: "Published recall of the text encoder",
}
GROUP_COLUMNS = {"language": ("language", "languages"), "region": ("region", "regions")}
SCORE_NAMES = {"disagreement": "plain disagreement"}
FIRST_STRONG_ISOLATE, POP_ISOLATE = "\u2068", "\u2069"


@dataclass(frozen=True, kw_only=True)
class ScoreWords:
    """What a score says of prompts, as parts of sentences."""

    times: str
    """Of a group that stands out, after its name."""
    none: str
    """Where none does, after `in none of 40 languages`."""
    more: str
    """The prompts that score higher."""
    high: str
    """After `high means that`."""


EXPERT_WORDS = ScoreWords(
    times="where its experts disagree {times} times as much as on the average prompt",
    none="do the experts of {ensemble} disagree clearly more than on the average prompt",
    more="where the experts disagree more",
    high="the experts differ, so the ensemble is less certain",
)
TRANSLATION_WORDS = ScoreWords(
    times="which it reads {times} times as far from their translations as the average prompt",
    none="does {ensemble} read prompts clearly further from their translations than the average prompt",
    more="where prompts are read further from their translations",
    high="prompts are read unlike their translations, although they say the same",
)
ALONE_WORDS = ScoreWords(
    times="of which its text encoder makes {times} times as little as of the average prompt",
    none="does the text encoder of {ensemble} make clearly less of prompts than of the average one",
    more="where the text encoder makes less of prompts",
    high="the text encoder makes little of a prompt, against captions of its language that are known",
)
WORDS = {TRANSLATION_SCORE: TRANSLATION_WORDS, UNFAMILIARITY: ALONE_WORDS}
IMAGE_WORDS = {
    "clip_cosine_source": "an image shows what its source caption says",
    "clip_cosine": "an image shows what its prompt says",
    IMAGE_AGREEMENT: "images show what those of the same caption in other languages do",
}
"""What a measure of images says where it is high, after `high means that`."""


def score_words(score: str) -> ScoreWords:
    """How a ranking by this score is told."""
    return WORDS.get(score, EXPERT_WORDS)


def high_means(measure: str) -> str:
    """What it says of prompts where what ranks is high, after `high means that`."""
    if ranks_by_images(measure):
        return IMAGE_WORDS.get(measure, "the prompt is drawn well")
    return score_words(measure).high


def verdict_titles(ranking: str) -> tuple[str, str, str, str]:
    """What the four sentences of a verdict answer."""
    if ranks_by_images(ranking):
        return (
            "Where it draws worst",
            "Whether translations show the same",
            "Whether the judge reads these languages",
            "How far to trust this",
        )
    return (
        "Where it is unsure",
        "What that does to images",
        "Whether the score is valid here",
        "How far to trust this",
    )


def measure_label(measure: str) -> str:
    """The name of a measure on the page."""
    return MEASURES.get(measure, measure.replace("_", " "))


def score_name(score: str) -> str:
    """The name of a score in running text."""
    return SCORE_NAMES.get(score, measure_label(score).lower())


def column_label(by: str, *, plural: bool = False) -> str:
    """The name of a group column in running text."""
    singular, many = GROUP_COLUMNS.get(by, (f"group of “{by}”", f"groups of “{by}”"))
    return many if plural else singular


def of_groups(by: str, labels: list[str]) -> str:
    """Which prompts, in running text: `in Thai and Lao`, `of the region Chad`."""
    names = listing(labels)
    return f"in {names}" if by == "language" else f"of the {column_label(by)} {names}"


@cache
def group_label(by: str, group: str) -> str:
    """A group's English name where one is known (`fi` -> Finnish, `419` -> Latin America), else the group itself."""
    if by == "language":
        return _language_name(group)
    if by == "region":
        return _region_name(group)
    return group


def _language_name(tag: str) -> str:
    try:
        name = Language.get(tag).display_name()
    except LanguageTagError:
        return tag
    return tag if name.startswith("Unknown language") else name


def _region_name(code: str) -> str:
    try:
        name = Language.get(f"und-{code}").territory_name()
    except LanguageTagError:
        return code
    return code if name.startswith("Unknown Region") else name


def clip_text(text: str, length: int) -> str:
    """One line of at most `length` characters: control characters become spaces, the rest ends in an ellipsis."""
    line = " ".join("".join(" " if _breaks_line(c) else c for c in text).split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def _breaks_line(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} or character in "\u202a\u202b\u202c\u202d\u202e"


def asked_in(language: str | None) -> str:
    """The only language in which a score was asked, as the end of a phrase; empty for many."""
    return f" in {group_label('language', language)}" if language else ""


def quoted(text: str, length: int = 40) -> str:
    """Text in a sentence: clipped, in quotation marks, its direction isolated."""
    return f"“{FIRST_STRONG_ISOLATE}{clip_text(text, length)}{POP_ISOLATE}”"


def chart_text(text: str, length: int = 30) -> str:
    """Text for a chart, which reads a little markup of its own: clipped, escaped, its direction isolated."""
    return FIRST_STRONG_ISOLATE + html.escape(clip_text(text, length), quote=False) + POP_ISOLATE


def decimals(values: list[float], digits: int = 3) -> int:
    """How many decimals show the largest of `values` with `digits` significant digits."""
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0.0)
    if largest == 0:
        return digits
    return max(0, digits - 1 - math.floor(math.log10(largest)))


def number(value: float, places: int) -> str:
    """A number with a fixed count of decimals, a dash where it is undefined, a true minus sign."""
    if not math.isfinite(value):
        return "–"
    text = f"{value:,.{places}f}" if places <= 6 else f"{value:.2e}"
    return text.replace("-", "−", 1) if value < 0 else text


def share(value: float) -> str:
    """A share as a percentage with two significant digits; `none` for zero."""
    if not math.isfinite(value):
        return "–"
    percent = 100 * value
    return "none" if value == 0 else f"{percent:.0f}%" if percent >= 10 else f"{percent:.2g}%"


def listing(items: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`; empty for none."""
    return "".join(items) if len(items) < 2 else f"{', '.join(items[:-1])} and {items[-1]}"


def counted(n: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
