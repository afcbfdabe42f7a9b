"""The last step before the report: everything stored becomes tables about groups, and is counted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from emoe_audit.analysis.summary import analyze
from emoe_audit.experts.coverage import read_coverage
from emoe_audit.progress import Progress, silent
from emoe_audit.runs.columns import ResultColumns, group_columns_of
from emoe_audit.runs.readings import compare_translations
from emoe_audit.runs.sights import compare_images
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.guard import guard_judge
from emoe_audit.steps.readers import known_recall
from emoe_audit.types import AnalysisConfig

COUNTS = """
    SELECT count(*) AS p, count(*) FILTER (relative_disagreement IS NOT NULL OR n_noise = 0) AS s,
           count(DISTINCT image) AS i
    FROM results
"""


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What an audit left behind."""

    path: Path
    report: Path
    n_prompts: int
    n_scored: int
    n_images: int
    n_errors: int


def summarize(store: RunStore, config: AnalysisConfig | None = None, progress: Progress = silent) -> None:
    """Compute the analysis tables from everything that is stored."""
    progress("analysis", 0, 1)
    store.compact("readings")
    store.compact("scores")
    compare_translations(store)
    compare_images(store)
    guard_judge(store)
    store.join()
    file = None if store.plan().ensemble.training_coverage is None else store.sources().ensemble.training_coverage
    coverage = None if file is None else read_coverage(file)
    tables = analyze(
        ResultColumns(store),
        group_columns_of(store),
        config,
        training_coverage=coverage,
        published_recall=known_recall(store),
        ratings=store.ratings(),
    )
    for name, table in tables.items():
        store.write_analysis(name, table)
    progress("analysis", 1, 1)


def count(store: RunStore, report: Path) -> RunResult:
    """Count what a run holds."""
    counts = store.query(COUNTS).iloc[0]
    return RunResult(
        path=store.path,
        report=report,
        n_prompts=int(counts.p),
        n_scored=int(counts.s),
        n_images=int(counts.i),
        n_errors=len(store.errors()),
    )
