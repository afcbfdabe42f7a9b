"""The whole analysis of a run."""

from __future__ import annotations

import pandas as pd
import pytest

from emoe_audit.analysis.summary import analyze, group_columns
from emoe_audit.types import AnalysisConfig
from tests.synthetic import LANGUAGES, synthetic_frame


def test_every_measure_is_estimated_for_every_group_column() -> None:
    groups = analyze(synthetic_frame(200), ["language", "region"], config=AnalysisConfig(n_boot=20))["groups"]
    measures = {
        "relative_disagreement", "disagreement", "feature_power", "clip_cosine", "clip_cosine_source", "n_tokens",
    }  # fmt: skip
    assert set(groups["measure"]) == measures
    assert groups.groupby("by")["group"].nunique().to_dict() == {"language": 10, "region": 2}


def test_both_scores_are_set_against_both_quality_measures() -> None:
    tables = analyze(synthetic_frame(400), ["language"], config=AnalysisConfig(n_boot=20))
    assert len(tables["quartiles"]) == 2 * 2 * 4
    at_prompts = tables["correlations"].query("level == 'prompt' and x == 'relative_disagreement'")
    assert (at_prompts["rho"] < -0.3).all()


def test_known_coverage_is_correlated_plain_and_given_the_token_count() -> None:
    coverage = known_coverage({language: 1.0 / (1 + i) for i, language in enumerate(LANGUAGES)})
    table = analyze(synthetic_frame(400), ["language"], training_coverage=coverage, config=AnalysisConfig(n_boot=20))[
        "correlations"
    ]
    known = table[table["y"] == "training_coverage"]
    assert known[known["x"] == "relative_disagreement"]["rho"].tolist()[0] < -0.9
    assert known.groupby("x").size().to_dict() == {
        "relative_disagreement": 2, "disagreement": 2, "feature_power": 2, "n_tokens": 1,
    }  # fmt: skip


def test_a_run_without_images_is_analyzed_without_quality() -> None:
    frame = synthetic_frame(100).drop(columns=["clip_cosine", "clip_cosine_source", "source_rank"])
    tables = analyze(frame, ["language"], config=AnalysisConfig(n_boot=20))
    assert tables["quartiles"].empty
    assert tables["correlations"].empty
    assert not tables["groups"].empty


@pytest.mark.parametrize(
    ("column", "values", "grouped"),
    [
        ("profession", ["nurse", "pilot"], True),
        ("length", [0.5, 0.7], False),
        ("constant", ["a", "a"], False),
        ("image_id", ["1", "2"], False),
    ],
)
def test_columns_with_a_few_values_can_be_grouped_by(column: str, values: list[object], grouped: bool) -> None:
    frame = pd.DataFrame({"prompt": ["a", "b"], column: values})
    assert group_columns(frame) == ([column] if grouped else [])


def test_known_coverage_stands_next_to_the_measures_of_its_language() -> None:
    coverage = known_coverage({"en": 0.9, "fi": 0.1, "xx": 0.0})
    groups = analyze(synthetic_frame(200), ["language"], training_coverage=coverage, config=AnalysisConfig(n_boot=20))[
        "groups"
    ]
    known = groups[groups["measure"] == "training_coverage"].set_index("group")
    assert known["mean"].to_dict() == {"en": 0.9, "fi": 0.1}
    assert known["n_prompts"].tolist() == [20, 20]
    assert known[["low", "high", "gap"]].isna().all(axis=None)


def test_the_coverage_of_regions_is_set_against_their_scores_too() -> None:
    regions = pd.DataFrame({"by": "region", "group": ["150", "002"], "coverage": [0.9, 0.1]})
    coverage = pd.concat([known_coverage({"en": 0.5}), regions])
    groups = analyze(synthetic_frame(200), ["region"], training_coverage=coverage, config=AnalysisConfig(n_boot=20))[
        "groups"
    ]
    known = groups[groups["measure"] == "training_coverage"]
    assert known.set_index(["by", "group"])["mean"].to_dict() == {("region", "150"): 0.9, ("region", "002"): 0.1}


def known_coverage(shares: dict[str, float]) -> pd.DataFrame:
    return pd.DataFrame({"by": "language", "group": list(shares), "coverage": list(shares.values())})
