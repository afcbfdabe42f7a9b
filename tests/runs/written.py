"""A small finished run of every kind of file, written through the store."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from emoe_audit.runs.store import RunStore
from emoe_audit.types import RowError
from tests.synthetic import synthetic_frame, synthetic_plan

PROMPT = ["key", "prompt_id", "source_id", "prompt", "language", "region"]
N_IMAGES = 4


def written_run(path: Path, n_prompts: int = 40, *, finished: bool = True) -> RunStore:
    """Scores and readings in two shards each, four images, a table of the analysis and a line of errors."""
    frame = synthetic_frame(n_prompts)
    store = RunStore.open(path, plan=synthetic_plan())
    with store.locked():
        store.write_prompts([frame[PROMPT]])
        for part in (frame.iloc[: n_prompts // 2], frame.iloc[n_prompts // 2 :]):
            store.append("readings", pd.DataFrame({"key": part["key"], "reading": [b"r"] * len(part)}))
            store.append("scores", part[["key", *frame.columns[6:15]]])
        drawn = frame.head(N_IMAGES).assign(image="images/" + frame["key"].str[:2] + "/" + frame["key"] + ".png")
        for place, name in enumerate(drawn["image"]):
            store.write_image(name, picture(place))
        store.append("quality", drawn[["key", "source_id", *frame.columns[15:]]])
        store.write_analysis("groups", pd.DataFrame({"by": ["language"], "group": ["en"], "mean": [0.5]}))
        store.record_error(RowError(stage="read", message="not BCP-47", prompt_id="p7", line=8))
        store.join()
        if finished:
            store.finish()
            store.write_page("report.html", "<p>0.5</p>")
    return store


def shards_of(run: Path, table: str) -> list[Path]:
    """The files of a table that grows, of a run that is not finished, in the order in which they were written."""
    return sorted((run / table).glob("part-*.parquet"), key=lambda file: file.stat().st_mtime_ns)


def forget_the_record(run: Path) -> None:
    """Leave a run as one of an earlier version, or as somebody who altered it, would: nothing says what was written."""
    for name in ("files.parquet", "files.jsonl"):
        (run / name).unlink(missing_ok=True)
    if (run / "manifest.json").exists():
        manifest = json.loads((run / "manifest.json").read_text())
        del manifest["files_sha256"]
        (run / "manifest.json").write_text(json.dumps(manifest, indent=2))


def picture(seed: int) -> bytes:
    """A PNG of noise."""
    pixels = np.random.default_rng(seed).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def flip(file: Path, bit: int) -> None:
    """Turn one bit of a file over, where it lies."""
    content = bytearray(file.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    file.write_bytes(content)


def files_of(run: Path) -> list[str]:
    """Every file that holds something, by path from the folder."""
    found = (file for file in run.rglob("*") if file.is_file() and file.stat().st_size)
    return sorted(file.relative_to(run).as_posix() for file in found)
