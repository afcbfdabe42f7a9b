"""Two trained ensembles compared: are the languages found whose share of the training data changed, and only those?

Both are scored on one table of prompts, once more with other noise for a comparison in which nothing changed. A
language is found where `compare` says at a false discovery rate of 10% that it fell in the ranking, its coverage having
risen by the factor, or the other way round. Three things count as false: a language said to have risen or fallen whose
coverage is the same within a factor of `SAME`; one said to have moved in the direction in which its coverage moved; and
any at all where nothing changed.

The first asks more than `compare` promises, and is not granted: the three languages of which neither ensemble saw
anything are all said to have moved. Ranks add up to the same in both runs, so that a language moves where others pass
it. And each of the three has the words or the script of others that changed, and went with them: Assamese fell with
Bengali, Bulgarian rose with Ukrainian and Russian, simplified Chinese with traditional.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoe_audit.analysis.translations import TRANSLATION_SCORE
from emoe_audit.audit import start_run
from emoe_audit.decisions.compare import compare_runs
from emoe_audit.experts.coverage import STARVED
from emoe_audit.experts.spec import load_spec
from emoe_audit.ground.verify import known_coverage
from emoe_audit.prompts.emoji import default_prompts, is_plain
from emoe_audit.prompts.table import PromptTable, table_of
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.summary import summarize
from emoe_audit.types import ImageConfig, ScoringConfig
from tests.benchmarks.record import merge_record
from tests.benchmarks.sd15 import all_cores

RUNS = Path(__file__).parents[2] / "build" / "compare-runs"
"""Kept, so that a second start goes on where the first was stopped."""
A, B = "emoji-a", "emoji-b"
N_CAPTIONS, FDR = 100, 0.1
FACTOR, SAME = 10.0, 1.25
SCORES = (TRANSLATION_SCORE, "relative_disagreement", "disagreement")


def scored_run(ensemble: str, seed: int) -> RunStore:
    """The plain captions of A in every language, scored by an ensemble from one noise."""
    scoring, no_images = ScoringConfig(seed=seed, n_noise=1, check_pairs=0, device="cpu"), ImageConfig(n_images=0)
    store = start_run(plain_prompts(), load_spec(ensemble), RUNS / f"{ensemble}-{seed}", scoring, no_images)
    with store.locked():
        summarize(store)
        store.finish()
    return store


def plain_prompts() -> PromptTable:
    """Captions without region and skin tone."""
    frame = default_prompts(load_spec(A), n_concepts=N_CAPTIONS).frame
    return table_of(frame[is_plain(frame)].reset_index(drop=True), f"plain captions of {A}")


def coverage_of(ensemble: str) -> pd.Series:
    """Share of the training captions by language."""
    table = known_coverage(load_spec(ensemble))
    shares: pd.Series = table[table["by"] == "language"].set_index("group")["coverage"]
    return shares


def language_rows(a: RunStore, b: RunStore, score: str) -> pd.DataFrame:
    """What was said of each language, next to its coverage; `factor` is NaN for languages that neither has seen."""
    found = compare_runs(a, b, score=score, fdr=FDR)
    said = {change.group: change for change in found.groups}
    table = pd.DataFrame({"coverage_a": coverage_of(A), "coverage_b": coverage_of(B)}).loc[sorted(said)]
    with np.errstate(divide="ignore", invalid="ignore"):
        table["factor"] = table["coverage_b"] / table["coverage_a"]
    table["difference"] = [said[language].difference for language in table.index]
    table["p_bh"] = [said[language].p_bh for language in table.index]
    table["verdict"] = [said[language].verdict for language in table.index]
    return table.rename_axis("language").reset_index().assign(score=score)


def judged_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Whether a language is one to be found, was found, and is false."""
    factor = table["factor"].fillna(1.0)
    expected = pd.Series(np.where(factor < 1, "rose", "fell"), table.index)
    clear = table["verdict"].isin(["rose", "fell"])
    same = factor.between(1 / SAME, SAME)
    return table.assign(
        changed=(factor >= FACTOR) | (factor <= 1 / FACTOR),
        learnable=table[["coverage_a", "coverage_b"]].max(axis=1) >= STARVED,
        found=clear & (table["verdict"] == expected),
        clear=clear,
        same=same,
        false=clear & (same | (table["verdict"] != expected)),
    )


def figures_of(rows: pd.DataFrame) -> dict[str, float]:
    """Recall over changes of the factor, all and those that training could show; how much of what is said is false.

    And how many of the languages whose coverage is the same are said to have moved.
    """
    changed, clear = rows[rows["changed"]], rows[rows["clear"]]
    return {
        "compare_recall_factor_10": float(changed["found"].mean()),
        "compare_recall_factor_10_learnable": float(changed.loc[changed["learnable"], "found"].mean()),
        "compare_false_share": float(clear["false"].mean()),
        "compare_same_coverage_said_to_move": float(rows.loc[rows["same"], "clear"].mean()),
    }


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_languages_whose_coverage_changed_are_found_and_others_are_not() -> None:
    with all_cores():
        a, b, again = scored_run(A, 0), scored_run(B, 0), scored_run(A, 1)
    tables = [judged_rows(language_rows(a, b, score)) for score in SCORES]
    unchanged = compare_runs(a, again, score=TRANSLATION_SCORE, fdr=FDR)
    figures = figures_of(tables[0]) | {
        "compare_false_where_nothing_changed": float(sum(change.is_clear for change in unchanged.groups))
    }
    scores = [{"score": score} | figures_of(table) for score, table in zip(SCORES, tables, strict=True)]
    languages = tables[0].astype(object).where(tables[0].notna(), None).replace(np.inf, None).to_dict("records")
    merge_record("statistics", "compare", figures, [*scores, *languages])
    assert figures["compare_recall_factor_10"] >= 0.9
    assert figures["compare_false_share"] <= FDR
    assert figures["compare_false_where_nothing_changed"] <= 1
