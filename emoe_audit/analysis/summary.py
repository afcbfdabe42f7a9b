"""The analysis of a run: every table that the report and the dashboard show."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from emoe_audit.analysis.contrasts import (
    CORRELATION_COLUMNS,
    QUARTILE_COLUMNS,
    correlate_groups,
    correlate_prompts,
    quartiles,
)
from emoe_audit.analysis.disparity import COLUMNS as DISPARITY_COLUMNS
from emoe_audit.analysis.disparity import disparity
from emoe_audit.analysis.familiarity import UNFAMILIARITY
from emoe_audit.analysis.gaps import GAP_COLUMNS, gaps
from emoe_audit.analysis.groups import COLUMNS, group_estimates
from emoe_audit.analysis.refusal import COLUMNS as REFUSAL_COLUMNS
from emoe_audit.analysis.refusal import refusal_tables
from emoe_audit.analysis.regression import (
    ADJUSTED_COLUMNS,
    CONFOUNDER_COLUMNS,
    adjusted_contrasts,
    confounders,
)
from emoe_audit.analysis.translations import TRANSLATION_SCORE
from emoe_audit.readers.limits import Limit
from emoe_audit.types import SET_ASIDE, AnalysisConfig

SCORES = (TRANSLATION_SCORE, "relative_disagreement", "disagreement", UNFAMILIARITY)
"""The scores of a run; the first that is measured ranks where the validity check chooses none."""
SOURCE_QUALITY = "clip_cosine_source"
"""Of an image with the caption that its prompt was translated from, which a judge of one language reads."""
QUALITY = ("clip_cosine", SOURCE_QUALITY)
MEASURES = (*SCORES, "feature_power", *QUALITY, "n_tokens")
NOT_GROUPS = {
    *("key", "prompt_id", "source_id", "prompt", "source_prompt", "parallel"),
    *("image_id", "image_file", "reference_image", "language_given"),
}
MAX_GROUPS = 300
"""All countries are fewer."""
GROUP_COLUMNS = Limit("GROUP_COLUMNS", 16, "columns to group by")
PLACES = ("language", "region")
GROUPED_FIRST = (*PLACES, "skin_tone")
LARGE_GROUP = 5
"""Prompts of a group that holds enough of them to be compared."""
COVERAGE = "training_coverage"
PUBLISHED_RECALL = "published_recall"
"""How well the text encoder of the run is known to read a language, see `experts.public_readers`."""
ESTIMATES = ["mean", "low", "high", "gap", "gap_low", "gap_high"]


def analyze(
    results: pd.DataFrame,
    by: list[str],
    config: AnalysisConfig | None = None,
    *,
    training_coverage: pd.DataFrame | None = None,
    published_recall: pd.Series | None = None,
    ratings: Sequence[str] = (),
) -> dict[str, pd.DataFrame]:
    """The tables of a run by name, each the rows of the functions that are called here.

    Args:
        results: A row per prompt with its scores and, where images were made, its quality.
        by: Group columns.
        config: What the statistics rest on.
        training_coverage: Where it is known, `[by, group, coverage]`, as `read_coverage` gives it.
        published_recall: Where its text encoder is a public one, how well that is known to read each language, by tag.
        ratings: Columns of quality that was measured elsewhere, more being better; set against the scores as the
            judge's own measures are.
    """
    config = config or AnalysisConfig()
    measures = [m for m in (*ratings, *MEASURES) if m in results and results[m].notna().any()]
    scores, quality = [s for s in SCORES if s in measures], [q for q in (*ratings, *QUALITY) if q in measures]
    options: dict[str, Any] = {"n_boot": config.n_boot, "seed": config.seed}
    known = known_groups(training_coverage, by)
    outside = [(column, COVERAGE, coverage) for column, coverage in known.items()]
    if published_recall is not None and "language" in by:
        outside.append(("language", PUBLISHED_RECALL, published_recall))
    compared = [(column, measure) for column in by for measure in (*scores, *quality)]
    refused = [refusal_tables(results, s, by=by, target=config.target_risk, seed=config.seed) for s in scores]
    tables: dict[str, tuple[list[pd.DataFrame], list[str]]] = {
        "gaps": ([_gaps(results, *pair, config) for pair in compared], GAP_COLUMNS),
        "disparity": (
            [disparity(results, *pair, higher_is_better=pair[1] in quality, **options) for pair in compared],
            DISPARITY_COLUMNS,
        ),
        "quartiles": (
            [quartiles(results, s, q) for s, q in itertools.product(scores, quality)],
            QUARTILE_COLUMNS,
        ),
        "correlations": (
            list(_correlations(results, scores, quality, measures, outside, options)),
            CORRELATION_COLUMNS,
        ),
        "confounders": ([confounders(results, m) for m in (*scores, *quality)], CONFOUNDER_COLUMNS),
        "adjusted": ([adjusted_contrasts(results, "language", m) for m in (*scores, *quality)], ADJUSTED_COLUMNS),
        **{name: ([own[name] for own in refused], columns) for name, columns in REFUSAL_COLUMNS.items()},
    }
    groups = _groups(results, by, measures, known, config)
    return {"groups": groups, **{name: _stack(*parts) for name, parts in tables.items()}}


def _groups(
    results: pd.DataFrame, by: list[str], measures: list[str], known: dict[str, pd.Series], config: AnalysisConfig
) -> pd.DataFrame:
    """The means of every group in every measure, and its known coverage."""
    estimated = [group_estimates(results, *pair) for pair in itertools.product(by, measures)]
    covered = [known_coverage(results, column, own) for column, own in known.items()]
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
    grouped = results[results[by].isin(known.index)].groupby(by)
    table = pd.DataFrame({"n_prompts": grouped.size(), "n_sources": grouped["source_id"].nunique()}).reset_index(
        names="group"
    )
    return table.assign(by=by, measure=COVERAGE, mean=table["group"].map(known)).reindex(columns=COLUMNS)


def group_columns(prompts: pd.DataFrame) -> list[str]:
    """Language, region and every other column of the prompt table that has 2 to 300 values; no free text, no ids.

    Of more than `GROUP_COLUMNS` those stay in which most prompts stand in groups of `LARGE_GROUP` or more.
    """
    found = _groupable(prompts)
    if len(found) <= GROUP_COLUMNS.value:
        return found
    best = sorted(found, key=lambda column: _grouped_worse(prompts[column]))[: GROUP_COLUMNS.value]
    return [column for column in found if column in best]


def not_grouped(prompts: pd.DataFrame) -> list[str]:
    """The columns that could be grouped by, and are too many for it."""
    grouped = set(group_columns(prompts))
    return [column for column in _groupable(prompts) if column not in grouped]


def _groupable(prompts: pd.DataFrame) -> list[str]:
    found = [c for c in prompts if c not in NOT_GROUPS and not str(c).endswith(SET_ASIDE)]
    found = [c for c in found if not pd.api.types.is_float_dtype(prompts[c])]
    return [c for c in found if 2 <= _n_values(prompts[c]) <= MAX_GROUPS]


def _n_values(column: pd.Series) -> int:
    """How many different values there are; none where they cannot be compared, as lists."""
    try:
        return int(column.nunique())
    except TypeError:
        return 0


def _grouped_worse(column: pd.Series) -> tuple[bool, int, int]:
    """To sort columns by: the known ones first, then by the prompts in large groups, then by fewer groups."""
    sizes = column.value_counts()
    return column.name not in GROUPED_FIRST, -int(sizes[sizes >= LARGE_GROUP].sum()), len(sizes)


def _gaps(results: pd.DataFrame, by: str, measure: str, config: AnalysisConfig) -> pd.DataFrame:
    rows = results.dropna(subset=[by, measure])
    n_sources = rows.groupby(by)["source_id"].transform("nunique")
    return gaps(rows[n_sources >= config.min_sources], by, measure, margin=config.margins.get(measure))


def _correlations(
    results: pd.DataFrame,
    scores: list[str],
    quality: list[str],
    measures: list[str],
    outside: list[tuple[str, str, pd.Series]],
    options: dict[str, Any],
) -> Iterator[pd.DataFrame]:
    """Scores against quality over prompts and places, and what might explain scores against what is known of groups.

    `outside` is what is known: group column, name, and a value for each group that was not measured in the run.
    """
    for score, own in itertools.product(scores, quality):
        yield correlate_prompts(results, score, own)
    places = [column for column in PLACES if column in results and results[column].nunique() > 2]
    for score, own, column in itertools.product(scores, quality, places):
        yield correlate_groups(results, score, own, by=column, **options)
    for column, name, values in outside:
        for measure in [m for m in (*scores, "feature_power", "n_tokens") if m in measures]:
            for given in (None, "n_tokens") if measure != "n_tokens" else (None,):
                yield correlate_groups(results, measure, name, by=column, given=given, known=values, **options)


def _stack(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    full = [table for table in tables if len(table)]
    return pd.concat(full, ignore_index=True) if full else pd.DataFrame(columns=columns)
