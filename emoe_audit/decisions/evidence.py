"""A ladder of evidence: what the ranking of a run rests on, and the words for it wherever a verdict is given.

A score ranks rightly where it is high on what the ensemble reads or draws badly. What shows that is not of one kind:
the highest rung that is reached gives the word, and what was looked at and decides nothing is said beside it. Whatever
clearly points the other way, on any rung, contradicts the ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from emoe_audit.analysis.contrasts import CORRELATION_COLUMNS
from emoe_audit.analysis.familiarity import UNFAMILIARITY
from emoe_audit.analysis.grouping import GROUPED_FIRST
from emoe_audit.analysis.intervals import Interval, Side, side
from emoe_audit.analysis.rows import records, to_float
from emoe_audit.analysis.summary import COVERAGE, PUBLISHED_RECALL, SOURCE_QUALITY
from emoe_audit.decisions.judged import read_judge, rests_on_images
from emoe_audit.decisions.ranking import Validity, ranking_score, ranks_by_images, read_validity
from emoe_audit.decisions.rungs import LADDER, Rung
from emoe_audit.prompts.tags import language_name
from emoe_audit.runs.query import RunReader, known_column
from emoe_audit.runs.sql import sql

ENOUGH_GROUPS = 10
"""Of fewer groups a rank correlation decides nothing: unrelated means would be called clear too often."""
ENOUGH_PROMPTS = 30
"""Of fewer prompts in one language their own correlation decides nothing."""
LITTLE = 0.1
"""Size of a rank correlation over prompts up to which they are as good as unrelated, however many they are."""
ENOUGH_CAPTIONS = 5
"""Of fewer captions a group's mean is that of a few prompts, and no group's numbers are given."""


CAPTIONS = """
    SELECT count(DISTINCT source_id) FILTER ({score} IS NOT NULL) AS scored,
           count(DISTINCT source_id) FILTER ({score} IS NOT NULL AND {judged} IS NOT NULL) AS judged,
           count(DISTINCT language) AS languages
    FROM results
"""
LIMIT = (
    "; it is the text encoder's alone, the same for every denoiser that shares it, and was found right for bare names: "
    "within the same words, as “a photo of a ...”, it can point the wrong way"
)
"""What is said beside a ranking by `UNFAMILIARITY`."""
QUALITY = "the image quality of {groups} by their source captions"
SIDES: dict[str, Side] = {"holds": "below", "unclear": "unclear", "turned": "above"}


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One thing that was held against the ranking score."""

    rung: Rung
    name: str
    """In words."""
    side: Side
    """`below` where it supports the ranking, `above` where it points the other way."""
    groups: int
    """How many groups were compared; 0 for what compares prompts."""
    captions: int
    """On how many captions their means rest; 0 for what compares prompts."""
    rho: Interval | None
    """Spearman's, of the groups' means; None for what compares prompts."""
    given_tokens: Interval | None
    """The same with the number of tokens partialled out, where that was asked."""
    of_prompts: bool = False
    """Whether prompts of one language were compared, in the place of groups."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The rung that the ranking of a run has reached, in words, and everything that was held against it."""

    rung: Rung
    word: str
    sentence: str
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, kw_only=True)
class Captions:
    """How many captions of a run have the score that ranks, how many of these a judged image of a known source."""

    scored: int
    judged: int
    languages: int


@dataclass(frozen=True, kw_only=True)
class Reader:
    """The public text encoder of a run, see `experts.public_readers`."""

    name: str
    exact: bool


def read_standing(store: RunReader) -> Standing:
    """What the ranking of a run rests on; of a run that was not analysed yet, the check alone."""
    validity = read_validity(store)
    score = ranking_score(store, validity)
    if ranks_by_images(score):
        is_known, basis = rests_on_images(score, read_judge(store), store.ratings())
        own: Rung = "measured" if is_known else "unproven"
        words = LADDER[own]
        return Standing(rung=own, word=words.word, sentence=f"{words.sentence.format(basis=basis)}.", evidence=())
    correlations = pd.DataFrame(columns=CORRELATION_COLUMNS)
    if store.has_analysis("correlations"):
        correlations = store.query("SELECT * FROM correlations")
    return standing(score, correlations, _count_captions(store, score), validity, _read_reader(store))


def standing(
    score: str,
    correlations: pd.DataFrame,
    captions: Captions,
    validity: Validity | None = None,
    reader: Reader | None = None,
) -> Standing:
    """What a ranking by this score rests on.

    Args:
        score: That ranks.
        correlations: As `analysis.summary` gives them.
        captions: How many captions these rest on.
        validity: What the check found; None where it was left out.
        reader: The public text encoder that the run reads with, where it is one.
    """
    own = correlations[correlations["x"] == score]
    found = [
        _against(own, "coverage", COVERAGE, captions.scored, "the known training coverage of {groups}"),
        _in_one_language(own, captions) if captions.languages == 1 else None,
        _against(own, "quality", SOURCE_QUALITY, captions.judged, QUALITY),
        _published(own, captions.scored, reader),
        _checked(score, validity),
    ]
    order = list(LADDER)
    evidence = tuple(sorted((e for e in found if e is not None), key=lambda e: order.index(e.rung)))
    comparable = validity is None or validity.comparable or score == UNFAMILIARITY
    rung, basis, aside = _weighed(evidence, comparable=comparable)
    sentence = LADDER[rung].sentence.format(basis=basis)
    limit = LIMIT if score == UNFAMILIARITY else ""
    return Standing(rung=rung, word=LADDER[rung].word, sentence=f"{sentence}{aside}{limit}.", evidence=evidence)


