"""A run that is hurt: flipped bits are noticed, and a kill costs nothing. And what the record costs that shows it.

`flips_unnoticed` counts bits, in every file of a finished run, after which `verify-run` finds all as written;
`lost_or_different` counts killed audits that were not, once they were finished, the run that nobody disturbed, or in
which a kill left a file that is not as it was written.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from emoe_audit.runs.files import write_whole
from emoe_audit.runs.integrity import check, verify
from emoe_audit.runs.store import RunStore
from emoe_audit.types import EnsembleSpec
from tests.benchmarks.hostile_runs import (
    Flip,
    Kill,
    finished,
    flips,
    kill_and_resume,
    kill_later_commands,
    later_commands,
    tiny_audit,
)
from tests.benchmarks.record import merge_record
from tests.synthetic import synthetic_plan

NAME = "hostile"
N_FLIPS = 1000
AUDITS = 25
"""Killed at four operations each, the first evenly over all of an audit's, the others at random."""
MOMENTS = 8
"""Audits that are killed twice at any moment."""
LATER = 12
"""Kills of commands that change a finished run."""
N_IMAGES = 10_000
IMAGE_BYTES = 50_000


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_flips_are_noticed_and_kills_cost_nothing(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    ensemble, whole = Path(tiny_spec.base.source).parent, tmp_path / "whole"
    started = time.perf_counter()
    n_operations = finished(tiny_audit, ensemble, whole)
    lasts = time.perf_counter() - started
    found = flips(whole, N_FLIPS)
    kills = killed_audits(ensemble, whole, tmp_path, n_operations, lasts)
    unnoticed = Counter(flip.file for flip in found if not flip.noticed)
    figures: dict[str, float] = {
        "flips": len(found),
        "flips_unnoticed": unnoticed.total(),
        "kills": sum(kill.kills for kill in kills),
        "lost_or_different": sum(bool(kill.different) for kill in kills),
    }
    rows = [{"file": name, "flips": n, "unnoticed": unnoticed[name]} for name, n in flips_by_file(found).items()]
    merge_record(NAME, "flips and kills", figures, [*rows, *map(asdict, kills)])
    assert figures["flips"] >= 500
    assert figures["flips_unnoticed"] == 0
    assert figures["kills"] >= 100
    assert [kill for kill in kills if kill.different] == []


def flips_by_file(found: list[Flip]) -> dict[str, int]:
    return dict(Counter(flip.file for flip in found))


def killed_audits(ensemble: Path, whole: Path, folder: Path, n_operations: int, lasts: float) -> list[Kill]:
    rng, out, kills = np.random.default_rng(0), folder / "killed", []
    for first in np.linspace(1, n_operations, AUDITS).astype(int):
        others = [int(number) for number in rng.integers(1, n_operations // 3, 3)]
        kills.append(kill_and_resume(ensemble, out, whole, at=(int(first), *others)))
        shutil.rmtree(out)
    for _ in range(MOMENTS):
        moments = tuple(float(seconds) for seconds in rng.uniform(0, lasts, 2))
        kills.append(kill_and_resume(ensemble, out, whole, after=moments))
        shutil.rmtree(out)
    later = Path(shutil.copytree(whole, folder / "later"))
    n_later = finished(later_commands, later)
    kills += [kill_later_commands(later, whole, int(at)) for at in np.linspace(1, n_later, LATER).astype(int)]
    return kills


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_the_record_of_ten_thousand_images_costs_little_beside_them(tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(IMAGE_BYTES)
    names = [f"images/{place % 256:02x}/{place:032x}.png" for place in range(N_IMAGES)]
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    plain = seconds(lambda: each(names, lambda name: write_whole(tmp_path / "plain" / name, content)))
    noted = seconds(lambda: each(names, lambda name: store.write_image(name, content)))
    sealed = seconds(store.finish)
    read = seconds(lambda: each(names, lambda name: (store.path / name).read_bytes()))
    verified, opened = seconds(lambda: verify(store.path)), seconds(lambda: check(store.path))
    figures = {
        "writing_noted_over_plain": noted / plain,
        "sealing_over_writing": sealed / noted,
        "verifying_over_reading": verified / read,
        "opening_over_reading": opened / read,
    }
    row = {"images": N_IMAGES, "bytes": N_IMAGES * IMAGE_BYTES, "plain_s": plain, "noted_s": noted}
    merge_record(NAME, "cost", figures, [row | {"sealed_s": sealed, "verified_s": verified, "opened_s": opened}])
    assert verify(store.path).faults == ()
    assert figures["sealing_over_writing"] < 0.1


def each(names: list[str], work: Callable[[str], object]) -> None:
    for name in names:
        work(name)


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
