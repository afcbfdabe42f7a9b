"""Report data becomes one HTML file that needs nothing else, and a JSON file with the same numbers."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
from datetime import datetime
from functools import cache, partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from emoe_audit.analysis.disparity import MIN_SOURCES
from emoe_audit.analysis.intervals import Side
from emoe_audit.analysis.summary import COVERAGE
from emoe_audit.decisions.ranking import RELATIVE_SCORE, ranks_by_images
from emoe_audit.report import charts, labels
from emoe_audit.report.collect import collect
from emoe_audit.report.data import NOISY_SCORES, PLAIN_SCORE, GroupTable, ReportData, side_by_side
from emoe_audit.report.gap_charts import WORDS, gaps_figure
from emoe_audit.report.heat_map import experts_figure
from emoe_audit.report.image_verdict import judge_sentence
from emoe_audit.report.refusal_charts import refusal_figure
from emoe_audit.runs.store import RunStore

SECTIONS = (
    ("verdict", "Verdict"),
    ("scope", "Scope"),
    ("groups", "Groups"),
    ("gaps", "Gaps"),
    ("quality", "Image quality"),
    ("refusal", "Refusing"),
    ("agreement", "Translations"),
    ("gallery", "Gallery"),
    ("abstention", "Abstaining"),
    ("judge", "Judge"),
    ("real", "Real images"),
    ("depicted", "Who is depicted"),
    ("experts", "Experts"),
    ("correlations", "Correlations"),
    ("confounders", "Confounders"),
    ("method", "Method"),
    ("limits", "Limits"),
    ("reproduce", "Reproduce"),
)
OF_SCORES = ("quality", "refusal", "abstention", "experts", "correlations")
"""Sections that say something of scores, and are left out where nothing was scored."""
SPREAD_WORDS = {
    "max_minus_min": "Largest minus smallest mean",
    "worst_to_best_ratio": "Worst over best mean",
    "worst_group_mean": "Worst mean",
    "between_group_sd": "Standard deviation of the true means",
    "between_group_sd_uncorrected": "Standard deviation of the means",
}
TRUST_WORDS = {
    "equal": "Yes: in every one it tells failures from the rest as well as in the others, within 0.1 of AUROC.",
    "unequal": "No: in some it tells failures from the rest clearly better, or worse, than in the others.",
    "unclear": "This run cannot say: no group is clearly better or worse, and not all are surely alike.",
}
WITHOUT_INTERVAL = (COVERAGE, "n_tokens")
NOT_IN_JSON = {"data_uri", "files_sha256"}
OPTIONAL_IN_JSON = {"vae", "mixture", "prefix", "clip_skip"}
"""Left out where they are None."""


def write_report(store: RunStore) -> Path:
    """Write `report.json` and `report.html` into the run folder, each at once or not at all; return the HTML's path.

    Raises AuditError where they cannot be written.
    """
    data = collect(store)
    store.write_page("report.json", report_json(data))
    return store.write_page("report.html", render_html(data))


def report_json(data: ReportData) -> str:
    """The report's numbers and texts as JSON; undefined numbers are null, images are named and not embedded."""
    return json.dumps(_jsonable(data), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def render_html(data: ReportData) -> str:
    """The report as one self-contained page."""
    figures = report_figures(data)
    return render_page(
        "report.html.j2",
        figures,
        data=data,
        sections=sections_of(data),
        created=_date(data.manifest.created),
        gallery_places=labels.decimals([column.score for column in data.gallery.columns]),
        heights={name: forms["wide"]["layout"]["height"] for name, forms in figures.items()},
    )


def sections_of(data: ReportData) -> list[tuple[str, str]]:
    """Anchor and title of each section of a report."""
    absent = {*OF_SCORES} if ranks_by_images(data.ranking) else set()
    absent |= {name for name, own in (("agreement", data.agreement), ("judge", data.judge)) if not own}
    return [(anchor, title) for anchor, title in SECTIONS if anchor not in absent]


def render_section(name: str, data: ReportData) -> str:
    """One section of the report that holds no chart."""
    return _environment().get_template(f"sections/{name}.html.j2").render(data=data)


def render_page(template: str, figures: dict[str, dict[str, Any]], **values: Any) -> str:
    """A page with styles, charts and images inside, scripts allowed by their hash, and nothing from the network.

    `figures` are Plotly's, by the name of their place on the page, each in a `wide` and a `narrow` form.
    """
    plotly, script = _asset("plotly-basic.min.js"), _asset("report.js")
    return _environment().get_template(template).render(
        **values,
        figures=htmlsafe_json_dumps(figures, separators=(",", ":")),
        style=Markup(_asset("style.css")),
        plotly=Markup(plotly),
        script=Markup(script),
        csp=content_security_policy([plotly, script]),
    )  # fmt: skip


def report_figures(data: ReportData) -> dict[str, dict[str, Any]]:
    """The charts as Plotly JSON by their name on the page, each in a wide and a narrow form."""
    drawings = {f"groups-{index}": partial(charts.groups_figure, table) for index, table in enumerate(data.groups)}
    drawings |= {f"gaps-{index}": partial(gaps_figure, table) for index, table in enumerate(data.gaps)}
    drawings |= {
        f"refusal-{index}": partial(refusal_figure, table)
        for index, table in enumerate(data.refusals)
        if index == 0 or table.shown
    }
    if data.expert_use:
        drawings["experts"] = partial(experts_figure, data.expert_use[0])
    if data.clouds:
        drawings["quality"] = partial(charts.quality_figure, data.clouds, data.quartiles)
    return {
        name: {"wide": draw().to_plotly_json(), "narrow": draw(narrow=True).to_plotly_json()}
        for name, draw in drawings.items()
    }


def content_security_policy(scripts: list[str]) -> str:
    """Nothing from the network, images only as data, and only these scripts."""
    hashes = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _asset(name: str) -> str:
    return (files("emoe_audit.report") / "templates" / name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("emoe_audit.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["finite"] = math.isfinite
    environment.filters |= {
        "number": labels.number,
        "share": labels.share,
        "clip": labels.clip_text,
        "measure": labels.measure_label,
        "score_name": labels.score_name,
    }
    environment.globals |= {
        "nan": math.nan,
        "places": _places,
        "measures_of": _measures_of,
        "noisy_scores": NOISY_SCORES,
        "high_means": labels.high_means,
        "verdict_titles": labels.verdict_titles,
        "group_label": labels.group_label,
        "judge_sentence": judge_sentence,
        "sides_of": charts.sides_of,
        "tone": _tone,
        "without_interval": WITHOUT_INTERVAL,
        "plain_rank": _plain_rank,
        "gap_words": WORDS,
        "trust_words": TRUST_WORDS,
        "gap_places": lambda table: labels.decimals([gap.difference for gap in table.gaps]),
        "difference_places": lambda rows: labels.decimals([row.raw_difference for row in rows]),
        "spread_words": SPREAD_WORDS,
        "min_spread_sources": MIN_SOURCES,
        "level_name": lambda level: "prompts" if level == "prompt" else labels.column_label(level, plural=True),
    }
    return environment


def table_measures(ranking: str, quality: str) -> tuple[str, ...]:
    """The columns of a table of groups, the score that ranks first."""
    return tuple(dict.fromkeys((*side_by_side(ranking), RELATIVE_SCORE, quality, *WITHOUT_INTERVAL)))


def _measures_of(table: GroupTable) -> list[str]:
    return [m for m in table_measures(table.score, table.quality) if any(m in row.estimates for row in table.rows)]


def _tone(table: GroupTable, side: Side) -> str:
    """The class of a mark: what is worse has the colour of `above`."""
    return {table.worse: "above", table.better: "below"}.get(side, "unclear")


def _places(table: GroupTable, measure: str) -> int:
    return labels.decimals([row.mean(measure) for row in table.rows])


def _plain_rank(table: GroupTable) -> dict[str, int]:
    order = sorted(table.rows, key=lambda row: -row.mean(PLAIN_SCORE))
    return {row.group: rank for rank, row in enumerate(order, start=1)}


def _date(created: str) -> str:
    return datetime.fromisoformat(created).strftime("%-d %B %Y") if created else ""


def _jsonable(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.name not in NOT_IN_JSON}
        return _jsonable({k: v for k, v in fields.items() if v is not None or k not in OPTIONAL_IN_JSON})
    if isinstance(value, dict):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_jsonable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
