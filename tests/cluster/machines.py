"""A real Ray cluster of several nodes on this machine, each of which can be killed without grace."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STORE_BYTES = 80 << 20


@dataclass
class Machines:
    """Nodes with room for one worker each; the head has none."""

    cluster: Any
    nodes: list[Any] = field(default_factory=list)
    kills: int = 0

    @property
    def address(self) -> str:
        found: str = self.cluster.address
        return found

    def add(self, n: int = 1) -> None:
        self.nodes += [self.cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES) for _ in range(n)]

    def kill(self, place: int = 0) -> None:
        self.kills += 1
        self.cluster.remove_node(self.nodes.pop(place), allow_graceful=False)

    def be(self, n: int) -> None:
        """So many, however many there were."""
        while len(self.nodes) > n:
            self.cluster.remove_node(self.nodes.pop(), allow_graceful=False)
        self.add(n - len(self.nodes))

    def behead(self) -> None:
        """The head is killed, and with it all that Ray knows of the cluster."""
        for processes in self.cluster.head_node.all_processes.values():
            for own in processes:
                own.process.kill()
                own.process.wait()

    def die(self, rng: random.Random) -> None:
        """A node is killed; mostly another takes its place at once, else with a later one."""
        if self.nodes:
            self.kill(rng.randrange(len(self.nodes)))
        if not self.nodes or rng.random() < 0.6:
            self.add(min(2, 3 - len(self.nodes)))


@contextmanager
def machines() -> Iterator[Machines]:
    """A cluster with no node but the head; ended at the end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": STORE_BYTES}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            yield Machines(cluster)
        finally:
            with contextlib.suppress(Exception):
                cluster.shutdown()
