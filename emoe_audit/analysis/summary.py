"""The analysis of a run: every table that the report and the dashboard show."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import pandas as pd

from emoe_audit.analysis.contrasts import (
    CORRELATION_COLUMNS,
    QUARTILE_COLUMNS,
    correlate_groups,
    correlate_prompts,
    quartiles,
)
from emoe_audit.analysis.covariates import COVARIATES, NUMBERS, described
from emoe_audit.analysis.disparity import COLUMNS as DISPARITY_COLUMNS
from emoe_audit.analysis.disparity import disparity
from emoe_audit.analysis.familiarity import UNFAMILIARITY
from emoe_audit.analysis.gaps import GAP_COLUMNS, gaps
from emoe_audit.analysis.grouping import PLACES
from emoe_audit.analysis.groups import COLUMNS, group_estimates
from emoe_audit.analysis.image_agreement import IMAGE_AGREEMENT
from emoe_audit.analysis.refusal import COLUMNS as REFUSAL_COLUMNS
from emoe_audit.analysis.refusal import refusal_tables
from emoe_audit.analysis.regression import (
    ADJUSTED_COLUMNS,
    CONFOUNDER_COLUMNS,
    adjusted_contrasts,
    confounders,
)
from emoe_audit.analysis.rows import measured, n_captions, small_places
from emoe_audit.analysis.translations import TRANSLATION_SCORE
from emoe_audit.types import AnalysisConfig

SCORES = (TRANSLATION_SCORE, "relative_disagreement", "disagreement", UNFAMILIARITY)
"""The scores of a run; the first that is measured ranks where the validity check chooses none."""
SOURCE_QUALITY = "clip_cosine_source"
"""Of an image with the caption that its prompt was translated from, which a judge of one language reads."""
NATIVE_QUALITY = "clip_cosine"
"""Of an image with its own prompt."""
QUALITY = (NATIVE_QUALITY, SOURCE_QUALITY, IMAGE_AGREEMENT)
"""Measures of images, more being better."""
MEASURES = (*SCORES, "feature_power", *QUALITY, "n_tokens")
DEPENDS_ON = ("source_id", "language", "parallel", "image_id")
RANK = "source_rank"
COVERAGE = "training_coverage"
PUBLISHED_RECALL = "published_recall"
"""How well the text encoder of the run is known to read a language, see `experts.public_readers`."""
ESTIMATES = ["mean", "low", "high", "gap", "gap_low", "gap_high"]


class Columns(Protocol):
    """A row per prompt, of which not all columns need to be held at once; a frame is one."""

    def __contains__(self, name: str) -> bool: ...

    def __getitem__(self, names: list[str]) -> pd.DataFrame: ...


def analyze(
    results: Columns,
    by: list[str],
    config: AnalysisConfig | None = None,
    *,
    training_coverage: pd.DataFrame | None = None,
    published_recall: pd.Series | None = None,
    ratings: Sequence[str] = (),
) -> dict[str, pd.DataFrame]:
    """The tables of a run by name, each the rows of the functions that are called here.

    Args:
        results: A row per prompt with its scores and, where images were made, its quality; with its `prompt`, or what
            `covariates.described` makes of that.
        by: Group columns.
        config: What the statistics rest on.
        training_coverage: Where it is known, `[by, group, coverage]`, as `read_coverage` gives it.
        published_recall: Where its text encoder is a public one, how well that is known to read each language, by tag.
        ratings: Columns of quality that was measured elsewhere, more being better; set against the scores as the
            judge's own measures are.
    """
    config = config or AnalysisConfig()
    if isinstance(results, pd.DataFrame):
        results = described(results)
    of = partial(_columns, results)
    measures = [m for m in (*ratings, *MEASURES) if m in results and results[[m]][m].notna().any()]
    scores, quality = [s for s in SCORES if s in measures], [q for q in (*ratings, *QUALITY) if q in measures]
    options: dict[str, Any] = {"n_boot": config.n_boot, "seed": config.seed}
    known = known_groups(training_coverage, by)
    outside = [(column, COVERAGE, coverage) for column, coverage in known.items()]
    if published_recall is not None and "language" in by:
        outside.append(("language", PUBLISHED_RECALL, published_recall))
    compared = [(column, measure) for column in by for measure in (*scores, *quality)]
    refused = [refusal_tables(of(s, RANK, *by), s, by=by, target=config.target_risk, seed=config.seed) for s in scores]
    tables: dict[str, tuple[list[pd.DataFrame], list[str]]] = {
        "gaps": ([_gaps(of(*pair), *pair, config) for pair in compared], GAP_COLUMNS),
        "disparity": (
            [disparity(of(*pair), *pair, higher_is_better=pair[1] in quality, **options) for pair in compared],
            DISPARITY_COLUMNS,
        ),
        "quartiles": (
            [quartiles(of(*pair), *pair) for pair in itertools.product(scores, quality)],
            QUARTILE_COLUMNS,
        ),
        "correlations": (
            list(_correlations(of, scores, quality, measures, outside, options)),
            CORRELATION_COLUMNS,
        ),
        "confounders": ([confounders(of(m, *COVARIATES), m) for m in (*scores, *quality)], CONFOUNDER_COLUMNS),
        "adjusted": (
            [adjusted_contrasts(of(m, *NUMBERS), "language", m) for m in (*scores, *quality)],
            ADJUSTED_COLUMNS,
        ),
        **{name: ([own[name] for own in refused], columns) for name, columns in REFUSAL_COLUMNS.items()},
    }
    groups = _groups(of, by, measures, known, config)
    return {"groups": groups, **{name: _stack(*parts) for name, parts in tables.items()}}


def _columns(results: Columns, *names: str) -> pd.DataFrame:
    """Some columns, and those that say what a prompt depends on; of all these the ones that there are."""
    return results[[name for name in dict.fromkeys((*DEPENDS_ON, *names)) if name in results]]


def _groups(
    of: Callable[..., pd.DataFrame],
    by: list[str],
    measures: list[str],
    known: dict[str, pd.Series],
    config: AnalysisConfig,
) -> pd.DataFrame:
    """The means of every group in every measure, and its known coverage."""
    estimated = [group_estimates(of(*pair), *pair) for pair in itertools.product(by, measures)]
    covered = [known_coverage(of(column), column, own) for column, own in known.items()]
    return suppressed(_stack([*estimated, *covered], COLUMNS), config.min_sources)


def known_groups(training_coverage: pd.DataFrame | None, by: list[str]) -> dict[str, pd.Series]:
    """The known coverage by group, of each group column for which there is any."""
    if training_coverage is None:
        return {}
    columns = [column for column in by if column in set(training_coverage["by"])]
    own = {column: training_coverage[training_coverage["by"] == column] for column in columns}
    return {column: table.set_index("group")["coverage"] for column, table in own.items()}


def suppressed(groups: pd.DataFrame, min_sources: int) -> pd.DataFrame:
    """The table of groups without the numbers of those that hold fewer captions; how many they hold stays."""
    groups.loc[(groups["n_sources"] < min_sources) & (groups["measure"] != COVERAGE), ESTIMATES] = np.nan
    return groups


def known_coverage(results: pd.DataFrame, by: str, known: pd.Series) -> pd.DataFrame:
    """The known training coverage of each group of the run, as rows of `groups` without intervals."""
    rows = results[["source_id", by]]
    rows = rows[rows[by].isin(known.index)]
    groups, names = small_places(rows[by])
    counts = {"n_prompts": np.bincount(groups, minlength=len(names)), "n_sources": n_captions(rows, by)}
    table = pd.DataFrame({"group": names, **{name: np.asarray(own) for name, own in counts.items()}})
    return table.assign(by=by, measure=COVERAGE, mean=table["group"].map(known)).reindex(columns=COLUMNS)


def _gaps(results: pd.DataFrame, by: str, measure: str, config: AnalysisConfig) -> pd.DataFrame:
    rows = measured(results, by, measure)
    enough = n_captions(rows, by).to_numpy() >= config.min_sources
    if not enough.all():
        rows = rows[enough[small_places(rows[by])[0]]]
    return gaps(rows, by, measure, margin=config.margins.get(measure))


def _correlations(
    of: Callable[..., pd.DataFrame],
    scores: list[str],
    quality: list[str],
    measures: list[str],
    outside: list[tuple[str, str, pd.Series]],
    options: dict[str, Any],
) -> Iterator[pd.DataFrame]:
    """Scores against quality over prompts and places, and what might explain scores against what is known of groups.

    `of` gives the rows with some columns. `outside` is what is known: group column, name, and a value for each group
    that was not measured in the run.
    """
    for score, own in itertools.product(scores, quality):
        yield correlate_prompts(of(score, own), score, own)
    where = of(*PLACES)
    several = [column for column in PLACES if column in where and where[column].nunique() > 2]
    for score, own, column in itertools.product(scores, quality, several):
        yield correlate_groups(of(column, score, own), score, own, by=column, **options)
    for column, name, values in outside:
        for measure in [m for m in (*scores, "feature_power", "n_tokens") if m in measures]:
            for given in (None, "n_tokens") if measure != "n_tokens" else (None,):
                rows = of(column, measure, *([given] if given else []))
                yield correlate_groups(rows, measure, name, by=column, given=given, known=values, **options)


def _stack(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    full = [table for table in tables if len(table)]
    return pd.concat(full, ignore_index=True) if full else pd.DataFrame(columns=columns)