def in_words(rho: Interval) -> str:
    """A rank correlation with its interval."""
    return f"Spearman {_signed(rho.value)}, 95% interval {_signed(rho.low)} to {_signed(rho.high)}"


def _weighed(evidence: Sequence[Evidence], *, comparable: bool) -> tuple[Rung, str, str]:
    """The rung, what it rests on, and what else is to be said."""
    names = {of: [_named(e) for e in evidence if e.side == of] for of in ("below", "unclear", "above")}
    undecided = f"; undecided: {', '.join(names['unclear'])}" if names["unclear"] else ""
    if names["above"]:
        spite = f", in spite of {', '.join(names['below'])}" if names["below"] else ""
        return "contradicted", ", ".join(names["above"]), spite + undecided
    if not comparable:
        return "none", "", ", as its experts cannot be compared"
    if not names["below"]:
        return "none", "", undecided
    first, *others = (e for e in evidence if e.side == "below")
    too = f"; supported by {', '.join(map(_named, others))} too" if others else ""
    return first.rung, _named(first), too + undecided


def _named(evidence: Evidence) -> str:
    if evidence.rho is None:
        return evidence.name
    if evidence.groups < (ENOUGH_PROMPTS if evidence.of_prompts else ENOUGH_GROUPS):
        return f"{evidence.name}, which are too few"
    if evidence.captions < ENOUGH_CAPTIONS:
        return f"{evidence.name}, of too few captions"
    given = "" if evidence.given_tokens is None else f"; {_given(evidence.given_tokens, evidence.side)}"
    return f"{evidence.name} ({in_words(evidence.rho)}{given})"


def _given(tokens: Interval, whole: Side) -> str:
    clear = "" if whole == "unclear" or tokens.side == whole else "not clear "
    return f"{clear}given the number of tokens, {_signed(tokens.value)}"


def _against(own: pd.DataFrame, rung: Rung, measure: str, captions: int, name: str) -> Evidence | None:
    """The score's means against a measure over groups; None where there is none, as of fewer than three groups."""
    rows = own[(own["y"] == measure) & own["level"].isin(GROUPED_FIRST) & own["rho"].notna()]
    plain, given = rows[rows["given"].isna()], rows[rows["given"].notna()]
    if plain.empty:
        return None
    row = max(records(plain), key=lambda r: (r.level == "language" and r.n >= ENOUGH_GROUPS, r.n))
    partial = next(iter(records(given[given["level"] == row.level])), None)
    n = int(row.n)
    return Evidence(
        rung=rung,
        name=name.format(groups=f"{n:,} {row.level.replace('_', ' ')}s"),
        side=side(row.low, row.high) if n >= ENOUGH_GROUPS and captions >= ENOUGH_CAPTIONS else "unclear",
        groups=n,
        captions=captions,
        rho=_interval(row),
        given_tokens=None if partial is None else _interval(partial),
    )


def _in_one_language(own: pd.DataFrame, captions: Captions) -> Evidence | None:
    """The score against image quality over prompts, which say the same of groups where there is one language."""
    rows = own[(own["y"] == SOURCE_QUALITY) & (own["level"] == "prompt") & own["given"].isna() & own["rho"].notna()]
    row = next(iter(records(rows)), None)
    if row is None:
        return None
    return Evidence(
        rung="quality",
        name=QUALITY.format(groups=f"{int(row.n):,} prompts"),
        side=_clear_of_little(row) if captions.judged >= ENOUGH_PROMPTS else "unclear",
        groups=int(row.n),
        captions=captions.judged,
        rho=_interval(row),
        given_tokens=None,
        of_prompts=True,
    )


def _clear_of_little(row: Any) -> Side:
    """On which side of 0 a whole interval lies that leaves out what is too little to act on."""
    sides = {side(row.low, row.high, of=-LITTLE), side(row.low, row.high, of=LITTLE)}
    return sides.pop() if len(sides) == 1 else "unclear"


def _published(own: pd.DataFrame, captions: int, reader: Reader | None) -> Evidence | None:
    """The score's means against published recall; a score that is no more than a count of tokens follows it too."""
    if reader is None:
        return None
    of = "its text encoder" if reader.exact else "a text encoder of the same design"
    name = f"the published recall of {of}, {reader.name}, in {{groups}}"
    found = _against(own, "published" if reader.exact else "design", PUBLISHED_RECALL, captions, name)
    if found is None or found.given_tokens is None or found.side == found.given_tokens.side:
        return found
    return replace(found, side="unclear")


def _checked(score: str, validity: Validity | None) -> Evidence | None:
    tested = validity.of(score) if validity else None
    if tested is None:
        return None
    return Evidence(
        rung="checks",
        name="the check on strange prompts" + (f" in {language_name(tested.language)}" if tested.language else ""),
        side=SIDES[tested.sign],
        groups=0,
        captions=0,
        rho=None,
        given_tokens=None,
    )


def _count_captions(store: RunReader, score: str) -> Captions:
    columns = store.columns()
    judged = known_column(SOURCE_QUALITY, columns, store.path) if SOURCE_QUALITY in columns else sql("NULL")
    row = store.query(sql(CAPTIONS, score=known_column(score, columns, store.path), judged=judged)).iloc[0]
    return Captions(scored=int(row["scored"]), judged=int(row["judged"]), languages=int(row["languages"]))


def _read_reader(store: RunReader) -> Reader | None:
    if not store.has_analysis("text_encoder"):
        return None
    row = store.query("SELECT name, exact FROM text_encoder").iloc[0]
    return Reader(name=str(row["name"]), exact=bool(row["exact"]))


def _interval(row: Any) -> Interval:
    return Interval(value=to_float(row.rho), low=to_float(row.low), high=to_float(row.high))


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")
