"""A run of 1,000,000 prompts through the product's own steps, made once: `python -m tests.benchmarks.million FOLDER`.

The prompts are read from a file and scored by an engine that knows every answer; of 1,000 captions all images are
judged, and those of the first are drawn. The analysis is that of all prompts.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from emoe_audit.audit import start_run
from emoe_audit.prompts.read import read_prompts
from emoe_audit.report import write_report
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.summary import summarize
from emoe_audit.types import ImageConfig, Prompt, ScoringConfig
from tests.benchmarks.test_report_size import COVERAGE, draw, readings
from tests.synthetic import synthetic_frame

FOLDER = Path(__file__).parents[2] / "build" / "million" / "run"
N_CAPTIONS, N_LANGUAGES, N_JUDGED, N_DRAWN = 25_000, 40, 1_000, 4
SUBJECTS = ("dog", "market", "bridge", "teacher", "boat", "wedding", "kitchen", "mountain", "doctor", "tram", "apple")
REGIONS = ("002", "019", "142", "150", "009")
PROMPT = ["prompt_id", "source_id", "prompt", "language", "region"]


@dataclass(frozen=True)
class Known:
    """An engine that looks up what it is asked for, by `prompt_id`."""

    rows: pd.DataFrame
    ensemble_hash: str = "e" * 64

    def score(self, prompts: Sequence[Prompt]) -> pd.DataFrame:
        """The scores and the readings of these prompts."""
        rows = self.rows.loc[[prompt.prompt_id for prompt in prompts]].reset_index()
        own = [np.frombuffer(reading, dtype=np.float16) for reading in readings(rows)["reading"]]
        return rows[["prompt_id", *rows.columns[6:15]]].assign(reading=own)


def million_run(path: Path = FOLDER) -> RunStore:
    """The run, written where it is not yet complete."""
    if (path / "manifest.json").exists():
        return RunStore.open(path)
    frame = million_frame()
    path.parent.mkdir(parents=True, exist_ok=True)
    frame[PROMPT].to_csv(path.with_suffix(".csv"), index=False)
    scoring, images = ScoringConfig(check_pairs=0, device="cpu", dtype="float32"), ImageConfig(n_images=N_JUDGED * 40)
    engine = Known(frame.set_index("prompt_id")[["key", *frame.columns.drop(["key", "prompt_id"])]])
    store = start_run(read_prompts(path.with_suffix(".csv")), "emoji-a", path, scoring, images, engine=engine)
    with store.locked():
        judge(store, frame[frame["source_id"] < f"s{N_JUDGED:07d}"])
        summarize(store)
        store.finish()
        write_report(store)
    return store


def judge(store: RunStore, frame: pd.DataFrame) -> None:
    """Write the quality of these rows, and the images that they name."""
    keys = store.query("SELECT prompt_id, key FROM prompts").set_index("prompt_id")["key"]
    rows = frame.assign(key=frame["prompt_id"].map(keys))
    is_drawn = rows["image"].notna()
    rows["image"] = ("images/" + rows["key"].str[:2] + "/" + rows["key"] + ".png").where(is_drawn, None)
    store.append("quality", rows[["key", "source_id", *frame.columns[15:]]])
    for place, image in enumerate(rows["image"].dropna()):
        draw(store.path / image, place)
    store.take(store.path / "images")


def million_frame() -> pd.DataFrame:
    """The synthetic rows laid over 40 languages and five regions; scores rise with the place of the language."""
    languages = pd.read_csv(COVERAGE).query("by == 'language'")["group"].to_numpy()[:N_LANGUAGES]
    frame = synthetic_frame(N_CAPTIONS * N_LANGUAGES)
    source, place = np.divmod(np.arange(len(frame)), N_LANGUAGES)
    frame["language"], frame["region"] = languages[place], np.array(REGIONS)[source % len(REGIONS)]
    frame["source_id"] = pd.Series(source).map("s{:07d}".format)
    frame["prompt_id"] = frame["source_id"] + "-" + frame["language"]
    subject = pd.Series(np.array(SUBJECTS)[source % len(SUBJECTS)])
    frame["prompt"] = "a picture of the " + subject + " of number " + frame["source_id"] + ", told in " + frame.language
    frame["relative_disagreement"] += 0.002 * place
    frame["disagreement"] = frame["relative_disagreement"] * frame["feature_power"]
    frame["image"] = frame["image"].mask(source < N_DRAWN, "drawn")
    return frame


if __name__ == "__main__":
    million_run(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
