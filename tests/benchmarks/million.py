"""A run of 1,000,000 prompts on disk, made once: `python -m tests.benchmarks.million FOLDER`.

All prompts, scores, readings, qualities and translation scores are there; the tables of the analysis are those of the
first captions, which takes a minute where all would take half an hour.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from emoe_audit.analysis.summary import analyze
from emoe_audit.runs.readings import compare_translations
from emoe_audit.runs.store import RunStore
from emoe_audit.types import AnalysisConfig
from tests.benchmarks.test_report_size import COVERAGE, draw, readings
from tests.synthetic import synthetic_frame, synthetic_plan

FOLDER = Path(__file__).parents[2] / "build" / "million" / "run"
N_CAPTIONS, N_LANGUAGES, N_DRAWN = 25_000, 40, 4
SHARD = 50_000
N_ANALYSED = 40_000
SUBJECTS = ("dog", "market", "bridge", "teacher", "boat", "wedding", "kitchen", "mountain", "doctor", "tram", "apple")
REGIONS = ("002", "019", "142", "150", "009")


def million_run(path: Path = FOLDER) -> RunStore:
    """The run, written where it is not yet complete."""
    if (path / "manifest.json").exists():
        return RunStore.open(path)
    frame, store = million_frame(), RunStore.open(path, plan=synthetic_plan())
    with store.locked():
        store.write_prompts([frame[["key", "prompt_id", "source_id", "prompt", "language", "region"]]])
        for start in range(0, len(frame), SHARD):
            rows = frame.iloc[start : start + SHARD]
            store.append("scores", rows[["key", *frame.columns[6:15]]])
            store.append("readings", readings(rows))
            store.append("quality", rows[["key", "source_id", *frame.columns[15:]]])
        for place, image in enumerate(frame["image"].dropna()):
            draw(path / image, place)
        store.compact("readings")
        compare_translations(store)
        sample = store.query("SELECT * FROM results ORDER BY prompt_id LIMIT ?", [N_ANALYSED])
        for name, table in analyze(sample, ["language", "region"], AnalysisConfig(n_boot=50)).items():
            store.write_analysis(name, table)
        store.join()
        store.finish()
    return store


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
    frame["key"] = pd.util.hash_pandas_object(frame["prompt"], index=False).map("{:032x}".format)
    frame["relative_disagreement"] += 0.002 * place
    frame["disagreement"] = frame["relative_disagreement"] * frame["feature_power"]
    frame["image"] = ("images/" + frame["key"].str[-2:] + "/" + frame["key"] + ".png").where(source < N_DRAWN, None)
    return frame


if __name__ == "__main__":
    million_run(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
