"""The workers of one run, and what this process does with what they made: it moves it into the run at once.

So the run is at every moment a plain run that any later start goes on with, on a cluster or without one.
"""

from __future__ import annotations

import contextlib
import math
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emoe_audit.cluster.dispatch import Dispatch, Receiver
from emoe_audit.cluster.pool import Pool
from emoe_audit.cluster.roster import Roster
from emoe_audit.cluster.worker import Done
from emoe_audit.errors import AuditError
from emoe_audit.progress import chunks
from emoe_audit.runs.files import written
from emoe_audit.runs.lock import only_writer
from emoe_audit.runs.place import check_place
from emoe_audit.runs.shares import new_crew, worker_folder
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.hands import Job, Row
from emoe_audit.steps.shares import put_away, take_from_worker
from emoe_audit.types import ClusterConfig, RowError

GATHERING = 20.0
"""Seconds that are waited for more than one worker, before the first is given anything."""
LEAST_CHUNK, MOST_CHUNK, CHUNKS_EACH = 16, 256, 8
"""Prompts that a chunk has at least and at most, and chunks that each worker gets before they become larger."""


class Crew:
    """Workers who do jobs for one run."""

    def __init__(self, folder: Path, roster: Roster) -> None:
        """Of a crew's folder in the run's."""
        self._folder, self._roster = folder, roster
        self._n_left_out = 0

    def do(self, job: Job, own: RunStore, parts: Iterable[list[Row]], told: Callable[[int, str], None]) -> None:
        """Work off all chunks; see `emoe_audit.steps.hands.Hands`. The caller holds the run's lock.

        Raises:
            AuditError: the job cannot be done at all; no worker lives.
        """
        said = ""

        def done(worker: str, rows: Sequence[Any], answer: Done) -> None:
            take_from_worker(own, worker_folder(self._folder, worker), answer.files)
            self._leave_out(own, *answer.errors)
            told(len(rows), self.words())

        def given_up(row: Row, why: str) -> None:
            self._leave_out(own, RowError(stage=job.stage, prompt_id=row["prompt_id"], message=why))
            told(1, self.words())

        def waiting() -> None:
            nonlocal said
            if said != self.words():
                said = self.words()
                told(0, said)

        Dispatch(self._roster, parts, Receiver(done=done, given_up=given_up, waiting=waiting)).run(job)

    def ask(self, job: Job, rows: Sequence[Any], size: int, *, is_timed: bool = True) -> list[Any]:
        """What workers answer, in the order of the rows, `size` at a time; see `Dispatch` for `is_timed`.

        Raises:
            AuditError: a worker says so, or is lost each time over the same row.
        """
        answers: dict[int, Any] = {}

        def done(_worker: str, numbered: Sequence[tuple[int, Any]], answer: Done) -> None:
            answers[numbered[0][0]] = answer.value

        def given_up(_row: tuple[int, Any], why: str) -> None:
            raise AuditError(why)

        parts = chunks(list(enumerate(rows)), size)
        receiver = Receiver(done=done, given_up=given_up, waiting=lambda: None)
        Dispatch(self._roster, parts, receiver, is_timed=is_timed).run(job)
        return [answers[place] for place in sorted(answers)]

    def parts(self, rows: Iterator[Row], left: int) -> Iterator[list[Row]]:
        """What a worker scores at a time of the prompts that are left: few where few are, so that all end at once.

        A power of two, as batches are.
        """
        share = left / (CHUNKS_EACH * max(1, self._roster.size))
        return chunks(rows, min(MOST_CHUNK, max(LEAST_CHUNK, 2 ** math.floor(math.log2(max(1.0, share))))))

    @property
    def ready(self) -> list[str]:
        """The workers that have loaded what their job takes."""
        return self._roster.ready

    def words(self) -> str:
        """Who works, and what was left out."""
        n, out = self._roster.n_living, self._n_left_out
        left_out = f", {out:,} {'row' if out == 1 else 'rows'} left out" if out else ""
        return f"{n:,} {'worker' if n == 1 else 'workers'}{left_out}"

    def _leave_out(self, own: RunStore, *errors: RowError) -> None:
        self._n_left_out += len(errors)
        own.record_error(*errors)


@contextmanager
def hired(cluster: ClusterConfig | None, out: Path | str) -> Iterator[Crew | None]:
    """Workers on a cluster, each of which sees the run folder; None where no cluster is asked for.

    Raises:
        MissingPackageError: Ray is not installed.
        StoreError: a worker does not see the folder, or none comes to life; no run can be made there.
        AuditError: there is no such cluster, or no room on it.
    """
    if cluster is None:
        yield None
        return
    from emoe_audit.cluster.ray_pool import ray_pool

    run = Path(out).resolve()
    with crew_folder(run) as folder, ray_pool(cluster, folder) as pool:
        yield crew_of(folder, pool, cluster.workers)


def crew_of(folder: Path, pool: Pool, wanted: int | None) -> Crew:
    """Workers that are there. Raises `StoreError` where one does not see the run, or none comes to life."""
    roster = Roster(pool, wanted)
    roster.gather(GATHERING)
    return Crew(folder, roster)


@contextmanager
def crew_folder(run: Path) -> Iterator[Path]:
    """The folder of a crew in a run, which is this process's while it lives; gone at the end.

    Raises:
        StoreError: no run can be made there, or another process writes to it.
    """
    if RunStore(run).is_started:
        with only_writer(run):
            pass  # or it is said who else writes, before anybody loads anything
    else:
        check_place(run)
    folder = new_crew(run)
    made = [own for own in (folder.parent, run) if not own.exists()]
    with written(folder):
        folder.mkdir(parents=True)
    try:
        with only_writer(folder):
            yield folder
    finally:
        with contextlib.suppress(AuditError, OSError):  # the next start removes what is left
            shutil.rmtree(put_away(folder))
        for empty in made if not RunStore(run).is_started else ():
            with contextlib.suppress(OSError):
                empty.rmdir()
