"""A user's word on a run that was received: nothing of it is loaded before, their own copy or its own after."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from emoe_audit.audit import run_audit, start_run
from emoe_audit.errors import StoreError
from emoe_audit.experts.spec import load_spec
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.prompts.table import PromptTable
from emoe_audit.quality.clip_score import ClipJudge
from emoe_audit.runs.ledger import PLAN
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.images import judge_pending
from emoe_audit.steps.sources import open_run
from emoe_audit.steps.summary import summarize
from emoe_audit.types import EnsembleSpec, ImageConfig, ScoringConfig
from tests.runs.written import forget_the_record

pytestmark = pytest.mark.slow

SCORING = ScoringConfig(n_noise=1, batch_size=8, device="cpu", check_pairs=0)
IMAGES = ImageConfig(n_images=4, num_inference_steps=1, device="cpu")


@pytest.fixture(scope="module")
def prompts(tiny_spec: EnsembleSpec) -> PromptTable:
    return default_prompts(tiny_spec, n_concepts=1)


@pytest.fixture(scope="module")
def scored(tiny_spec: EnsembleSpec, prompts: PromptTable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was scored and has no image yet."""
    return start_run(prompts, tiny_spec, tmp_path_factory.mktemp("runs") / "scored", SCORING, IMAGES).path


@pytest.fixture
def theirs(scored: Path, tiny_copy: Path, tmp_path: Path) -> Path:
    """The run as somebody hands it over who has put a judge of their own in place of the one that was used."""
    run = Path(shutil.copytree(scored, tmp_path / "theirs"))
    plan = json.loads((run / PLAN).read_text(encoding="utf-8"))
    plan["ensemble"]["judge"] = f"local-dir:{tiny_copy / 'judge'}"
    (run / PLAN).write_text(json.dumps(plan), encoding="utf-8")
    forget_the_record(run)
    return run


@pytest.fixture
def judges(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The judges that are loaded."""
    loaded: list[str] = []
    own = ClipJudge.__init__

    def load(self: ClipJudge, model: str, **options: str) -> None:
        loaded.append(model)
        own(self, model, **options)

    monkeypatch.setattr(ClipJudge, "__init__", load)
    return loaded


def test_a_received_run_loads_nothing_without_a_word(theirs: Path, judges: list[str]) -> None:
    with pytest.raises(StoreError, match=r"theirs: was not started here.*--trust-run"):
        judge_pending(open_run(theirs))
    assert judges == []


def test_at_a_user_s_trust_it_loads_what_it_names(theirs: Path, tiny_copy: Path, judges: list[str]) -> None:
    judge_pending(open_run(theirs, trusts=True))
    assert judges == [f"local-dir:{tiny_copy / 'judge'}"]
    judge_pending(open_run(theirs))


def test_a_user_s_own_copy_is_loaded_in_place_of_what_it_names(
    theirs: Path, tiny_spec: EnsembleSpec, judges: list[str]
) -> None:
    judge_pending(open_run(theirs, str(Path(tiny_spec.base.source).parent)))
    assert judges == [tiny_spec.judge]
    assert len(RunStore.open(theirs).query("SELECT * FROM quality")) == 4


def test_another_ensemble_than_the_run_s_is_refused(theirs: Path, tiny_copy: Path, tmp_path: Path) -> None:
    (tiny_copy / "judge" / "note.txt").write_text("another judge")
    with pytest.raises(StoreError, match="theirs: a run of another ensemble than tiny, or of other weights of it"):
        open_run(theirs, str(tiny_copy))


def test_without_images_an_ensemble_is_known_by_the_weights_that_are_scored(
    tiny_spec: EnsembleSpec, tiny_copy: Path, prompts: PromptTable, tmp_path: Path
) -> None:
    none = replace(IMAGES, n_images=0)
    run = start_run(prompts, tiny_spec, tmp_path / "run", SCORING, none).path
    assert open_run(run, str(tiny_copy)).sources().ensemble == load_spec(tiny_copy)
    shutil.rmtree(tiny_copy / "experts" / tiny_spec.experts[0].name)
    shutil.copytree(
        tiny_copy / "experts" / tiny_spec.experts[1].name, tiny_copy / "experts" / tiny_spec.experts[0].name
    )
    with pytest.raises(StoreError, match="a run of another ensemble than tiny"):
        open_run(run, str(tiny_copy))


def test_a_run_that_is_resumed_is_judged_by_the_judge_that_the_user_names(
    theirs: Path, tiny_spec: EnsembleSpec, prompts: PromptTable, judges: list[str]
) -> None:
    run_audit(prompts, tiny_spec, theirs, scoring=SCORING, images=IMAGES)
    assert judges == [tiny_spec.judge]


def test_a_table_of_coverage_outside_a_received_run_is_not_read(theirs: Path, tmp_path: Path) -> None:
    plan = json.loads((theirs / PLAN).read_text(encoding="utf-8"))
    plan["ensemble"]["training_coverage"] = "/etc/hostname"
    (theirs / PLAN).write_text(json.dumps(plan), encoding="utf-8")
    with pytest.raises(StoreError, match="training_coverage: /etc/hostname"):
        summarize(open_run(theirs))
