"""What a worker does on its machine: it looks whether it sees the run, loads once, and works on the rows it is given.

Nothing here knows of Ray: it is an ordinary object, of which `emoe_audit.cluster.ray_pool` makes an actor. What goes
wrong is given back and not raised, so that whatever is raised says that the worker is lost.
"""

from __future__ import annotations

import importlib.metadata
import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emoe_audit.errors import AuditError, StoreError
from emoe_audit.runs.digests import files_in
from emoe_audit.runs.ledger import LOCK
from emoe_audit.runs.shares import worker_folder
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.hands import Job
from emoe_audit.steps.shares import in_order_of_taking
from emoe_audit.types import RowError, RunManifest


@dataclass(frozen=True, kw_only=True)
class Done:
    """What came of some rows."""

    value: Any
    """What the job gave back."""
    files: tuple[str, ...]
    """What it has written into the worker's folder, by path from there."""
    errors: tuple[RowError, ...]
    """Rows that were left out."""


class Worker:
    """Works at one job at a time, in a folder of its own whose name nobody else has."""

    def __init__(self, crew: str, name: str, uses_gpu: bool) -> None:
        """Of a crew's folder in the run's; nothing is looked at yet."""
        self._crew, self._name = Path(crew), name
        self._own = RunStore(self._crew / name)
        self._job: Job | None = None
        self._loaded: Any = None
        if not uses_gpu:  # Ray shows all of a machine to a worker that has asked for none
            os.environ["CUDA_VISIBLE_DEVICES"] = ""

    def look(self, version: str) -> AuditError | None:
        """An error where another version works here, or the folder here is not the run's, in which the crew's is."""
        machine, own = socket.gethostname(), importlib.metadata.version("emoe-audit")
        if own != version:
            return AuditError(f"emoe-audit is {own} on {machine} and {version} here; install the same on every machine")
        if (self._crew / LOCK).is_file():
            return None
        return StoreError(
            f"{self._crew.parents[1]}: the worker on {machine} does not see the run in this folder. "
            "Every machine of the cluster has to see the run folder under the same path: give an --out on a file "
            "system that all share"
        )

    def take_up(self, job: Job, plan: RunManifest | None) -> AuditError | None:
        """Load what a job takes, unless it is what is loaded; an error where that fails.

        Args:
            job: What is to be done.
            plan: Of the run that rows are written for; None where nothing is written.
        """
        try:
            worker_folder(self._crew, self._name).mkdir(exist_ok=True)
            if plan is not None:
                self._own.begin(plan)
            if self._job is None or self._job.load != job.load:
                self._job = self._loaded = None  # before the next comes, that has room where this one was
                self._loaded = job.load()
            self._job = job
        except Exception as error:
            return _as_ours(error)
        return None

    def work(self, rows: Sequence[Any]) -> Done | AuditError:
        """Do the job to some rows; an error where that is no fault of a row."""
        if self._job is None:
            return AuditError("a worker was given rows and no job")
        try:
            before = self._files()
            self._own.clear_errors()
            value = self._job.work(self._loaded, self._own, rows)
            files = in_order_of_taking(self._files() - before)
            return Done(value=value, files=tuple(files), errors=tuple(self._own.errors()))
        except Exception as error:
            return _as_ours(error)

    def sign(self) -> None:
        """Say that it lives."""

    def _files(self) -> set[str]:
        """What lies in its folder; it goes as the run takes it."""
        return {name for name, is_file in files_in(self._own.path) if is_file}


def _as_ours(error: Exception) -> AuditError:
    """An error that can be sent, whatever it holds."""
    return error if isinstance(error, AuditError) else AuditError(f"{type(error).__name__}: {error}")
