"""How often the tests of an audit are right where the truth is known, see `FIGURES`; simulated audits, real functions.

Languages are compared within captions, regions between captions, as `contrasts` does it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest

from emoe_audit.analysis.between import between_contrasts
from emoe_audit.analysis.groups import group_estimates
from emoe_audit.analysis.paired import paired_contrasts, within_caption_differences
from emoe_audit.analysis.power import minimum_detectable_gap, sd_of_differences, sources_for_gap
from tests.benchmarks.record import merge_record
from tests.benchmarks.simulated import (
    INTRACLASS,
    LANGUAGE_SPREADS,
    MEASURE,
    N_LANGUAGES,
    N_REGIONS,
    Truth,
    audits,
    names,
)

LEVEL, POWER = 0.05, 0.8
SIZES, JUDGED = (20, 50, 200), (50, 200)
"""Captions of an audit; the level is only promised at those that are judged."""
N_AUDITS, N_OF_GAPS, N_POWER, N_DISCOVERIES = 10_000, 500, 2000, 2000
N_PILOT = 100_000
"""Captions that give the true spreads: planned from 5,000, one gap was found 5.2 points less often than promised."""
CHUNK = 50
"""Audits that a process does at a time."""
TESTS = {"language": paired_contrasts, "region": between_contrasts}
FIGURES = {
    "false_positive_rate": "of tests at 5% where no group differs: of languages and regions at 50 and 200 captions, "
    "the one furthest from 5%",
    "rowwise_false_positive_rate_regions": "the same of gaps to the mean, every row for a cluster; the largest",
    "rowwise_false_positive_rate_languages": "the same; the smallest",
    "power_error_points": "found minus promised power of planted gaps, in percentage points; the largest in size",
    "power_error_points_pooled_spread": "the same where captions were planned by the spread pooled over languages and "
    "the gap lies in the language of least or of largest spread",
    "false_discovery_rate": "of groups called different where some differ; the larger of languages' and regions'",
}
Measured = tuple[dict[str, float], list[dict[str, Any]]]


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_equal_groups_are_called_different_in_five_of_a_hundred_tests() -> None:
    with processes() as pool:
        figures, rows = measure_level(pool, SIZES, N_AUDITS, N_OF_GAPS)
    merge_record("statistics", "level", figures, rows)
    tested = [row for row in rows if row["method"] == "default" and row["captions"] in JUDGED]
    assert len(tested) == 4
    assert all(0.04 <= row["false_positive_rate"] <= 0.06 for row in tested)
    assert figures["rowwise_false_positive_rate_regions"] > 0.1
    assert figures["rowwise_false_positive_rate_languages"] < 0.04


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_planted_gaps_are_found_as_often_as_was_promised() -> None:
    with processes() as pool:
        figures, rows = measure_power(pool, N_POWER)
    merge_record("statistics", "power", figures, rows)
    assert abs(figures["power_error_points"]) <= 5


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_among_groups_called_different_five_in_a_hundred_are_not() -> None:
    with processes() as pool:
        figures, rows = measure_discoveries(pool, N_DISCOVERIES)
    merge_record("statistics", "discoveries", figures, rows)
    assert figures["false_discovery_rate"] <= LEVEL + 3 * np.sqrt(LEVEL * (1 - LEVEL) / N_DISCOVERIES)
    assert all(row["found"] > 0.5 for row in rows)


@pytest.mark.benchmark
def test_the_measurement_runs_with_few_audits() -> None:
    with processes() as pool:
        measured = measure_level(pool, (20, 50), 20, 5), measure_power(pool, 4), measure_discoveries(pool, 10)
    figures = {name: figure for own, _ in measured for name, figure in own.items()}
    assert figures.keys() == FIGURES.keys()
    assert all(np.isfinite(figure) for figure in figures.values())
    assert sum(row["tests"] for row in measured[0][1] if row["method"] == "default") == 2 * 20 * (
        N_LANGUAGES + N_REGIONS
    )


def test_simulated_audits_have_the_shares_and_spreads_that_they_claim() -> None:
    """The covariance of two languages is the caption's variance; their own makes up the rest."""
    truth = Truth(languages=np.arange(N_LANGUAGES) / 10)
    frame = next(audits(20_000, 1, seed=[4], truth=truth))
    cells = frame.pivot(index="source_id", columns="language", values=MEASURE)
    assert cells.columns.tolist() == names("language")
    covariance = cells.cov().to_numpy()
    shared = covariance[np.triu_indices(N_LANGUAGES, 1)].mean()
    assert shared == pytest.approx(INTRACLASS, rel=0.05)
    own = np.sqrt(np.diag(covariance) - shared)
    assert own.max() / own.min() == pytest.approx(LANGUAGE_SPREADS[1] / LANGUAGE_SPREADS[0], rel=0.05)
    assert (own**2).mean() == pytest.approx(1 - INTRACLASS, rel=0.05)
    np.testing.assert_allclose(cells.mean(), truth.languages, atol=0.04)
    regions = frame.groupby(["region", "source_id"])[MEASURE].mean().groupby("region").std()
    assert regions.index.tolist() == names("region")
    assert regions.is_monotonic_increasing
    assert (frame.groupby("source_id")["region"].nunique() == 1).all()


