"""What a run learns of its ensemble's languages, once: by it a table of few languages is judged like one of many."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emoe_audit.progress import Progress, silent
from emoe_audit.runs.store import RunStore

if TYPE_CHECKING:
    from emoe_audit.scoring.engine import ScoringEngine


def calibrate_pending(store: RunStore, engine: ScoringEngine, n_pairs: int, progress: Progress = silent) -> None:
    """Write `calibration` once a run; a run whose scores are not checked goes without."""
    from emoe_audit.scoring.calibration import calibrate, calibration_captions

    if not n_pairs or store.has_analysis("calibration"):
        return
    captions = calibration_captions(engine.ensemble.spec)
    store.write_analysis("calibration", calibrate(engine, captions, progress).to_frame())
