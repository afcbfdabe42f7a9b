"""A run that grows: it ends as one that was large from the start, repeats nothing, and bears a kill on the way."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from emoe_audit.audit import run_audit, score_share, start_run
from emoe_audit.errors import EnsembleError, StoreError
from emoe_audit.experts.emergent_recipe import make_emergent_ensemble
from emoe_audit.experts.ensemble import weights_hash
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.prompts.table import PromptTable
from emoe_audit.runs.integrity import verify
from emoe_audit.runs.shares import Share
from emoe_audit.runs.store import RunStore
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.steps import growth
from emoe_audit.types import EnsembleSpec, ImageConfig, PrefixChoice, ScoringConfig

pytestmark = pytest.mark.slow

SMALL = ScoringConfig(n_noise=1, batch_size=4, device="cpu", check_pairs=0)
LARGE = replace(SMALL, n_noise=3)
NO_IMAGES = ImageConfig(n_images=0)
SCORES = "SELECT * FROM scores ORDER BY key"
CHOICE = PrefixChoice(
    asked="--fidelity 0.9",
    score="disagreement",
    fidelity=0.95,
    low=0.9,
    high=0.97,
    cost=0.3,
    n_experts=3,
    n_noise=4,
    order_hash="o",
    weights_hash="w",
)
READINGS = "SELECT key, reading FROM readings ORDER BY key"


@pytest.fixture(scope="module")
def table(tiny_spec: EnsembleSpec) -> PromptTable:
    return default_prompts(tiny_spec, n_concepts=6)


@pytest.fixture(scope="module")
def large(tiny_spec: EnsembleSpec, table: PromptTable, tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """A run that was large from the start."""
    return start_run(table, tiny_spec, tmp_path_factory.mktemp("large") / "run", LARGE, NO_IMAGES)


@pytest.fixture
def start(tiny_spec: EnsembleSpec, table: PromptTable, tmp_path: Path) -> Callable[[ScoringConfig], RunStore]:
    """Starts a run in one folder, or goes on with it, under some settings."""
    return lambda scoring: start_run(table, tiny_spec, tmp_path / "run", scoring, NO_IMAGES)


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """What the engine is asked: texts, and noises under which each of them passes the experts."""
    asked: list[tuple[int, int]] = []
    measure = ScoringEngine._measure

    def counted(self: ScoringEngine, texts: Sequence[str], n_begun: int = 0) -> object:
        asked.append((len(texts), self.config.n_noise - n_begun))
        return measure(self, texts, n_begun)

    monkeypatch.setattr(ScoringEngine, "_measure", counted)
    yield asked


def assert_same(own: RunStore, other: RunStore) -> None:
    """Scores within 1e-6, key by key; readings within the half precision that they are kept in."""
    pd.testing.assert_frame_equal(own.query(SCORES), other.query(SCORES), rtol=1e-6)
    ours, theirs = (run.query(READINGS) for run in (own, other))
    assert ours["key"].equals(theirs["key"])
    for mine, yours in zip(ours["reading"], theirs["reading"], strict=True):
        halves = [np.frombuffer(one, np.float16) for one in (mine, yours)]
        np.testing.assert_allclose(halves[0], halves[1], rtol=2e-3, atol=1e-3)
    assert [fault.path for fault in verify(own.path).faults] == []


def test_further_noises_are_added_to_those_that_are_there(
    start: Callable[[ScoringConfig], RunStore], large: RunStore, paths: list[tuple[int, int]], table: PromptTable
) -> None:
    start(SMALL)
    n_texts = table.frame["prompt"].nunique()
    assert sum(texts * noises for texts, noises in paths) == n_texts
    paths.clear()
    grown = start(LARGE)
    assert sum(texts * noises for texts, noises in paths) == 2 * n_texts, "the first noise is not asked again"
    assert_same(grown, large)
    assert grown.plan().scoring.n_noise == 3
    assert set(grown.query("SELECT n_noise FROM noises")["n_noise"]) == {3}
    paths.clear()
    start(LARGE)
    assert paths == []


def test_a_run_grows_from_the_text_encoder_alone(start: Callable[[ScoringConfig], RunStore], large: RunStore) -> None:
    text = start(replace(SMALL, n_noise=0))
    rows = text.query(SCORES)
    assert rows["disagreement"].isna().all() and (rows["n_noise"] == 0).all() and len(rows)
    assert rows["key"].equals(large.query(SCORES)["key"])
    assert_same(start(LARGE), large)


def test_a_further_expert_makes_every_score_anew_and_says_so(
    start: Callable[[ScoringConfig], RunStore],
    large: RunStore,
    tiny_spec: EnsembleSpec,
    caplog: pytest.LogCaptureFixture,
) -> None:
    two = tuple(own.name for own in tiny_spec.experts[:2])
    start(replace(LARGE, experts=two))
    with caplog.at_level(logging.WARNING):
        grown = start(LARGE)
    assert "a further expert changes every variance, so every prompt is scored anew" in caplog.text
    assert_same(grown, large)


def test_images_and_what_is_said_of_them_stay(tiny_spec: EnsembleSpec, table: PromptTable, tmp_path: Path) -> None:
    images = ImageConfig(n_images=4, num_inference_steps=1, batch_size=4, device="cpu")
    drawn: list[dict[Path, int]] = []
    judged: list[pd.DataFrame] = []
    for scoring in (replace(SMALL, n_noise=0), SMALL):
        run_audit(table, tiny_spec, tmp_path / "run", scoring=scoring, images=images)
        store = RunStore.open(tmp_path / "run")
        assert store.is_complete and not verify(store.path).faults
        drawn.append({file: file.stat().st_mtime_ns for file in (store.path / "images").rglob("*.png")})
        judged.append(store.query("SELECT * FROM quality ORDER BY key"))
    assert drawn[0] == drawn[1] and len(drawn[0]) == 4
    assert judged[0].equals(judged[1])


@pytest.mark.parametrize("killed_in", ["clear", "plan_anew", "append"])
def test_a_kill_on_the_way_costs_nothing_but_the_work_at_hand(
    start: Callable[[ScoringConfig], RunStore], large: RunStore, monkeypatch: pytest.MonkeyPatch, killed_in: str
) -> None:
    start(SMALL)
    own = getattr(RunStore, killed_in)
    calls: list[str] = []

    def killed(self: RunStore, *args: object) -> object:
        calls.append(killed_in)
        if len(calls) == (2 if killed_in == "append" else 1):
            raise KeyboardInterrupt
        return own(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(RunStore, killed_in, killed)
        with pytest.raises(KeyboardInterrupt):
            start(LARGE)
    assert_same(start(LARGE), large)


def test_shares_grow_together(
    tiny_spec: EnsembleSpec,
    table: PromptTable,
    tmp_path: Path,
    start: Callable[[ScoringConfig], RunStore],
    large: RunStore,
) -> None:
    start(SMALL)
    for number in (1, 2):
        score_share(table, tiny_spec, tmp_path / "run", Share(number=number, of=2), LARGE, NO_IMAGES)
    assert_same(start(LARGE), large)


def test_what_lies_beneath_is_asked_again_where_it_is_not_whole(
    start: Callable[[ScoringConfig], RunStore], large: RunStore
) -> None:
    store = start(SMALL)
    with store.locked():
        store.clear("noises")
    assert_same(start(LARGE), large)


def test_a_finished_run_that_is_killed_while_it_grows_is_unfinished(
    tiny_spec: EnsembleSpec, table: PromptTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_audit(table, tiny_spec, tmp_path / "run", scoring=SMALL, images=NO_IMAGES)
    store = RunStore.open(tmp_path / "run")
    store.write_analysis("abstention", pd.DataFrame({"by": ["language"], "group": ["en"], "n_prompts": [1]}))
    clear = RunStore.clear

    def killed(self: RunStore, table: str) -> None:
        clear(self, table)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "clear", killed)
        with pytest.raises(KeyboardInterrupt):
            run_audit(table, tiny_spec, tmp_path / "run", scoring=LARGE, images=NO_IMAGES)
    assert not RunStore(tmp_path / "run").is_complete
    grown = start_run(table, tiny_spec, tmp_path / "run", LARGE, NO_IMAGES)
    assert not grown.has_analysis("abstention") and not (tmp_path / "run" / "report.html").exists(), "of fewer noises"


def test_both_halves_grow_alike(tiny_spec: EnsembleSpec, table: PromptTable, tmp_path: Path) -> None:
    runs = []
    for name, noises in (("large", (3,)), ("grown", (1, 3))):
        for n_noise in noises:
            both = replace(SMALL, n_noise=n_noise, both_halves=True)
            runs.append(start_run(table, tiny_spec, tmp_path / name, both, NO_IMAGES))
    pd.testing.assert_frame_equal(runs[-1].query(SCORES), runs[0].query(SCORES), rtol=1e-4)


def test_an_ensemble_of_one_checkpoint_is_read_by_its_text_encoder_alone(
    tiny_spec: EnsembleSpec, table: PromptTable, tmp_path: Path
) -> None:
    spec = make_emergent_ensemble(str(Path(tiny_spec.base.source).parent), tmp_path / "one", n_members=2)
    store = start_run(table, spec, tmp_path / "run", replace(SMALL, n_noise=0), NO_IMAGES)
    assert not store.has_analysis("expert_use") and len(store.query(SCORES))


def test_why_a_part_is_asked_is_said_anew(start: Callable[[ScoringConfig], RunStore], tiny_spec: EnsembleSpec) -> None:
    first = start(SMALL)
    weights = weights_hash(first.plan().base_hash, first.plan().expert_hashes)
    asked = [replace(CHOICE, asked=said, weights_hash=weights) for said in ("--fidelity 0.1", "--fidelity 0.2")]
    names = tuple(own.name for own in tiny_spec.experts)
    for choice in asked:
        plan = start(replace(SMALL, experts=names, prefix=choice)).plan()
        assert plan.scoring.prefix == choice
    assert start(SMALL).plan().scoring.prefix == asked[-1], "a plain start goes on with what was asked"


def test_damage_beneath_the_scores_costs_no_score(start: Callable[[ScoringConfig], RunStore], large: RunStore) -> None:
    """It is taken away, and a run that grows asks all noises; so it does where cells are of another length."""
    store = start(SMALL)
    for shard in (store.path / "noises").glob("*.parquet"):
        shard.write_bytes(shard.read_bytes()[:-100])
    assert start(SMALL).query(SCORES).equals(store.query(SCORES))
    assert verify(store.path).faults == () and not list((store.path / "noises").glob("*.parquet"))
    rows = store.query("SELECT key FROM scores").assign(n_noise=1, features=b"12", disagreement_noises=b"1234")
    with store.locked():
        store.append("noises", rows)
    assert_same(start(LARGE), large)


@pytest.mark.parametrize("change", [{"seed": 1}, {"n_noise": 1}, {"both_halves": True}])
def test_another_run_is_no_smaller_one(start: Callable[[ScoringConfig], RunStore], change: dict[str, object]) -> None:
    start(replace(SMALL, n_noise=2))
    with pytest.raises(StoreError, match="holds a run with other scoring"):
        start(replace(LARGE, **{"n_noise": 3, **change}))  # type: ignore[arg-type]


def test_a_part_that_was_measured_with_other_weights_is_refused(start: Callable[[ScoringConfig], RunStore]) -> None:
    with pytest.raises(EnsembleError, match="its weights are others than those of which it is known"):
        start(replace(SMALL, prefix=CHOICE))


def test_nothing_grows_in_an_empty_folder(tmp_path: Path, large: RunStore) -> None:
    growth.grow(tmp_path / "nothing", large.plan())
    assert not (tmp_path / "nothing").exists()
