"""Readings on disk: kept next to the scores of a run, and compared across the translations of a caption."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from emoe_audit.analysis.calibration import Calibration
from emoe_audit.analysis.readings import FEATURES, NOISES, Readings
from emoe_audit.analysis.translations import MIN_LANGUAGES, Readers
from emoe_audit.errors import StoreError
from emoe_audit.readers.parquet import read_parquet
from emoe_audit.runs.buckets import in_order_of_hash
from emoe_audit.runs.query import RunReader
from emoe_audit.runs.shards import shards
from emoe_audit.runs.sql import Sql, literal, sql
from emoe_audit.runs.store import RunStore

SAMPLE = 500
"""Captions, each in all its languages, that are held at once."""
TRANSLATED = """
    SELECT source_id FROM prompts JOIN readings USING (key)
    GROUP BY source_id HAVING count(DISTINCT language) >= {least}::INT
"""
IN_MOST = "{translated} ORDER BY count(DISTINCT language) DESC, sha256(source_id) LIMIT ?"
KEYED = "SELECT DISTINCT key, source_id, language FROM prompts WHERE source_id IN ({captions})"
IN_ORDER = """
    SELECT key, source_id, language, reading FROM readings JOIN ({keyed}) USING (key)
    ORDER BY sha256(source_id), source_id, key
"""
NAMED = "SELECT unnest(?::VARCHAR[])"
UNSCORED = "SELECT key FROM readings ANTI JOIN scores USING (key)"
SAME_LANGUAGE = """
    SELECT key, reading FROM readings WHERE key IN (SELECT key FROM prompts WHERE language = ?) AND key <> ?
"""


def append_scores(store: RunStore, scored: pd.DataFrame) -> None:
    """Add a shard of scores, and before it one of readings and one of what each noise gave, where there are any."""
    beneath = [name for name in scored if name == FEATURES or name.endswith(NOISES)]
    if beneath and scored["n_noise"].gt(0).all():
        content = {name: scored[name].map(lambda own: np.asarray(own, dtype=np.float32).tobytes()) for name in beneath}
        store.append("noises", scored[["key", "n_noise"]].assign(**content))
    if "reading" in scored:
        content = scored["reading"].map(lambda reading: np.asarray(reading, dtype=np.float16).tobytes())
        store.append("readings", pd.DataFrame({"key": scored["key"], "reading": content}))
    store.append("scores", scored[[name for name in scored if name not in ("reading", *beneath)]])


def forget_unscored(store: RunStore) -> None:
    """Remove the readings of prompts without a score: a kill left them, and they are read again with other prompts."""
    keys = set(store.query(UNSCORED)["key"])
    for shard in shards(store.path, "readings") if keys else ():
        held = read_parquet(shard, StoreError, ["key"])["key"].to_pylist()
        if not keys.isdisjoint(held):
            store.keep("readings", lambda rows: ~rows["key"].isin(keys), among=[shard])


def compare_translations(store: RunStore) -> None:
    """Write `translations`: the translation score of every prompt whose caption the run holds in enough languages.

    Which languages are to be believed is known from the run's calibration; templates are found among at most `SAMPLE`
    captions, those in most languages first, and so is what other captions a prompt may be read as.
    """
    sample = _in_most_languages(store)
    if not sample:
        return
    readers = fit_readers(store, sample)
    n_rows = int(store.query("SELECT count(*) AS n FROM prompts")["n"].iloc[0])
    rows = in_order_of_hash(store, keyed(_translated()), "readings", "source_id", n_rows)
    store.write_parts("translations", (_compared(store, readers, part) for part in whole_captions(rows, SAMPLE)))


def fit_readers(store: RunStore, sample: Sequence[str] | None = None) -> Readers:
    """The languages of a run as `compare_translations` knows them: how each reads, and how far it is to be believed."""
    captions = list(_in_most_languages(store) if sample is None else sample)
    rows = store.query(sql(IN_ORDER, keyed=keyed_by_name()), [captions])
    return Readers.fit(_readings(store, rows), read_calibration(store))


def read_calibration(store: RunReader) -> Calibration | None:
    """What the run learned of its ensemble's languages; None where it did not.

    Raises:
        StoreError: the table holds what is no calibration.
    """
    if not store.has_analysis("calibration"):
        return None
    try:
        return Calibration.from_frame(store.query("SELECT * FROM calibration ORDER BY language"))
    except ValueError as error:
        raise StoreError(f"{store.path}: its calibration does not fit together; remove it, and score again") from error


def missing_languages(store: RunReader) -> list[str]:
    """The languages by which the run's captions could be judged best, of those that it holds of none."""
    calibration = read_calibration(store)
    held = store.query("SELECT DISTINCT language FROM prompts")["language"]
    return [] if calibration is None else calibration.missing(held.to_list())


