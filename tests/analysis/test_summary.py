"""The whole analysis of a run."""

from __future__ import annotations

import time

import pandas as pd
import pytest

from emoe_audit.analysis.grouping import group_columns, not_grouped
from emoe_audit.analysis.summary import analyze
from emoe_audit.prompts.columns import RESERVED
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
    assert group_columns([frame]) == ([column] if grouped else [])


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


def grouped_frame(n_columns: int, n_rows: int = 40) -> pd.DataFrame:
    """Columns of two groups, then of four, and so on, language last."""
    columns = {f"c{n}": [f"v{row % (2 * n + 2)}" for row in range(n_rows)] for n in range(n_columns)}
    return pd.DataFrame(columns | {"language": [f"l{row % 40}" for row in range(n_rows)]})


def test_of_many_columns_the_known_and_those_with_large_groups_are_grouped_by(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = grouped_frame(19)
    assert group_columns([frame]) == [f"c{n}" for n in range(15)] + ["language"]
    assert not_grouped([frame]) == ["c15", "c16", "c17", "c18"]
    monkeypatch.setenv("EMOE_AUDIT_MAX_GROUP_COLUMNS", "2")
    assert group_columns([frame]) == ["c0", "language"]
    monkeypatch.setenv("EMOE_AUDIT_MAX_GROUP_COLUMNS", "20")
    assert group_columns([frame]) == [*frame]
    assert not_grouped([frame]) == []


def test_two_thousand_columns_are_chosen_from_soon() -> None:
    frame = pd.DataFrame({f"c{n}": ["a", "b"] * 20 for n in range(2000)})
    started = time.process_time()
    assert len(group_columns([frame])) == 16
    assert time.process_time() - started < 10


@pytest.mark.parametrize("column", ["image (yours)", "language_given"])
def test_columns_that_are_set_aside_or_say_how_a_language_was_given_are_no_groups(column: str) -> None:
    assert group_columns([pd.DataFrame({column: ["a", "b"]})]) == []


def test_cells_that_cannot_be_compared_are_no_groups() -> None:
    assert group_columns([pd.DataFrame({"tags": [["a"], ["b"]], "job": ["vet", "nurse"]})]) == ["job"]


@pytest.mark.slow
def test_a_group_column_of_any_name_that_is_not_reserved_gives_the_numbers_of_any_other() -> None:
    frame = synthetic_frame(60).assign(job=lambda own: own["region"].map({"150": "vet", "002": "nurse"}))
    frame = frame.drop(columns=["disagreement", "clip_cosine_source", "feature_power"])
    config = AnalysisConfig(n_boot=5)
    names = {column for table in analyze(frame, ["language"], config).values() for column in table}
    names |= {"index", "level_0", "value", "rank", "size", "count", "key_0", "abstained", "outside", "n", "group"}
    free = sorted(names - RESERVED - set(frame))
    tables = analyze(frame.assign(**dict.fromkeys(free, frame["job"])), ["job", *free], config)
    for name, table in tables.items():
        for column in free if "by" in table else ():
            expected, own = (table[table["by"] == by].drop(columns="by") for by in ("job", column))
            pd.testing.assert_frame_equal(own.reset_index(drop=True), expected.reset_index(drop=True), obj=name)


@pytest.mark.parametrize(
    ("regions", "levels"),
    [(["DE", "FR"], {"prompt", "language"}), (["DE", "FR", "JP"], {"prompt", "language", "region"})],
)
def test_quality_is_held_against_scores_by_region_where_there_are_more_than_two(
    regions: list[str], levels: set[str]
) -> None:
    frame = synthetic_frame(120)
    frame["region"] = [regions[place // 10 % len(regions)] for place in range(120)]
    found = analyze(frame, ["language"], AnalysisConfig(n_boot=20))["correlations"]
    assert set(found.query("y == 'clip_cosine_source'")["level"]) == levels
