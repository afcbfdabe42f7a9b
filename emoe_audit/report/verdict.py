"""The verdict in three sentences: where the ensemble is unsure, what that does to images, how far to trust it.

A claim is made only where a whole interval lies on one side; otherwise the sentence says that it is not clear.
"""

from __future__ import annotations

from emoe_audit.analysis.summary import COVERAGE
from emoe_audit.report.data import (
    QUALITY,
    RANKING_SCORE,
    Correlation,
    GroupRow,
    GroupTable,
    QuartileTable,
    Trust,
    Verdict,
)
from emoe_audit.report.labels import column_label, listing, measure_label, number


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
            f"No {column_label(table.by)} stands out: in none of {len(table.rows)} {plural} do the experts of "
            f"{ensemble} disagree clearly more than on the average prompt."
        )
    worst = above[:3]
    times = listing([_times(row, table) for row in worst])
    return (
        f"{ensemble} is most unsure about prompts {_of(table, worst)}, where its experts disagree {times} times as "
        f"much as on the average prompt; {len(above)} of {len(table.rows)} {plural} lie clearly above that average, "
        f"{len(below)} clearly below, and {table.rows[-1].label} is the surest."
    )


def _of(table: GroupTable, rows: list[GroupRow]) -> str:
    names = listing([row.label for row in rows])
    return f"in {names}" if table.by == "language" else f"of the {column_label(table.by)} {names}"


def _times(row: GroupRow, table: GroupTable) -> str:
    return number(row.mean(RANKING_SCORE) / table.overall[RANKING_SCORE], 2)


def _quality(quartiles: tuple[QuartileTable, ...], correlations: tuple[Correlation, ...]) -> str:
    table = next((t for t in quartiles if (t.score, t.measure) == (RANKING_SCORE, QUALITY)), None)
    correlation = _find(correlations, QUALITY, "prompt")
    if table is None or correlation is None or len(table.quartiles) < 2:
        return "No images were judged in this run, so it cannot say whether unsure prompts come out worse as images."
    first, last = table.quartiles[0].quality.mean, table.quartiles[-1].quality.mean
    opening, verb = {
        "below": ("Images fit their captions less well where the experts disagree more", "falls"),
        "above": ("Images fit their captions better, not worse, where the experts disagree more", "rises"),
        "unclear": ("Disagreement and image quality are not clearly related in this run", "goes"),
    }[correlation.side]
    return (
        f"{opening}: from the surest quarter of prompts to the most unsure, mean {measure_label(QUALITY)} {verb} "
        f"from {number(first, 2)} to {number(last, 2)} ({_rho(correlation)}, over {correlation.n:,} prompts)."
    )


def _trust(status: Trust, checks: list[Correlation], correlations: tuple[Correlation, ...]) -> str:
    named = {side: listing([_name(c) for c in checks if c.side == side]) for side in ("below", "unclear", "above")}
    if status == "unchecked":
        return (
            "Do not act on the ranking yet: nothing in this run checks the sign of the score, neither images nor known "
            "training coverage."
        )
    if status == "contradicted":
        return f"Do not use the ranking: in this run the score points the wrong way against {named['above']}."
    if status == "unconfirmed":
        support = f", although {named['below']} supports it" if named["below"] else ""
        return f"Do not act on the ranking yet: the sign of the score is not confirmed by {named['unclear']}{support}."
    return f"Trust the ranking as a lead to follow: its sign is confirmed by {named['below']}{_beyond(correlations)}."


def _name(check: Correlation) -> str:
    if check.y == QUALITY:
        return "image quality"
    return f"the known training coverage of {check.n} languages ({_rho(check)})"


def _beyond(correlations: tuple[Correlation, ...]) -> str:
    partial = _find(correlations, COVERAGE, "language", given=True)
    if partial is None:
        return ""
    if partial.side == "below":
        return f", beyond what the number of tokens explains ({number(partial.rho, 2)} with it partialled out)"
    return f", but not beyond what the number of tokens explains ({_rho(partial)}, with it partialled out)"


def _rho(c: Correlation) -> str:
    return f"Spearman {number(c.rho, 2)}, 95% interval {number(c.low, 2)} to {number(c.high, 2)}"
