"""What is said of a judge that does not read a language, from the published table alone."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from emoe_audit.experts import public_readers
from emoe_audit.experts.judges import MULTILINGUAL, READS, judge_warning, unread_languages
from emoe_audit.experts.spec import NAMED

ENGLISH = "ViT-L-14/laion2b_s32b_b82k"


@pytest.fixture
def table() -> pd.DataFrame:
    return pd.read_csv(public_readers.RECALL, index_col="language", keep_default_na=False)


def test_unread_languages_are_those_below_in_the_table_worst_first(table: pd.DataFrame) -> None:
    expected = table[ENGLISH][table[ENGLISH] < READS]
    found = list(unread_languages(ENGLISH, table.index))
    assert set(found) == set(expected.index) and expected[found].is_monotonic_increasing
    assert {"ja", "zh", "he"} <= set(found) and "en" not in found


def test_tags_of_regions_are_their_language_and_unknown_ones_are_not_judged() -> None:
    assert unread_languages(ENGLISH, ["ja-JP", "en-US", "de", "und", "tlh"]) == ("ja-JP",)


def test_of_a_judge_that_is_not_published_nothing_is_said() -> None:
    assert judge_warning("local-dir:/somewhere", ["ja"]) is None
    assert judge_warning(None, ["ja"]) is None
    assert judge_warning(ENGLISH, ["en", "fr"]) is None


def test_a_warning_names_the_languages_and_what_is_to_be_believed(table: pd.DataFrame) -> None:
    said = judge_warning(ENGLISH, table.index)
    assert said is not None and f"the judge {ENGLISH} finds few pictures by captions in " in said
    assert "clip_cosine_source" in said and MULTILINGUAL in said
    assert f"and {len(unread_languages(ENGLISH, table.index)) - 8} more" in said


@pytest.mark.parametrize("file", sorted(NAMED.glob("*.yaml")), ids=lambda file: file.stem)
def test_named_ensembles_propose_a_judge_that_reads(file: Path, table: pd.DataFrame) -> None:
    judge = yaml.safe_load(file.read_text(encoding="utf-8"))["judge"]
    assert judge in table and len(unread_languages(judge, table.index)) == 36 - 29
