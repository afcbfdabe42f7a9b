"""Pieces of HTML for the pages. Every text of a run is escaped here; images are embedded, small."""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from emoe_audit.report.charts import SIDES
from emoe_audit.report.data import ReportData
from emoe_audit.report.gallery import embed_image
from emoe_audit.report.labels import clip_text, counted, decimals, group_label, measure_label, number
from emoe_audit.report.render import STATUS_TEXT

IMAGE_BYTES = 60_000
BLANK = '<div class="blank">no image</div>'
STYLE = """<style>
.ea { color: #1d232b; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.ea h1 { margin: 0 0 2px; padding: 0; font: 600 2.4rem/1.15 ui-serif, Charter, "Noto Serif", Georgia, serif; }
.st-key-narrow { display: none; }
@media (max-width: 760px) { .st-key-narrow { display: flex; } .st-key-wide { display: none; } }
.ea .sub, .ea .facts span, .ea small { color: #5b6572; }
.ea .verdict { display: grid; grid-template-columns: repeat(auto-fit, minmax(270px, 1fr)); gap: 20px 36px; margin: 22px 0 6px; }
.ea .verdict p { margin: 0; font: 400 1.06rem/1.5 ui-serif, Charter, "Noto Serif", Georgia, serif; }
.ea .verdict h2 { margin: 0 0 4px; padding: 6px 0 0; border-top: 2px solid #1d232b; font-family: inherit; font-size: .92rem; font-weight: 500; color: #5b6572; }
.ea .status { display: inline-block; margin-top: 8px; padding: 2px 10px; border: 1.5px solid; border-radius: 3px; font-weight: 600; font-size: .88rem; }
.ea .confirmed { color: #00664a; } .ea .unconfirmed, .ea .unchecked { color: #a84300; }
.ea .contradicted { color: #fff; background: #a84300; border-color: #a84300; }
.ea .legend { display: flex; flex-wrap: wrap; gap: 2px 22px; font-size: .88rem; }
.ea .mark { display: inline-block; width: 9px; height: 9px; margin-right: 8px; border-radius: 50%; border: 2px solid; }
.ea .head { display: grid; grid-template-columns: minmax(0, 1fr) auto; gap: 28px; align-items: start; }
.ea .text { margin: 2px 0 14px; font: 600 1.8rem/1.25 ui-serif, Charter, "Noto Serif", Georgia, serif; }
.ea img { display: block; background: #eef0f3; outline: 1px solid #d7dbe0; outline-offset: -1px; object-fit: cover; }
.ea .head img { width: 192px; height: 192px; }
.ea .facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: 14px 24px; }
.ea .facts > div { border-top: 1px solid #1d232b; padding-top: 6px; font-size: 1.35rem; } .ea .facts span { display: block; font-size: .86rem; }
.ea .facts small { font-size: .86rem; }
.ea .grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(132px, 1fr)); gap: 22px 18px; }
.ea .card { border-top: 3px solid #d7dbe0; padding-top: 8px; font-size: .88rem; line-height: 1.35; }
.ea .card.here { border-color: #0072b2; }
.ea .card img, .ea .card .blank { width: 112px; height: 112px; margin: 6px 0; }
.ea .card .blank { display: grid; place-items: center; color: #5b6572; background: #f6f5f1; }
.ea .card b { font-weight: 600; } .ea .card [dir] { display: block; }
</style>"""


def run_head(report: ReportData) -> str:
    """The name of a run, what it holds, and its verdict."""
    scope, verdict = report.scope, report.verdict
    parts = [f"{counted(scope.n_scored, 'prompt')} scored", counted(scope.n_languages, "language")]
    parts += [f"{counted(scope.n_judged, 'image')} judged", f"{counted(scope.faults.total, 'row')} left out"]
    columns = [
        ("Where it is unsure", escape(verdict.where)),
        ("What that does to images", escape(verdict.quality)),
        ("How far to trust this", escape(verdict.trust) + _status(report)),
    ]
    return _wrap(
        f"<h1><bdi>{escape(report.manifest.ensemble.name)}</bdi></h1>"
        f'<div class="sub">{", ".join(parts)}{"" if report.complete else ", unfinished"}</div>'
        '<div class="verdict">'
        + "".join(f"<section><h2>{title}</h2><p>{text}</p></section>" for title, text in columns)
        + "</div>"
    )


