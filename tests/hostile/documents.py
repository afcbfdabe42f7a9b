"""YAML and CSV that people write by hand: ensembles, recipes, policies, plans, settings, coverage."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from tests.hostile import alter
from tests.hostile.readers import Fault, Reader, right, written

ENSEMBLE = """\
name: own
base: {source: base}
experts: [{name: one, source: base}, {name: two, source: other}]
assembly: shared_trunk
split: 1
top_k: 2
moe_layers: attn
training_coverage: coverage.csv
"""
RECIPE = """\
base_model: base
num_experts: 2
moe_layers: all
num_experts_per_tok: 2
type: sd
init: hidden
experts:
  - {source_model: base, positive_prompt: a, negative_prompt: b}
  - {source_model: other, positive_prompt: c, negative_prompt: d}
"""
POLICY = """\
alpha: 0.05
min_sources: 10
rules:
  - {by: language, measure: clip_cosine, figure: gap, at_least: -0.1, groups: [en, 'no', de]}
  - {by: region, measure: relative_disagreement, at_most: 0.5}
"""
COVERAGE = "by,group,coverage\nlanguage,en,0.9\nlanguage,de,0.1\nregion,150,0.5\n"
CONFIG = "n-noise: 2\nseed: 1\ndevice: cpu\nquiet: true\nmargin: [clip_cosine=0.02]\n"


def document_readers() -> Iterator[Reader]:
    """YAML and CSV that people write by hand: ensembles, recipes, policies, plans, settings, coverage."""
    from emoe_audit.cli.audit import run
    from emoe_audit.decisions.gate import read_policy
    from emoe_audit.experts.coverage import read_coverage
    from emoe_audit.experts.segmoe_recipe import read_segmoe_yaml
    from emoe_audit.experts.spec import load_spec
    from emoe_audit.recipes.plan import Plan

    plan = Path(__file__).parents[2] / "emoe_audit" / "recipes" / "plans" / "emoji-a.yaml"

    def folder_with(name: str, text: str) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            written(folder / name, text)
            written(folder / "coverage.csv" if name != "coverage.csv" else folder / name, COVERAGE)
            for part in ("base", "other"):
                (folder / part).mkdir()

        return make

    def settings(folder: Path) -> Any:
        return run.make_context("run", ["--config", str(folder / "config.yaml"), "--out", str(folder / "run")]).params

    for name, text, read, fault in (
        ("ensemble.yaml", ENSEMBLE, lambda folder: load_spec(str(folder / "ensemble.yaml")), right),
        ("recipe.yaml", RECIPE, lambda folder: read_segmoe_yaml(folder / "recipe.yaml"), right),
        ("policy.yaml", POLICY, lambda folder: read_policy(folder / "policy.yaml"), fault_of_policy),
        ("config.yaml", CONFIG, settings, right),
        ("plan.yaml", plan.read_text(encoding="utf-8"), lambda folder: Plan.read(folder / "plan.yaml"), fault_of_plan),
    ):
        yield Reader(
            name=name,
            make=folder_with(name, text),
            file=name,
            alter=alter.alter_yaml,
            read=read,
            weight=20,
            fault=fault,
        )
    yield Reader(
        name="coverage.csv",
        make=folder_with("coverage.csv", COVERAGE),
        file="coverage.csv",
        alter=alter.alter_csv,
        read=lambda folder: read_coverage(str(folder / "coverage.csv")),
        fault=fault_of_coverage,
        weight=20,
    )


def fault_of_policy(policy: Any, file: Path) -> Fault:
    """The bounds are those of the file, and finite numbers."""
    said = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    for rule, entry in zip(policy.rules, said["rules"], strict=True):
        for bound in ("at_least", "at_most"):
            value = getattr(rule, bound)
            if value != entry.get(bound) or (value is not None and not math.isfinite(value)):
                return f"{bound} is {value!r}, the file says {entry.get(bound)!r}"
        if (rule.by, rule.measure) != (entry["by"], entry["measure"]):
            return "a rule of another column"
    return None if 0 < policy.alpha < 1 else "alpha is no probability"


def fault_of_plan(plan: Any, _file: Path) -> Fault:
    """Shares are probabilities, the seed is a whole number, the name a text."""
    shares = [*plan.languages.values(), *plan.regions.values(), *plan.skin_tones.values()]
    if not all(isinstance(share, int | float) and 0 <= share <= 1 for share in shares):
        return "a share is no share"
    return None if type(plan.seed) is int and isinstance(plan.name, str) else "seed or name of another type"


def fault_of_coverage(table: pd.DataFrame, _file: Path) -> Fault:
    """Coverage is a share."""
    return None if table["coverage"].between(0, 1).all() else "a coverage is no share"
