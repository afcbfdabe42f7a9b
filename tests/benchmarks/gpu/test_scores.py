"""The check of a device's scores: it holds for the CPU against itself, and finds each fault planted in one way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from emoe_audit.experts.spec import load_spec
from emoe_audit.types import EnsembleSpec
from tests.benchmarks import sd15
from tests.benchmarks.gpu.drawn import SMALL, draw
from tests.benchmarks.gpu.scores import (
    COLUMNS,
    N_STREAMED,
    TEXTS,
    Way,
    check_scores,
    check_streaming,
    check_true_size,
    scores_of,
)

SCORES = np.random.default_rng(0).uniform(0.1, 1, size=(len(TEXTS), len(COLUMNS)))
CPU = torch.device("cpu")


def failed(check: Callable[..., list], wrong: Callable[[Way], float]) -> set[str]:  # type: ignore[type-arg]
    """What the check finds where one prompt's score is wrong by so much, relative."""

    def score(way: Way) -> np.ndarray:
        scores = SCORES.copy()
        scores[3, 0] *= 1 + wrong(way)
        return scores

    return {finding.what for finding in check(score, "other") if not finding.holds}


def test_scores_that_are_alike_hold() -> None:
    assert failed(check_scores, lambda way: 0.0) == set()
    assert failed(check_streaming, lambda way: 0.0) == set()


def test_a_wrong_score_of_the_device_is_found() -> None:
    assert failed(check_scores, lambda way: 0.002 * (way.device == "other" and way.dtype == "float32")) == {
        "scores_float32"
    }


@pytest.mark.parametrize(("dtype", "wrong"), [("float16", 0.03), ("bfloat16", 0.2)])
def test_a_wrong_score_in_a_number_type_is_found(dtype: str, wrong: float) -> None:
    assert failed(check_scores, lambda way: wrong * (way.dtype == dtype)) == {f"scores_{dtype}"}


def test_a_score_that_hangs_on_the_batch_size_is_found() -> None:
    assert failed(check_scores, lambda way: 0.002 * (way.batch_size == 1)) == {"scores_batch_of_1"}


def test_a_score_that_is_missing_is_found() -> None:
    assert "scores_float16" in failed(check_scores, lambda way: np.nan if way.dtype == "float16" else 0.0)


def test_a_score_that_hangs_on_how_experts_are_held_is_found() -> None:
    assert failed(check_streaming, lambda way: 0.002 * (way.residency == "one")) == {"scores_one_at_a_time"}


@pytest.mark.slow
def test_the_cpu_scores_as_the_cpu_does(tiny_spec: EnsembleSpec) -> None:
    assert all(finding.holds for finding in check_scores(partial(scores_of, tiny_spec), "cpu"))


@pytest.mark.benchmark
def test_a_streamed_ensemble_scores_as_one_that_is_all_there(tmp_path: Path) -> None:
    folder = sd15.write_ensemble(tmp_path, replace(sd15.SMALL, n_experts=N_STREAMED))
    found = check_streaming(partial(scores_of, load_spec(folder / "shared_trunk")), "cpu")
    assert [finding.what for finding in found] == ["scores_two_at_a_time", "scores_one_at_a_time"]
    assert all(finding.holds for finding in found)


@pytest.mark.slow
def test_drawn_weights_score_alike_on_both_sides_and_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    design = replace(SMALL[0], n_experts=2)
    assert all(finding.holds for finding in check_true_size(design, CPU))
    sides = iter([draw(design, seed=1), draw(design)])
    monkeypatch.setattr("tests.benchmarks.gpu.scores.Drawn.load", lambda _, *place: DRAWN_LOAD(next(sides), *place))
    assert not any(finding.holds for finding in check_true_size(design, CPU))


DRAWN_LOAD = type(draw(replace(SMALL[0], n_experts=0))).load
