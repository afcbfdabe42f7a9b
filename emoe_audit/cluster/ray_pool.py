"""Workers on a Ray cluster: actors, which Ray starts where there is room and never starts again by itself.

Ray Core alone, and of it little: Ray Data loses the block of a bad row, and actors that Ray restarts with their tasks
were seen to leave the last of them waiting for ever. What becomes of a lost chunk is decided in `dispatch`.
"""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emoe_audit.cluster.connection import connected, is_reached
from emoe_audit.cluster.pool import Kind, News
from emoe_audit.cluster.worker import Worker
from emoe_audit.errors import AuditError, StoreError
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.hands import Job
from emoe_audit.types import ClusterConfig, RunManifest

AT_ONCE = 10.0
"""Seconds in which something comes that is there."""
HEADLESS = 20.0
"""Seconds without the head of the cluster after which a run ends: after 60 Ray ends the process, and says little."""
SIGNS = "signs"
"""The calls that a worker answers while it works."""


@contextmanager
def ray_pool(cluster: ClusterConfig, crew: Path) -> Iterator[RayPool]:
    """Workers of a run on a cluster, ended at the end; what they write goes into the folder of the crew.

    Raises:
        MissingPackageError: Ray is not installed.
        AuditError: there is no such cluster, or no room on it.
    """
    with connected(cluster.address) as ray:
        pool = RayPool(ray, cluster, crew)
        if not pool.room():
            raise AuditError(f"the Ray cluster has no room for {pool.needs()}: it has {pool.has()}; see `ray status`")
        try:
            yield pool
        finally:
            pool.close()


class RayPool:
    """See `emoe_audit.cluster.pool.Pool`."""

    def __init__(self, ray: Any, cluster: ClusterConfig, crew: Path) -> None:
        """Of a connected Ray; `crew` is the folder in the run's that workers write into."""
        self._ray, self._crew, self._n_started = ray, crew, 0
        self._gpus = cluster.gpus_per_worker or 0
        options = {"num_cpus": 1, "num_gpus": self._gpus, "max_restarts": 0, "max_task_retries": 0}
        self._class = ray.remote(concurrency_groups={SIGNS: 1}, **options)(Worker)
        self._actors: dict[str, Any] = {}
        self._asked: dict[Any, tuple[Kind, str]] = {}
        self._sent: tuple[Job | None, Any, Any] = (None, None, None)
        self._head: str = ray.get_runtime_context().gcs_address
        self._reached, self._room = time.monotonic(), 0

    def needs(self) -> str:
        """What a worker asks for, in words."""
        return f"a worker with 1 CPU{f' and {self._gpus:g} GPUs' if self._gpus else ''}"

    def has(self) -> str:
        """What there is, in words."""
        machines = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        cpus, gpus = (sum(own.get(kind, 0) for own in machines) for kind in ("CPU", "GPU"))
        return f"{len(machines)} machines with {cpus:g} CPUs and {gpus:g} GPUs"

    def room(self) -> int:
        """Workers that all machines hold together, whoever else uses them.

        Raises:
            StoreError: the head of the cluster has taken no connection for `HEADLESS`, and nothing goes on without it.
        """
        if is_reached(self._head):
            self._reached = time.monotonic()
            self._room = sum(self._room_of(node["Resources"]) for node in self._ray.nodes() if node["Alive"])
        elif time.monotonic() - self._reached > HEADLESS:
            self._actors.clear()  # whom nobody can end any more but Ray itself
            raise StoreError(
                f"the head of the Ray cluster, {self._head}, is gone. Nothing that was computed is lost: start it "
                "again, and give the same command"
            )
        return self._room

    def _room_of(self, has: dict[str, float]) -> int:
        by_gpu = [int(has.get("GPU", 0) / self._gpus + 1e-9)] if self._gpus else []
        return min([int(has.get("CPU", 0)), *by_gpu])

    def start(self) -> str:
        """A new actor."""
        self._n_started += 1
        name = f"worker-{self._n_started}"
        actor = self._actors[name] = self._class.remote(str(self._crew), name, bool(self._gpus))
        self._asked[actor.look.remote(importlib.metadata.version("emoe-audit"))] = ("seen", name)
        return name

    def take_up(self, worker: str, job: Job) -> None:
        """The job is sent once for all workers."""
        if self._sent[0] is not job:
            self._sent = (job, self._ray.put(job), self._ray.put(self._plan()))
        self._asked[self._actors[worker].take_up.remote(*self._sent[1:])] = ("ready", worker)

    def _plan(self) -> RunManifest | None:
        run = RunStore(self._crew.parents[1])
        return run.plan() if run.is_started else None

    def give(self, worker: str, rows: Sequence[Any]) -> None:
        """Ray keeps the order of what an actor is given."""
        self._asked[self._actors[worker].work.remote(rows)] = ("done", worker)

    def ping(self, worker: str) -> None:
        """One question at a time."""
        if ("sign", worker) not in self._asked.values():
            self._asked[self._actors[worker].sign.options(concurrency_group=SIGNS).remote()] = ("sign", worker)

    def dismiss(self, worker: str) -> None:
        """Whether it still lives or not."""
        actor = self._actors.pop(worker, None)
        self._asked = {ref: own for ref, own in self._asked.items() if own[1] != worker}
        if actor is not None:
            self._ray.kill(actor, no_restart=True)

    def news(self, seconds: float) -> list[News]:
        """Everything that is there, once something is."""
        if not self._asked:
            time.sleep(seconds)
            return []
        refs = list(self._asked)
        if not self._ray.wait(refs, num_returns=1, timeout=seconds)[0]:
            return []
        there, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        return [self._one(ref) for ref in there]

    def _one(self, ref: Any) -> News:
        kind, worker = self._asked.pop(ref)
        try:
            return News(kind=kind, worker=worker, said=self._ray.get(ref, timeout=AT_ONCE))
        except self._ray.exceptions.RayError as error:
            return News(kind="lost", worker=worker, why=_in_short(error), with_machine=self._is_cut_off(error))

    def _is_cut_off(self, error: Exception) -> bool:
        """Whether the machine is gone, or the way to it: of a worker that died by itself Ray knows so at once."""
        kinds = (self._ray.exceptions.ActorUnavailableError, self._ray.exceptions.NodeDiedError)
        return isinstance(error, kinds) or "node has died" in str(error) or "node was terminated" in str(error)

    def close(self) -> None:
        """End all workers."""
        for worker in list(self._actors):
            self.dismiss(worker)


def _in_short(error: Exception) -> str:
    """The sentence that says something: Ray's last but for its advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in lines if "dead because" in line or "unavailable" in line), lines[0] if lines else "")
    return f"{type(error).__name__}: {said}"[:300]
