"""What the ranking of languages owes to each choice in the score, on an ensemble of known training coverage.

Nothing is trained. The table is written by `python -m emoe_audit.ground.ablations NAME_OR_DIR --out FILE.json`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from emoe_audit.analysis.bootstrap import percentile_interval
from emoe_audit.experts.spec import load_spec
from emoe_audit.ground.figures import FIGURES, Ground, replicates
from emoe_audit.ground.record import write_record
from emoe_audit.ground.settings import ABLATIONS, SCORED, Setting
from emoe_audit.ground.study import Features, Study
from emoe_audit.ground.table import CONFIDENCE
from emoe_audit.ground.verify import known_coverage, lay_ground
from emoe_audit.progress import Progress, Reporter, silent
from emoe_audit.prompts.emoji import caption_matrix, default_prompts, is_plain
from emoe_audit.scoring.conditioning import count_tokens
from emoe_audit.scoring.disagreement import Score
from emoe_audit.types import EnsembleSpec

REPORTED = ("language_rho", "language_partial_rho", "auroc_starved")


def ablate(
    spec: EnsembleSpec,
    *,
    n_concepts: int = 20,
    seed: int = 0,
    n_boot: int = 500,
    device: str = "auto",
    only: Collection[str] = tuple(ABLATIONS),
    progress: Progress = silent,
) -> pd.DataFrame:
    """A row per ablation, setting and score: `ablation`, `setting`, `score`, and the figures with their 95% intervals.

    Figures are `language_rho`, `language_partial_rho` and `auroc_starved` of `validity.ground`, with `_low` and
    `_high`; NaN where undefined.

    Args:
        spec: An ensemble with captions and a table of its training coverage.
        n_concepts: Captions without region or skin tone, in every language.
        seed: Of concepts, noises and resampling.
        n_boot: Resamples of languages and concepts together.
        device: auto, cpu, cuda or mps.
        only: Names of the ablations to do, as in `ABLATIONS`.
        progress: Called with stage, done, total.

    Raises:
        EnsembleError: the ensemble says not what it was trained on, or cannot be taken apart.
        QualityError: base or experts are no pipelines that can draw, so there are no whole UNets.
    """
    coverage = known_coverage(spec)
    prompts = plain_prompts(spec, n_concepts, seed)
    study = Study(spec, prompts["prompt"].tolist(), seed=seed, device=device)
    ground = ground_of(spec, study, prompts, coverage)
    rows = []
    for done, name in enumerate(only):
        progress(f"ablation {name}", done, len(only))
        for setting in ABLATIONS[name](study):
            for score in setting.scores:
                found = estimates(ground, setting, SCORED[score], n_boot=n_boot, seed=seed)
                rows.append({"ablation": name, "setting": setting.name, "score": score} | found)
    progress("ablations", len(only), len(only))
    return pd.DataFrame(rows)


def plain_prompts(spec: EnsembleSpec, n_concepts: int, seed: int) -> pd.DataFrame:
    """The ensemble's default prompts without regions and skin tones, in the order of `[language, concept]`."""
    frame = default_prompts(spec, n_concepts=n_concepts, seed=seed).frame
    columns = ["language", "source_id", "prompt"]
    return frame.loc[is_plain(frame), columns].sort_values(columns[:2], ignore_index=True)


def ground_of(spec: EnsembleSpec, study: Study, prompts: pd.DataFrame, coverage: pd.DataFrame) -> Ground:
    """The ground of `plain_prompts`, on which no image was made."""
    own = study.engine.ensemble
    counts = count_tokens(prompts["prompt"].tolist(), own.tokenizer, own.max_length)
    no_images = {"clip_cosine_source": np.nan, "source_rank": np.nan}
    results = prompts.assign(n_tokens=[count.n_tokens for count in counts], **no_images)
    return lay_ground(results, coverage, caption_matrix(spec))


def estimates(ground: Ground, setting: Setting, score: Score, *, n_boot: int, seed: int) -> dict[str, float]:
    """The reported figures of one score in one setting, means over its draws, with `_low` and `_high`."""
    grids = {str(number): _grid(ground, draw, score) for number, draw in enumerate(setting.draws)}
    resampled = replicates(ground, grids, n_boot=n_boot, seed=seed)
    found = {}
    for figure in REPORTED:
        drawn = np.mean([resampled[name][figure] for name in grids], axis=0)
        low, high = percentile_interval(drawn, CONFIDENCE)
        found[figure] = float(np.mean([FIGURES[figure](ground, grid) for grid in grids.values()]))
        found |= {f"{figure}_low": float(low[0]), f"{figure}_high": float(high[0])}
    return found


def _grid(ground: Ground, draw: Sequence[Features], score: Score) -> np.ndarray:
    values = torch.stack([score(features) for features in draw]).double().mean(dim=0)
    grid: np.ndarray = values.cpu().numpy().reshape(ground.tokens.shape)
    return grid


def table_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table for a record, undefined as None."""
    rows: list[dict[str, Any]] = table.astype(object).where(table.notna(), None).to_dict("records")
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments, print the table and write the record."""
    parser = argparse.ArgumentParser(prog="python -m emoe_audit.ground.ablations", description=__doc__)
    parser.add_argument("ensemble", help="name, folder or YAML file")
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the record")
    parser.add_argument("--concepts", type=int, default=20, help="captions, each in every language")
    parser.add_argument("--seed", type=int, default=0, help="of concepts, noises and resampling")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--only", nargs="+", choices=list(ABLATIONS), default=list(ABLATIONS), help="which ablations")
    args = parser.parse_args(arguments)
    started, settings = time.monotonic(), {"n_concepts": args.concepts, "seed": args.seed}
    table = ablate(load_spec(args.ensemble), **settings, device=args.device, only=args.only, progress=Reporter())
    figures: dict[str, Any] = {**settings, "seconds": round(time.monotonic() - started, 1)}
    write_record(args.out, figures, table_rows(table))
    print(table[["ablation", "setting", "score", *REPORTED]].to_string(index=False, float_format="%.2f"))


if __name__ == "__main__":
    main()