def _status(report: ReportData) -> str:
    status = report.verdict.status
    return f'<br><span class="status {status}">{STATUS_TEXT[status]}</span>'


def legend() -> str:
    """What the colours of the chart of groups mean."""
    marks = "".join(
        f'<span><span class="mark" style="border-color:{colour}{_filled(colour, symbol)}"></span>{name}</span>'
        for name, colour, symbol in SIDES.values()
    )
    return _wrap(f'<div class="legend">{marks}<span>bars: 95% intervals; dotted: mean over all prompts</span></div>')


def _filled(colour: str, symbol: str) -> str:
    return "" if symbol.endswith("open") else f";background:{colour}"


def prompt_head(run: Path, row: Any, share_below: float) -> str:
    """The text of a prompt, its image and its numbers with the noise floor."""
    facts = [
        ("Relative disagreement", _with_noise(row, "relative_disagreement")),
        ("More unsure than", f"{number(100 * share_below, 0)}% <small>of prompts</small>"),
        (measure_label("disagreement"), _with_noise(row, "disagreement")),
        (measure_label("feature_power"), _rounded(row.feature_power)),
        ("CLIP cosine, this prompt", _rounded(row.clip_cosine, 3)),
        (measure_label("clip_cosine_source"), _rounded(row.clip_cosine_source, 3)),
        ("Tokens", _rounded(row.n_tokens, 0) + (" <small>cut short</small>" if row.truncated is True else "")),
    ]
    body = "".join(f"<div><span>{name}</span>{value}</div>" for name, value in facts)
    language = f"{group_label('language', row.language)} ({row.language})"
    return _wrap(
        f'<div class="head"><div><div class="sub">{escape(language)}, prompt <bdi>{escape(str(row.prompt_id))}</bdi></div>'
        f'<div class="text" dir="auto" lang="{escape(row.language)}">{escape(clip_text(row.prompt, 2000))}</div>'
        f'<div class="facts">{body}</div></div>{_image(run, row)}</div>'
    )


def translations(run: Path, rows: pd.DataFrame, key: str) -> str:
    """The translations of one caption as cards: image, language, score, quality, text."""
    places = decimals(rows.relative_disagreement.tolist())
    cards = "".join(_card(run, row, places, here=row.key == key) for row in rows.itertuples())
    return _wrap(f'<div class="grid">{cards}</div>')


def _card(run: Path, row: Any, places: int, *, here: bool) -> str:
    return (
        f'<div class="card{" here" if here else ""}"><b>{escape(group_label("language", row.language))}</b>'
        f"{_image(run, row) or BLANK}"
        f"<div><b>{_rounded(row.relative_disagreement, places)}</b> <small>disagreement</small></div>"
        f"<div><b>{_rounded(row.clip_cosine, 3)}</b> <small>CLIP cosine</small></div>"
        f'<span dir="auto" lang="{escape(row.language)}">{escape(clip_text(row.prompt, 90))}</span></div>'
    )


def _image(run: Path, row: Any) -> str:
    if not isinstance(row.image, str):
        return ""
    uri = embed_image(run, row.image, IMAGE_BYTES)
    return f'<img src="{uri}" alt="{escape(clip_text(row.prompt, 120))}">' if uri else ""


def _with_noise(row: Any, score: str) -> str:
    value, spread = float(row[score]), float(row[f"{score}_noise_sd"]) / math.sqrt(row.n_noise)
    if not math.isfinite(spread):
        return _rounded(value)
    places = decimals([value])
    return f"{number(value, places)} <small>± {number(spread, places + 1)} noise</small>"


def _rounded(value: float, places: int | None = None) -> str:
    return number(float(value), decimals([float(value)]) if places is None else places)


def _wrap(body: str) -> str:
    return f'{STYLE}<div class="ea">{body}</div>'
