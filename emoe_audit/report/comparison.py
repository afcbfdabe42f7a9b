"""Two runs compared, as a table in text, as JSON and as one page; `emoe_audit.compare` fills it."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import plotly.graph_objects as go

from emoe_audit.analysis.bootstrap import MIN_SOURCES
from emoe_audit.report import charts
from emoe_audit.report.export import replace_file
from emoe_audit.report.gallery import BYTE_BUDGET, embed_image
from emoe_audit.report.labels import chart_text, clip_text, group_label, measure_label
from emoe_audit.report.render import render_page

Outcome = Literal["rose", "fell", "no clear change", "not tested"]
MARKS: dict[Outcome, tuple[str, str]] = {
    "rose": (charts.VERMILION, "circle"),
    "fell": (charts.BLUE, "circle"),
    "no clear change": (charts.SOFT, "circle-open"),
}
HEADINGS = ("prompts", "captions", "difference", "95% interval", "p", "p_bh", "p_by", "verdict")
MAX_EACH_WAY = 20
"""Of more groups than twice as many, a chart draws this many from each end."""


@dataclass(frozen=True, kw_only=True)
class ComparedRun:
    """One of the two runs."""

    path: Path
    ensemble: str


@dataclass(frozen=True, kw_only=True)
class GroupChange:
    """How the mean rank of a group changed from run A to run B."""

    group: str
    n_prompts: int
    n_sources: int
    difference: float
    """Mean rank in B minus mean rank in A, -1 to 1."""
    low: float
    high: float
    """95% cluster bootstrap interval; NaN, as all that follows, where there are too few captions."""
    p: float
    p_bh: float
    p_by: float
    verdict: Outcome

    @property
    def is_clear(self) -> bool:
        """Whether the group rose or fell."""
        return self.verdict in ("rose", "fell")

    def to_json(self) -> dict[str, Any]:
        """As it goes into JSON: undefined numbers are null."""
        return {name: None if _undefined(value) else value for name, value in asdict(self).items()}


@dataclass(frozen=True, kw_only=True)
class ImagePair:
    """A prompt of which both runs hold an image."""

    prompt: str
    language: str
    group: str
    rank_a: float
    rank_b: float
    image_a: str
    """Inside the folder of run A."""
    image_b: str
    """Inside the folder of run B."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What became of the groups of run A in run B."""

    a: ComparedRun
    b: ComparedRun
    score: str
    by: str
    n_prompts: int
    """Prompts that have the score in both runs, and a value in the group column."""
    n_only_a: int
    """Prompts that have the score in run A alone; left out."""
    n_only_b: int
    fdr: float
    groups: tuple[GroupChange, ...]
    """Largest rise first."""
    pairs: tuple[ImagePair, ...] = ()

    @property
    def n_tests(self) -> int:
        """Groups that were tested, over which p-values are adjusted."""
        return len(self.groups) - len(self.untested)

    @property
    def untested(self) -> tuple[str, ...]:
        """Groups of too few captions."""
        return tuple(change.group for change in self.groups if change.verdict == "not tested")

    def to_json(self) -> dict[str, Any]:
        """The numbers, ready for `json.dumps`."""
        counts = {name: getattr(self, name) for name in ("n_prompts", "n_only_a", "n_only_b", "n_tests")}
        return {
            "a": str(self.a.path),
            "b": str(self.b.path),
            "score": self.score,
            "by": self.by,
            **counts,
            "fdr": self.fdr,
            "groups": [change.to_json() for change in self.groups],
        }

    def to_text(self) -> str:
        """What was compared, and a table of the groups."""
        lines = [
            f"{name}: {clip_text(f'{run.path} ({run.ensemble})', 200)}" for name, run in (("a", self.a), ("b", self.b))
        ]
        lines += [
            f"score: {self.score}, as rank among the common prompts, 0 to 1; difference: rank in b minus rank in a",
            f"prompts: {self.n_prompts} in both, {self.n_only_a} only in a, {self.n_only_b} only in b",
            f"tests: {self.n_tests}, verdicts at a false discovery rate of {self.fdr:g} (Benjamini-Hochberg)",
            "",
            *_aligned([(clip_text(self.by, 40), *HEADINGS), *(_cells(change) for change in self.groups)]),
        ]
        if self.untested:
            names = ", ".join(clip_text(group, 40) for group in self.untested)
            lines += ["", f"not tested, fewer than {MIN_SOURCES} captions: {names}"]
        return "\n".join(lines)


def write_comparison(found: Comparison, path: Path, command: str) -> Path:
    """Write the page and return its path.

    Raises:
        AuditError: it cannot be written there.
    """
    return replace_file(path, [comparison_page(found, command)])


