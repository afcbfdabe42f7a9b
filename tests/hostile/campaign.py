"""A campaign against every reader: inputs by number, each made from its seed, read in a forked process."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import click

from emoe_audit.errors import AuditError
from tests.hostile import checkpoints, dashboard, documents, models, pictures, readers, runs, tables
from tests.hostile.jail import Outcome, confined
from tests.hostile.readers import Reader
from tests.processes import running

AT_ONCE = 2
"""Processes side by side."""
LONGEST_MESSAGE = 4000
"""Characters that somebody would read."""


def all_readers(kept: Path) -> list[Reader]:
    """Every reader, as often as its weight; the honest folders are made where they are not there."""
    return readers.spread(
        chain(
            tables.table_readers(),
            tables.caption_readers(),
            tables.text_readers(),
            documents.document_readers(),
            dashboard.dashboard_readers(),
            pictures.picture_readers(),
            runs.run_readers(kept),
            checkpoints.checkpoint_readers(kept),
            models.model_readers(kept),
        )
    )


def attempt(reader: Reader, number: int) -> tuple[Outcome, str]:
    """What a reader makes of its hostile file of that number."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        reader.make(folder)
        file = folder / reader.file
        file.write_bytes(reader.alter(file.read_bytes(), Random(f"{reader.name} {number}")))
        reader.after(folder)
        try:
            value = reader.read(folder)
        except (AuditError, click.ClickException) as told:
            return _judged(str(told))
        fault = reader.fault(value, file)
        return ("silent", fault) if fault else ("read", "")


def _judged(message: str) -> tuple[Outcome, str]:
    """Whether a message can be printed and read."""
    try:
        message.encode()
    except UnicodeEncodeError:
        return "wrong", f"a message that cannot be printed: {message!r}"
    if not message.strip() or len(message) > LONGEST_MESSAGE:
        return "wrong", f"a message of {len(message)} characters"
    return "told", message


def wage(kept: Path, n_inputs: int) -> list[dict[str, Any]]:
    """What became of every input: `number, outcome, detail, peak_gb, reader`."""
    share = [range(start, n_inputs, AT_ONCE) for start in range(AT_ONCE)]
    all_readers(kept)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(chain.from_iterable(pool.map(lambda numbers: _wage(kept, numbers), share)))


def _wage(kept: Path, numbers: Sequence[int]) -> list[dict[str, Any]]:
    with running(tell, kept, numbers) as (process, out, err):
        process.join()
        if process.exitcode:
            raise RuntimeError(err.read_text("utf-8"))
        return [json.loads(line) for line in out.read_text("utf-8").splitlines()]


def tell(kept: Path, numbers: Sequence[int]) -> None:
    """Print what became of some inputs, a line each."""
    own = all_readers(kept)
    for told in confined(numbers, lambda number: attempt(own[number % len(own)], number)):
        print(json.dumps({**asdict(told), "reader": own[told.number % len(own)].name}), flush=True)


def count(told: Sequence[dict[str, Any]]) -> dict[str, float]:
    """The figures of a campaign."""
    outcomes = Counter(own["outcome"] for own in told)
    return {
        "inputs": len(told),
        "wrong": sum(outcomes[bad] for bad in ("wrong", "crash", "hang")),
        "silent": outcomes["silent"],
        "peak_gb": max(own["peak_gb"] for own in told),
    }
