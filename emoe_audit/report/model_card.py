"""What an audit found as a section of a model card: Markdown with metrics in front, as the Hugging Face hub reads them.

Whatever the template shows is escaped unless it is `Markup`: a special character becomes its numeric reference, which
CommonMark never takes for structure, and which is safe where HTML is left alone. What hubs turn into links and mentions
after parsing is parted by a word joiner, which is not seen.
"""

from __future__ import annotations

import math
import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from emoe_audit.decisions.ranking import ranks_by_images
from emoe_audit.report import labels
from emoe_audit.report.data import GroupRow, GroupTable, ReportData, side_by_side
from emoe_audit.report.export import NO_TEXT
from emoe_audit.runs.files import replace_file

SPECIAL = re.compile(r"[\\`*_\[\]<>&|~#$]|^[-+=]|^\d+[.)](?= |$)")
"""What CommonMark, tables, struck-through text and formulas are made of, and what starts a list or an underline."""
LINKED = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)", re.IGNORECASE)
"""The places inside of addresses and mentions where a word joiner keeps them from becoming links."""
WORD_JOINER = "\u2060"
MAX_TEXT, MAX_NAME = 1000, 60
EACH_END = 5
"""Of more groups than twice as many, a table holds this many from each end."""
SIDES = {"above": "clearly more unsure", "below": "clearly surer", "unclear": "not clear"}
DRAWN_SIDES = {"above": "clearly better", "below": "clearly worse", "unclear": "not clear"}


def write_model_card(data: ReportData, out: Path) -> Path:
    """Write the section into a file of its own; return the file.

    Raises:
        AuditError: it cannot be written there.
    """
    return replace_file(out, [model_card(data)])


def model_card(data: ReportData) -> str:
    """The section: what was audited, the verdict, both ends of each ranking, limits, and how to do it again."""
    return _environment().get_template("model_card.md.j2").render(
        data=data,
        metrics=Markup(_yaml({"model-index": [model_index(data)]})),
        command=Markup(fenced(data.manifest.command)),
    )  # fmt: skip


def model_index(data: ReportData) -> dict[str, Any]:
    """The figures in the hub's form: overall means, and the ranking score at both ends of each ranking."""
    manifest = data.manifest
    dataset = {
        "type": "prompts",
        "name": labels.clip_text(manifest.prompts_source, MAX_NAME) or "prompts",
        "args": {"sha256": manifest.prompts_hash},
    }
    metrics = [metric for table in data.groups[:1] for metric in _overall(table)]
    metrics += [metric for table in data.groups for metric in _ends(table)]
    task = {"type": "text-to-image", "name": "Text to image"}
    return {
        "name": labels.clip_text(manifest.ensemble.name, MAX_NAME),
        "results": [{"task": task, "dataset": dataset, "metrics": metrics}],
    }


def escape(text: str) -> str:
    """A text as one line of Markdown that shows it and does nothing else."""
    line = LINKED.sub(WORD_JOINER, labels.clip_text(text, MAX_TEXT))
    return SPECIAL.sub(lambda special: "".join(f"&#{ord(c)};" for c in special[0]), line)


def fenced(code: str) -> str:
    """A block of code, its fence longer than any run of backticks in it."""
    runs = [len(run) for run in re.findall("`+", code)]
    fence = "`" * max(3, 1 + max(runs, default=0))
    return "\n".join([f"{fence}sh", NO_TEXT.sub("\ufffd", code), fence])


def both_ends(table: GroupTable) -> list[tuple[int, GroupRow]]:
    """The ranked groups of a table with their ranks: all, or those at both ends."""
    ranked = list(enumerate(table.ranked, start=1))
    return ranked if len(ranked) <= 2 * EACH_END else [*ranked[:EACH_END], *ranked[-EACH_END:]]


def _overall(table: GroupTable) -> list[dict[str, Any]]:
    means = {measure: table.overall.get(measure, math.nan) for measure in _measures(table)}
    return [_metric(measure, "mean over all prompts", mean) for measure, mean in means.items() if math.isfinite(mean)]


def _ends(table: GroupTable) -> list[dict[str, Any]]:
    ranked, plural = table.ranked, labels.column_label(table.by, plural=True)
    if len(ranked) < 2:
        return []
    worst, best = ("drawn worst", "drawn best") if ranks_by_images(table.score) else ("most unsure", "surest")
    ends = {worst: ranked[0], best: ranked[-1]}
    return [
        _metric(table.score, f"{row.label}, {place} of {len(ranked)} {plural}", row.mean(table.score))
        for place, row in ends.items()
    ]


def _metric(measure: str, of: str, value: float) -> dict[str, Any]:
    name = labels.clip_text(f"{labels.measure_label(measure)}, {of}", 2 * MAX_NAME)
    return {"type": measure, "name": name, "value": float(f"{value:.6g}")}


def _measures(table: GroupTable) -> list[str]:
    return [
        m
        for m in dict.fromkeys((*side_by_side(table.score), table.quality))
        if any(m in row.estimates for row in table.rows)
    ]


def _estimate(table: GroupTable, row: GroupRow, measure: str) -> str:
    """`0.123 (0.120 to 0.126)`, dashes where a number is not defined."""
    places = labels.decimals([other.mean(measure) for other in table.rows])
    estimate = row.estimates.get(measure)
    if estimate is None:
        return labels.number(math.nan, places)
    mean, low, high = (labels.number(v, places) for v in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} ({low} to {high})" if math.isfinite(estimate.low) else mean


def _yaml(values: dict[str, Any]) -> str:
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=10_000)


def _finalize(value: Any) -> str:
    return value if isinstance(value, Markup) else escape(str(value))


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("emoe_audit.report"),
        finalize=_finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "clip": labels.clip_text,
        "measure": labels.measure_label,
        "score_name": labels.score_name,
        "counted": labels.counted,
    }
    environment.globals |= {
        "sides_of": lambda ranking: DRAWN_SIDES if ranks_by_images(ranking) else SIDES,
        "verdict_titles": labels.verdict_titles,
        "name_length": MAX_NAME,
        "both_ends": both_ends,
        "measures": _measures,
        "estimate": _estimate,
    }
    return environment
