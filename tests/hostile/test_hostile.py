"""An eightieth of the campaign against every reader, and proof that each way of failing would be counted."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from emoe_audit.errors import AuditError
from tests.hostile.campaign import all_readers, attempt, count, wage
from tests.hostile.jail import Outcome, confined
from tests.hostile.readers import Reader

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
AN_EIGHTIETH = 250


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the honest folders are."""
    return tmp_path_factory.mktemp("honest")


def test_no_input_ends_in_anything_but_a_value_or_a_message(kept: Path) -> None:
    told = wage(kept, AN_EIGHTIETH)
    assert [own for own in told if own["outcome"] not in ("read", "told")] == []
    assert count(told) == {"inputs": AN_EIGHTIETH, "wrong": 0, "silent": 0, "peak_gb": pytest.approx(1, abs=1)}


def test_most_inputs_are_hostile_and_some_are_not(kept: Path) -> None:
    readers = all_readers(kept)
    outcomes = Counter(attempt(reader, number)[0] for number, reader in enumerate(readers[::40]))
    assert outcomes["told"] > 0.3 * outcomes.total() and outcomes["read"] > 0


def test_every_reader_takes_its_honest_file(kept: Path) -> None:
    for reader in {reader.name: reader for reader in all_readers(kept)}.values():
        honest = Reader(**{**vars(reader), "alter": lambda content, _random: content})
        assert attempt(honest, 0) == ("read", ""), reader.name


def reads(fails: Any) -> Reader:
    def make(folder: Path) -> None:
        (folder / "file").write_bytes(b"content")

    return Reader(name="made", make=make, file="file", alter=lambda content, _random: content, read=fails)


def test_each_way_of_failing_is_counted() -> None:
    def exhaust(_folder: Path) -> None:
        kept = [bytearray(1 << 24) for _ in range(100)]
        raise AuditError(str(len(kept)))

    def crash(_folder: Path) -> None:
        import ctypes

        ctypes.string_at(0)

    def unprintable(_folder: Path) -> None:
        raise AuditError("\ud800")

    ways = [lambda folder: next(iter(())), exhaust, crash, lambda folder: time.sleep(60), unprintable, lambda folder: 5]
    told = list(confined(range(6), lambda number: attempt(reads(ways[number]), number), seconds=5, memory=1 << 28))
    expected: list[Outcome] = ["wrong", "wrong", "crash", "hang", "wrong", "read"]
    assert [own.outcome for own in told] == expected
    assert count([vars(own) for own in told])["wrong"] == 5


def test_a_value_that_is_not_what_the_file_says_is_counted_as_silent() -> None:
    silent = Reader(**{**vars(reads(lambda folder: 5)), "fault": lambda value, file: f"{value} is not in the file"})
    assert attempt(silent, 0) == ("silent", "5 is not in the file")
