"""What was learned of an ensemble is kept for its later runs, and nothing that lies there is believed unseen."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from emoe_audit.runs.views import analysis
from emoe_audit.steps.kept import Kept
from emoe_audit.types import ScoringConfig
from tests.validity.test_outcome import GOOD, outcome

CAPTIONS = pd.DataFrame({"en": ["a dog", "a cat"], "de": ["ein Hund", "eine Katze"]})
SCORING = ScoringConfig()
FRAME = outcome(disagreement=(GOOD,)).to_frame()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def kept() -> Kept:
    return Kept.of("hash", SCORING, CAPTIONS)


def test_a_table_is_read_as_it_was_written_and_lies_in_the_users_cache(cache: Path) -> None:
    assert kept().read("validity") is None
    kept().write("validity", FRAME)
    read = kept().read("validity")
    assert read is not None
    pd.testing.assert_frame_equal(read, FRAME, check_dtype=False)
    assert [path.name for path in (cache / "emoe-audit" / "ensembles").rglob("*.parquet")] == ["validity.parquet"]


def test_another_ensemble_settings_or_captions_are_kept_apart() -> None:
    others = [
        Kept.of("other", SCORING, CAPTIONS),
        Kept.of("hash", replace(SCORING, n_noise=9), CAPTIONS),
        Kept.of("hash", replace(SCORING, check_pairs=9), CAPTIONS),
        Kept.of("hash", SCORING, CAPTIONS.iloc[:1]),
    ]
    assert len({own.folder for own in (*others, kept())}) == 5
    assert Kept.of("hash", replace(SCORING, device="cpu", batch_size=3, check="again"), CAPTIONS) == kept()


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"PAR1" * 99])
def test_what_is_no_table_is_made_anew(content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    folder = kept().folder
    assert folder is not None
    kept().write("validity", FRAME)
    analysis(folder, "validity").write_bytes(content)
    assert kept().read("validity") is None
    assert "made anew" in caplog.text


@pytest.mark.parametrize(
    "frame",
    [FRAME.drop(columns="sign"), FRAME.assign(sign="proven"), FRAME.assign(share="much"), pd.concat([FRAME, FRAME])],
)
def test_a_table_that_says_what_no_check_says_is_made_anew(frame: pd.DataFrame) -> None:
    kept().write("validity", frame)
    assert kept().read("validity") is None


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = kept().folder
    assert folder is not None
    FRAME.to_parquet(tmp_path / "elsewhere.parquet")
    kept().write("validity", FRAME)
    analysis(folder, "validity").unlink()
    analysis(folder, "validity").symlink_to(tmp_path / "elsewhere.parquet")
    assert kept().read("validity") is None


def test_where_nothing_can_be_written_nothing_is_kept(cache: Path) -> None:
    cache.write_text("a file in the place of the folder")
    kept().write("validity", FRAME)
    assert kept().read("validity") is None


def test_the_default_is_below_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = kept().folder
    assert folder is not None and folder.is_relative_to(tmp_path / ".cache" / "emoe-audit")
    assert os.sep not in folder.name and len(folder.name) == 32