def comparison_page(found: Comparison, command: str) -> str:
    """One page that needs nothing else: verdicts, a chart, a table, and prompts that both runs drew."""
    drawn = shown_changes(found)
    forms = {"wide": changes_figure(found), "narrow": changes_figure(found, narrow=True)}
    return render_page(
        "comparison.html.j2",
        {"changes": forms} if drawn else {},
        found=found,
        counts=Counter(change.verdict for change in found.groups),
        label=group_label,
        n_drawn=len(drawn),
        height=forms["wide"]["layout"]["height"],
        pairs=_embedded(found),
        min_sources=MIN_SOURCES,
        command=command,
    )


def shown_changes(found: Comparison) -> list[GroupChange]:
    """The tested groups that a chart draws: all of them, or those at both ends."""
    tested = [change for change in found.groups if change.verdict != "not tested"]
    return tested if len(tested) <= 2 * MAX_EACH_WAY else [*tested[:MAX_EACH_WAY], *tested[-MAX_EACH_WAY:]]


def changes_figure(found: Comparison, *, narrow: bool = False) -> dict[str, Any]:
    """Groups as rows, largest rise first, with mean differences and their intervals, as Plotly JSON."""
    drawn = shown_changes(found)
    figure = go.Figure()
    for verdict, (colour, symbol) in MARKS.items():
        rows = [(place, change) for place, change in enumerate(drawn) if change.verdict == verdict]
        figure.add_trace(_marks(rows, found.by, verdict, colour, symbol))
    figure.add_vline(x=0, line={"color": charts.INK, "width": 1, "dash": "dot"}, layer="below")
    charts.style(figure, height=charts.ROW_HEIGHT * len(drawn) + 100, top=12, left=12)
    title = "change of mean rank" if narrow else f"change of mean rank by {measure_label(found.score).lower()}, A to B"
    figure.update_xaxes(title={"text": title, "font_size": 13})
    figure.update_yaxes(
        range=[len(drawn) - 0.4, -0.6],
        tickvals=list(range(len(drawn))),
        ticktext=[chart_text(group_label(found.by, change.group), 22 if narrow else 30) for change in drawn],
        tickfont_size=12.5,
        automargin=True,
    )
    plot: dict[str, Any] = figure.to_plotly_json()
    return plot


def _marks(rows: list[tuple[int, GroupChange]], by: str, verdict: str, colour: str, symbol: str) -> go.Scatter:
    changes = [change for _, change in rows]
    return go.Scatter(
        x=[change.difference for change in changes],
        y=[place for place, _ in rows],
        error_x={
            "type": "data",
            "symmetric": False,
            "array": [change.high - change.difference for change in changes],
            "arrayminus": [change.difference - change.low for change in changes],
            "color": colour,
            "thickness": 1.6,
            "width": 0,
        },
        mode="markers",
        marker={"color": colour, "symbol": symbol, "size": 8, "line": {"width": 1.6, "color": colour}},
        name=verdict,
        showlegend=False,
        text=[chart_text(group_label(by, change.group), 60) for change in changes],
        customdata=[[change.low, change.high, change.p_bh] for change in changes],
        hovertemplate="<b>%{text}</b><br>%{x:+.3f}, 95% interval %{customdata[0]:+.3f} to %{customdata[1]:+.3f}<br>"
        "p %{customdata[2]:.2g}, adjusted<extra></extra>",
    )


def _embedded(found: Comparison) -> list[tuple[ImagePair, str, str]]:
    """The pairs with both images as data URIs; a pair of which one cannot be read is left out."""
    budget = BYTE_BUDGET // max(1, 2 * len(found.pairs))
    pairs = []
    for pair in found.pairs:
        first = embed_image(found.a.path, pair.image_a, budget)
        second = embed_image(found.b.path, pair.image_b, budget)
        if first is not None and second is not None:
            pairs.append((pair, first, second))
    return pairs


def _cells(change: GroupChange) -> tuple[str, ...]:
    interval = "–" if math.isnan(change.low) else f"{change.low:+.3f} to {change.high:+.3f}"
    return (
        clip_text(change.group, 40),
        str(change.n_prompts),
        str(change.n_sources),
        f"{change.difference:+.3f}",
        interval,
        *("–" if math.isnan(p) else f"{p:.4f}" for p in (change.p, change.p_bh, change.p_by)),
        change.verdict,
    )


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Columns side by side, numbers to the right, the first and the last to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place in (0, len(widths) - 1) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _undefined(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
