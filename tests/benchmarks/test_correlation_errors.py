"""How often what has nothing to do with each other comes out as related, see `FIGURES`; real functions of audits.

Score and quality are noise and effects of languages, which are drawn anew in every audit and independent in the two.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emoe_audit.analysis.contrasts import correlate_groups, correlate_prompts
from emoe_audit.analysis.scopes import scopes
from tests.benchmarks.record import merge_record
from tests.benchmarks.simulated import crossed
from tests.benchmarks.test_statistics import processes

CAPTIONS, LANGUAGES, EFFECTS = (8, 20, 50, 200), (2, 5, 10, 40), (0.0, 0.5, 1.0)
GROUPS = (5, 6, 8, 10, 20, 40)
REFUSED = (20, 50), (5, 10, 40), (0.0, 1.0)
N_AUDITS, N_GROUPED, N_REFUSED, N_CONTROL = 4000, 2000, 500, 200
N_BOOT = 100
CHUNK = 50
PLANTED = -0.5
FIGURES = {
    "prompt_correlation_false_positive_max": "of unrelated scores and qualities, over prompts, called related; the "
    "largest of all numbers of captions and languages and all effects of languages",
    "prompt_correlation_false_positive_captions_alone": "the same with captions as the only clusters; the largest",
    "prompt_correlation_found_min": "of scores and qualities that go together by -0.5, found with 10 languages or more",
    "group_correlation_false_positive_max": "of unrelated group means called related; the largest of all numbers",
    "auroc_false_positive_max": "of unrelated scores and failures with an AUROC apart from 0.5; the largest",
}
Row = dict[str, Any]


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_what_is_unrelated_is_rarely_called_related_and_what_is_related_is_found() -> None:
    with processes() as pool:
        rows = measure(pool, N_AUDITS, N_GROUPED, N_REFUSED, N_CONTROL)
    found = figures(rows)
    merge_record("statistics", "correlation_errors", found, rows)
    assert found["prompt_correlation_false_positive_max"] <= 0.07
    assert found["prompt_correlation_false_positive_captions_alone"] > 0.3
    assert found["prompt_correlation_found_min"] > 0.7
    assert found["group_correlation_false_positive_max"] <= 0.07
    assert found["auroc_false_positive_max"] <= 0.07


@pytest.mark.benchmark
def test_the_measurement_of_correlations_runs_with_few_audits() -> None:
    with processes() as pool:
        rows = measure(pool, 2, 2, 2, 2)
    assert figures(rows).keys() == FIGURES.keys()
    assert {row["over"] for row in rows} == {"prompts", "groups", "refused"}


def measure(pool: Executor, n_audits: int, n_grouped: int, n_refused: int, n_control: int) -> list[Row]:
    """A row per cell and what was correlated over: how many intervals were drawn, and how many leave out nothing."""
    rows: list[Row] = []
    for captions, languages, effect in itertools.product(CAPTIONS, LANGUAGES, EFFECTS):
        cell = captions, languages, effect
        drawn, wrong = rates(pool, partial(of_prompts, cell, 0.0, True), n_audits)
        alone = rates(pool, partial(of_prompts, cell, 0.0, False), n_control)[1]
        found = rates(pool, partial(of_prompts, cell, PLANTED, True), n_control)[1]
        rows.append(row("prompts", cell, n_audits, drawn, wrong) | {"captions_alone": alone, "planted_found": found})
    for captions, groups, effect in itertools.product((8, 50), GROUPS, (1.0,)):
        cell = captions, groups, effect
        rows.append(row("groups", cell, n_grouped, *rates(pool, partial(of_groups, cell), n_grouped)))
    for cell in itertools.product(*REFUSED):
        rows.append(row("refused", cell, n_refused, *rates(pool, partial(of_refused, cell), n_refused)))
    return rows


def figures(rows: Sequence[Row]) -> dict[str, float]:
    """`FIGURES` of the rows."""
    prompts = [own for own in rows if own["over"] == "prompts"]
    worst = {
        over: max(own["false_positive"] for own in rows if own["over"] == over)
        for over in ("prompts", "groups", "refused")
    }
    return {
        "prompt_correlation_false_positive_max": worst["prompts"],
        "prompt_correlation_false_positive_captions_alone": max(own["captions_alone"] for own in prompts),
        "prompt_correlation_found_min": min(own["planted_found"] for own in prompts if own["languages"] >= 10),
        "group_correlation_false_positive_max": worst["groups"],
        "auroc_false_positive_max": worst["refused"],
    }


def row(over: str, cell: tuple[int, int, float], n: int, drawn: float, wrong: float) -> Row:
    """A row of the record."""
    names = dict(zip(("captions", "languages", "effect"), cell, strict=True))
    return {"over": over, **names, "audits": n, "drawn": drawn, "false_positive": wrong}


def rates(pool: Executor, work: Callable[[Sequence[int]], np.ndarray], n_audits: int) -> tuple[float, float]:
    """Share of intervals drawn, and of those that leave out what is true."""
    chunks = [range(start, min(start + CHUNK, n_audits)) for start in range(0, n_audits, CHUNK)]
    ends = np.concatenate(list(pool.map(work, chunks)))
    drawn = np.isfinite(ends).all(axis=1)
    return float(drawn.mean()), float(((ends[:, 0] > 0) | (ends[:, 1] < 0)).mean())


def of_prompts(cell: tuple[int, int, float], rho: float, both_ways: bool, seeds: Sequence[int]) -> np.ndarray:
    """Ends of the correlation over prompts, `[audit, 2]`."""
    audits = (crossed(*cell, seed=[0, seed], caption=0.5, rho=rho) for seed in seeds)
    rows = (audit if both_ways else audit.drop(columns="language") for audit in audits)
    return np.concatenate([correlate_prompts(own, "score", "quality")[["low", "high"]].to_numpy() for own in rows])


def of_groups(cell: tuple[int, int, float], seeds: Sequence[int]) -> np.ndarray:
    """Ends of the correlation of languages' means, `[audit, 2]`."""
    audits = (crossed(*cell, seed=[1, seed], caption=0.5) for seed in seeds)
    tables = (correlate_groups(own, "score", "quality", by="language", n_boot=N_BOOT) for own in audits)
    return np.concatenate([table[["low", "high"]].to_numpy() for table in tables])


def of_refused(cell: tuple[int, int, float], seeds: Sequence[int]) -> np.ndarray:
    """Ends of the AUROC of failures, which is 1/2, minus that, `[audit, 2]`."""
    ends = []
    for seed in seeds:
        audit = crossed(*cell, seed=[2, seed], caption=0.5)
        rows = pd.DataFrame({"score": audit["score"], "loss": (audit["quality"] < -1).astype(float)})
        rows = rows.assign(source_id=audit["source_id"], language=audit["language"])
        (scope,) = scopes(rows, [], n_boot=N_BOOT, confidence=0.95, seed=seed)
        ends.append([float(end) - 0.5 for end in scope.interval(lambda own: own.auroc)])
    return np.array(ends)
