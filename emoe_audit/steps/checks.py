"""What a run asks of its own ensemble, once: whether the scores hold, and which experts inside it the languages use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emoe_audit.analysis.expert_use import expert_use, expert_use_divergence
from emoe_audit.errors import AuditError
from emoe_audit.progress import Progress, silent
from emoe_audit.runs.store import RunStore
from emoe_audit.types import RowError

if TYPE_CHECKING:
    from emoe_audit.scoring.engine import ScoringEngine


def check_pending(store: RunStore, engine: ScoringEngine, n_pairs: int, progress: Progress = silent) -> None:
    """Test the scores on prompts that are strange to every model, once a run; a test that fails is recorded."""
    if not n_pairs or store.has_analysis("validity"):
        return
    from emoe_audit.validity.check import check, check_captions

    try:
        found = check(engine, check_captions(engine.ensemble.spec), n_per_language=n_pairs, progress=progress)
    except AuditError as error:
        store.record_error(RowError(stage="score", message=f"the scores could not be checked: {error}"))
        return
    outcome = found.to_frame()
    if len(outcome):
        store.write_analysis("validity", outcome)


def watch_experts(store: RunStore, engine: ScoringEngine, progress: Progress = silent) -> None:
    """Write `expert_use` and `expert_use_divergence` of an ensemble from one checkpoint; of others there is no use."""
    if store.plan().ensemble.emergent is None or store.has_analysis("expert_use"):
        return
    from emoe_audit.scoring.expert_use import measure_use

    prompts = store.query("SELECT DISTINCT prompt, language, source_id FROM prompts ORDER BY ALL")
    use = measure_use(engine, prompts, progress)
    store.write_analysis("expert_use", expert_use(use))
    store.write_analysis("expert_use_divergence", expert_use_divergence(use))
