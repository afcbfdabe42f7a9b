"""A share of what `tests/benchmarks/test_hostile_runs.py` does to real runs: bits flip, audits are killed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from emoe_audit.types import EnsembleSpec
from tests.benchmarks.hostile_runs import (
    finished,
    flips,
    kill_and_resume,
    kill_later_commands,
    later_commands,
    tiny_audit,
)
from tests.runs.written import files_of

pytestmark = pytest.mark.slow

N_FLIPS = 60
AUDITS = 2


@pytest.fixture(scope="module")
def ensemble(tiny_spec: EnsembleSpec) -> Path:
    return Path(tiny_spec.base.source).parent


@pytest.fixture(scope="module")
def whole(ensemble: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """An audit that nobody disturbed, and how many file operations it took."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    return out, finished(tiny_audit, ensemble, out)


def test_no_flipped_bit_of_a_real_run_goes_unnoticed(whole: tuple[Path, int]) -> None:
    found = flips(whole[0], N_FLIPS, seed=1)
    assert [flip for flip in found if not flip.noticed] == []
    assert {flip.file for flip in found} == set(files_of(whole[0]))


def test_an_audit_that_is_killed_at_a_file_operation_becomes_the_one_that_was_not(
    ensemble: Path, whole: tuple[Path, int], tmp_path: Path
) -> None:
    undisturbed, n_operations = whole
    for number, first in enumerate(np.linspace(2, n_operations - 2, AUDITS).astype(int)):
        kill = kill_and_resume(ensemble, tmp_path / str(number), undisturbed, at=(int(first), int(first) // 2 + 1))
        assert kill.different == ()
        assert kill.kills >= 1


def test_a_finished_run_stays_as_written_when_a_later_command_is_killed(
    whole: tuple[Path, int], tmp_path: Path
) -> None:
    run = Path(shutil.copytree(whole[0], tmp_path / "run"))
    for at in np.linspace(3, finished(later_commands, run) - 2, 2).astype(int):
        assert kill_later_commands(run, whole[0], int(at)).different == ()
