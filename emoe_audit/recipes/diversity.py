"""How different experts have to be: the ablations of disagreement that need training.

Two experts of a finished ensemble are trained in each variant, and their disagreement is held against the known
coverage. The table is written by `python -m emoe_audit.recipes.diversity NAME_OR_DIR --out FILE.json`; stopped, it goes
on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from diffusers import UNet2DConditionModel
from scipy.stats import spearmanr

from emoe_audit.errors import AuditError
from emoe_audit.experts.spec import load_spec
from emoe_audit.ground.ablations import REPORTED, estimates, ground_of, plain_prompts, table_rows
from emoe_audit.ground.figures import Ground
from emoe_audit.ground.record import write_record
from emoe_audit.ground.settings import SCORED, Setting
from emoe_audit.ground.study import Features, Study
from emoe_audit.ground.verify import known_coverage
from emoe_audit.recipes.drawings import STYLES
from emoe_audit.recipes.package import token_table
from emoe_audit.recipes.plan import Plan
from emoe_audit.recipes.sampling import Sampler
from emoe_audit.recipes.tokenizer import train_tokenizer
from emoe_audit.recipes.variants import VARIANTS, Nursery, scaled
from emoe_audit.recipes.world import World
from emoe_audit.types import EnsembleSpec
from emoe_audit.validity.check import alignment

NATURAL_TOKENIZER = "natural tokenizer"
NAMES = (*VARIANTS, NATURAL_TOKENIZER)
TOKENIZER_CAPTIONS = 100_000
"""Drawn for the natural tokenizer: enough that a share of 0.01 % has some."""
Row = dict[str, Any]


def ablate_diversity(
    spec: EnsembleSpec,
    out: Path,
    cache: Path,
    *,
    only: Collection[str] = NAMES,
    steps_scale: float = 1.0,
    n_concepts: int = 20,
    seed: int = 0,
    n_boot: int = 500,
    device: str = "cpu",
) -> pd.DataFrame:
    """A row per variant and score: `variant`, `score`, `steps`, `alignment`, and the figures with their 95% intervals.

    Rows are written to `out` after each variant; a variant whose rows stand there is not repeated.

    Args:
        spec: A finished ensemble that a recipe made, with its plan next to its base.
        out: JSON file of the record.
        cache: What recipes reuse and resume; weights go to `KINDS/PLAN/diversity` in it.
        only: Which of `NAMES`.
        steps_scale: Every training is so many times as long.
        n_concepts: Captions without region or skin tone, in every language.
        seed: Of concepts, noises and resampling; trainings take the plan's.
        n_boot: Resamples of languages and concepts together.
        device: cpu, cuda or mps.

    Raises:
        AuditError: `out` holds rows of another ensemble or under other settings.
        EnsembleError: the ensemble says not what it was trained on.
    """
    settings: Row = {"ensemble": spec.name, "steps_scale": steps_scale, "n_concepts": n_concepts, "seed": seed}
    rows = standing_rows(out, settings)
    standing = {row["variant"] for row in rows}
    laboratory = Laboratory(spec, cache, n_concepts=n_concepts, seed=seed, n_boot=n_boot, device=device)
    for name in only:
        if name not in standing:
            rows += laboratory.token_rows() if name == NATURAL_TOKENIZER else laboratory.rows(name, steps_scale)
            write_record(out, settings, table_rows(pd.DataFrame(rows)))
    return pd.DataFrame(rows)


def standing_rows(file: Path, settings: dict[str, Any]) -> list[Row]:
    """The rows of a record that an earlier call wrote; none where there is none. Raises `AuditError`."""
    if not file.exists():
        return []
    record = json.loads(file.read_text(encoding="utf-8"))
    if record["figures"] != settings:
        raise AuditError(f"{file}: holds rows under {record['figures']}, not {settings}; give another --out")
    return list(record["rows"])


class Laboratory:
    """One ensemble: experts are trained for it and measured on its plain captions. What is not used is not loaded."""

    def __init__(
        self, spec: EnsembleSpec, cache: Path, *, n_concepts: int, seed: int, n_boot: int, device: str
    ) -> None:
        self.spec, self.cache, self.n_concepts, self.device = spec, cache, n_concepts, device
        self.resampling = {"n_boot": n_boot, "seed": seed}

    def rows(self, name: str, steps_scale: float) -> list[Row]:
        """Train the two experts of a variant and measure them."""
        pair = scaled(VARIANTS[name], steps_scale)
        found = self.measure([self.nursery.train(expert) for expert in pair])
        return [{"variant": name, "steps": pair[0].steps} | row for row in found]

    def measure(self, unets: Sequence[UNet2DConditionModel]) -> list[Row]:
        """A row per score, from the mid-blocks of some experts."""
        own = self.study.mid_block(unets)
        centred = own - own.mean(dim=1, keepdim=True)
        scored: list[tuple[str, str, Features]] = [
            ("disagreement", "disagreement", own),
            ("relative_disagreement", "relative_disagreement", own),
            ("relative_disagreement, expert-centred", "relative_disagreement", centred),
        ]
        aligned = alignment(own.flatten(2))
        return [
            {"score": name, "alignment": aligned}
            | estimates(self.ground, Setting(name=name, draws=[[features]]), SCORED[score], **self.resampling)
            for name, score, features in scored
        ]

    def token_rows(self) -> list[Row]:
        """Token counts as a score, under a tokenizer from the plan's captions and under the ensemble's own."""
        table = self.coverage[self.coverage["by"] == "language"].set_index("group")
        world, plan = self.nursery.world, self.nursery.plan
        tokenizer = natural_tokenizer(world, plan, self.nursery.folder / "natural-tokenizer")
        natural = token_table(tokenizer, world.captions)["mean_tokens"]
        counts = {"natural": natural, "even": table["mean_tokens"].astype(float)}
        return [
            {"variant": NATURAL_TOKENIZER, "steps": 0, "score": f"token_count, {kind} tokenizer"}
            | {"language_rho": rank_correlation(tokens, table["coverage"])}
            for kind, tokens in counts.items()
        ]

    @cached_property
    def coverage(self) -> pd.DataFrame:
        """The ensemble's table of its training coverage."""
        return known_coverage(self.spec)

    @cached_property
    def nursery(self) -> Nursery:
        """Where experts are trained."""
        return Nursery(self.spec, self.cache, torch.device(self.device))

    @cached_property
    def prompts(self) -> pd.DataFrame:
        """The captions that are scored."""
        return plain_prompts(self.spec, self.n_concepts, self.resampling["seed"])

    @cached_property
    def study(self) -> Study:
        """What reads the mid-blocks."""
        texts = self.prompts["prompt"].tolist()
        return Study(self.spec, texts, seed=self.resampling["seed"], device=self.device)

    @cached_property
    def ground(self) -> Ground:
        """What the figures are taken on."""
        return ground_of(self.spec, self.study, self.prompts, self.coverage)


