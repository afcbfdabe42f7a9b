"""The verdict in four sentences: where it is unsure, what that does to images, whether the score is valid, its worth.

A claim is made only where a whole interval lies on one side; otherwise the sentence says that it is not clear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from emoe_audit.analysis.intervals import Estimate, Side
from emoe_audit.analysis.summary import COVERAGE
from emoe_audit.decisions.ranking import Validity
from emoe_audit.report.data import QUALITY, Correlation, GroupRow, GroupTable, QuartileTable, Trust, Verdict
from emoe_audit.report.labels import column_label, listing, measure_label, number, score_name, score_words

SIDES: dict[str, Side] = {"holds": "below", "unclear": "unclear", "turned": "above"}


def verdict(
    ensemble: str,
    ranking: str,
    groups: tuple[GroupTable, ...],
    quartiles: tuple[QuartileTable, ...],
    correlations: tuple[Correlation, ...],
    validity: Validity | None = None,
    quality: str = QUALITY,
) -> Verdict:
    """Say in plain words what the numbers support of a ranking by the score `ranking`, and nothing more."""
    own = tuple(c for c in correlations if c.x == ranking)
    checks = sign_checks(ranking, own, validity, quality)
    status = trust_status([check.side for check in checks])
    return Verdict(
        where=_where(ensemble, groups),
        quality=_quality(ranking, quality, quartiles, own),
        validity=_validity(ranking, validity),
        trust=_trust(status, checks, own),
        status=status,
    )


@dataclass(frozen=True, kw_only=True)
class SignCheck:
    """What shows whether a high score means trouble: `below` where it does, `above` where it means the reverse."""

    name: str
    side: Side


def sign_checks(
    ranking: str, own: tuple[Correlation, ...], validity: Validity | None = None, quality: str = QUALITY
) -> list[SignCheck]:
    """What this run holds against the ranking score: image quality, known training coverage, strange prompts.

    `own` are the correlations of that score. Quality and coverage must be less, and the score of a strange prompt more,
    where a score is right.
    """
    wanted = [(quality, "prompt"), (COVERAGE, "language")]
    found = (_find(own, measure, level) for measure, level in wanted)
    checks = [SignCheck(name=_name(correlation), side=correlation.side) for correlation in found if correlation]
    tested = validity.of(ranking) if validity else None
    if validity and tested:
        side = SIDES[tested.sign] if validity.comparable else "unclear"
        checks.append(SignCheck(name="the check on strange prompts", side=side))
    return checks


def trust_status(sides: Sequence[Side]) -> Trust:
    """`contradicted` by any check on the wrong side, `confirmed` when all are on the right one."""
    if not sides:
        return "unchecked"
    if "above" in sides:
        return "contradicted"
    return "confirmed" if set(sides) == {"below"} else "unconfirmed"


def _validity(ranking: str, validity: Validity | None) -> str:
    if validity is None:
        return "In this run the score was not tested on prompts that are strange to every model."
    if not validity.comparable:
        return (
            f"The experts cannot be compared: the correlation of their features is {number(validity.alignment, 2)}, as "
            "between models without a common ancestor, so no score of this ensemble means anything."
        )
    tested = validity.of(ranking)
    if tested is None or not tested.shares:
        return "The check on strange prompts says nothing of the score that ranks."
    shares = listing([_share(probe, share) for probe, share in tested.shares.items()])
    sign = {"holds": "its sign holds", "unclear": "its sign is unclear", "turned": "its sign is wrong"}[tested.sign]
    best = validity.default_score
    if best is None:
        choice = "no score is valid on this ensemble"
    elif best == ranking:
        choice = "no other score does better"
    else:
        choice = f"{score_name(best)}, which this run does not hold, does better"
    return f"Of a real and a strange prompt the score puts the strange one higher in {shares}: {sign}, and {choice}."


def _share(probe: str, share: Estimate) -> str:
    interval = f" (95% interval {share.low:.0%} to {share.high:.0%})" if math.isfinite(share.low) else ""
    return f"{share.mean:.0%} of the pairs with {probe}{interval}"


def _find(own: tuple[Correlation, ...], measure: str, level: str, given: bool = False) -> Correlation | None:
    for c in own:
        if (c.y, c.level) == (measure, level) and (c.given is not None) == given:
            return c
    return None


def _where(ensemble: str, groups: tuple[GroupTable, ...]) -> str:
    if not groups or len(groups[0].ranked) < 2:
        return f"This run holds no two groups to compare, so it cannot say where {ensemble} is most unsure."
    table, ranked = groups[0], groups[0].ranked
    plural, words = column_label(table.by, plural=True), score_words(groups[0].score)
    above, below = table.on_side("above"), table.on_side("below")
    if not above:
        return (
            f"No {column_label(table.by)} stands out: in none of {len(ranked)} {plural} "
            f"{words.none.format(ensemble=ensemble)}."
        )
    worst = above[:3]
    times = listing([_times(row, table) for row in worst])
    return (
        f"{ensemble} is most unsure about prompts {_of(table, worst)}, {words.times.format(times=times)}; "
        f"{len(above)} of {len(ranked)} {plural} lie clearly above that average, {len(below)} clearly below, "
        f"and {ranked[-1].label} is the surest."
    )


def _of(table: GroupTable, rows: list[GroupRow]) -> str:
    names = listing([row.label for row in rows])
    return f"in {names}" if table.by == "language" else f"of the {column_label(table.by)} {names}"


def _times(row: GroupRow, table: GroupTable) -> str:
    return number(row.mean(table.score) / table.overall[table.score], 2)


def _quality(ranking: str, quality: str, quartiles: tuple[QuartileTable, ...], own: tuple[Correlation, ...]) -> str:
    table = next((t for t in quartiles if (t.score, t.measure) == (ranking, quality)), None)
    correlation = _find(own, quality, "prompt")
    if table is None or correlation is None or len(table.quartiles) < 2:
        return "No images were judged in this run, so it cannot say whether unsure prompts come out worse as images."
    first, last = table.quartiles[0].quality.mean, table.quartiles[-1].quality.mean
    more = score_words(ranking).more
    opening, verb = {
        "below": (f"Images fit their captions less well {more}", "falls"),
        "above": (f"Images fit their captions better, not worse, {more}", "rises"),
        "unclear": ("Disagreement and image quality are not clearly related in this run", "goes"),
    }[correlation.side]
    return (
        f"{opening}: from the surest quarter of prompts to the most unsure, mean {measure_label(quality)} {verb} "
        f"from {number(first, 2)} to {number(last, 2)} ({_rho(correlation)}, over {correlation.n:,} prompts)."
    )


def _trust(status: Trust, checks: list[SignCheck], own: tuple[Correlation, ...]) -> str:
    named = {side: listing([c.name for c in checks if c.side == side]) for side in ("below", "unclear", "above")}
    if status == "unchecked":
        return (
            "Do not act on the ranking yet: nothing in this run checks the sign of the score, neither images nor known "
            "training coverage nor strange prompts."
        )
    if status == "contradicted":
        return f"Do not use the ranking: in this run the score points the wrong way against {named['above']}."
    if status == "unconfirmed":
        support = f", although {named['below']} supports it" if named["below"] else ""
        return f"Do not act on the ranking yet: the sign of the score is not confirmed by {named['unclear']}{support}."
    return f"Trust the ranking as a lead to follow: its sign is confirmed by {named['below']}{_beyond(own)}."


def _name(check: Correlation) -> str:
    if check.y != COVERAGE:
        return "image quality"
    return f"the known training coverage of {check.n} languages ({_rho(check)})"


def _beyond(own: tuple[Correlation, ...]) -> str:
    partial = _find(own, COVERAGE, "language", given=True)
    if partial is None:
        return ""
    if partial.side == "below":
        return f", beyond what the number of tokens explains ({number(partial.rho, 2)} with it partialled out)"
    return f", but not beyond what the number of tokens explains ({_rho(partial)}, with it partialled out)"


def _rho(c: Correlation) -> str:
    return f"Spearman {number(c.rho, 2)}, 95% interval {number(c.low, 2)} to {number(c.high, 2)}"
