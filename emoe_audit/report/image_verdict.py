"""The verdict on a model of which images alone are known: where it draws worst, and who says so."""

from __future__ import annotations

import math
from collections.abc import Sequence

from emoe_audit.decisions.evidence import Standing
from emoe_audit.decisions.judged import Judge, JudgeReading
from emoe_audit.report.data import Extremes, GroupTable, Verdict
from emoe_audit.report.findings import ImageAgreement
from emoe_audit.report.labels import (
    column_label,
    counted,
    group_label,
    listing,
    measure_label,
    number,
    of_groups,
    quoted,
)

SHOWN = 5
"""Languages that are named."""


def image_verdict(
    model: str,
    ranking: str,
    groups: tuple[GroupTable, ...],
    *,
    standing: Standing,
    judge: Judge | None,
    agreement: tuple[ImageAgreement, ...],
    extremes: Extremes | None = None,
) -> Verdict:
    """Say in plain words what the numbers support of a ranking by the measure `ranking`, and nothing more."""
    return Verdict(
        where=_where(model, ranking, groups, extremes),
        quality=_same(agreement),
        validity=judge_sentence(judge),
        trust=standing.sentence,
    )


def judge_sentence(judge: Judge | None) -> str:
    """Which languages the judge reads, as far as that is known."""
    if judge is None:
        return "No image was judged in this run."
    unread, unknown = judge.of(reads=False), judge.of(reads=None)
    said = []
    if unread:
        said.append(f"does not read {_named(unread)}, so that what it says of prompts in these is not shown")
    if unknown:
        said.append(f"is not known to read {_named(unknown)}")
    if not said:
        said.append(f"is known to read {'all ' if len(judge.readings) > 1 else ''}{_languages(len(judge.readings))}")
    shared = (
        " It reads with the text encoder that is audited: what that cannot read, it cannot see." * judge.shares_encoder
    )
    return f"The judge {judge.name} {', and '.join(said)}.{shared}"


def _languages(n: int) -> str:
    return "the language of this run" if n == 1 else counted(n, "language")


def _named(readings: Sequence[JudgeReading]) -> str:
    if len(readings) > SHOWN:
        return f"{len(readings)} languages ({', '.join(_label(own) for own in readings[:SHOWN])} among them)"
    return listing([_label(own) for own in readings])


def _label(reading: JudgeReading) -> str:
    return group_label("language", reading.language)


def _where(model: str, ranking: str, groups: tuple[GroupTable, ...], extremes: Extremes | None) -> str:
    asked = f"where {model} draws worst"
    if not groups or len(groups[0].rows) < 2:
        if extremes is None:
            return f"This run holds no two groups to compare, so it cannot say {asked}."
        worst, best = (listing([quoted(text) for text in own]) for own in (extremes.unsure, extremes.sure))
        return f"{model} draws the prompts {worst} worst, and {best} best."
    table, ranked = groups[0], groups[0].ranked
    plural = column_label(table.by, plural=True)
    if len(ranked) < 2:
        few = "only one holds" if ranked else "none holds"
        return (
            f"Of {len(table.rows)} {plural} {few} captions with images enough to be compared: it is not clear {asked}."
        )
    below, above = table.on_side("below"), table.on_side("above")
    name, overall = measure_label(ranking), number(table.overall[ranking], 2)
    if not below:
        return (
            f"No {column_label(table.by)} stands out: in none of {len(ranked)} {plural} does {model} draw clearly "
            f"worse than on the average prompt ({name} {overall})."
        )
    means = listing([number(row.mean(ranking), 2) for row in below[:3]])
    worst = of_groups(table.by, [row.label for row in below[:3]])
    return (
        f"{model} draws worst for prompts {worst}: mean {name} {means}, against {overall} on the "
        f"average prompt; {len(below)} of {len(ranked)} {plural} lie clearly below that average, {len(above)} clearly "
        f"above, and {ranked[-1].label} is drawn best."
    )


def _same(agreement: tuple[ImageAgreement, ...]) -> str:
    known = [own for own in agreement if math.isfinite(own.agreement)]
    if not known:
        return (
            "Whether translations of a caption are drawn alike is not known: too few captions have images in enough "
            "languages, or all of them are from one noise."
        )
    least, most = known[0], known[-1]
    ceilings = [own.ceiling for own in known if math.isfinite(own.ceiling)]
    reach = f"; {number(max(ceilings), 2)} is what prompts that are drawn twice reach" if ceilings else ""
    floor = number(sum(own.floor for own in known) / len(known), 2)
    return (
        f"Images of {least.label} show least of what translations of the same captions do "
        f"({number(least.agreement, 2)}), those of {most.label} most ({number(most.agreement, 2)}); images of "
        f"other captions stand at {floor}{reach}."
    )
