"""What the dashboard keeps beside the runs: its jobs, what they said, and the tables that were uploaded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.hostile import alter
from tests.hostile.readers import BY_ENDING, Fault, Reader, difference, written
from tests.hostile.tables import fault_of_prompts, rows, write_table

APP = Path(__file__).parents[2] / "app"
JOB: dict[str, Any] = {
    "name": "mine",
    "suffix": ".csv",
    "wish": {"ensemble": "emoji-a", "n_images": 0, "n_noise": 1},
    "process": {"pid": 4321, "started": "1", "token": "0123456789abcdef" * 2},
}
LOG = "loading: 1 of 3\nscores: 1,200 of 24,000\n"


def dashboard_readers() -> Iterator[Reader]:
    """The list of audits that were started, read as the page that starts them shows it, and an upload."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(APP))
        import jobs
        import uploads

    def make(folder: Path) -> None:
        written(folder / ".jobs" / "mine.json", json.dumps(JOB))
        written(folder / ".jobs" / "mine.log", LOG)
        write_table(folder / ".uploads" / "mine.csv", rows())

    def watched(folder: Path) -> list[tuple[Any, str, str, float | None]]:
        found = [(job, jobs.state(folder, job), jobs.last_words(folder, job)) for job in jobs.jobs(folder)]
        return [(job, state, words, jobs.share_done(words)) for job, state, words in found]

    for file, own in (("mine.json", alter.alter_json), ("mine.log", alter.alter_bytes)):
        yield Reader(
            name=f"jobs/{file}",
            make=make,
            file=f".jobs/{file}",
            alter=own,
            weight=20,
            read=watched,
            fault=fault_of_jobs,
        )
    for ending in (".csv", ".parquet"):

        def check(folder: Path, name: str = f"table{ending}") -> Any:
            return uploads.check_upload(name, (folder / name).read_bytes())

        def upload(folder: Path, name: str = f"table{ending}") -> None:
            write_table(folder / name, rows())

        yield Reader(
            name=f"upload{ending}",
            make=upload,
            file=f"table{ending}",
            alter=BY_ENDING[ending],
            weight=10,
            read=check,
            fault=fault_of_prompts,
        )


def fault_of_jobs(watched: list[tuple[Any, str, str, float | None]], file: Path) -> Fault:
    """A job is what its file says and does not run, its last words are a line of its log, its progress is a share."""
    for job, state, words, share in watched:
        different = difference(asdict(job), json.loads((file.parent / "mine.json").read_text("utf-8-sig")))
        if different or state == "running":
            return different or "a process that was not started here"
        if words.strip("\ufffd") not in (file.parent / "mine.log").read_bytes().decode("utf-8", "replace"):
            return "words that the log does not hold"
        if share is not None and not 0 <= share <= 1:
            return f"{share} is no share"
    return None
