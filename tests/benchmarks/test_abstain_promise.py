"""The promise of abstaining in a language never seen, where the truth is known: how often is it broken, at what price?

It is held against the limit that counts captions as draws. Broken means: of as many captions of a new language as each
held-out one had, and others than those, more of the accepted are misread than the target. It is also asked of the risk
that a language has in truth, over all captions, where it accepts enough to tell (`1 / target` of as many captions); the
promise is about the captions, so that one more strictly read may be broken more often.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emoe_audit.analysis.new_groups import threshold_for_a_new_group
from emoe_audit.analysis.risk_control import controlled_threshold
from tests.benchmarks.record import merge_record
from tests.benchmarks.simulated_languages import PREDICTIONS, World, share_broken

TARGET, DELTA = 0.2, 0.1
EFFECTS = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (1.0, 0.0))
"""Of languages and of captions."""
SIZES = ((10, 60), (20, 30), (20, 120), (40, 12), (40, 60), (40, 240))
"""Held-out languages, and captions in each: 50 captions of a run in 40 languages are 40 and 12."""
N_RUNS, N_NEW, N_TRUE = 300, 20, (100, 2000)
USUAL = {"predictions": "calibrated", "language_effect": 0.5, "caption_effect": 0.0, "languages": 40}


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_the_promise_for_a_new_language_is_kept_whatever_languages_do() -> None:
    rows = measure(tuple(PREDICTIONS), EFFECTS, SIZES, N_RUNS)
    figures = figures_of(rows)
    merge_record("statistics", "abstain promise", figures, rows)
    assert figures["abstain_promise_broken_max"] <= DELTA + 0.015
    assert figures["abstain_promise_broken_by_caption_max"] > 0.15
    assert figures["abstain_promise_accepted_of_best"] > 0.5


@pytest.mark.benchmark
def test_the_measurement_runs_with_few_runs() -> None:
    rows = measure(("calibrated",), ((0.5, 0.0),), ((40, 60), (40, 240)), 2)
    assert all(np.isfinite(own) for own in figures_of(rows).values())
    assert [row["languages"] for row in rows] == [40, 40]


def measure(
    predictions: Sequence[str], effects: Sequence[tuple[float, float]], sizes: Sequence[tuple[int, int]], n_runs: int
) -> list[dict[str, Any]]:
    """A row for each world and size."""
    return [
        cell(World(predictions=name, language_effect=own[0], caption_effect=own[1]), *size, n_runs)
        for name, own, size in itertools.product(predictions, effects, sizes)
    ]


def figures_of(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The worst of all cells, and what is accepted in the usual ones."""
    usual = [row for row in rows if all(row[name] == value for name, value in USUAL.items()) and row["captions"] >= 60]
    by_caption = [row["broken_by_caption"] for row in rows if row["language_effect"] > 0]
    return {
        "abstain_promise_broken_max": max(row["broken"] for row in rows),
        "abstain_promise_broken_by_caption_max": max(by_caption),
        "abstain_promise_broken_by_caption_usual": max(row["broken_in_truth_by_caption"] for row in usual),
        "abstain_promise_broken_in_truth_usual": max(row["broken_in_truth"] for row in usual),
        "abstain_promise_accepted_of_best": min(row["accepted_share"] / row["best_share"] for row in usual),
    }


def cell(world: World, n_languages: int, n_captions: int, n_runs: int) -> dict[str, Any]:
    """Means over calibrations; where nothing is promised nothing is broken."""
    rng = np.random.default_rng([n_languages, n_captions])
    true = world.truth(rng, *N_TRUE)
    runs = pd.DataFrame([_run(world, rng, n_languages, n_captions, true) for _ in range(n_runs)])
    shown = {"predictions": world.predictions, "language_effect": world.language_effect}
    shown |= {"caption_effect": world.caption_effect, "languages": n_languages, "captions": n_captions}
    return shown | {"best_share": best_share(true)} | {str(name): float(own) for name, own in runs.mean().items()}


def _run(
    world: World, rng: np.random.Generator, n_languages: int, n_captions: int, true: tuple[np.ndarray, np.ndarray]
) -> dict[str, float]:
    predicted, misread = world.drawn(rng, n_languages, n_captions)
    language, caption = (axis.ravel() for axis in np.indices(predicted.shape))
    score, loss = pd.Series(predicted.ravel()), pd.Series(misread.ravel())
    ours = threshold_for_a_new_group(score, loss, pd.Series(language), target=TARGET, delta=DELTA)
    theirs = controlled_threshold(score, loss, pd.Series(caption), target=TARGET, delta=DELTA).threshold
    new, found = world.drawn(rng, N_NEW, n_captions), {}
    for suffix, threshold in (("", ours), ("_by_caption", theirs)):
        least = 1 / TARGET / n_captions
        found[f"promised{suffix}"] = float(np.isfinite(threshold))
        found[f"broken{suffix}"] = share_broken(*new, threshold, TARGET)
        found[f"broken_in_truth{suffix}"] = share_broken(*true, threshold, TARGET, least)
        found[f"accepted_share{suffix}"] = float((true[0] <= threshold).mean())
    return found


def best_share(true: tuple[np.ndarray, np.ndarray]) -> float:
    """What is accepted at the largest threshold that few enough languages break, were their risks known."""
    grid = np.linspace(0, 1, 51)
    kept = [threshold for threshold in grid if share_broken(*true, threshold, TARGET) <= DELTA]
    return float((true[0] <= max(kept)).mean())
