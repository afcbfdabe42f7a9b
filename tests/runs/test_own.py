"""Whose word stands behind a plan: what was started here is known, what was received is not."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from emoe_audit.errors import StoreError
from emoe_audit.experts.spec import load_spec
from emoe_audit.runs.ledger import PLAN
from emoe_audit.runs.own import is_own, named_sources
from emoe_audit.runs.store import RunStore
from emoe_audit.types import EmergentSpec, EnsembleSpec, ExpertSpec, ImageConfig, RunManifest
from tests.runs.written import forget_the_record
from tests.synthetic import synthetic_plan

EVERYTHING = EnsembleSpec(
    name="all",
    base=ExpertSpec(name="base", source="org/base", loras=("org/lora",)),
    experts=(ExpertSpec(name="a", source="/a", loras=("/lora", "/other-lora")), ExpertSpec(name="a", source="/b")),
    vae="org/vae",
    judge="local-dir:/judge",
    captions="/captions.json",
    training_coverage="/coverage.csv",
    emergent=EmergentSpec(clusters="/clusters.safetensors", n_clusters=2, top_k=1),
)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def received(path: Path, plan: RunManifest, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    """A run that was started on another machine."""
    with monkeypatch.context() as there:
        there.setenv("XDG_STATE_HOME", str(path.parent / "elsewhere"))
        RunStore.open(path, plan=plan)
    return RunStore.open(path)


def test_a_run_that_was_started_here_is_loaded_from_wherever_it_is_moved(tmp_path: Path) -> None:
    plan = synthetic_plan()
    RunStore.open(tmp_path / "run", plan=plan)
    assert RunStore.open(tmp_path / "run").sources() == plan
    assert RunStore.open(shutil.move(tmp_path / "run", tmp_path / "moved")).sources() == plan


def test_a_plan_that_was_changed_is_another_one(tmp_path: Path) -> None:
    file = RunStore.open(tmp_path / "run", plan=synthetic_plan()).path / PLAN
    assert is_own(file)
    file.write_text(file.read_text().replace("/nowhere/base", "/elsewhere/base"))
    forget_the_record(tmp_path / "run")
    assert not is_own(file)
    with pytest.raises(StoreError, match=r"run: was not started here.*base: /elsewhere/base"):
        RunStore.open(tmp_path / "run").sources()


def test_a_received_run_is_refused_with_what_it_names_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = received(tmp_path / "run", synthetic_plan(), monkeypatch)
    with pytest.raises(StoreError) as refused:
        store.sources()
    assert str(refused.value) == (
        f"{tmp_path / 'run'}: was not started here, and what it names is loaded only at your word: give --trust-run to "
        "`emoe-audit quality`, once, if you trust it, or --ensemble with your own copy. "
        "It names base: /nowhere/base; a: /nowhere/a; b: /nowhere/b"
    )
    assert store.plan().ensemble.name == "synthetic"


def test_nothing_that_a_plan_names_is_forgotten() -> None:
    plan = synthetic_plan(ensemble=EVERYTHING, images=ImageConfig(reference_images="/real"))
    strings = {text for text in _texts(json.loads(json.dumps(asdict(EVERYTHING)))) if "/" in text}
    assert {source for _, source in named_sources(plan)} == strings | {"/real"}


def _texts(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in parts for text in _texts(part)]


@pytest.mark.parametrize(
    "changes",
    [
        {"vae": "org/vae"},
        {"judge": "local-dir:/judge"},
        {"judge": "ViT-B-32/openai"},
        {"captions": "/captions.json"},
        {"training_coverage": "/coverage.csv"},
        {"base": ExpertSpec(name="base", source="org/base")},
    ],
)
def test_of_a_received_run_only_the_embedded_ensembles_are_loaded(
    changes: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = load_spec("emoji-a")
    plan = synthetic_plan(ensemble=own)
    assert received(tmp_path / "embedded", plan, monkeypatch).sources() == plan
    other = synthetic_plan(ensemble=replace(own, **changes))  # type: ignore[arg-type]
    with pytest.raises(StoreError, match=f"It names {next(iter(changes))}: "):
        received(tmp_path / "other", other, monkeypatch).sources()


def test_a_place_that_only_begins_like_an_embedded_one_is_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = load_spec("emoji-a")
    for judge in (f"{own.judge}/../../../..", "local-dir:" + "x" * 5000):
        plan = synthetic_plan(ensemble=replace(own, judge=judge))
        with pytest.raises(StoreError, match="It names judge: "):
            received(tmp_path / str(len(judge)), plan, monkeypatch).sources()


def test_a_user_s_trust_holds_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = received(tmp_path / "run", synthetic_plan(), monkeypatch)
    store.trust()
    assert store.sources() == RunStore.open(tmp_path / "run").sources() == synthetic_plan()


def test_a_run_that_is_resumed_loads_what_the_user_names_and_not_what_the_plan_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hashes in a plan are texts: one who changes what it names leaves them as they are."""
    asked = synthetic_plan(images=ImageConfig(reference_images="/mine"))
    theirs = replace(
        asked,
        ensemble=replace(asked.ensemble, judge="local-dir:/theirs", training_coverage="/theirs.csv"),
        images=ImageConfig(reference_images="/theirs"),
    )
    received(tmp_path / "run", theirs, monkeypatch)
    assert RunStore.open(tmp_path / "run", plan=asked).sources() == asked
    with pytest.raises(StoreError, match="was not started here"):
        RunStore.open(tmp_path / "run").sources()


def test_where_nothing_can_be_noted_a_run_still_starts_and_is_asked_for_later(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.write_text("a file")
    assert RunStore.open(tmp_path / "run", plan=synthetic_plan()).sources() == synthetic_plan()
    with pytest.raises(StoreError, match="was not started here"):
        RunStore.open(tmp_path / "run").sources()
