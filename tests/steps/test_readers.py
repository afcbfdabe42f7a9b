"""A run keeps which public text encoder it reads with, and is held against what is published of that one."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import spearmanr

from emoe_audit.decisions.evidence import read_standing
from emoe_audit.errors import StoreError
from emoe_audit.experts.public_readers import RECALL, VIT_L, PublicReader
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.readers import keep_reader, known_recall
from emoe_audit.steps.summary import summarize
from emoe_audit.types import AnalysisConfig
from tests.synthetic import synthetic_frame, synthetic_plan

PUBLISHED = {"en", "de", "fr", "ar", "he", "hi", "ja", "fi", "sw"}
"""Of the synthetic languages; traditional Chinese is not."""


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    frame = synthetic_frame(100)
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    store.write_prompts([frame[["key", "prompt_id", "source_id", "prompt", "language", "region"]]])
    store.append("scores", frame[["key", *frame.columns[6:15]]])
    return store


def test_a_run_of_a_public_encoder_is_held_against_its_published_recall(store: RunStore) -> None:
    keep_reader(store, PublicReader(name=VIT_L, exact=True))
    summarize(store, AnalysisConfig(n_boot=50))
    rows = store.query("SELECT * FROM correlations WHERE y = 'published_recall' AND x = 'relative_disagreement'")
    assert set(rows["given"].fillna("")) == {"", "n_tokens"}
    plain = rows[rows["given"].isna()].iloc[0]
    assert plain["n"] == len(PUBLISHED)

    means = synthetic_frame(100).groupby("language")["relative_disagreement"].mean()[sorted(PUBLISHED)]
    published = pd.read_csv(RECALL).set_index("language")[VIT_L]
    assert plain["rho"] == pytest.approx(spearmanr(means, published[means.index]).statistic)

    (own,) = read_standing(store).evidence
    assert (own.rung, own.groups) == ("published", len(PUBLISHED))
    assert "9 languages, which are too few" in read_standing(store).sentence


def test_a_run_of_any_other_encoder_is_held_against_nothing(store: RunStore) -> None:
    keep_reader(store, None)
    assert known_recall(store) is None
    summarize(store, AnalysisConfig(n_boot=50))
    assert store.query("SELECT * FROM correlations WHERE y = 'published_recall'").empty


def test_it_is_kept_once(store: RunStore) -> None:
    keep_reader(store, PublicReader(name=VIT_L, exact=False))
    keep_reader(store, PublicReader(name=VIT_L, exact=True))
    assert store.query("SELECT exact FROM text_encoder")["exact"].tolist() == [False]


def test_a_received_run_names_no_encoder_of_its_own(store: RunStore) -> None:
    keep_reader(store, PublicReader(name="unheard of", exact=True))
    with pytest.raises(StoreError, match="text_encoder"):
        known_recall(store)
