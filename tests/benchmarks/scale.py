"""A run of any size through the product's own path, with an engine that answers at once.

`python -m tests.benchmarks.scale N ENSEMBLE FOLDER` prints what each step took and the most memory that it
held, as a line of JSON: from the prompt file to `report.html`.
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from emoe_audit.audit import start_run
from emoe_audit.experts.spec import load_spec
from emoe_audit.prompts.read import read_prompts
from emoe_audit.report.render import write_report
from emoe_audit.steps.summary import summarize
from emoe_audit.types import ImageConfig, Prompt, ScoringConfig
from tests.benchmarks.process import status_bytes

LANGUAGES = [f"q{a}{b}" for a in "abcdefgh" for b in "abcde"][:36]
"""Of private use."""
READING = 512


@dataclass
class AtOnce:
    """An engine that knows every answer, and how long it took over all of them."""

    seconds: float = 0.0
    ends: list[float] = field(default_factory=list)
    """When each answer was given."""
    ensemble_hash: str = "e" * 64
    pool: np.ndarray = field(default_factory=lambda: np.random.default_rng(0).normal(size=(1000, READING)))

    def score(self, prompts: Sequence[Prompt]) -> pd.DataFrame:
        """A row per prompt, its reading that of its caption with something of its own."""
        started = time.perf_counter()
        place = np.array([hash_of(prompt.source_id) for prompt in prompts])
        own = np.array([hash_of(prompt.prompt) for prompt in prompts])
        values = 0.1 + own / 1e4
        scores = {"disagreement": values, "relative_disagreement": values, "feature_power": 1.0}
        noise = {"disagreement_noise_sd": np.nan, "relative_disagreement_noise_sd": np.nan, "unfamiliarity": np.nan}
        counts = {"n_noise": 1, "n_tokens": own % 20 + 2, "tokens_per_word": 1.5, "truncated": False}
        readings = (self.pool[place] + 0.3 * self.pool[own]).astype(np.float16)
        found = pd.DataFrame({"prompt_id": [prompt.prompt_id for prompt in prompts], **scores, **noise, **counts})
        found["reading"] = list(readings)
        self.ends.append(time.perf_counter())
        self.seconds += self.ends[-1] - started
        return found


def hash_of(text: str | None) -> int:
    """The same number below a thousand for a text in every process."""
    return sum((place + 1) * ord(letter) for place, letter in enumerate(text or "")) % 1000


def write_prompts(file: Path, n: int) -> None:
    """A table of captions in all `LANGUAGES`."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(["prompt_id", "source_id", "prompt", "language"])
        for place in range(n):
            source, language = f"s{place // len(LANGUAGES):07}", LANGUAGES[place % len(LANGUAGES)]
            writer.writerow([f"{source}-{language}", source, f"a picture of number {source} in {language}", language])


def measure(n: int, ensemble: str, folder: Path) -> dict[str, float]:
    """Seconds of each step, without those of the engine, and the peak of memory up to its end."""
    took: dict[str, float] = {}

    @contextmanager
    def step(name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        took[f"{name}_seconds"] = time.perf_counter() - started
        took[f"{name}_gb"] = status_bytes("VmHWM") / 1e9

    spec, engine, file = load_spec(ensemble), AtOnce(), folder / "prompts.csv"
    write_prompts(file, n)
    with step("read"):
        prompts = read_prompts(file)
    with step("score"):
        scoring = ScoringConfig(n_noise=1, check_pairs=0, device="cpu", dtype="float32")
        store = start_run(prompts, spec, folder / "run", scoring, ImageConfig(n_images=0), engine=engine)
    del prompts
    took["score_seconds"] -= engine.seconds
    paces = np.diff(engine.ends)
    tenth = max(1, len(paces) // 10)
    took["last_over_first"] = float(np.median(paces[-tenth:]) / np.median(paces[:tenth]))
    with store.locked():
        with step("summarize"):
            summarize(store)
        with step("finish"):
            store.finish()
        with step("report"):
            report = write_report(store)
    took["report_mb"] = report.stat().st_size / 1e6
    return took


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[3]) as place:
        print(json.dumps(measure(int(sys.argv[1]), sys.argv[2], Path(place))))
