"""From settings to a scoring engine. Torch is imported here and not before."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from emoe_audit.types import Dtype, EnsembleSpec, ScoringConfig

if TYPE_CHECKING:
    from emoe_audit.scoring.engine import ScoringEngine


def settle_dtype(scoring: ScoringConfig, stored: Dtype | None = None) -> ScoringConfig:
    """`dtype="auto"` settled: the type that a run is stored with, else the fastest on the device."""
    if scoring.dtype != "auto":
        return scoring
    if stored is not None:
        return replace(scoring, dtype=stored)
    from emoe_audit.experts.devices import resolve_device
    from emoe_audit.experts.fastest import fastest_dtype

    return replace(scoring, dtype=fastest_dtype(resolve_device(scoring.device)))


def load_engine(spec: EnsembleSpec, scoring: ScoringConfig) -> ScoringEngine:
    """Load the experts. Raises `EnsembleError`."""
    from emoe_audit.experts.ensemble import load_ensemble
    from emoe_audit.scoring.engine import ScoringEngine

    scoring = settle_dtype(scoring)
    ensemble = load_ensemble(
        spec,
        device=scoring.device,
        dtype=scoring.dtype,
        memory_budget=scoring.memory_budget,
        n_noise=scoring.n_noise,
        experts=scoring.experts,
    )
    return ScoringEngine(ensemble, scoring)
