"""The check of memory on a CPU whose memory is bounded, and engines that do not heed it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from emoe_audit.experts.ensemble import Ensemble
from tests.benchmarks.gpu.drawn import SMALL
from tests.benchmarks.gpu.memory import ASKED, Score, check_memory, scored

pytestmark = pytest.mark.slow
DESIGN = replace(SMALL[0], n_experts=2)


def failed(score: Score) -> set[str]:
    return {finding.what for finding in check_memory(DESIGN, torch.device("cpu"), score) if not finding.holds}


def test_the_engine_holds() -> None:
    assert failed(scored) == set()


def test_an_engine_that_ignores_the_batch_size_is_found() -> None:
    def one_by_one(ensemble: Ensemble, texts: list[str], batch_size: int | None) -> tuple[np.ndarray, int]:
        return scored(ensemble, texts, 1)[0], batch_size or 2

    assert failed(one_by_one) == {"memory_a_prompt_over_reckoned", "batch_size_where_memory_is_short"}


def test_scores_that_are_wrong_once_memory_ran_out_are_found() -> None:
    def shaken(ensemble: Ensemble, texts: list[str], batch_size: int | None) -> tuple[np.ndarray, int]:
        scores, size = scored(ensemble, texts, batch_size)
        return scores * (1 + 0.01 * (batch_size == ASKED)), size

    assert failed(shaken) == {"scores_where_memory_is_short"}
