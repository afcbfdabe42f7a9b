"""Readings of a run: kept next to the scores, compared across translations, and whole again after a kill."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.metrics.pairwise import cosine_similarity

from emoe_audit.analysis.readings import Readings
from emoe_audit.analysis.translations import RELIABILITY, TRANSLATION_SCORE, Readers
from emoe_audit.audit import run_audit
from emoe_audit.cli.main import cli
from emoe_audit.progress import silent
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.prompts.table import PromptTable, table_of
from emoe_audit.runs.readings import compare_translations, nearest
from emoe_audit.runs.store import RunStore
from emoe_audit.scoring.loading import load_engine
from emoe_audit.steps.prompts import take_prompts
from emoe_audit.steps.scores import score_pending
from emoe_audit.steps.summary import summarize
from emoe_audit.types import EnsembleSpec, ImageConfig, Prompt, ScoringConfig
from tests.synthetic import synthetic_plan

pytestmark = pytest.mark.slow

SCORING = ScoringConfig(n_noise=1, batch_size=8, device="cpu", check_pairs=0)
NO_IMAGES = ImageConfig(n_images=0)
COLUMNS = [TRANSLATION_SCORE, RELIABILITY]


class Reader:
    """An engine that knows what a prompt means by the number in it, and reads Japanese without understanding.

    Readings take few numbers, which half precision holds exactly.
    """

    ensemble_hash = "e" * 64

    def read(self, prompt: Prompt) -> np.ndarray:
        meaning = [int(digit) for digit in prompt.prompt if digit.isdigit()]
        if prompt.language == "ja":
            meaning.append(99)
        rng = np.random.default_rng(meaning)
        own = np.random.default_rng(len(prompt.language) + ord(prompt.language[0]))
        return rng.integers(-8, 9, 12) + own.integers(-8, 9, 12)

    def score(self, prompts: Sequence[Prompt]) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "prompt_id": [prompt.prompt_id for prompt in prompts],
                "disagreement": 1.0,
                "relative_disagreement": 1.0,
                "reading": [self.read(prompt) for prompt in prompts],
            }
        )


def prompts(languages: Sequence[str] = ("en", "de", "fr", "ja"), n_captions: int = 8) -> PromptTable:
    return of_rows(
        [
            (f"c{caption}", language, f"{caption} in {language}")
            for caption in range(n_captions)
            for language in languages
        ]
    )


def of_rows(rows: Sequence[tuple[str, str, str]]) -> PromptTable:
    """From `source_id, language, prompt`."""
    frame = pd.DataFrame(rows, columns=["source_id", "language", "prompt"])
    return table_of(frame.assign(prompt_id=[f"p{place:03}" for place in range(len(frame))], region=None), "test")


def started(path: Path, rows: PromptTable) -> RunStore:
    store = RunStore.open(path, plan=synthetic_plan())
    take_prompts(store, rows)
    return store


def scored(path: Path, rows: PromptTable) -> RunStore:
    store = started(path, rows)
    score_pending(store, Reader(), silent)
    compare_translations(store)
    return store


def expected(rows: PromptTable, fitted: PromptTable | None = None) -> np.ndarray:
    """The score and its reliability, `[prompt, 2]`, from the engine's own readings."""
    judged = Readers.fit(readings_of(fitted or rows)).judge(readings_of(rows))
    return judged[COLUMNS].to_numpy()


def readings_of(rows: PromptTable) -> Readings:
    frame = rows.frame
    return Readings.of(frame.assign(reading=[Reader().read(prompt) for prompt in rows.prompts()]))


def found(store: RunStore) -> pd.DataFrame:
    return store.query("SELECT * FROM results ORDER BY prompt_id")


