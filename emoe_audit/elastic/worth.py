"""What a part of an ensemble is worth: how its scores go with those of the whole, and with known training coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from emoe_audit.analysis.contrasts import correlate_groups, correlate_prompts
from emoe_audit.analysis.crossed import half_width
from emoe_audit.analysis.familiarity import UNFAMILIARITY
from emoe_audit.analysis.rank_correlation import spearman
from emoe_audit.analysis.readings import Readings
from emoe_audit.analysis.translations import TRANSLATION_SCORE, Readers
from emoe_audit.elastic.manifest import Fidelity, Rho
from emoe_audit.elastic.measured import Measured
from emoe_audit.elastic.order import Part, at_cost
from emoe_audit.progress import Progress, silent
from emoe_audit.scoring.disagreement import SCORES
from emoe_audit.steps.checks import find_languages

EXACT = Rho(rho=1.0, low=1.0, high=1.0)
LEVEL = 0.95
"""Of intervals."""


class Agreement:
    """How well all scores of a part go with those of the whole, over some texts: the least of their correlations."""

    def __init__(self, measured: Measured, texts: Sequence[str], progress: Progress = silent) -> None:
        self._measured, self._texts = measured, texts
        self._whole = measured.scores(texts, measured.whole, progress)
        self._known: dict[Part, dict[str, float]] = {}

    def __call__(self, part: Part) -> float:
        """Of the part; NaN where one of its scores is the same for all texts."""
        return float(np.min(list(self.by_score(part).values())))

    def by_score(self, part: Part) -> dict[str, float]:
        """Spearman of each registered score, by name; NaN for the text alone."""
        if part not in self._known:
            own = self._measured.scores(self._texts, part)
            self._known[part] = {name: spearman(own[name].to_numpy(), self._whole[name].to_numpy()) for name in SCORES}
        return self._known[part]


class Worth:
    """What a part is worth on prompts that the order was not chosen on."""

    def __init__(
        self,
        measured: Measured,
        rows: pd.DataFrame,
        coverage: pd.Series | None,
        lots: Sequence[Sequence[Part]],
        progress: Progress = silent,
    ) -> None:
        """Of prompts `source_id, language, prompt`; `lots` are the orders that were drawn."""
        self._measured, self._rows, self._coverage, self._lots = measured, rows, coverage, lots
        self._texts = rows["prompt"].to_list()
        self._agreement = Agreement(measured, self._texts, progress)
        self._whole = measured.scores(self._texts, measured.whole)

    def of(self, part: Part) -> dict[str, Fidelity]:
        """By score; those of the experts are left out where none is asked."""
        found = {
            name: Fidelity(
                fidelity=EXACT, within_language=EXACT, by_language=EXACT, by_lot=None, coverage=self._covered(values)
            )
            for name, values in self._of_text.items()
        }
        if not part.n_noise:
            return found
        own = self._measured.scores(self._texts, part)
        return found | {name: self._of_score(name, own[name].to_numpy(), part) for name in SCORES}

    def _of_score(self, name: str, values: np.ndarray, part: Part) -> Fidelity:
        is_whole = part == self._measured.whole
        frame = self._rows.assign(own=values, whole=self._whole[name].to_numpy())
        return Fidelity(
            fidelity=EXACT if is_whole else _rho(correlate_prompts(frame, "own", "whole")),
            within_language=EXACT if is_whole else self._within(frame),
            by_language=EXACT if is_whole else _rho(correlate_groups(frame, "own", "whole", by="language")),
            by_lot=None if is_whole else self._by_lot(name, part),
            coverage=self._covered(values),
        )

    def _by_lot(self, name: str, part: Part) -> float | None:
        at_that = [own for lot in self._lots if (own := at_cost(lot, part)) is not None]
        found = [self._agreement.by_score(own)[name] for own in at_that]
        return float(np.mean(found)) if found and np.isfinite(found).all() else None

    def _within(self, frame: pd.DataFrame) -> Rho:
        """The mean of the correlations within languages, and Student's t over these."""
        rhos = [spearman(own["own"].to_numpy(), own["whole"].to_numpy()) for _, own in frame.groupby("language")]
        known = np.array([rho for rho in rhos if np.isfinite(rho)])
        if len(known) < 2:
            return Rho(rho=None, low=None, high=None)
        half = half_width(float(known.std(ddof=1) / np.sqrt(len(known))), len(known) - 1, LEVEL)
        mean = float(known.mean())
        return (
            Rho(rho=mean, low=mean - half, high=mean + half)
            if np.isfinite(half)
            else Rho(rho=mean, low=mean, high=mean)
        )

    def _covered(self, values: np.ndarray) -> Rho | None:
        if self._coverage is None:
            return None
        frame = self._rows.assign(own=values)
        return _rho(correlate_groups(frame, "own", "coverage", by="language", known=self._coverage))

    @cached_property
    def _of_text(self) -> Mapping[str, np.ndarray]:
        engine = self._measured.engine
        languages = find_languages(engine)
        vectors, states = engine.read_with_states(self._texts)
        tags = self._rows["language"].to_list()
        readings = Readings(vectors=vectors, languages=tags, sources=self._rows["source_id"].to_list())
        judged = Readers.fit(readings, languages.calibration).judge(readings)
        return {
            TRANSLATION_SCORE: judged[TRANSLATION_SCORE].to_numpy(),
            UNFAMILIARITY: languages.familiarity.judge(states, tags),
        }


def _rho(row: pd.DataFrame) -> Rho:
    rho, low, high = (None if np.isnan(own) else float(own) for own in row.iloc[0][["rho", "low", "high"]])
    return EXACT if rho == 1 else Rho(rho=rho, low=low, high=high)
