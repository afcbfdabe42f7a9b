"""How often intervals hold the truth, wherever one is drawn, see `FIGURES`; real functions, simulated captions.

Means of groups, their gaps to the mean of all, differences within and between captions, of values of four kinds; shares
of classes that an erring judge sorted; how unequal groups are. What is drawn was chosen on normal, exponential and
binary values; the others are a confirmation.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from emoe_audit.analysis.between import compare
from emoe_audit.analysis.contrasts import quartiles
from emoe_audit.analysis.disparity import disparity
from emoe_audit.analysis.groups import group_estimates
from emoe_audit.analysis.multiplicity import t_tested
from emoe_audit.analysis.paired import paired_contrasts
from emoe_audit.analysis.prevalence import prevalence
from tests.benchmarks.record import merge_record
from tests.benchmarks.simulated import crossed
from tests.benchmarks.test_statistics import processes

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]
SHARE = 0.3
"""Of values that are not 0."""
FAMILIES: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, shape: rng.normal(size=shape), 0.0),
    "exponential": (lambda rng, shape: rng.exponential(size=shape), 1.0),
    "binary": (lambda rng, shape: (rng.random(shape) < 0.2).astype(float), 0.2),
    "zero-inflated": (lambda rng, shape: np.where(rng.random(shape) < SHARE, rng.exponential(size=shape), 0), SHARE),
    "lognormal": (lambda rng, shape: rng.lognormal(0, 0.5, shape), np.exp(0.125)),
    "beta": (lambda rng, shape: rng.beta(1, 9, shape), 0.1),
}
SIZES = (5, 8, 10, 20, 50, 200)
N_SAMPLES, N_AUDITS = 10_000, 400
AT_ONCE = 1000
N_BOOT = 300
LEAST_DRAWN = 0.05
"""Share of samples with an interval from which on a cell counts."""
FIGURES = {
    "interval_coverage_min": "of intervals of 95% that are drawn, that hold the truth; the smallest of all figures, "
    "kinds of values and numbers of captions",
    "interval_coverage_min_students": "the same of Student's t interval of a mean",
}
Row = dict[str, Any]


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_intervals_that_are_drawn_hold_the_truth() -> None:
    with processes() as pool:
        rows = measure(pool, N_SAMPLES, N_AUDITS)
    found = figures(rows)
    merge_record("statistics", "interval_coverage", found, rows)
    assert found["interval_coverage_min"] >= 0.92
    assert found["interval_coverage_min_students"] < 0.85


@pytest.mark.benchmark
def test_the_measurement_of_coverage_runs_with_few_samples() -> None:
    with processes() as pool:
        rows = measure(pool, 50, 2)
    assert figures(rows).keys() == FIGURES.keys()
    assert {own["figure"] for own in rows} == {*WAYS, "share", "quarter", "disparity", "Student's mean"}
    assert all(own["drawn"] == 0 for own in rows if own["captions"] == 5 and own["figure"] in WAYS)


def figures(rows: list[Row]) -> dict[str, float]:
    """`FIGURES` of the rows."""
    counted = [own for own in rows if own["drawn"] >= LEAST_DRAWN]
    ours = [own["held"] for own in counted if own["figure"] != "Student's mean"]
    students = [own["held"] for own in counted if own["figure"] == "Student's mean"]
    return {"interval_coverage_min": min(ours), "interval_coverage_min_students": min(students)}


def measure(pool: Executor, n_samples: int, n_audits: int) -> list[Row]:
    """A row per figure, kind of values and number of captions: share drawn, and of these, share that hold the truth."""
    cells = list(itertools.product([*WAYS, "Student's mean"], FAMILIES, SIZES))
    of_cells = pool.map(partial(of_samples, n_samples), *zip(*cells, strict=True), chunksize=4)
    rows = [row(*cell, ends) for cell, ends in zip(cells, of_cells, strict=True)]
    shares = list(pool.map(partial(of_shares, n_audits), (20, 50, 200)))
    rows += [row("share", "judged", n, ends) for n, ends in zip((20, 50, 200), shares, strict=True)]
    crossed_cells = list(itertools.product((0.0, 1.0), (5, 40), (8, 20, 50)))
    quarters = list(pool.map(partial(of_quarters, n_audits), *zip(*crossed_cells, strict=True)))
    rows += [
        row("quarter", f"normal, {n_languages} languages, effect {effect:g}", n, ends)
        for (effect, n_languages, n), ends in zip(crossed_cells, quarters, strict=True)
    ]
    unequal = list(itertools.product(("normal", "exponential"), (20, 50, 200)))
    spreads = list(pool.map(partial(of_spreads, n_audits), *zip(*unequal, strict=True)))
    return rows + [row("disparity", *cell, ends) for cell, ends in zip(unequal, spreads, strict=True)]


def row(figure: str, family: str, captions: int, ends: np.ndarray) -> Row:
    """From `[sample, (low, high)]` minus what is true; NaN where nothing is drawn."""
    drawn = np.isfinite(ends).all(axis=1)
    held = ((ends[:, 0] <= 0) & (ends[:, 1] >= 0))[drawn].mean() if drawn.any() else float("nan")
    named = {"figure": figure, "values": family, "captions": captions, "samples": len(ends)}
    return named | {"drawn": float(drawn.mean()), "held": float(held)}


def of_samples(n_samples: int, figure: str, family: str, n: int) -> np.ndarray:
    """Ends minus the truth of many groups of `n` captions at once, `[sample, 2]`."""
    draw, truth = FAMILIES[family]
    rng = np.random.default_rng([n, sum(map(ord, figure + family))])
    work = WAYS.get(figure, students_mean)
    parts = [work(draw, rng, n, min(AT_ONCE, n_samples - start)) for start in range(0, n_samples, AT_ONCE)]
    return np.concatenate(parts) - (truth if figure in ("mean", "mean of prompts", "Student's mean") else 0)


def frame(values: np.ndarray) -> pd.DataFrame:
    """`source_id, group, value` of `[caption, group]`."""
    caption, group = np.indices(values.shape).reshape(2, -1)
    return pd.DataFrame({"source_id": caption, "group": group, "value": values.ravel()})


def mean(draw: Draw, rng: np.random.Generator, n: int, n_groups: int) -> np.ndarray:
    """Of one prompt a caption."""
    return group_estimates(frame(draw(rng, (n, n_groups))), "group", "value")[["low", "high"]].to_numpy()


def mean_of_prompts(draw: Draw, rng: np.random.Generator, n: int, n_groups: int) -> np.ndarray:
    """Of one to four prompts a caption, which share its value in half of the captions."""
    shared = frame(draw(rng, (n, n_groups)))
    rows = shared.loc[shared.index.repeat(rng.integers(1, 5, len(shared)))]
    own = draw(rng, (len(rows),))
    rows = rows.assign(value=np.where(rows["source_id"] % 2 == 0, rows["value"], own))
    return group_estimates(rows, "group", "value")[["low", "high"]].to_numpy()


def gap(draw: Draw, rng: np.random.Generator, n: int, n_groups: int) -> np.ndarray:
    """Of groups that are equal in truth."""
    return group_estimates(frame(draw(rng, (n, n_groups))), "group", "value")[["gap_low", "gap_high"]].to_numpy()


def paired(draw: Draw, rng: np.random.Generator, n: int, n_groups: int) -> np.ndarray:
    """Differences from the mean of the others, which is nearly constant: as skewed as differences can be."""
    return paired_contrasts(frame(draw(rng, (n, n_groups))), "group", "value")[["low", "high"]].to_numpy()


def between(draw: Draw, rng: np.random.Generator, n: int, n_groups: int) -> np.ndarray:
    """Of `n` captions and three times as many."""
    values = draw(rng, (n_groups, 4 * n))
    own, others = np.full_like(values, np.nan), np.full_like(values, np.nan)
    own[:, :n], others[:, n:] = values[:, :n], values[:, n:]
    found = pd.DataFrame([vars(compare(*pair, 1e-12)) for pair in zip(own, others, strict=True)])
    return t_tested(found, found["skewness"])[["low", "high"]].to_numpy()


def students_mean(draw: Draw, rng: np.random.Generator, n: int, n_groups: int) -> np.ndarray:
    """Student's t interval, for comparison."""
    values = draw(rng, (n, n_groups))
    error = values.std(axis=0, ddof=1) / np.sqrt(n)
    summary = pd.DataFrame({"difference": values.mean(axis=0), "error": np.where(error > 0, error, np.nan)})
    table = t_tested(summary.assign(freedom=n - 1), pd.Series(np.zeros(n_groups)))
    return table[["low", "high"]].to_numpy()


