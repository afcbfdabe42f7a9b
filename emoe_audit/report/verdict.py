"""The verdict in three sentences: where the ensemble is unsure, what that does to images, how far to trust it.

A claim is made only where a whole interval lies on one side; otherwise the sentence says that it is not clear.
"""

from __future__ import annotations

import math

from emoe_audit.report.data import (
    RANKING_SCORE,
    Correlation,
    GroupTable,
    QuartileTable,
    Trust,
    Verdict,
)
from emoe_audit.report.labels import column_label, listing, measure_label, number

QUALITY = "clip_cosine"
COVERAGE = "training_coverage"


def verdict(
    ensemble: str,
    groups: tuple[GroupTable, ...],
    quartiles: tuple[QuartileTable, ...],
    correlations: tuple[Correlation, ...],
) -> Verdict:
    """Say in plain words what the numbers support, and nothing more."""
    checks = sign_checks(correlations)
    status = trust_status(checks)
    return Verdict(
        where=_where(ensemble, groups),
        quality=_quality(quartiles, correlations),
        trust=_trust(status, checks, correlations),
        status=status,
    )


def sign_checks(correlations: tuple[Correlation, ...]) -> list[Correlation]:
    """The plain correlations that show whether a high score means trouble: with image quality and training coverage.

    Both must be negative: less quality, or less training data, where the experts disagree more.
    """
    wanted = [(QUALITY, "prompt"), (COVERAGE, "language")]
    found = (_find(correlations, measure, level) for measure, level in wanted)
    return [correlation for correlation in found if correlation is not None]


def trust_status(checks: list[Correlation]) -> Trust:
    """`contradicted` by any clearly positive check, `confirmed` when all are clearly negative."""
    if not checks:
        return "unchecked"
    sides = {check.side for check in checks}
    if "above" in sides:
        return "contradicted"
    return "confirmed" if sides == {"below"} else "unconfirmed"


def _find(correlations: tuple[Correlation, ...], measure: str, level: str, given: bool = False) -> Correlation | None:
    for c in correlations:
        if (c.x, c.y, c.level) == (RANKING_SCORE, measure, level) and (c.given is not None) == given:
            return c
    return None


def _where(ensemble: str, groups: tuple[GroupTable, ...]) -> str:
    if not groups or len(groups[0].rows) < 2:
        return f"This run holds no two groups to compare, so it cannot say where {ensemble} is most unsure."
    table = groups[0]
    plural = column_label(table.by, plural=True)
    above, below = table.on_side("above"), table.on_side("below")
    if not above:
        return (
            f"No {column_label(table.by)} stands out: in none of {len(table.rows)} {plural} do the experts of {ensemble} "
            f"disagree clearly more than on the average prompt."
        )
    worst = [f"{row.label} ({_times(row.mean(RANKING_SCORE), table)})" for row in above[:3]]
    return (
        f"{ensemble} is most unsure about prompts in {listing(worst)} of the disagreement on an average prompt; "
        f"{len(above)} of {len(table.rows)} {plural} lie clearly above the average and {len(below)} clearly below, "
        f"{table.rows[-1].label} being the surest."
    )


def _times(mean: float, table: GroupTable) -> str:
    overall = table.overall.get(RANKING_SCORE, math.nan)
    return f"{number(mean / overall, 2)}×" if overall else "–"


def _quality(quartiles: tuple[QuartileTable, ...], correlations: tuple[Correlation, ...]) -> str:
    table = next((t for t in quartiles if (t.score, t.measure) == (RANKING_SCORE, QUALITY)), None)
    correlation = _find(correlations, QUALITY, "prompt")
    if table is None or correlation is None or len(table.quartiles) < 2:
        return "No images were judged in this run, so it cannot say whether unsure prompts come out worse as images."
    first, last = table.quartiles[0].quality.mean, table.quartiles[-1].quality.mean
    opening = {
        "below": "Images fit their captions less well where the experts disagree more",
        "above": "Images fit their captions better, not worse, where the experts disagree more",
        "unclear": "Disagreement and image quality are not clearly related in this run",
    }[correlation.side]
    return (
        f"{opening}: from the surest quarter of prompts to the most unsure, mean {measure_label(QUALITY)} goes "
        f"from {number(first, 2)} to {number(last, 2)} ({_rho(correlation)} over {correlation.n:,} prompts)."
    )


def _trust(status: Trust, checks: list[Correlation], correlations: tuple[Correlation, ...]) -> str:
    against = listing([_against(check) for check in checks]) if checks else ""
    if status == "unchecked":
        return "Do not act on the ranking yet: nothing in this run checks the sign of the score, neither images nor known training data."
    if status == "contradicted":
        return f"Do not use the ranking: in this run the score points the wrong way when checked against {against}."
    if status == "unconfirmed":
        return f"Do not act on the ranking yet: the sign of the score is not confirmed in this run by {against}."
    return f"The ranking can be trusted as a lead to follow: its sign is confirmed by {against}{_beyond_tokens(correlations)}."


def _against(check: Correlation) -> str:
    if check.y == QUALITY:
        return "image quality"
    return f"the known training coverage of {check.n} languages ({_rho(check)})"


def _beyond_tokens(correlations: tuple[Correlation, ...]) -> str:
    partial = _find(correlations, COVERAGE, "language", given=True)
    if partial is None:
        return ", though single prompts remain noisy"
    if partial.side == "below":
        return f", beyond what the number of tokens explains ({number(partial.rho, 2)} with it partialled out)"
    return f", but not beyond what the number of tokens explains ({_rho(partial)} with it partialled out)"


def _rho(c: Correlation) -> str:
    return f"Spearman {number(c.rho, 2)}, 95% interval {number(c.low, 2)} to {number(c.high, 2)}"
