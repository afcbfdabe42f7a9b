"""One checkpoint is enough: an audit of an emergent ensemble, resumable, with the use of its experts in the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emoe_audit.audit import run_audit
from emoe_audit.errors import QualityError
from emoe_audit.experts.emergent_recipe import make_emergent_ensemble
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.report import collect, render_html
from emoe_audit.runs.store import RunStore
from emoe_audit.types import EnsembleSpec, ImageConfig, ScoringConfig

pytestmark = pytest.mark.slow

SCORING = ScoringConfig(n_noise=1, batch_size=8, device="cpu", check_pairs=0)
NO_IMAGES = ImageConfig(n_images=0, device="cpu")


@pytest.fixture(scope="module")
def emergent(tiny_spec: EnsembleSpec, tmp_path_factory: pytest.TempPathFactory) -> EnsembleSpec:
    checkpoint = str(Path(tiny_spec.base.source).parent)
    return make_emergent_ensemble(checkpoint, tmp_path_factory.mktemp("emergent"), n_clusters=16)


def test_a_run_shows_which_experts_inside_the_checkpoint_languages_use(emergent: EnsembleSpec, tmp_path: Path) -> None:
    result = run_audit(default_prompts(emergent), emergent, tmp_path / "run", scoring=SCORING, images=NO_IMAGES)
    store = RunStore.open(tmp_path / "run")
    data = collect(store)
    first = data.expert_use[0]
    assert first.divergence - first.expected == max(own.divergence - own.expected for own in data.expert_use)
    stored = store.query("SELECT sum(share) AS s FROM expert_use WHERE layer = ? GROUP BY language", [first.layer])
    assert np.array(first.shares).sum(axis=1) == pytest.approx(stored["s"].to_numpy())
    assert 'data-figure="experts"' in render_html(data)
    assert result.n_scored == result.n_prompts


def test_the_same_run_started_again_does_nothing_anew(emergent: EnsembleSpec, tmp_path: Path) -> None:
    for _ in range(2):
        run_audit(default_prompts(emergent), emergent, tmp_path / "run", scoring=SCORING, images=NO_IMAGES)
    store = RunStore.open(tmp_path / "run")
    assert store.plan().ensemble == emergent
    assert len(list((tmp_path / "run" / "scores").iterdir())) == 1


def test_a_member_is_not_drawn_with_for_it_would_draw_as_the_checkpoint_does(
    emergent: EnsembleSpec, tmp_path: Path
) -> None:
    images = ImageConfig(n_images=4, device="cpu", expert=emergent.experts[0].name)
    with pytest.raises(QualityError, match="members of one checkpoint draw as the checkpoint does"):
        run_audit(default_prompts(emergent), emergent, tmp_path / "run", scoring=SCORING, images=images)