WAYS = {"mean": mean, "mean of prompts": mean_of_prompts, "gap": gap, "paired": paired, "between": between}


def of_shares(n_audits: int, n: int) -> np.ndarray:
    """Shares of three classes, four images a caption, of which two are alike, and 40 labelled images of each class."""
    rng, classes = np.random.default_rng(n), ["light", "medium", "dark"]
    truth = np.array([0.6, 0.3, 0.1])
    rates = np.array([[0.8, 0.15, 0.05], [0.1, 0.8, 0.1], [0.05, 0.15, 0.8]])
    ends = []
    for seed in range(n_audits):
        shown = rng.choice(3, size=(n, 4), p=truth)
        shown[:, 1] = shown[:, 0]
        images = pd.DataFrame({"source_id": np.repeat(np.arange(n), 4), "group": "all", "class": shown.ravel()})
        known = pd.DataFrame({"source_id": np.arange(120), "class": np.repeat(np.arange(3), 40)})
        images, known = (rows.assign(seen=list(judged(rows["class"], rates, classes, rng))) for rows in (images, known))
        known["class"] = [classes[place] for place in known["class"]]
        reference = dict(zip(classes, truth, strict=True))
        table = prevalence(
            images.drop(columns="class"), known, classes, by="group", reference=reference, n_boot=N_BOOT, seed=seed
        )
        ends.append(table[["low", "high"]].to_numpy() - truth[:, None])
    return np.concatenate(ends)


