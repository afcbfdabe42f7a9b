"""Captions swapped within one language are named; what a language cannot read is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emoe_audit.analysis.calibration import Calibration
from emoe_audit.analysis.readings import Readings, unit
from emoe_audit.analysis.table_faults import OWN, consensus, likeness
from emoe_audit.analysis.translations import Readers
from tests.analysis.worlds import World, many

SWAPPED = ["c1", "c4", "c9"]


@pytest.fixture(scope="module")
def world() -> World:
    return World(many(5, 4))


@pytest.fixture(scope="module")
def calibration(world: World) -> Calibration:
    return Calibration.fit(world.readings(60))


def swapped_in(table: Readings, language: str) -> tuple[Readings, dict[str, str]]:
    """Each of `SWAPPED` says in one language what the next of them says."""
    rows = {c: place for place, (n, c) in enumerate(zip(table.languages, table.sources, strict=True)) if n == language}
    said = dict(zip(SWAPPED, [*SWAPPED[1:], SWAPPED[0]], strict=True))
    vectors = table.vectors.copy()
    for caption, other in said.items():
        vectors[rows[caption]] = table.vectors[rows[other]]
    return replace(table, vectors=vectors), said


def test_swapped_captions_of_a_language_that_is_read_well_are_named_by_row(
    world: World, calibration: Calibration
) -> None:
    table, said = swapped_in(world.readings(40), "g2")
    found = Readers.fit(table, calibration).faults(table)
    named = {
        (language, caption): str(other)
        for language, caption, other in zip(table.languages, table.sources, found, strict=True)
        if other is not None
    }
    assert named == {("g2", caption): other for caption, other in said.items()}


def test_what_cannot_be_read_is_no_fault(world: World, calibration: Calibration) -> None:
    table, _ = swapped_in(world.readings(40), "p2")
    assert all(other is None for other in Readers.fit(table, calibration).faults(table))


def test_a_prompt_that_is_read_as_no_caption_is_no_fault_in_a_language_that_is_read_well(
    world: World, calibration: Calibration
) -> None:
    table = world.readings(40)
    (row,) = (
        place for place, own in enumerate(zip(table.languages, table.sources, strict=True)) if own == ("g2", "c4")
    )
    vectors = table.vectors.copy()
    spread = np.std(vectors[np.array(table.languages) == "g2"])
    vectors[row] += 5 * spread * np.random.default_rng(0).normal(size=vectors.shape[1])
    changed = replace(table, vectors=vectors)
    readers = Readers.fit(changed, calibration)
    units, weights = readers.view(changed).units, readers.weights
    own, _, _ = likeness(units, weights, consensus(units, weights), readers.languages.get_loc("g2"))
    assert own.min() < OWN, "it is read badly"
    assert all(other is None for other in readers.faults(changed))


def test_likeness_leaves_out_the_language_itself() -> None:
    rng = np.random.default_rng(0)
    units, weights = unit(rng.normal(size=(6, 3, 8))), np.array([0.5, 0.3, 0.2])
    own, other, place = likeness(units, weights, consensus(units, weights), 1)
    for caption in range(6):
        others = [units[c, 0] * 0.5 + units[c, 2] * 0.2 for c in range(6)]
        cosines = [units[caption, 1] @ c / np.linalg.norm(c) for c in others]
        assert own[caption] == pytest.approx(cosines[caption])
        best = max((c for c in range(6) if c != caption), key=lambda c: cosines[c])
        assert (place[caption], other[caption]) == (best, pytest.approx(cosines[best]))
