"""A received run: every file of it, read as the report, the dashboard, the decisions and `verify-run` read it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from tests.hostile import alter
from tests.hostile.readers import Fault, Reader, alter_of, copied, difference, right

HONEST_PROMPTS = 40
SHARDED = ("prompts", "scores", "readings", "quality")


def run_readers(kept: Path) -> Iterator[Reader]:
    """Tables and documents of runs without a record, which would name each that is altered, and the record itself."""
    from tests.illustrated import illustrated_run, known_coverage
    from tests.runs.written import forget_the_record, written_run

    analysed, older, finished, begun = (kept / name / "run" for name in ("analysed", "older", "finished", "begun"))
    if not analysed.exists():
        illustrated_run(analysed, HONEST_PROMPTS, coverage=known_coverage(), complete=False)
        written_run(older)
        for run in (analysed, older):
            forget_the_record(run)
        written_run(finished)
        written_run(begun, finished=False)
    yield from _tables(analysed)
    yield from _documents(older)
    yield from _record(finished, begun)
    yield from _mended(begun)


def _tables(run: Path) -> Iterator[Reader]:
    def report(folder: Path, gallery_concepts: int = 0) -> Any:
        from emoe_audit.report import collect

        return collect(_look(folder), gallery_concepts=gallery_concepts)

    def results(folder: Path) -> pd.DataFrame:
        return _look(folder).query("SELECT * FROM results")

    for file in sorted(file.relative_to(run.parent) for file in run.rglob("*.parquet")):
        own = partial(Reader, make=copied(run.parent), file=str(file), alter=alter.alter_parquet)
        yield own(name=str(file), read=report)
        if file.parts[1] != "analysis":
            yield own(name=f"{file} as rows", read=results, weight=8, fault=fault_of_results)
    image = min(file.relative_to(run.parent) for file in run.rglob("*.png"))
    yield Reader(
        name="run/image",
        make=copied(run.parent),
        file=str(image),
        alter=alter.alter_bytes,
        read=lambda folder: report(folder, gallery_concepts=1),
    )


def _documents(run: Path) -> Iterator[Reader]:
    faults = {"plan.json": fault_of_plan_json}
    for name in ("plan.json", "manifest.json", "errors.jsonl"):
        yield Reader(
            name=f"run/{name}",
            make=copied(run.parent),
            file=f"run/{name}",
            alter=alter_of(name),
            read=_look,
            weight=40,
            fault=faults.get(name, right),
        )


def _record(finished: Path, begun: Path) -> Iterator[Reader]:
    from emoe_audit.runs.integrity import verify

    def verified(folder: Path) -> set[str]:
        found = verify(folder / "run")
        found.to_text().encode()
        return {fault.path for fault in found.faults}

    def opened(folder: Path) -> set[str]:
        _look(folder)
        return set()

    for run, name, after in ((begun, "files.jsonl", _as_it_is), (finished, "files.parquet", reseal)):
        for way, read in (("verified", verified), ("opened", opened)):
            yield Reader(
                name=f"run/{name} {way}",
                make=copied(run.parent),
                file=f"run/{name}",
                alter=alter_of(name),
                read=read,
                weight=20,
                fault=fault_of_record,
                after=after,
            )


def _mended(begun: Path) -> Iterator[Reader]:
    """A damaged run without a record, as it is when its command is given again."""
    from emoe_audit.runs.store import RunStore
    from emoe_audit.steps.mending import mend
    from tests.runs.written import forget_the_record

    def make(folder: Path) -> None:
        copied(begun.parent)(folder)
        forget_the_record(folder / "run")
        image = min((folder / "run" / "images").rglob("*.png"))
        image.write_bytes(image.read_bytes()[:100])

    def mended(folder: Path) -> pd.DataFrame:
        store = RunStore.open(folder / "run", mending=True)
        with store.locked():
            mend(store)
        return store.query("SELECT * FROM results")

    for file in sorted(file.relative_to(begun.parent) for file in (begun / "quality").glob("*.parquet")):
        yield Reader(
            name=f"{file} mended",
            make=make,
            file=str(file),
            alter=alter.alter_parquet,
            read=mended,
            weight=10,
            fault=fault_of_results,
        )


def _look(folder: Path) -> Any:
    from emoe_audit.runs.store import RunStore

    store = RunStore.open(folder / "run")
    store.manifest()
    store.errors()
    return store


def _as_it_is(_folder: Path) -> None:
    """Nothing else is changed."""


def reseal(folder: Path) -> None:
    """Give a manifest the hash that the table of files has now, as somebody who alters a run would."""
    run = folder / "run"
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    manifest["files_sha256"] = hashlib.sha256((run / "files.parquet").read_bytes()).hexdigest()
    (run / "manifest.json").write_text(json.dumps(manifest, ensure_ascii=False, indent=2), encoding="utf-8")


def fault_of_results(results: pd.DataFrame, file: Path) -> Fault:
    """No row is there twice: a join has not multiplied any."""
    prompts = file.parents[1] / "prompts"
    n = sum(pq.read_table(shard).num_rows for shard in prompts.glob("*.parquet"))
    return None if len(results) <= n else f"{len(results)} rows of {n} prompts"


def fault_of_plan_json(store: Any, file: Path) -> Fault:
    """What a plan says is what its JSON says."""
    said, read = json.loads(file.read_text(encoding="utf-8")), json.loads(json.dumps(asdict(store.plan())))
    return difference(said, read)


def fault_of_record(faulty: set[str], file: Path) -> Fault:
    """Every shard of a run is told, or is what some line of the record says; a run without lines has no record."""
    if file.stat().st_size == 0:
        return None
    run, said = file.parent, list(_said(file))
    for shard in (shard for table in SHARDED for shard in (run / table).glob("*.parquet")):
        path, content = str(shard.relative_to(run)), shard.read_bytes()
        if path not in faulty and (path, len(content), hashlib.sha256(content).hexdigest()) not in said:
            return f"{path} passes, and the record does not say it"
    return None


def _said(file: Path) -> Iterator[tuple[Any, Any, Any]]:
    if file.suffix == ".parquet":
        for row in pq.read_table(file, columns=["path", "bytes", "sha256"]).to_pylist():
            yield row["path"], row["bytes"], row["sha256"]
        return
    for line in file.read_bytes().split(b"\n"):
        try:
            own = json.loads(line)
            yield own["path"], own["state"]["bytes"], own["state"]["sha256"]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
