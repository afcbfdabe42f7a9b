"""Fewer captions for the bench to know languages by, where a test asks for other things than how they are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pandas as pd
import pytest

from emoe_audit.scoring.calibration import calibration_captions
from emoe_audit.types import EnsembleSpec


@contextmanager
def known_by_few(languages: Sequence[str]) -> Iterator[None]:
    """Within, the scores for prompts in one language know these alone, each by its own captions."""

    def few(spec: EnsembleSpec) -> pd.DataFrame:
        return calibration_captions(spec)[list(languages)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emoe_audit.ground.one_language.calibration_captions", few)
        yield
