"""Does the score of a caption depend on which other captions stand in the table? And are swapped captions found?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import mannwhitneyu

from emoe_audit.analysis.readings import Readings
from emoe_audit.analysis.table_faults import consensus, likeness
from emoe_audit.analysis.translations import Readers
from emoe_audit.experts.spec import embedded_names
from tests.benchmarks.captions_read import Read, by_language, joined, judged, read
from tests.benchmarks.record import merge_record

COUNTRIES = ("FR", "NG", "IN", "BR", "JP", "EG", "PL", "US", "KE", "TH")
SWAPPED = 0.1
WELL_COVERED = 0.02
FIGURES = {
    "caption_mix_shift_max": "largest difference between a language's mean score over the same captions alone and "
    "beside captions of other kinds: plain ones, flags, toned emoji, prompts of `prompts regions`",
    "caption_mix_shift_max_table_means": "the same where means and weights are those of the table",
    "mistranslation_auroc": "how often a swapped caption is likelier to be one than another caption of its language; "
    "mean over well-covered languages, each with a tenth of its captions swapped",
    "mistranslations_named": "share of the swapped captions that are named",
    "wrongly_named": "share of the other captions of these languages that are named",
}
"""The worse of both ensembles."""


def mix_rows(known: Read) -> list[dict[str, Any]]:
    """A row per kind of captions: the largest shift of a language when all other kinds join."""
    kinds = {kind: known.readings(kind) for kind in ("plain", "flags", "tones")}
    kinds["regions"] = known.region_prompts(COUNTRIES)
    everything = joined(*kinds.values())
    rows = []
    for method, calibration in {"calibration": known.calibration, "table": None}.items():
        among_all = judged(everything, calibration)
        for kind, own in kinds.items():
            alone, beside = judged(own, calibration), among_all[among_all["source_id"].isin(own.sources)]
            known_here = [name for name in known.calibration.languages if name in set(own.languages)]
            shift = (by_language(alone) - by_language(beside)).reindex(known_here).abs()
            rows.append({"method": method, "kind": kind, "captions": len(set(own.sources)), "shift": shift.max()})
    return rows


def swap_rows(known: Read, coverage: pd.Series) -> list[dict[str, Any]]:
    """A row per well-covered language: how well swapped captions are told from the others."""
    table, rng, rows = known.readings("plain"), np.random.default_rng(2), []
    for name in coverage.index[coverage >= WELL_COVERED]:
        own = np.flatnonzero(np.array(table.languages) == name)
        chosen = rng.permutation(own)[: int(SWAPPED * len(own))]
        vectors = table.vectors.copy()
        vectors[chosen] = table.vectors[np.roll(chosen, 1)]
        rows.append({"language": str(name)} | _told_apart(replace(table, vectors=vectors), known, own, chosen))
    return rows


def _told_apart(table: Readings, known: Read, own: np.ndarray, chosen: np.ndarray) -> dict[str, float]:
    readers = Readers.fit(table, known.calibration)
    named = np.array([place is not None for place in readers.faults(table)])[own]
    view, language = readers.view(table), readers.languages.get_loc(table.languages[own[0]])
    with_own, with_other, _ = likeness(view.units, readers.weights, consensus(view.units, readers.weights), language)
    margin = pd.Series(with_other - with_own, index=view.cells.sources)[[table.sources[row] for row in own]]
    is_swapped = np.isin(own, chosen)
    pairs = is_swapped.sum() * (~is_swapped).sum()
    return {
        "auroc": float(mannwhitneyu(margin[is_swapped], margin[~is_swapped]).statistic / pairs),
        "named": float(named[is_swapped].mean()),
        "wrongly_named": float(named[~is_swapped].mean()),
    }


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_captions_of_other_kinds_do_not_move_a_language() -> None:
    rows = [{"ensemble": name, **row} for name in embedded_names() for row in mix_rows(read(name))]
    shift = pd.DataFrame(rows).groupby("method")["shift"].max()
    figures = {
        "caption_mix_shift_max": float(shift["calibration"]),
        "caption_mix_shift_max_table_means": float(shift["table"]),
    }
    merge_record("statistics", "caption_mix", figures, rows)
    assert figures["caption_mix_shift_max"] <= 0.05 < figures["caption_mix_shift_max_table_means"]


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_swapped_captions_of_a_well_covered_language_are_found() -> None:
    rows = []
    for name in embedded_names():
        known = read(name)
        rows += [{"ensemble": name, **row} for row in swap_rows(known, known.coverage)]
    means = pd.DataFrame(rows).groupby("ensemble")[["auroc", "named", "wrongly_named"]].mean()
    figures = {
        "mistranslation_auroc": float(means["auroc"].min()),
        "mistranslations_named": float(means["named"].min()),
        "wrongly_named": float(means["wrongly_named"].max()),
    }
    merge_record("statistics", "mistranslations", figures, rows)
    assert figures["mistranslation_auroc"] >= 0.9
    assert figures["mistranslations_named"] > 10 * figures["wrongly_named"]
