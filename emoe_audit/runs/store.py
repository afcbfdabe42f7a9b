"""A run written: `reports/<run>/` with Parquet shards, and what is pending.

`plan.json` says what was asked and is written first; `manifest.json` is written last, so a folder without it is
unfinished and can be resumed. A shard is written to a temporary file, synced and renamed: a kill leaves no half shard.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from emoe_audit.errors import StoreError
from emoe_audit.runs import views
from emoe_audit.runs.files import in_place_of, write_whole
from emoe_audit.runs.manifest import check_same, manifest_from
from emoe_audit.runs.own import check_own, is_own, remember
from emoe_audit.runs.query import ROW_GROUP, RunReader
from emoe_audit.runs.views import JOINED, RESULTS
from emoe_audit.types import Dtype, EnsembleSpec, RowError, RunManifest

Table = Literal["scores", "readings", "quality"]
PLAN, MANIFEST, ERRORS, LOCK = "plan.json", "manifest.json", "errors.jsonl", ".lock"


class RunStore(RunReader):
    """One run folder, to be written and read. `locked` keeps a second writer out."""

    _named: RunManifest | None = None
    """What the caller says is to be loaded, in the place of what the plan names."""

    @classmethod
    def open(cls, path: Path | str, *, plan: RunManifest | None = None) -> RunStore:
        """Open a run; with a plan, create it or check that the folder holds the same run.

        Raises:
            StoreError: there is no run, or another one; the message says what differs.
        """
        store = cls(Path(path))
        if plan is None:
            store.plan()
        elif store.is_started:
            check_same(store.plan(), plan, store.path)
        else:
            if store.path.exists() and any(store.path.iterdir()):
                raise StoreError(f"{store.path}: not empty and not a run; choose another --out")
            store.path.mkdir(parents=True, exist_ok=True)
            _write_json(store.path / PLAN, asdict(plan))
            remember(store.path / PLAN)
        store._named = plan
        return store

    def plan(self) -> RunManifest:
        """What was asked."""
        return self._read_manifest(PLAN)

    def sources(self) -> RunManifest:
        """The plan, to be loaded from: what a user named in `open` or `load_from`, else what stands there.

        Raises:
            StoreError: nobody has named anything, and the run was not started here; see `own`.
        """
        plan = self.plan()
        if self._named is None:
            check_own(self.path / PLAN, plan)
            return plan
        images = plan.images if is_own(self.path / PLAN) else self._named.images
        return replace(plan, ensemble=self._named.ensemble, images=images)

    def load_from(self, ensemble: EnsembleSpec) -> None:
        """Load the parts of this ensemble wherever the plan would have others loaded."""
        images = replace(self.plan().images, reference_images=None)
        self._named = replace(self.plan(), ensemble=ensemble, images=images)

    def trust(self) -> None:
        """Stand behind what the plan names, from now on."""
        remember(self.path / PLAN)
        self._named = self.plan()

    def manifest(self) -> RunManifest | None:
        """What was made; None while the run is unfinished."""
        return self._read_manifest(MANIFEST) if (self.path / MANIFEST).exists() else None

    @property
    def is_started(self) -> bool:
        """Whether there is a run."""
        return (self.path / PLAN).exists()

    @property
    def is_complete(self) -> bool:
        """Whether the run is finished."""
        return (self.path / MANIFEST).exists()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Be the only writer; the kernel frees the lock of a process that died.

        Raises:
            StoreError: another process writes to this run.
        """
        with (self.path / LOCK).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StoreError(
                    f"{self.path}: another process is writing to this run; wait for it, or stop it"
                ) from error
            for torn in self.path.rglob("*.tmp"):
                torn.unlink()
            yield

    def write_prompts(self, frame: pd.DataFrame) -> None:
        """Write the prompts with their keys, in place of what was there."""
        self._forget_join()
        write_whole(self._shard("prompts", 0), _parquet(frame))

    def append(self, table: Table, frame: pd.DataFrame) -> None:
        """Add one shard."""
        self._forget_join()
        shards = views.shards(self.path, table)
        number = int(shards[-1].stem.removeprefix("part-")) + 1 if shards else 0
        write_whole(self._shard(table, number), _parquet(frame))

    def compact(self, table: Table) -> None:
        """Put the shards of a table into one, so that reading a finished run opens few files.

        The new shard takes the first one's place before the others go; a kill in between leaves rows twice, and every
        reader takes each key once.
        """
        shards = views.shards(self.path, table)
        if len(shards) > 1:
            self._replace(shards[0], f"SELECT * FROM {table}")
            for shard in shards[1:]:
                shard.unlink()

    def join(self) -> None:
        """Write `results` as one table in the order of `prompt_id`, so that reading a large run joins nothing.

        It is gone with the next change of a table that it was made of; every query then joins anew.
        """
        self._forget_join()
        file = views.analysis(self.path, RESULTS)
        self._replace(file, "SELECT * FROM results ORDER BY prompt_id")

    def _replace(self, file: Path, rows: str) -> None:
        """Write the rows of a SELECT as one file without holding them all."""
        form = f"FORMAT parquet, ROW_GROUP_SIZE {ROW_GROUP}"
        with in_place_of(file) as temporary, self._connected(rows) as connection:
            connection.execute(f"COPY ({rows}) TO {views.literal(temporary)} ({form})")

    def _forget_join(self) -> None:
        views.analysis(self.path, RESULTS).unlink(missing_ok=True)

    def write_image(self, name: str, content: bytes) -> None:
        """Write one image at its place in the run folder, `images/ab/<key>.png`."""
        write_whole(self.path / name, content)

    def write_analysis(self, name: str, frame: pd.DataFrame) -> None:
        """Write one analysis table, in place of what was there."""
        if name in JOINED:
            self._forget_join()
        write_whole(views.analysis(self.path, name), _parquet(frame))

    def pending(self, table: Table, keys: Iterable[str]) -> list[str]:
        """The keys that a table lacks, in order, each once."""
        done = set(self.query(f"SELECT key FROM {table}")["key"])
        return [key for key in dict.fromkeys(keys) if key not in done]

    def prompts_of(self, keys: Sequence[str]) -> list[dict[str, Any]]:
        """One row of the prompt table for each key, in order; of rows that share a key the first by id."""
        sql = (
            "SELECT * FROM prompts WHERE key IN (SELECT unnest(?::VARCHAR[])) "
            "QUALIFY row_number() OVER (PARTITION BY key ORDER BY prompt_id) = 1"
        )
        rows = self.query(sql, [list(keys)]).set_index("key", drop=False).loc[list(keys)]
        return [{str(name): value for name, value in row.items()} for row in rows.to_dict("records")]

    def record_error(self, error: RowError) -> None:
        """Add a line to `errors.jsonl`."""
        with (self.path / ERRORS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(error), ensure_ascii=False) + "\n")

    def clear_errors(self) -> None:
        """Forget earlier errors: a resumed run tries the failed rows again."""
        (self.path / ERRORS).unlink(missing_ok=True)

    def errors(self) -> list[RowError]:
        """Rows that were left out; a last line torn by a kill is passed over."""
        file = self.path / ERRORS
        lines = file.read_text(encoding="utf-8").split("\n")[:-1] if file.exists() else []
        return [RowError(**json.loads(line)) for line in lines]

    def finish(self) -> None:
        """Compact the shards and write the manifest: from now on the run is complete."""
        self.compact("scores")
        self.compact("readings")
        self.compact("quality")
        _write_json(self.path / MANIFEST, asdict(replace(self.plan(), complete=True)))

    def _shard(self, table: str, number: int) -> Path:
        return self.path / table / f"part-{number:06d}.parquet"

    def _read_manifest(self, name: str) -> RunManifest:
        file = self.path / name
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
            return manifest_from(data)
        except FileNotFoundError as error:
            raise StoreError(f"{self.path}: no run here (no {name})") from error
        except (ValueError, TypeError, KeyError) as error:
            raise StoreError(f"{file}: not a readable {name}: {error}") from error


def stored_dtype(path: Path | str) -> Dtype | None:
    """The number type of the run in a folder; None where there is none."""
    store = RunStore(Path(path))
    dtype = store.plan().scoring.dtype if store.is_started else None
    return None if dtype == "auto" else dtype


def list_runs(root: Path) -> list[RunStore]:
    """The runs under a folder, newest first; other folders are passed over."""
    stores = []
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        try:
            stores.append(RunStore.open(folder))
        except (StoreError, OSError):
            continue
    return sorted(stores, key=lambda store: store.plan().created, reverse=True)


def _parquet(frame: pd.DataFrame) -> bytes:
    return frame.to_parquet(index=False)


def _write_json(path: Path, data: dict[str, Any]) -> None:
    write_whole(path, json.dumps(data, ensure_ascii=False, indent=2).encode())
