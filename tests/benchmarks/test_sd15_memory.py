"""What a score takes in memory at Stable Diffusion 1.5's true size, over what it cannot do without.

Each measurement is a process of its own (this file, run as a module): the most that was ever resident, pages mapped
from files counted, less what was resident after the imports.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from torch._subclasses.fake_tensor import FakeTensorMode

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.ensemble import Ensemble, load_ensemble
from emoe_audit.experts.residency import GIB, LIVE_HIDDEN_STATES
from emoe_audit.experts.spec import load_spec
from emoe_audit.scoring.conditioning import TextStates
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.expert_path import mid_block_features, prompt_free_start
from emoe_audit.types import Assembly, EnsembleSpec, Prompt, ScoringConfig
from tests.benchmarks.gemm import N_TOKENS
from tests.benchmarks.live_bytes import LiveBytes
from tests.benchmarks.process import status_bytes
from tests.benchmarks.sd15 import (
    SMALL,
    TRUE,
    NaiveSd15,
    Size,
    all_cores,
    count_parameters,
    merge_record,
    true_size_folder,
    unet_config,
    write_ensemble,
)

ROOT = Path(__file__).parents[2]
ITEMSIZE = torch.float32.itemsize
TEXTS = [f"{number} dogs on a red sofa" for number in range(33)]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Bytes, and the scores that they were good for."""

    after_imports: int
    peak: int
    residency: str
    scores: list[float]

    @property
    def taken(self) -> int:
        return self.peak - self.after_imports


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_what_a_score_takes_in_memory_at_true_size() -> None:
    folder = true_size_folder()
    activations = live_bytes(TRUE)
    with all_cores():
        budget = smallest_budget(load_spec(folder / "independent"))
    needed = needed_bytes(TRUE)
    runs = {
        "resident": (measure_alone(folder, "shared_trunk", None), needed["resident"], None),
        "streaming": (measure_alone(folder, "independent", budget), needed["streaming"], budget),
    }
    figures = {f"rss_ratio_{name}": own.taken / (weights + activations) for name, (own, weights, _) in runs.items()}
    rows = [
        {"run": name, "budget": given, "weights": weights, "activations": activations, **asdict(own)}
        for name, (own, weights, given) in runs.items()
    ]
    resident, streaming = (own for own, _, _ in runs.values())
    figures["difference_of_streaming"] = largest_difference(streaming.scores, resident.scores)
    merge_record("memory", figures, rows)
    assert (streaming.residency, resident.residency) == ("one", "all")
    assert figures["difference_of_streaming"] < 1e-4
    assert figures["rss_ratio_resident"] <= 1.35
    assert figures["rss_ratio_streaming"] <= 1.2


@pytest.mark.benchmark
def test_streaming_resident_and_naive_scores_agree_in_any_batch(tmp_path: Path) -> None:
    folder = write_ensemble(tmp_path, SMALL)
    whole, independent = (load_spec(folder / assembly) for assembly in ("shared_trunk", "independent"))
    resident = load_ensemble(whole, device="cpu")
    expected = scores(resident, TEXTS, batch_size=32)
    naive = NaiveSd15(folder).mid_blocks(TEXTS).double().var(dim=0).mean(dim=(1, 2, 3)).numpy()
    assert largest_difference(expected, naive) < 1e-4
    for batch_size in (1, 7):
        assert largest_difference(scores(resident, TEXTS, batch_size=batch_size), expected) < 1e-5
    budget = load_ensemble(independent, device="cpu").footprint.needed("one")
    streamed = load_ensemble(independent, device="cpu", memory_budget=budget)
    assert streamed.residency == "one"
    assert largest_difference(scores(streamed, TEXTS[:3], batch_size=32), expected[:3]) < 1e-4


