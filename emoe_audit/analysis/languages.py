"""What is known of the languages of an ensemble, from captions that all of them have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from emoe_audit.analysis.calibration import Calibration
from emoe_audit.analysis.familiarity import Familiarity


@dataclass(frozen=True, kw_only=True)
class Languages:
    """Of a prompt that has translations, and of one that has none."""

    calibration: Calibration
    """What the readings of each language are worth."""
    familiarity: Familiarity
    """How much is made of captions of each."""

    def to_frames(self) -> dict[str, pd.DataFrame]:
        """A table of each, by name."""
        return {"calibration": self.calibration.to_frame(), "familiarity": self.familiarity.to_frame()}

    @classmethod
    def from_frames(cls, frames: Mapping[str, pd.DataFrame]) -> Languages:
        """From `to_frames`. Raises `ValueError` where the rows of one do not fit together."""
        return cls(
            calibration=Calibration.from_frame(frames["calibration"]),
            familiarity=Familiarity.from_frame(frames["familiarity"]),
        )
