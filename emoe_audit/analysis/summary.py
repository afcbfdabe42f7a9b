"""The analysis of a run: every table that the report and the dashboard show."""

from __future__ import annotations

import itertools
from typing import Any

import pandas as pd

from emoe_audit.analysis.contrasts import (
    CORRELATION_COLUMNS,
    QUARTILE_COLUMNS,
    correlate_groups,
    correlate_prompts,
    quartiles,
)
from emoe_audit.analysis.groups import COLUMNS, group_estimates
from emoe_audit.analysis.translations import TRANSLATION_SCORE

SCORES = (TRANSLATION_SCORE, "relative_disagreement", "disagreement")
"""The scores of a run; the first that is measured ranks where the validity check chooses none."""
QUALITY = ("clip_cosine", "clip_cosine_source")
MEASURES = (*SCORES, "feature_power", *QUALITY, "n_tokens")
NOT_GROUPS = {"key", "prompt_id", "source_id", "prompt", "source_prompt", "image_id"}
MAX_GROUPS = 200
COVERAGE = "training_coverage"


def analyze(
    results: pd.DataFrame,
    by: list[str],
    *,
    training_coverage: pd.DataFrame | None = None,
    n_boot: int = 1000,
    seed: int = 0,
) -> dict[str, pd.DataFrame]:
    """The tables `groups`, `quartiles` and `correlations`.

    Args:
        results: A row per prompt with its scores and, where images were made, its quality.
        by: Group columns.
        training_coverage: Where it is known, `[by, group, coverage]`, as `read_coverage` gives it.
        n_boot: Bootstrap replicates.
        seed: Of the resampling.
    """
    measures = [m for m in MEASURES if m in results and results[m].notna().any()]
    scores, quality = [s for s in SCORES if s in measures], [q for q in QUALITY if q in measures]
    options: dict[str, Any] = {"n_boot": n_boot, "seed": seed}
    groups = [group_estimates(results, column, measure, **options) for column in by for measure in measures]
    quarters = [quartiles(results, s, q, **options) for s, q in itertools.product(scores, quality)]
    correlations = [correlate_prompts(results, s, q, **options) for s, q in itertools.product(scores, quality)]
    correlations += [
        correlate_groups(results, s, q, by="language", **options) for s, q in itertools.product(scores, quality)
    ]
    if training_coverage is not None:
        for column in [c for c in by if c in set(training_coverage["by"])]:
            known = training_coverage[training_coverage["by"] == column].set_index("group")["coverage"]
            groups.append(known_coverage(results, column, known))
            for measure in [m for m in (*scores, "feature_power", "n_tokens") if m in measures]:
                for given in (None, "n_tokens") if measure != "n_tokens" else (None,):
                    correlations.append(
                        correlate_groups(results, measure, COVERAGE, by=column, given=given, known=known, **options)
                    )
    return {
        "groups": _stack(groups, COLUMNS),
        "quartiles": _stack(quarters, QUARTILE_COLUMNS),
        "correlations": _stack(correlations, CORRELATION_COLUMNS),
    }


def known_coverage(results: pd.DataFrame, by: str, known: pd.Series) -> pd.DataFrame:
    """The known training coverage of each group of the run, as rows of `groups` without intervals."""
    grouped = results[results[by].isin(known.index)].groupby(by)
    table = pd.DataFrame({"n_prompts": grouped.size(), "n_sources": grouped["source_id"].nunique()}).reset_index(
        names="group"
    )
    return table.assign(by=by, measure=COVERAGE, mean=table["group"].map(known)).reindex(columns=COLUMNS)


def group_columns(prompts: pd.DataFrame) -> list[str]:
    """Language, region and every other column of the prompt table that has 2 to 200 values; no free text, no ids."""
    found = [c for c in prompts if c not in NOT_GROUPS and not pd.api.types.is_float_dtype(prompts[c])]
    return [c for c in found if 2 <= prompts[c].nunique() <= MAX_GROUPS]


def _stack(tables: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    full = [table for table in tables if len(table)]
    return pd.concat(full, ignore_index=True) if full else pd.DataFrame(columns=columns)
