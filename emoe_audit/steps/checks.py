"""What a run asks of its ensemble: what is known of its languages, whether the scores hold, which experts they use.

The first two are asked once for all runs of an ensemble, see `kept`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from emoe_audit.analysis.expert_use import expert_use, expert_use_divergence
from emoe_audit.analysis.languages import Languages
from emoe_audit.errors import AuditError
from emoe_audit.progress import Progress, silent
from emoe_audit.runs.pending import n_pending
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.kept import Kept
from emoe_audit.types import RowError

if TYPE_CHECKING:
    from emoe_audit.scoring.anywhere import AnyEngine

VALIDITY = "validity"


def know_languages(store: RunStore, engine: AnyEngine, progress: Progress = silent) -> None:
    """Write `calibration`, and let the engine know the languages; once a run that checks its scores."""
    is_known = store.has_analysis("calibration") and engine.config.check != "again"
    if not engine.config.check_pairs or (is_known and not n_pending(store, "scores")):
        return
    store.write_analysis("calibration", find_languages(engine, progress).calibration.to_frame())


def check_pending(store: RunStore, engine: AnyEngine, progress: Progress = silent) -> None:
    """Write `validity`, once a run; a check that cannot be made is recorded."""
    again = engine.config.check == "again"
    if not engine.config.check_pairs or (store.has_analysis(VALIDITY) and not again):
        return
    try:
        store.write_analysis(VALIDITY, find_outcome(engine, progress))
    except AuditError as error:
        store.record_error(RowError(stage="score", message=f"the scores could not be checked: {error}"))


def find_languages(engine: AnyEngine, progress: Progress = silent) -> Languages:
    """What is known of the languages of an ensemble, which its engine knows from then on."""
    from emoe_audit.scoring.calibration import calibrate, calibration_captions

    if engine.languages is None:
        captions = calibration_captions(engine.ensemble.spec)
        kept = Kept.of(engine.ensemble_hash, engine.config, captions)
        engine.languages = None if engine.config.check == "again" else _kept_languages(kept)
        if engine.languages is None:
            engine.languages = calibrate(engine, captions, progress)
            for name, frame in engine.languages.to_frames().items():
                kept.write(name, frame)
    return engine.languages


def _kept_languages(kept: Kept) -> Languages | None:
    frames = {name: kept.read(name) for name in ("calibration", "familiarity")}
    found = {name: frame for name, frame in frames.items() if frame is not None}
    try:
        return Languages.from_frames(found) if len(found) == len(frames) else None
    except ValueError:
        return None


def find_outcome(engine: AnyEngine, progress: Progress = silent) -> pd.DataFrame:
    """What the check says of the scores on an ensemble, as a frame.

    Raises:
        EnsembleError: the captions yield no pair.
    """
    from emoe_audit.scoring.calibration import calibration_captions
    from emoe_audit.validity.check import check

    captions = calibration_captions(engine.ensemble.spec)
    kept = Kept.of(engine.ensemble_hash, engine.config, captions)
    found = None if engine.config.check == "again" else kept.read(VALIDITY)
    if found is None:
        n, languages = engine.config.check_pairs, find_languages(engine, progress)
        found = check(engine, captions, languages, n_per_language=n, progress=progress).to_frame()
        kept.write(VALIDITY, found)
    return found


def watch_experts(store: RunStore, engine: AnyEngine, progress: Progress = silent) -> None:
    """Write `expert_use` and `expert_use_divergence` of an ensemble from one checkpoint; of others there is no use."""
    plan = store.plan()
    if plan.ensemble.emergent is None or not plan.scoring.n_noise or store.has_analysis("expert_use"):
        return
    from emoe_audit.scoring.expert_use import measure_use

    prompts = store.query("SELECT DISTINCT prompt, language, source_id FROM prompts ORDER BY ALL")
    use = engine.have(measure_use, prompts, progress)
    store.write_analysis("expert_use", expert_use(use))
    store.write_analysis("expert_use_divergence", expert_use_divergence(use))
