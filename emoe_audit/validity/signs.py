"""The sign of a score: whether high means uncertain, as it should."""

from __future__ import annotations

from typing import Literal

from emoe_audit.analysis.familiarity import UNFAMILIARITY
from emoe_audit.analysis.intervals import Side
from emoe_audit.analysis.translations import TRANSLATION_SCORE
from emoe_audit.scoring.disagreement import SCORES

Sign = Literal["holds", "unclear", "turned"]
SIGN: dict[Side, Sign] = {"above": "holds", "below": "turned", "unclear": "unclear"}
"""What an interval around `EVEN` says."""
EVEN = 0.5
"""How often one of two halves scores higher by chance."""
ORIENTED: dict[str, tuple[str, float]] = {
    "feature_power": ("feature_power", -1.0),
    "token_count": ("n_tokens", 1.0),
    "tokens_per_word": ("tokens_per_word", 1.0),
}
"""Baselines that the engine counts anyway: their column, and the sign that makes high mean uncertain."""


def oriented_scores() -> dict[str, tuple[str, float]]:
    """Everything measured anyway, by name: its column, and the sign that makes high mean uncertain."""
    return {name: (name, 1.0) for name in (TRANSLATION_SCORE, UNFAMILIARITY, *SCORES)} | ORIENTED