def processes() -> Executor:
    """One process a core, each fresh."""
    return ProcessPoolExecutor(mp_context=get_context("spawn"))


def measure_level(pool: Executor, sizes: Sequence[int], n_audits: int, n_of_gaps: int) -> Measured:
    """A row per number of captions, group column and method: how often equal groups come out as different."""
    rows: list[dict[str, Any]] = []
    for n, by in itertools.product(sizes, TESTS):
        p, different = over_chunks(pool, partial(outcomes, by, n), n_audits)
        found = {"default": (p <= LEVEL, different)}
        for method, by_row in {"gap, rows": True, "gap, captions": False}.items():
            apart = over_chunks(pool, partial(gaps_apart, by, n, by_row), n_of_gaps)
            found[method] = apart, apart
        rows += [{"captions": n, "by": by, "method": method, **_rates(*own)} for method, own in found.items()]

    def rates(method: str, *by: str) -> list[float]:
        return [
            row["false_positive_rate"]
            for row in rows
            if row["method"] == method and row["by"] in by and row["captions"] in JUDGED
        ]

    figures = {
        "false_positive_rate": max(rates("default", *TESTS), key=lambda rate: abs(rate - LEVEL)),
        "rowwise_false_positive_rate_regions": max(rates("gap, rows", "region")),
        "rowwise_false_positive_rate_languages": min(rates("gap, rows", "language")),
    }
    return figures, rows


def measure_power(pool: Executor, n_audits: int) -> Measured:
    """A row per planted gap: how often it is found, and how often it was promised to be."""
    pilot = next(audits(N_PILOT, 1, seed=[1]))
    spread = within_caption_differences(pilot, "language", MEASURE).std(ddof=1).to_numpy()
    pooled, middle = sd_of_differences(pilot, "language", MEASURE), N_LANGUAGES // 2
    first, last = 0, N_LANGUAGES - 1
    planned = [
        (middle, share * spread[middle], sources_for_gap(share, 1.0, power=POWER), 1) for share in (0.2, 0.5, 0.8)
    ]
    for place in (first, last):
        gaps = [minimum_detectable_gap(spread[place], n, power=POWER, n_tests=N_LANGUAGES) for n in SIZES]
        planned += [(place, gap, n, N_LANGUAGES) for gap, n in zip(gaps, SIZES, strict=True)]
    rows = [{"planned_by": "its own spread", **_found(pool, *plan, n_audits)} for plan in planned]
    n = sources_for_gap(0.5 * pooled, pooled, power=POWER)
    rows += [
        {"planned_by": "pooled spread", **_found(pool, place, 0.5 * pooled, n, 1, n_audits)} for place in (first, last)
    ]

    def worst(planned_by: str) -> float:
        return max((row["error_points"] for row in rows if row["planned_by"] == planned_by), key=abs)

    return {
        "power_error_points": worst("its own spread"),
        "power_error_points_pooled_spread": worst("pooled spread"),
    }, rows


