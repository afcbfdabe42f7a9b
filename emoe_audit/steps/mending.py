"""Before a run goes on: what is not as it was written is taken out, so that the steps which follow make it again."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Sequence

from emoe_audit.errors import StoreError
from emoe_audit.readers.parquet import read_parquet
from emoe_audit.readers.pictures import first_of, is_whole_png
from emoe_audit.runs import views
from emoe_audit.runs.checked import columns_of
from emoe_audit.runs.digests import files_in
from emoe_audit.runs.integrity import SHARD, Fault, verify
from emoe_audit.runs.ledger import FILES, PLAN
from emoe_audit.runs.shards import shards
from emoe_audit.runs.store import RunStore

log = logging.getLogger(__name__)
IMAGE = re.compile(r"images/[0-9a-f]{2}/[0-9a-f]{32}(-[0-9]{1,6})?\.(png|jpg)")
AUDIT_MENDS = re.compile(
    r"missing: (?!plan\.json|files\.parquet).*"
    r"|changed: (manifest\.json|errors\.jsonl|report\.(json|html)|verification\.html"
    r"|(prompts|scores|readings|noises|sights|quality|images)/.*|analysis/(?!ratings|depicted|abst).*)"
)
"""Faults after which a whole audit makes the run whole again; what it does not make and is gone, was taken away."""
DRAWING_MENDS = re.compile(r"(missing|changed): (images|sights|quality)/.*")
"""Faults after which drawing and judging make it whole again."""
ANALYSIS_MENDS = re.compile(
    r"missing: analysis/.*|changed: analysis/(?!ratings|depicted|abst|validity|real_images|judge_bias|kid|expert).*"
)
"""Faults after which the analysis makes it whole again."""
TAKEN_FOR_OWN = re.compile(f"{SHARD.pattern}|{IMAGE.pattern}")
"""Files that the run has not written, and that would be read as if it had."""


def mend(store: RunStore, mends: re.Pattern[str] = AUDIT_MENDS) -> None:
    """Take out every file that is not as it was written; rows that rest on one that is gone are pending again.

    A run of an earlier version has no record; of it images go that are not whole.

    Raises:
        StoreError: what is damaged is not made by the steps that follow.
    """
    if store.ledger.is_kept:
        damaged = _to_be_made(verify(store.path).faults, store, mends)
        if damaged and store.is_complete and mends is AUDIT_MENDS:  # which finishes it again
            store.ledger.reopen()
    else:
        damaged = [name for name, is_file in files_in(store.path) if is_file and _is_torn(store, name)]
        if not store.is_complete:
            store.ledger.adopt()
    if damaged:
        log.warning("%s: %d files are damaged and made again, %s first", store.path, len(damaged), damaged[0])
        _take_out(store, damaged)


def _to_be_made(faults: Sequence[Fault], store: RunStore, mends: re.Pattern[str]) -> list[str]:
    foreign = {fault for fault in faults if fault.kind == "unknown"}
    for fault in (own for own in faults if own not in foreign and not mends.fullmatch(f"{own.kind}: {own.path}")):
        way_out = "choose another --out" if fault.path in (PLAN, FILES) else "take it away"
        raise StoreError(
            f"{store.path / fault.path}: {fault.kind}, and not made again by this command: put it back, or {way_out}; "
            f"`emoe-audit verify-run {store.path}` names all that is damaged"
        )
    return [own.path for own in faults if own not in foreign or TAKEN_FOR_OWN.fullmatch(own.path)]


def _is_torn(store: RunStore, name: str) -> bool:
    return name.endswith(".png") and IMAGE.fullmatch(name) is not None and not is_whole_png(store.path / name)


def _take_out(store: RunStore, names: Sequence[str]) -> None:
    """First what stands alone, then rows that will lack something, then that: a kill leaves no row that lacks it."""
    images = {name for name in names if name.startswith("images/")}
    readings, sights = ({name for name in names if name.startswith(f"{table}/")} for table in ("readings", "sights"))
    store.ledger.remove(f"analysis/{views.RESULTS}.parquet")
    for name in names:
        if name not in images | readings | sights:
            _lose(store, name)
    if readings:
        read = _keys_left(store, "readings", readings)
        store.keep("scores", lambda rows: rows["key"].isin(read))
    if sights:
        seen = _keys_left(store, "sights", sights)
        store.keep("quality", lambda rows: rows["key"].isin(seen))
    if images:
        firsts = set(map(first_of, images))
        store.keep("quality", lambda rows: ~rows.reindex(columns=["image"])["image"].isin(firsts))
    for name in (*readings, *sights, *images):
        _lose(store, name)


def _lose(store: RunStore, name: str) -> None:
    if os.path.lexists(store.path / name):
        store.ledger.remove(name)
    else:
        store.ledger.note(name, None)


def _keys_left(store: RunStore, table: str, lost: set[str]) -> set[str]:
    """The keys whose rows in a table are not lost with some of its shards."""
    left = [shard for shard in shards(store.path, table) if f"{table}/{shard.name}" not in lost]
    for shard in left:
        columns_of(table, shard)
    return {key for shard in left for key in read_parquet(shard, StoreError, ["key"])["key"].to_pylist()}
