"""The verdict in four sentences: where it is unsure, what that does to images, whether the score is valid, its worth.

A claim is made only where a whole interval lies on one side; otherwise the sentence says that it is not clear.
"""

from __future__ import annotations

import math

from emoe_audit.analysis.familiarity import UNFAMILIARITY
from emoe_audit.analysis.intervals import Estimate, Interval
from emoe_audit.analysis.summary import NATIVE_QUALITY
from emoe_audit.decisions.evidence import Standing, in_words
from emoe_audit.decisions.judged import Judge
from emoe_audit.decisions.ranking import Validity
from emoe_audit.report.data import Correlation, Extremes, GroupRow, GroupTable, QuartileTable, Scope, Verdict
from emoe_audit.report.labels import (
    asked_in,
    column_label,
    counted,
    listing,
    measure_label,
    number,
    of_groups,
    quoted,
    score_name,
    score_words,
)


def verdict(
    ensemble: str,
    ranking: str,
    groups: tuple[GroupTable, ...],
    quartiles: tuple[QuartileTable, ...],
    correlations: tuple[Correlation, ...],
    *,
    standing: Standing,
    scope: Scope,
    extremes: Extremes | None = None,
    validity: Validity | None = None,
    quality: str = NATIVE_QUALITY,
    judge: Judge | None = None,
) -> Verdict:
    """Say in plain words what the numbers support of a ranking by the score `ranking`, and nothing more."""
    table = next((t for t in quartiles if (t.score, t.measure) == (ranking, quality)), None)
    found = next((c for c in correlations if (c.x, c.y, c.level) == (ranking, quality, "prompt")), None)
    return Verdict(
        where=_where(ensemble, groups, None if standing.rung in ("none", "contradicted") else extremes),
        quality=_quality(table, found, scope, judge),
        validity=_validity(ranking, validity),
        trust=standing.sentence,
    )


def _validity(ranking: str, validity: Validity | None) -> str:
    if validity is None:
        return "In this run the score was not tested on prompts that are strange to every model."
    if not validity.comparable and ranking != UNFAMILIARITY:
        return (
            f"The experts cannot be compared: the correlation of their features is {number(validity.alignment, 2)}, as "
            "between models without a common ancestor, so no score of this ensemble means anything."
        )
    tested = validity.of(ranking)
    if tested is None or not tested.shares:
        return "The check on strange prompts says nothing of the score that ranks."
    asked = asked_in(tested.language)
    shares = listing([_share(probe + asked, share, tested.beyond.get(probe)) for probe, share in tested.shares.items()])
    sign = {"holds": "its sign holds", "unclear": "its sign is unclear", "turned": "its sign is wrong"}[tested.sign]
    best = validity.default_score
    if ranking == UNFAMILIARITY:
        choice = "it ranks, as no translation score could be given"
    elif best is None:
        choice = "no score is valid on this ensemble"
    elif best == ranking:
        choice = "no other score does better"
    else:
        choice = f"{score_name(best)}, which this run does not hold, does better"
    return f"Of a real and a strange prompt the score puts the strange one higher in {shares}: {sign}, and {choice}."


def _share(probe: str, share: Estimate, beyond: Estimate | None) -> str:
    said = f"{share.mean:.0%} of the pairs with {probe}"
    if beyond is not None and math.isfinite(beyond.mean):
        more, low, high = (f"{100 * own:.0f}" for own in (beyond.mean, beyond.low, beyond.high))
        interval = f", 95% interval {low} to {high}" if math.isfinite(beyond.low) else ""
        return f"{said} (a readable placebo in {share.mean - beyond.mean:.0%}: {more} points more{interval})"
    return said + (f" (95% interval {share.low:.0%} to {share.high:.0%})" if math.isfinite(share.low) else "")


def _where(ensemble: str, groups: tuple[GroupTable, ...], extremes: Extremes | None) -> str:
    asked = f"where {ensemble} is most unsure"
    if not groups or len(groups[0].rows) < 2:
        if extremes is None:
            return f"This run holds no two groups to compare, so it cannot say {asked}."
        unsure, sure = (listing([quoted(text) for text in own]) for own in (extremes.unsure, extremes.sure))
        return f"{ensemble} is most unsure about the prompts {unsure}, and surest about {sure}."
    table, ranked = groups[0], groups[0].ranked
    plural, words = column_label(table.by, plural=True), score_words(groups[0].score)
    if len(ranked) < 2:
        few = "only one holds" if ranked else "none holds"
        return f"Of {len(table.rows)} {plural} {few} scored captions enough to be compared: it is not clear {asked}."
    above, below = table.on_side("above"), table.on_side("below")
    if not above:
        return (
            f"No {column_label(table.by)} stands out: in none of {len(ranked)} {plural} "
            f"{words.none.format(ensemble=ensemble)}."
        )
    worst = above[:3]
    times = listing([_times(row, table) for row in worst])
    named = of_groups(table.by, [row.label for row in worst])
    return (
        f"{ensemble} is most unsure about prompts {named}, {words.times.format(times=times)}; "
        f"{len(above)} of {len(ranked)} {plural} lie clearly above that average, {len(below)} clearly below, "
        f"and {ranked[-1].label} is the surest."
    )


def _times(row: GroupRow, table: GroupTable) -> str:
    return number(row.mean(table.score) / table.overall[table.score], 2)


def _quality(table: QuartileTable | None, found: Correlation | None, scope: Scope, judge: Judge | None) -> str:
    asked = "whether unsure prompts come out worse as images"
    if found is None or not found.n:
        if scope.n_judged:
            return f"No prompt with a judged image has the score that ranks, so this run cannot say {asked}."
        return f"No images were judged in this run, so it cannot say {asked}."
    known = f"Image quality is known of {counted(found.n, 'prompt')} in this run"
    if table is None or len(table.quartiles) < 2:
        return f"{known}, too few to say {asked}."
    if not math.isfinite(found.low):
        return f"{known}, which is not enough to say {asked}."
    return _over_quarters(table, found, scope, judge)


def _over_quarters(table: QuartileTable, found: Correlation, scope: Scope, judge: Judge | None) -> str:
    first, last = table.quartiles[0].quality.mean, table.quartiles[-1].quality.mean
    more = score_words(table.score).more
    opening, verb = {
        "below": (f"Images fit their captions less well {more}", "falls"),
        "above": (f"Images fit their captions better, not worse, {more}", "rises"),
        "unclear": ("The score and image quality are not clearly related in this run", "goes"),
    }[found.side]
    unknown = judge is None or judge.of(reads=None)
    unread = table.measure == NATIVE_QUALITY and scope.n_languages > 1 and unknown
    doubt = ", by a judge of which it is not known how well it reads each language" if unread else ""
    rho = in_words(Interval(value=found.rho, low=found.low, high=found.high))
    return (
        f"{opening}: from the surest quarter of prompts to the most unsure, mean {measure_label(table.measure)} {verb} "
        f"from {number(first, 2)} to {number(last, 2)} ({rho}, over {found.n:,} prompts){doubt}."
    )
