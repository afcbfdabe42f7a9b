"""Features of a run, as they were written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoe_audit.abstain.features import SCORES, TRANSLATION_SCORES, features_of, judged_features
from emoe_audit.errors import AuditError
from tests.abstain.made import BUCKETS, made_frame, made_run


def test_sketches_come_first_then_the_scores(tmp_path: Path) -> None:
    features, frame = judged_features(made_run(tmp_path / "run")), made_frame().set_index("key")
    for place, key in enumerate(features.rows["key"]):
        np.testing.assert_array_equal(features.x[place, : 2 * BUCKETS], frame.loc[key, "reading"].astype(np.float64))
        np.testing.assert_array_equal(features.x[place, 2 * BUCKETS :], frame.loc[key, list(SCORES)].astype(np.float64))
    assert features.blocks == (BUCKETS, BUCKETS)


def test_a_prompt_is_good_where_the_judge_found_its_caption_among_the_first_ten(tmp_path: Path) -> None:
    features = judged_features(made_run(tmp_path / "run"))
    rank = features.rows["key"].map(made_frame().set_index("key")["source_rank"])
    np.testing.assert_array_equal(features.good, (rank == 1).astype(float))


def test_a_run_without_images_says_how_to_make_them(tmp_path: Path) -> None:
    store = made_run(tmp_path / "run", judged=False)
    with pytest.raises(AuditError, match="nothing to learn from; make images with `emoe-audit run"):
        judged_features(store)
    assert np.isnan(features_of(store, list(made_frame()["key"]), SCORES).good).all()


def test_a_prompt_without_a_reading_is_predicted_from_nothing(tmp_path: Path) -> None:
    store = made_run(tmp_path / "run")
    frame = made_frame()
    extra = frame.iloc[:1].assign(key="f" * 32, prompt_id="new")
    store.write_prompts([pd.concat([frame, extra])[["key", "prompt_id", "source_id", "prompt", "language", "region"]]])
    found = features_of(store, ["f" * 32, frame["key"][0]], SCORES)
    assert list(found.rows["key"]) == [frame["key"][0], "f" * 32]
    assert not np.isnan(found.x[0]).any()
    assert np.isnan(found.x[1]).all()


def test_the_translation_score_is_a_feature_where_every_judged_prompt_has_it(tmp_path: Path) -> None:
    store, frame = made_run(tmp_path / "run"), made_frame()
    table = frame[["key", "source_id"]].assign(**dict.fromkeys(TRANSLATION_SCORES, 0.5))
    store.write_analysis("translations", table)
    assert judged_features(store).scores == (*SCORES, *TRANSLATION_SCORES)
    store.write_analysis("translations", table.iloc[1:])
    assert judged_features(store).scores == SCORES


def test_a_text_of_two_captions_is_good_for_one_and_bad_for_the_other(tmp_path: Path) -> None:
    store, frame = made_run(tmp_path / "run"), made_frame()
    first = frame.iloc[:1].assign(prompt_id="z", source_id="other")
    store.write_prompts([pd.concat([frame, first])[["key", "prompt_id", "source_id", "prompt", "language", "region"]]])
    rank = 60.0 if frame["source_rank"][0] == 1 else 1.0
    store.append("quality", first[["key", "source_id"]].assign(source_rank=rank))
    features = judged_features(store)
    own = features.rows[features.rows["key"] == frame["key"][0]].set_index("source_id")["good"]
    assert own.to_dict() == {frame["source_id"][0]: float(rank == 60), "other": float(rank == 1)}
    assert len(features.rows) == len(frame) + 1


def test_prompts_that_share_a_key_are_one_row(tmp_path: Path) -> None:
    store, frame = made_run(tmp_path / "run"), made_frame()
    twice = pd.concat([frame, frame.iloc[:5].assign(prompt_id=[f"z{row}" for row in range(5)], source_id="other")])
    store.write_prompts([twice[["key", "prompt_id", "source_id", "prompt", "language", "region"]]])
    features = judged_features(store)
    assert features.rows["key"].is_unique
    assert len(features.rows) == len(frame)
    assert "other" not in set(features.rows["source_id"])
