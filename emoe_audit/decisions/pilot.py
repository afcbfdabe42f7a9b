"""What a pilot run says of the size that a study needs: captions for a gap, and what they cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from emoe_audit.analysis.paired import within_caption_differences
from emoe_audit.analysis.power import minimum_detectable_gap, sources_for_gap
from emoe_audit.decisions.estimate import PROBE_PROMPTS, n_checked, seconds_each
from emoe_audit.errors import AuditError
from emoe_audit.progress import in_words
from emoe_audit.runs.batches import as_prompt
from emoe_audit.runs.store import RunStore

NO_MEASURES = ("key", "source_id", "image", "image_seed", "image_stamp", "n_images")
"""Columns of the table `quality` that measure nothing."""


@dataclass(frozen=True, kw_only=True)
class CaptionPlan:
    """How large a study has to be, by a pilot run."""

    measure: str
    by: str
    reference: str
    gap: float
    sd_of_differences: float
    """Within captions, of the group in which it is largest, in units of the measure: the others need fewer captions."""
    n_tests: int
    """Groups that are compared with the reference, each at level alpha / n_tests."""
    captions: int
    """With which a true gap of this size is found with the power asked for."""
    pilot_captions: int
    """Of the group that has fewest."""
    pilot_gap: float
    """The smallest gap that the pilot's own captions show with that power."""
    prompts: int
    """Each caption once in each group, the reference among them."""
    images: int
    """As many where the measure is one of image quality, else none."""
    time: str

    def to_json(self) -> dict[str, Any]:
        """As one JSON object."""
        return asdict(self)


def plan_captions(
    pilot: RunStore,
    measure: str,
    by: str,
    gap: float,
    *,
    reference: str | None = None,
    power: float = 0.8,
    alpha: float = 0.05,
) -> CaptionPlan:
    """Plan a study from a pilot run of the same ensemble and settings; see `emoe_audit.analysis.power`.

    Args:
        pilot: A run with captions that stand in several groups.
        measure: Column of `results` in which the gap is to be shown.
        by: Group column.
        gap: The true mean difference to be found, in units of the measure.
        reference: The group that the others are compared with; by default each with the mean of the others.
        power: Chance that a gap of this size is found in a group.
        alpha: Level of all tests together.

    Raises:
        AuditError: the run has no such column of numbers, too few captions are in several groups, or an argument is out
            of range.
    """
    results = _checked_results(pilot, measure, by)
    differences = within_caption_differences(results, by, measure, reference=reference)
    counts = differences.count()
    tested = counts[counts >= 2]
    spread = float(differences.std(ddof=1).max())
    _check_spread(spread, pilot, measure, by)
    options: dict[str, Any] = {"alpha": alpha, "power": power, "n_tests": len(tested)}
    captions = sources_for_gap(gap, spread, **options)
    prompts = captions * (len(counts) + (reference is not None))
    images = prompts if measure in _image_measures(pilot) else 0
    return CaptionPlan(
        measure=measure,
        by=by,
        reference=reference or "the mean of the others",
        gap=gap,
        sd_of_differences=spread,
        n_tests=len(tested),
        captions=captions,
        pilot_captions=int(tested.min()),
        pilot_gap=minimum_detectable_gap(spread, int(tested.min()), **options),
        prompts=prompts,
        images=images,
        time=_time(pilot, prompts, images),
    )


def _checked_results(pilot: RunStore, measure: str, by: str) -> pd.DataFrame:
    """The results of a run that has both columns, the measure one of numbers."""
    for column in (measure, by):
        if column not in (known := pilot.columns()):
            raise AuditError(f"{pilot.path}: no column {column!r}; there are {', '.join(known)}")
    results = pilot.query("SELECT * FROM results")
    if not pd.api.types.is_numeric_dtype(results[measure]):
        raise AuditError(f"{pilot.path}: column {measure!r} is no measure; name one of numbers, as clip_cosine")
    return results


def _check_spread(spread: float, pilot: RunStore, measure: str, by: str) -> None:
    if not spread > 0:
        raise AuditError(
            f"{pilot.path}: no two captions have a {measure} in several groups of {by}, or all differ by the same; "
            "run a pilot with at least 20 captions in every group"
        )


def _image_measures(pilot: RunStore) -> set[str]:
    return set(pilot.query("SELECT * FROM quality LIMIT 0").columns) - set(NO_MEASURES)


def _time(pilot: RunStore, prompts: int, images: int) -> str:
    """By a short measurement on this machine with the pilot's ensemble and settings, where that is here."""
    rows = pilot.query("SELECT * FROM prompts ORDER BY prompt_id LIMIT ?", [PROBE_PROMPTS])
    sample = [as_prompt(row) for row in rows.to_dict("records")]
    try:
        plan = pilot.sources()
        a_prompt, an_image = seconds_each(sample, plan.ensemble, plan.scoring, plan.images if images else None)
    except AuditError as error:
        return f"not known: {error}"
    return in_words(a_prompt * (prompts + n_checked(plan.scoring)) + an_image * images)
