"""What was learned of an ensemble once, kept for its later runs: the outcome of the check, and its calibration.

Under `$XDG_CACHE_HOME/emoe-audit/ensembles`, by default `~/.cache`, in a folder named by a hash of the ensemble and of
what the tables depend on. They lie there as in a run folder and are read with the same doubt; what cannot be read is
made anew, and where nothing can be written nothing is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from emoe_audit.analysis.familiarity import UNFAMILIARITY
from emoe_audit.errors import StoreError, WriteError
from emoe_audit.readers.paths import user_cache
from emoe_audit.runs.files import write_whole
from emoe_audit.runs.manifest import settings_hash
from emoe_audit.runs.query import RunReader
from emoe_audit.runs.sql import identifier, sql
from emoe_audit.runs.views import analysis
from emoe_audit.types import ScoringConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """The tables of one ensemble, by name."""

    folder: Path | None
    """None where there is no home to keep anything in."""

    @classmethod
    def of(cls, ensemble_hash: str, scoring: ScoringConfig, captions: pd.DataFrame) -> Kept:
        """Those that were made from an ensemble with these settings and captions, by this version."""
        from emoe_audit.scoring.disagreement import SCORES  # loads torch

        texts = hashlib.sha256(captions.to_csv().encode("utf-8", "surrogatepass")).hexdigest()
        settings = [settings_hash(scoring), scoring.check_pairs, *SCORES, UNFAMILIARITY]
        rests_on = [importlib.metadata.version("emoe-audit"), ensemble_hash, *settings, texts]
        name = hashlib.sha256(json.dumps(rests_on).encode()).hexdigest()[:32]
        try:
            cache = user_cache()
        except RuntimeError:  # there is no home
            return cls(folder=None)
        return cls(folder=cache / "ensembles" / name)

    def read(self, name: str) -> pd.DataFrame | None:
        """A table; None where it is not there, or cannot be read."""
        if self.folder is None:
            return None
        kept = RunReader(self.folder)
        try:
            if not kept.has_analysis(name):
                return None
            frame = kept.query(sql("SELECT * FROM {table}", table=identifier(name)))
        except StoreError as error:
            log.warning("%s; it is made anew", error)
            return None
        return frame if len(frame) else None

    def write(self, name: str, frame: pd.DataFrame) -> None:
        """Keep a table, in place of what was there."""
        if self.folder is not None:
            with contextlib.suppress(WriteError):
                write_whole(analysis(self.folder, name), frame.to_parquet(index=False))
