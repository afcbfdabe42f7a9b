"""Does the translation score of a language depend on which other languages stand in the table? See `FIGURES`.

Held against a control that is known to fail: the plain cosine with the sum of the other languages.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from emoe_audit.analysis.readings import Readings, unit
from emoe_audit.analysis.translations import TRANSLATION_SCORE
from emoe_audit.experts.spec import embedded_names
from tests.benchmarks.captions_read import Read, among, by_language, companies, judged, read
from tests.benchmarks.record import merge_record

N_COMPANIES = 200
FIGURES = {
    "company_shift_max": "largest difference between a language's mean score over the same plain captions in a company "
    "and among all languages, wherever every prompt of the language has a number",
    "company_answered": "share of prompts that get a number",
    "company_reliability_r": "mean correlation over captions of a language's scores in a company with those among all",
    "company_shift_max_templates": "the same as the first on flags and toned emoji, of which the calibration has none",
    "company_shift_max_plain_cosine": "the same as the first of the control",
}
"""Over random companies of four languages or more of which two at least can be read; the worse of both ensembles."""


def measure(known: Read, n_companies: int) -> list[dict[str, Any]]:
    """A row per company, language and kind of captions."""
    rows = []
    for kind in ("plain", "flags", "tones"):
        table = known.readings(kind)
        whole, control = judged(table, known.calibration), by_language(plain_cosines(table))
        for number, company in enumerate(companies(known, n_companies)):
            few = among(table, company)
            here, plain = judged(few, known.calibration), by_language(plain_cosines(few))
            for name in company:
                rows.append({"kind": kind, "company": number, "size": len(company), "language": name})
                rows[-1] |= _compared(here, whole, name)
                rows[-1]["shift_of_control"] = plain[name] - control[name]
    return rows


def _compared(here: pd.DataFrame, whole: pd.DataFrame, name: str) -> dict[str, Any]:
    own, all_ = (t[t["language"] == name].set_index("source_id")[TRANSLATION_SCORE] for t in (here, whole))
    answered = own.notna()
    return {
        "answered": float(answered.mean()),
        "shift": float((own - all_)[answered].mean()),
        "r": float(own[answered].corr(all_[answered])),
    }


def plain_cosines(readings: Readings) -> pd.DataFrame:
    """1 minus the cosine with the sum of the other languages, without the means of languages over the table."""
    frame = pd.DataFrame({"language": readings.languages, "source_id": readings.sources})
    means = np.stack([readings.vectors[rows].mean(axis=0) for rows in frame.groupby("language").indices.values()])
    own = unit(readings.vectors - means[frame["language"].astype("category").cat.codes])
    captions, places = np.unique(frame["source_id"], return_inverse=True)
    total = np.zeros((len(captions), own.shape[1]))
    np.add.at(total, places, own)
    others = unit(total[places] - own)
    return frame.assign(**{TRANSLATION_SCORE: 1 - (own * others).sum(axis=1)})


def figures_of(rows: pd.DataFrame) -> dict[str, float]:
    """Of one ensemble."""
    plain, templates = rows[rows["kind"] == "plain"], rows[rows["kind"] != "plain"]
    return {
        "company_shift_max": float(plain["shift"].abs().max()),
        "company_answered": float(plain["answered"].mean()),
        "company_reliability_r": float(plain["r"].mean()),
        "company_shift_max_templates": float(templates["shift"].abs().max()),
        "company_shift_max_plain_cosine": float(plain["shift_of_control"].abs().max()),
    }


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_a_language_is_judged_alike_whatever_company_it_is_in() -> None:
    found, rows = [], []
    for name in embedded_names():
        own = pd.DataFrame(measure(read(name), N_COMPANIES))
        found.append(figures_of(own))
        rows.append({"ensemble": name, "companies": N_COMPANIES, "r_min": float(own["r"].min()), **found[-1]})
    least = {"company_answered", "company_reliability_r"}
    worse = {name: (min if name in least else max)(own[name] for own in found) for name in FIGURES}
    merge_record("statistics", "company", worse, rows)
    assert worse["company_shift_max"] <= 0.05
    assert worse["company_answered"] >= 0.9
    assert worse["company_reliability_r"] >= 0.6
    assert worse["company_shift_max_plain_cosine"] > 0.2
