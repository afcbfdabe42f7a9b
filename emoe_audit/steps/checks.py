"""What a run asks of its ensemble: what its languages are worth, whether the scores hold, which experts they use.

The first two are asked once for all runs of an ensemble, see `kept`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd

from emoe_audit.analysis.calibration import Calibration
from emoe_audit.analysis.expert_use import expert_use, expert_use_divergence
from emoe_audit.errors import AuditError
from emoe_audit.progress import Progress, silent
from emoe_audit.runs.store import RunStore
from emoe_audit.steps.kept import Kept
from emoe_audit.types import RowError

if TYPE_CHECKING:
    from emoe_audit.scoring.engine import ScoringEngine


def check_pending(store: RunStore, engine: ScoringEngine, progress: Progress = silent) -> None:
    """Write `calibration` and `validity`, once a run; a check that cannot be made is recorded."""
    again = engine.config.check == "again"
    if not engine.config.check_pairs or (store.has_analysis("validity") and not again):
        return
    store.write_analysis("calibration", find_calibration(engine, progress))
    try:
        store.write_analysis("validity", find_outcome(engine, progress))
    except AuditError as error:
        store.record_error(RowError(stage="score", message=f"the scores could not be checked: {error}"))


def find_calibration(engine: ScoringEngine, progress: Progress = silent) -> pd.DataFrame:
    """What the languages of an ensemble are worth, as a frame."""
    from emoe_audit.scoring.calibration import calibrate, calibration_captions

    captions = calibration_captions(engine.ensemble.spec)
    return _once(engine, captions, "calibration", lambda: calibrate(engine, captions, progress).to_frame())


def find_outcome(engine: ScoringEngine, progress: Progress = silent) -> pd.DataFrame:
    """What the check says of the scores on an ensemble, as a frame.

    Raises:
        EnsembleError: the captions yield no pair.
    """
    from emoe_audit.scoring.calibration import calibration_captions
    from emoe_audit.validity.check import check

    def make() -> pd.DataFrame:
        calibration = Calibration.from_frame(find_calibration(engine, progress))
        n = engine.config.check_pairs
        return check(engine, captions, calibration, n_per_language=n, progress=progress).to_frame()

    captions = calibration_captions(engine.ensemble.spec)
    return _once(engine, captions, "validity", make)


def _once(engine: ScoringEngine, captions: pd.DataFrame, name: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """A table of an ensemble as it was kept; made and kept where it was not, or where it is to be made again."""
    kept = Kept.of(engine.ensemble_hash, engine.config, captions)
    found = None if engine.config.check == "again" else kept.read(name)
    if found is None:
        found = make()
        kept.write(name, found)
    return found


def watch_experts(store: RunStore, engine: ScoringEngine, progress: Progress = silent) -> None:
    """Write `expert_use` and `expert_use_divergence` of an ensemble from one checkpoint; of others there is no use."""
    if store.plan().ensemble.emergent is None or store.has_analysis("expert_use"):
        return
    from emoe_audit.scoring.expert_use import measure_use

    prompts = store.query("SELECT DISTINCT prompt, language, source_id FROM prompts ORDER BY ALL")
    use = measure_use(engine, prompts, progress)
    store.write_analysis("expert_use", expert_use(use))
    store.write_analysis("expert_use_divergence", expert_use_divergence(use))