def test_a_run_scores_every_prompt_by_the_readings_of_its_engine(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    """Kept in half precision, of which the means of the languages are then taken."""
    rows = default_prompts(tiny_spec)
    run_audit(rows, tiny_spec, tmp_path / "run", scoring=SCORING, images=NO_IMAGES)
    frame = rows.frame.assign(reading=load_engine(tiny_spec, SCORING).score(list(rows.prompts()))["reading"])
    readings = Readings.of(frame)
    judged = Readers.fit(readings).judge(readings)
    results = found(RunStore.open(tmp_path / "run")).set_index("prompt_id").loc[rows.frame["prompt_id"]]
    assert len(results) == 32 and results["language"].nunique() == 4
    np.testing.assert_allclose(results[COLUMNS], judged[COLUMNS], atol=0.02)
    assert results[RELIABILITY].notna().all()


def test_what_is_stored_is_compared_as_it_was_read(tmp_path: Path) -> None:
    results = found(scored(tmp_path / "run", prompts()))
    np.testing.assert_allclose(results[COLUMNS], expected(prompts()), atol=1e-5)
    mean = results.groupby("language")[TRANSLATION_SCORE].mean()
    assert mean.drop("ja").max() < 0.02 and mean["ja"] > 0.5


def test_a_run_that_was_killed_between_readings_and_scores_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emoe_audit.steps.scores.SCORE_CHUNK", 20)
    append = RunStore.append

    def killed(store: RunStore, name: str, frame: pd.DataFrame) -> None:
        if name == "scores" and store.query("SELECT count(*) AS n FROM scores")["n"].iloc[0]:
            raise KeyboardInterrupt
        append(store, name, frame)  # type: ignore[arg-type]

    store = started(tmp_path / "run", prompts())
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(RunStore, "append", killed)
        score_pending(store, Reader(), silent)
    assert [len(list((store.path / name).iterdir())) for name in ("readings", "scores")] == [2, 1]

    monkeypatch.setattr("emoe_audit.steps.scores.SCORE_CHUNK", 5)
    score_pending(store, Reader(), silent)
    keys = [key for file in (store.path / "readings").iterdir() for key in pd.read_parquet(file)["key"]]
    assert len(keys) == len(set(keys)) == 32, "what was read before the kill is not there twice"
    compare_translations(store)
    before = found(store)
    np.testing.assert_allclose(before[COLUMNS], expected(prompts()), atol=1e-5)
    whole = scored(tmp_path / "whole", prompts())
    pd.testing.assert_frame_equal(before, found(whole))

    store.finish()
    (shard,) = (store.path / "readings").iterdir()
    stored = pd.read_parquet(shard)
    assert len(stored) == stored["key"].nunique() == 32
    rows = store.query("SELECT * FROM prompts").drop_duplicates("key").set_index("key").loc[stored["key"]]
    for row, reading in zip(rows.itertuples(), stored["reading"], strict=True):
        prompt = Prompt(prompt_id="", prompt=row.prompt, language=row.language)
        assert np.frombuffer(reading, dtype=np.float16).tolist() == Reader().read(prompt).tolist()
    compare_translations(store)
    pd.testing.assert_frame_equal(found(store), before)


def test_one_language_has_no_translation_score(tmp_path: Path) -> None:
    store = scored(tmp_path / "run", prompts(["en"]))
    summarize(store)
    results = found(store)
    assert results[COLUMNS].isna().all(axis=None)
    assert results["disagreement"].notna().all()
    assert not store.has_analysis("translations")


def test_an_engine_without_readings_leaves_the_score_out(tmp_path: Path) -> None:
    class Blind(Reader):
        def score(self, prompts: Sequence[Prompt]) -> pd.DataFrame:
            return super().score(prompts).drop(columns="reading")

    store = started(tmp_path / "run", prompts())
    score_pending(store, Blind(), silent)
    compare_translations(store)
    assert not (store.path / "readings").exists()
    results = found(store)
    assert results["disagreement"].notna().all() and results[COLUMNS].isna().all(axis=None)


def test_the_analysis_of_a_run_that_is_made_again_is_the_same(tmp_path: Path) -> None:
    store = scored(tmp_path / "run", prompts())
    summarize(store)
    ordered = ("SELECT * FROM translations ORDER BY key", 'SELECT * FROM groups ORDER BY "by", measure, "group"')
    before = [store.query(sql) for sql in ordered]
    assert TRANSLATION_SCORE in set(before[1]["measure"])
    shutil.rmtree(store.path / "analysis")
    assert CliRunner().invoke(cli, ["analyze", str(store.path), "--quiet"]).exit_code == 0
    for sql, frame in zip(ordered, before, strict=True):
        pd.testing.assert_frame_equal(store.query(sql), frame)


def test_a_text_that_stands_for_two_captions_is_held_against_each(tmp_path: Path) -> None:
    """`0 in de` is the German text of caption 0, rightly, and by mistake of caption 1 too: one key, two scores."""
    cells = zip(prompts().frame["source_id"], prompts().frame["language"], prompts().frame["prompt"], strict=True)
    rows = of_rows(
        [
            (source, language, "0 in de" if (source, language) == ("c1", "de") else text)
            for source, language, text in cells
        ]
    )
    results = found(scored(tmp_path / "run", rows))
    assert len(results) == 32 and results["key"].nunique() == 31
    np.testing.assert_allclose(results[COLUMNS], expected(rows), atol=1e-5)
    shared = results[results["prompt"] == "0 in de"].set_index("source_id")[TRANSLATION_SCORE]
    assert shared["c0"] < 0.3 < shared["c1"]


def test_only_the_captions_in_most_languages_say_who_is_to_be_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And all are scored, a sample at a time; captions in fewer than three languages are not."""
    monkeypatch.setattr("emoe_audit.runs.readings.SAMPLE", 6)
    whole = prompts(n_captions=6)
    others = [
        (f"c{caption}", language, f"{caption} in {language}")
        for caption in range(6, 14)
        for language in (("en", "de", "ja") if caption < 13 else ("en", "ja"))
    ]
    cells = whole.frame[["source_id", "language", "prompt"]].itertuples(index=False, name=None)
    rows = of_rows([*cells, *others])
    results = found(scored(tmp_path / "run", rows))
    np.testing.assert_allclose(results[COLUMNS], expected(rows, fitted=whole), atol=1e-5)
    assert np.nanmax(np.abs(expected(rows) - expected(rows, fitted=whole))) > 0.01
    assert (results[TRANSLATION_SCORE].isna() == (results["source_id"] == "c13")).all()


def test_the_nearest_readings_are_those_of_the_largest_cosine_in_the_same_language(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    readings = rng.normal(size=(40, 12)).astype(np.float16)
    keys = [f"{place:032x}" for place in range(40)]
    languages = ["en", "de"] * 20
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    texts = {"prompt_id": keys, "source_id": keys, "prompt": keys, "language": languages, "region": "150"}
    store.write_prompts([pd.DataFrame({"key": keys} | texts)])
    store.append("readings", pd.DataFrame({"key": keys, "reading": [own.tobytes() for own in readings]}))
    own, *others = [place for place in range(40) if languages[place] == "de"]
    cosine = {keys[other]: cosine_similarity(readings[[own]], readings[[other]])[0, 0] for other in others}
    expected = pd.Series(cosine).nlargest(5)
    found = nearest(store, keys[own], 5)
    assert found["key"].to_list() == expected.index.to_list()
    assert found["cosine"].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-3)
    assert nearest(store, "f" * 32, 5).empty
