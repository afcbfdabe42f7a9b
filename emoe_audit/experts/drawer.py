"""Who draws the images of an ensemble. Nothing here imports torch."""

from __future__ import annotations

from emoe_audit.types import MIXTURE, EnsembleSpec


def who_draws(spec: EnsembleSpec, expert: str | None) -> str | None:
    """The expert that is asked for, or `mixture`; None for the base.

    A base that SegMoE saved, whose experts are the ensemble's, has no UNet of its own: it draws as their mixture.
    """
    is_saved = any(own.segmoe_expert is not None and own.source == spec.base.source for own in spec.experts)
    return MIXTURE if expert is None and is_saved and spec.emergent is None else expert
