"""Workers that share a device: what is right, what is a refusal, and what is neither."""

from __future__ import annotations

import pytest
import torch

from tests.benchmarks.gpu.workers import Outcome, check_workers, judged

ALONE = Outcome(scores=[[1.0, 2.0], [3.0, 4.0]], span=(0.0, 5.0))
REFUSED = Outcome(refusal="sd15: out of memory while experts are loaded; give a --memory-budget")
BROKEN = Outcome(fault="Traceback (most recent call last):\n  ...\ntorch.OutOfMemoryError: CUDA out of memory")


def failed(*pair: Outcome, lacking: Outcome = REFUSED) -> set[str]:
    return {finding.what for finding in judged(ALONE, pair, lacking) if not finding.holds}


def test_two_that_are_right_hold_and_so_does_one_beside_one_that_refuses() -> None:
    assert failed(ALONE, ALONE) == set()
    assert failed(ALONE, REFUSED) == set()


def test_wrong_scores_are_found() -> None:
    wrong = Outcome(scores=[[1.0, 2.0], [3.0, 4.1]], span=(0.0, 5.0))
    assert failed(ALONE, wrong) == {"workers_right_or_refused"}


def test_one_that_breaks_off_has_not_refused() -> None:
    assert failed(ALONE, BROKEN) == {"workers_right_or_refused"}
    assert failed(ALONE, ALONE, lacking=BROKEN) == {"workers_refused_for_want_of_memory"}


def test_two_that_refuse_leave_nobody_who_scores() -> None:
    assert failed(REFUSED, REFUSED) == {"workers_right"}


def test_two_one_after_the_other_are_no_test() -> None:
    later = Outcome(scores=ALONE.scores, span=(6.0, 9.0))
    assert failed(ALONE, later) == {"workers_seconds_together"}


@pytest.mark.benchmark
def test_two_workers_on_this_machine_are_right_and_one_without_memory_says_so() -> None:
    found = check_workers("small", torch.device("cpu"))
    assert len(found) == 5
    assert all(finding.holds for finding in found)