def nearest(store: RunStore, key: str, n: int) -> pd.DataFrame:
    """The prompts of the same language that the ensemble reads most like one.

    Returns:
        `key` and `cosine` of their readings, most alike first; empty where the run keeps no reading of the prompt.
    """
    near = pd.DataFrame({"key": pd.Series(dtype=object), "cosine": pd.Series(dtype=np.float32)})
    own = store.query("SELECT language, reading FROM prompts JOIN readings USING (key) WHERE key = ? LIMIT 1", [key])
    if own.empty:
        return near
    mine = own["reading"].to_list()
    (to,) = _matrix(mine, store.path)
    for part in store.batches(SAME_LANGUAGE, [own["language"].iloc[0], key]):
        cosine = _matrix([*mine, *part["reading"]], store.path)[1:] @ to
        near = pd.concat([near, part[["key"]].assign(cosine=cosine)]).nlargest(n, "cosine")
    return near.reset_index(drop=True)


def vectors(content: Sequence[bytes], run: Path) -> list[np.ndarray]:
    """Readings as numbers of half precision. Raises `StoreError` where they are not of one even length."""
    _check_lengths(content, run)
    return [np.frombuffer(own, dtype=np.float16) for own in content]


def _matrix(content: Sequence[bytes], run: Path) -> np.ndarray:
    """Readings as rows of length 1, in float32."""
    rows = _rows(content, run).astype(np.float32)
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def _rows(content: Sequence[bytes], run: Path) -> np.ndarray:
    """Readings as rows of half precision. Raises `StoreError` as `vectors` does."""
    _check_lengths(content, run)
    return np.frombuffer(b"".join(content), dtype=np.float16).reshape(len(content), -1 if content else 0)


def _check_lengths(content: Sequence[bytes], run: Path) -> None:
    is_bytes = {*map(type, content)} <= {bytes, bytearray}
    lengths = {*map(len, content)} if is_bytes else {0, 1}
    if len(lengths) > 1 or any(length == 0 or length % 4 for length in lengths):
        raise StoreError(f"{run / 'readings'}: readings of different lengths, or none; remove it, and score again")


def _in_most_languages(store: RunStore) -> list[str]:
    """At most `SAMPLE` of the captions that are there in enough languages, those in most first."""
    captions: list[str] = store.query(sql(IN_MOST, translated=_translated()), [SAMPLE])["source_id"].to_list()
    return captions


def keyed(captions: Sql) -> Sql:
    """The keys of the prompts of some captions, which a SELECT gives."""
    return sql(KEYED, captions=captions)


def keyed_by_name() -> Sql:
    """The same of captions that are named in the parameters of a query."""
    return keyed(sql(NAMED))


def _translated() -> Sql:
    return sql(TRANSLATED, least=literal(str(MIN_LANGUAGES)))


def whole_captions(parts: Iterable[pd.DataFrame], size: int) -> Iterator[pd.DataFrame]:
    """Rows that come caption by caption: those of `size` captions at a time, in the end of up to twice as many."""
    held: list[pd.DataFrame] = []
    for part in parts:
        rows = pd.concat([*held, part], ignore_index=True)
        starts = np.flatnonzero(rows["source_id"] != rows["source_id"].shift())
        while len(starts) > 2 * size:
            yield rows.iloc[: starts[size]].reset_index(drop=True)
            rows, starts = rows.iloc[starts[size] :], starts[size:] - starts[size]
        held = [rows.reset_index(drop=True)]
    yield from held


def _compared(store: RunStore, readers: Readers, rows: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([rows[["key", "source_id"]], readers.compared(_readings(store, rows))], axis=1)


def _readings(store: RunStore, rows: pd.DataFrame) -> Readings:
    """The first halves of readings, which are those of the text."""
    whole = _rows(rows["reading"].to_list(), store.path)
    return Readings(
        vectors=whole[:, : whole.shape[1] // 2].astype(np.float32),
        languages=rows["language"].to_list(),
        sources=rows["source_id"].to_list(),
    )