@pytest.mark.benchmark
def test_what_is_needed_is_what_the_ensembles_hold(tmp_path: Path) -> None:
    folder, needed = write_ensemble(tmp_path, SMALL), needed_bytes(SMALL)
    footprint = load_ensemble(load_spec(folder / "shared_trunk"), device="cpu").footprint
    assert needed["resident"] == footprint.weights("all")
    assert needed["streaming"] == footprint.largest_path
    small = smallest_budget(load_spec(folder / "independent"))
    assert 0 < small - footprint.needed("one") < GIB // 50, "the budget is told in hundredths of a GiB"


@pytest.mark.benchmark
def test_a_footprint_counts_the_live_activations_of_a_path() -> None:
    hidden = ITEMSIZE * TRUE.channels[0] * TRUE.sample_size**2
    assert live_bytes(TRUE) == LIVE_HIDDEN_STATES * hidden


def needed_bytes(size: Size) -> dict[str, int]:
    """The weights of all experts and the text encoder, those of the trunk once; and those of one expert."""
    n = count_parameters(size)
    return {
        "resident": ITEMSIZE * (n["text"] + n["path"] + (size.n_experts - 1) * n["own"]),
        "streaming": ITEMSIZE * n["path"],
    }


def smallest_budget(spec: EnsembleSpec) -> int:
    """What the refusals of smaller ones ask for."""
    budget = 1
    while True:
        try:
            ScoringEngine(load_ensemble(spec, device="cpu", memory_budget=budget), config(1, budget))
            return budget
        except EnsembleError as error:
            told = re.search(r"it takes ([\d.]+) GiB with one|give ([\d.]+) GiB more", str(error))
            if told is None:
                raise
            total, more = told.groups()
            budget = math.ceil(float(total) * GIB) if total else budget + math.ceil(float(more) * GIB)


def config(batch_size: int, budget: int | None = None) -> ScoringConfig:
    return ScoringConfig(n_noise=1, batch_size=batch_size, device="cpu", memory_budget=budget)


def scores(ensemble: Ensemble, texts: list[str], batch_size: int) -> list[float]:
    engine = ScoringEngine(ensemble, config(batch_size, ensemble.memory_budget))
    return engine.score([Prompt(prompt_id=text, prompt=text) for text in texts])["disagreement"].to_list()


def largest_difference(own: Any, expected: Any) -> float:
    return float(np.max(np.abs(np.asarray(own) / np.asarray(expected) - 1)))


def measure_alone(folder: Path, assembly: Assembly, budget: int | None) -> Measured:
    """`measure` in a fresh process."""
    command = [sys.executable, "-m", "tests.benchmarks.test_sd15_memory", str(folder), assembly, str(budget or 0)]
    threads = {"OMP_NUM_THREADS": str(os.cpu_count())}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | threads, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Measured(**json.loads(done.stdout))


def measure(folder: Path, assembly: Assembly, budget: int | None) -> Measured:
    """Two prompts scored one after the other, in batches of one."""
    after_imports = status_bytes("VmRSS")
    ensemble = load_ensemble(load_spec(folder / assembly), device="cpu", memory_budget=budget)
    own = scores(ensemble, TEXTS[:2], batch_size=1)
    return Measured(after_imports=after_imports, peak=status_bytes("VmHWM"), residency=ensemble.residency, scores=own)


@torch.no_grad()
def live_bytes(size: Size) -> int:
    """The most that the activations of one prompt take on its path after its start, from the shapes alone."""
    with FakeTensorMode():
        unet = UNet2DConditionModel.from_config(unet_config(size)).eval()
        latent, states = (
            torch.empty(1, 4, size.sample_size, size.sample_size),
            torch.empty(1, N_TOKENS, size.text_width),
        )
        start = prompt_free_start(unet, latent, torch.tensor(981))
        assert start.tokens is not None
        with LiveBytes([*unet.parameters(), start.hidden, start.tokens, states]) as live:
            mid_block_features(unet, start, TextStates(embeds=states, summary=states[:, -1], unnormed=states[:, -1]))
    return live.most


if __name__ == "__main__":
    folder, assembly, budget = sys.argv[1:]
    print(json.dumps(asdict(measure(Path(folder), assembly, int(budget) or None))))  # type: ignore[arg-type]