def judged(shown: pd.Series, rates: np.ndarray, classes: list[str], rng: np.random.Generator) -> Iterator[str]:
    """What an erring judge says."""
    return (classes[rng.choice(3, p=rates[place])] for place in shown)


def of_quarters(n_audits: int, effect: float, n_languages: int, n: int) -> np.ndarray:
    """Of quality by quarter of a score that has nothing to do with it, whose mean is 0."""
    audits = (crossed(n, n_languages, effect, [n, seed], caption=0.5) for seed in range(n_audits))
    return np.concatenate([quartiles(own, "score", "quality")[["low", "high"]].to_numpy() for own in audits])


def of_spreads(n_audits: int, family: str, n: int) -> np.ndarray:
    """Of max - min, the worst mean and the standard deviation of ten groups, a third of them apart by half of one."""
    draw, truth = FAMILIES[family]
    shifts, ends = np.where(np.arange(10) % 3 == 0, 0.5, 0.0), []
    true = {"max_minus_min": 0.5, "worst_group_mean": truth, "between_group_sd": shifts.std(ddof=1)}
    rng = np.random.default_rng(n)
    for seed in range(n_audits):
        rows = frame(draw(rng, (n, 10)) + shifts)
        table = disparity(rows, "group", "value", higher_is_better=True, n_boot=N_BOOT, seed=seed).set_index("figure")
        ends.append([table.loc[name, ["low", "high"]].to_numpy(float) - value for name, value in true.items()])
    return np.concatenate(ends)
