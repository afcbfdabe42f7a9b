"""Pieces of HTML for the pages. Every text of a run is escaped here; images are embedded, small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from emoe_audit.decisions.comparison import ImagePair
from emoe_audit.decisions.ranking import ranks_by_images
from emoe_audit.readers.pictures import numbered
from emoe_audit.report.charts import SIDES, sides_of
from emoe_audit.report.data import GroupTable, ReportData, scores_from
from emoe_audit.report.gallery import embed_image
from emoe_audit.report.labels import clip_text, counted, decimals, group_label, measure_label, number, verdict_titles

IMAGE_BYTES = 60_000
MOST_IMAGES = 4
"""Of a prompt that are shown."""
SIDE_WORDS = {side: words for side, (words, _, _) in SIDES.items()}
BLANK = '<div class="blank">no image</div>'


def run_head(report: ReportData) -> str:
    """The name of a run, what it holds, and its verdict."""
    scope, verdict = report.scope, report.verdict
    is_scored = report.manifest.is_scored
    parts = [f"{counted(scope.n_scored, 'prompt')} scored" if is_scored else counted(scope.n_prompts, "prompt")]
    parts += [counted(scope.n_languages, "language")]
    parts += [f"{counted(scope.n_images, 'image')} judged", f"{counted(scope.faults.total, 'row')} left out"]
    texts = [*map(escape, (verdict.where, verdict.quality, verdict.validity)), escape(verdict.trust) + _status(report)]
    columns = zip(verdict_titles(report.ranking), texts, strict=True)
    return wrap(
        f"<h1><bdi>{escape(report.manifest.ensemble.name)}</bdi></h1>"
        f'<div class="sub">{", ".join(parts)}{"" if report.complete else ", unfinished"}</div>'
        '<div class="verdict">'
        + "".join(f"<section><h2>{title}</h2><p>{text}</p></section>" for title, text in columns)
        + "</div>"
    )


def _status(report: ReportData) -> str:
    return f'<br><span class="status {report.standing.rung}">{report.standing.word}</span>'


def legend(table: GroupTable) -> str:
    """What the colours of the chart of groups mean."""
    marks = "".join(
        f'<span><span class="mark" style="border-color:{colour}{_filled(colour, symbol)}"></span>{name}</span>'
        for name, colour, symbol in sides_of(table).values()
    )
    return wrap(f'<div class="legend">{marks}<span>bars: 95% intervals; dotted: mean over all prompts</span></div>')


def _filled(colour: str, symbol: str) -> str:
    return "" if symbol.endswith("open") else f";background:{colour}"


def scope(report: ReportData) -> str:
    """What was audited, in numbers."""
    own = report.scope
    prompts = ("Prompts scored", own.n_scored) if report.manifest.is_scored else ("Prompts", own.n_prompts)
    facts = [
        prompts, ("Captions", own.n_sources), ("Languages", own.n_languages),
        ("Regions", own.n_regions), ("Images judged", own.n_images), ("Rows left out", own.faults.total),
        ("Prompts cut short", own.n_truncated),
    ]  # fmt: skip
    body = "".join(f"<div><span>{name}</span>{value:,}</div>" for name, value in facts)
    return wrap(f'<div class="facts">{body}</div>')


def pairs(a: Path, b: Path, found: Sequence[ImagePair], *, blurred: bool = False) -> str:
    """Prompts with the images of two runs side by side."""
    cards = "".join(
        f'<div class="card pair"><b>{escape(group_label("language", pair.language))}</b>'
        f"{_picture(a, pair.image_a, pair.prompt)}{_picture(b, pair.image_b, pair.prompt)}"
        f"<div><b>{pair.rank_a:.2f}</b> to <b>{pair.rank_b:.2f}</b> <small>rank</small></div>"
        f'<span dir="auto" lang="{escape(pair.language)}">{escape(clip_text(pair.prompt, 90))}</span></div>'
        for pair in found
    )
    return wrap(f'<div class="grid pairs{" blurred" if blurred else ""}">{cards}</div>')


def prompt_head(run: Path, row: Any, ranking: str, share_below: float, *, blurred: bool = False) -> str:
    """The text of a prompt, its image and its numbers with the noise floor, the score that ranks first."""
    others = [score for score in scores_from(ranking)[1:] if pd.notna(row[score])]
    facts = [
        (measure_label(ranking), _with_noise(row, ranking)),
        ("Drawn better than" if ranks_by_images(ranking) else "More unsure than", _percent(share_below)),
        *((measure_label(score), _with_noise(row, score)) for score in others),
        (measure_label("feature_power"), _rounded(row.feature_power)),
        ("CLIP cosine, this prompt", _rounded(row.clip_cosine, 3)),
        (measure_label("clip_cosine_source"), _rounded(row.clip_cosine_source, 3)),
        ("Tokens", _rounded(row.n_tokens, 0) + (" <small>cut short</small>" if row.truncated is True else "")),
    ]
    body = "".join(f"<div><span>{name}</span>{value}</div>" for name, value in facts)
    title = f"{group_label('language', row.language)} ({row.language}), prompt {row.prompt_id}"
    return wrap(
        f'<div class="head{" blurred" if blurred else ""}"><div><div class="sub"><bdi>{escape(title)}</bdi></div>'
        f'<div class="text" dir="auto" lang="{escape(row.language)}">{escape(clip_text(row.prompt, 2000))}</div>'
        f'<div class="facts">{body}</div></div>{_images(run, row)}</div>'
    )


def translations(run: Path, rows: pd.DataFrame, ranking: str, prompt_id: str, *, blurred: bool = False) -> str:
    """The translations of one caption as cards, worst first: image, language, score, quality, text."""
    places = decimals(rows[ranking].tolist())
    ordered = rows.sort_values(ranking, ascending=ranks_by_images(ranking))
    cards = "".join(
        _card(run, row, _rounded(score, places), measure_label(ranking), here=row.prompt_id == prompt_id)
        for row, score in zip(ordered.itertuples(), ordered[ranking], strict=True)
    )
    return wrap(f'<div class="grid{" blurred" if blurred else ""}">{cards}</div>')


def _card(run: Path, row: Any, score: str, named: str, *, here: bool) -> str:
    return (
        f'<div class="card{" here" if here else ""}"><b>{escape(group_label("language", row.language))}</b>'
        f"{_image(run, row) or BLANK}"
        f"<div><b>{score}</b> <small>{escape(named.lower())}</small></div>"
        f"<div><b>{_rounded(row.clip_cosine, 3)}</b> <small>CLIP cosine</small></div>"
        f'<span dir="auto" lang="{escape(row.language)}">{escape(clip_text(row.prompt, 90))}</span></div>'
    )


def _image(run: Path, row: Any) -> str:
    return _picture(run, row.image, row.prompt) if isinstance(row.image, str) else ""


def _images(run: Path, row: Any) -> str:
    """The images of a prompt, the first of them where they are many."""
    if not isinstance(row.image, str):
        return ""
    n = max(1, int(min(row.n_images, MOST_IMAGES))) if pd.notna(row.get("n_images")) else 1
    return "".join(_picture(run, numbered(row.image, number), row.prompt) for number in range(1, n + 1))


def _picture(run: Path, image: str, prompt: str) -> str:
    uri = embed_image(run, image, IMAGE_BYTES)
    return f'<img src="{uri}" alt="{escape(clip_text(prompt, 120))}">' if uri else ""


def _with_noise(row: Any, score: str) -> str:
    n_noise = 1 if pd.isna(row.n_noise) else max(1, row.n_noise)
    value, spread = float(row[score]), float(row.get(f"{score}_noise_sd", math.nan)) / math.sqrt(n_noise)
    if not math.isfinite(spread):
        return _rounded(value)
    places = decimals([value])
    return f"{number(value, places)} <small>± {number(spread, places + 1)} noise</small>"


def _percent(share: float) -> str:
    return f"{number(100 * share, 0)}% <small>of prompts</small>" if math.isfinite(share) else number(share, 0)


def _rounded(value: float, places: int | None = None) -> str:
    known = math.nan if pd.isna(value) else float(value)
    return number(known, decimals([known]) if places is None else places)


def wrap(body: str) -> str:
    """HTML that takes the style of the pages, `cards.css`."""
    return f'<div class="ea">{body}</div>'
