"""Fewer captions to know languages by, where a test asks for other things than how they are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pandas as pd
import pytest

from emoe_audit.scoring.calibration import calibration_captions
from emoe_audit.types import EnsembleSpec


@contextmanager
def known_by_few(languages: Sequence[str], *, is_bench_alone: bool = False) -> Iterator[None]:
    """Within, these languages alone are known, each by its own captions; cost is counted on two prompts.

    With `is_bench_alone` so does the bench for scores of prompts in one language, and a run knows all.
    """

    def few(spec: EnsembleSpec) -> pd.DataFrame:
        return calibration_captions(spec)[list(languages)]

    modules = ["ground.one_language"] if is_bench_alone else ["ground.one_language", "scoring.calibration"]
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            patch.setattr(f"emoe_audit.{module}.calibration_captions", few)
        patch.setattr("emoe_audit.ground.verify.COUNTED_PROMPTS", 2)
        yield
