"""What is learned of an ensemble's languages from captions that all of them have, read by the text encoder alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from emoe_audit.analysis.calibration import Calibration
from emoe_audit.analysis.familiarity import Familiarity
from emoe_audit.analysis.languages import Languages
from emoe_audit.analysis.readings import Readings
from emoe_audit.progress import Progress, silent
from emoe_audit.prompts.emoji import GROUP_COLUMNS, IMAGE_COLUMNS, caption_matrix, is_plain
from emoe_audit.prompts.shipped import shipped_captions
from emoe_audit.types import EnsembleSpec

if TYPE_CHECKING:
    from emoe_audit.scoring.anywhere import AnyEngine

CAPTIONS = 100
"""Captions that are read, each in every language."""


def calibration_captions(spec: EnsembleSpec, seed: int = 0) -> pd.DataFrame:
    """A column per language, a row per caption: of the ensemble's own where it has `CAPTIONS`, else those that ship.

    Captions of a template (flags, skin tones) are left out: a calibration is of what captions have not in common.
    """
    plain = plain_captions(spec)
    if len(plain) < CAPTIONS:
        return shipped_captions()
    chosen = np.random.default_rng(seed).permutation(len(plain))[:CAPTIONS]
    return plain.iloc[np.sort(chosen)]


def plain_captions(spec: EnsembleSpec) -> pd.DataFrame:
    """The ensemble's own captions that are of no template, a column per language; no row where it brings none."""
    own = caption_matrix(spec) if spec.captions else pd.DataFrame(columns=list(IMAGE_COLUMNS))
    return own[is_plain(own)].set_index("source_id").drop(columns=list(GROUP_COLUMNS))


def calibrate(engine: AnyEngine, captions: pd.DataFrame, progress: Progress = silent) -> Languages:
    """Learn the languages from captions, a column per language; each is read once, and no expert is asked."""
    long = captions.astype(str).melt(ignore_index=False, var_name="language", value_name="text")
    languages, sources = long["language"].to_list(), long.index.astype(str).to_list()
    vectors, states = engine.read_with_states(long["text"].to_list(), progress)
    return Languages(
        calibration=Calibration.fit(Readings(vectors=vectors, languages=languages, sources=sources)),
        familiarity=Familiarity.fit(states, languages),
    )