def natural_tokenizer(world: World, plan: Plan, folder: Path) -> Any:
    """The tokenizer of a model whose makers took their own captions for it: trained on draws from the plan."""
    drawn = Sampler(world=world, plan=plan, styles=tuple(STYLES), seed=plan.seed).draw(
        "tokenizer", 0, TOKENIZER_CAPTIONS
    )
    texts = world.captions.to_numpy()[drawn.concepts, drawn.languages]
    return train_tokenizer(pd.DataFrame({"drawn": texts}), folder)


def rank_correlation(values: pd.Series, coverage: pd.Series) -> float:
    """Spearman's rho over the languages of `coverage`, matched by name."""
    return float(spearmanr(values[coverage.index], coverage).statistic)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments, train what is missing, write the record and print its table."""
    parser = argparse.ArgumentParser(prog="python -m emoe_audit.recipes.diversity", description=__doc__)
    parser.add_argument("ensemble", help="name, folder or YAML file")
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the record")
    parser.add_argument("--cache", type=Path, default=Path("build/recipes"), help="what is reused and resumed")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help="; ".join(NAMES))
    parser.add_argument("--steps-scale", type=float, default=1.0, help="every training is so many times as long")
    parser.add_argument("--concepts", type=int, default=20, help="captions, each in every language")
    parser.add_argument("--seed", type=int, default=0, help="of concepts, noises and resampling")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda or mps")
    args = parser.parse_args(arguments)
    table = ablate_diversity(
        load_spec(args.ensemble),
        args.out,
        args.cache,
        only=args.only,
        steps_scale=args.steps_scale,
        n_concepts=args.concepts,
        seed=args.seed,
        device=args.device,
    )
    columns = ["variant", "score", "steps", "alignment", *REPORTED]
    print(table.reindex(columns=columns).to_string(index=False, float_format="%.2f"))


if __name__ == "__main__":
    main()