def measure_discoveries(pool: Executor, n_audits: int, n_captions: int = 100) -> Measured:
    """A row per group column: the mean share of wrong among groups called different, and how many gaps are found.

    Gaps sum to 0, so that groups without one do not differ from the mean of the others either.
    """
    languages, regions = np.zeros(N_LANGUAGES), np.zeros(N_REGIONS)
    languages[[1, 4, 7, 10]], regions[[0, 3]] = [0.3, -0.3, 0.3, -0.3], [0.7, -0.7]
    rows: list[dict[str, Any]] = []
    for by, truth in {"language": Truth(languages=languages), "region": Truth(regions=regions)}.items():
        planted = (truth.languages if by == "language" else truth.regions) != 0
        called = over_chunks(pool, partial(outcomes, by, n_captions, truth=truth), n_audits)[1] > 0
        wrong = (called & ~planted).sum(axis=1) / np.maximum(called.sum(axis=1), 1)
        rows.append(
            {
                "by": by,
                "captions": n_captions,
                "planted": int(planted.sum()),
                "groups": len(planted),
                "false_discovery_rate": float(wrong.mean()),
                "found": float(called[:, planted].mean()),
            }
        )
    return {"false_discovery_rate": max(row["false_discovery_rate"] for row in rows)}, rows


def over_chunks(pool: Executor, work: Callable[[int, int], np.ndarray], n_audits: int) -> np.ndarray:
    """What work gives for a number of audits and the number of the chunk, joined along the axis of audits."""
    starts = range(0, n_audits, CHUNK)
    sizes = [min(CHUNK, n_audits - start) for start in starts]
    return np.concatenate(list(pool.map(work, sizes, range(len(starts)))), axis=-2)


def outcomes(by: str, n_captions: int, n_audits: int, chunk: int, truth: Truth | None = None) -> np.ndarray:
    """p-values, and whether the verdict is `different`, `[(p, different), audit, group]`."""
    tables = [TESTS[by](frame, by, MEASURE) for frame in audits(n_captions, n_audits, seed=[0, chunk], truth=truth)]
    return np.stack([[table["p"], table["verdict"] == "different"] for table in tables], axis=1).astype(np.float64)


def gaps_apart(by: str, n_captions: int, by_row: bool, n_audits: int, chunk: int) -> np.ndarray:
    """Whether the interval of a group's gap to the mean excludes 0, `[audit, group]`."""
    found = []
    for frame in audits(n_captions, n_audits, seed=[0, chunk]):
        rows = frame.assign(source_id=np.arange(len(frame))) if by_row else frame
        table = group_estimates(rows, by, MEASURE)
        found.append((table["gap_low"] > 0) | (table["gap_high"] < 0))
    return np.stack(found)


def _rates(wrong: np.ndarray, called: np.ndarray) -> dict[str, Any]:
    """Of `[audit, group]`: tests at 5% that are wrong, and audits in which any group is called different."""
    by_group = wrong.mean(axis=0)
    return {
        "audits": len(wrong),
        "tests": wrong.size,
        "false_positive_rate": float(by_group.mean()),
        "least_of_a_group": float(by_group.min()),
        "most_of_a_group": float(by_group.max()),
        "audits_with_any": float(called.any(axis=1).mean()),
    }


def _found(pool: Executor, place: int, gap: float, n_captions: int, n_tests: int, n_audits: int) -> dict[str, Any]:
    """How often a gap between one language and the mean of the others is found, at the level shared by the tests."""
    truth = Truth(languages=np.where(np.arange(N_LANGUAGES) == place, gap, 0))
    p, different = over_chunks(pool, partial(outcomes, "language", n_captions, truth=truth), n_audits)
    found = float((p[:, place] <= LEVEL / n_tests).mean())
    return {
        "language": names("language")[place],
        "captions": n_captions,
        "gap": gap,
        "tests": n_tests,
        "promised": POWER,
        "found": found,
        "called_different": float(different[:, place].mean()),
        "error_points": 100 * (found - POWER),
    }
