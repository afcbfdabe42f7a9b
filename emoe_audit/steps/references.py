"""The images of a run against real ones, and who they show: what is measured besides the judge's own cosine.

How well the judge reads each group, and how far drawn images are from real ones, needs real images of what the prompts
say (`--reference-images`); who is shown needs labelled ones.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from emoe_audit.errors import QualityError
from emoe_audit.progress import Progress, silent
from emoe_audit.runs.columns import group_columns_of
from emoe_audit.runs.store import RunStore

UNGUARDED = "SELECT * FROM prompts LEFT JOIN quality USING (key, source_id)"
"""The images of a run with all that the judge says of them, which is what is looked at here."""


def measure_references(store: RunStore, progress: Progress = silent) -> None:
    """Write the tables `real_images`, `judge_bias` and `kid`; a real image that cannot be read is a row error.

    - `real_images`: what the judge makes of the real image of each prompt, see `reference.judge_references`.
    - `judge_bias`: its means by group, see `reference.judge_by_group`.
    - `kid`: kernel distance of drawn from real images, overall and by group, see `fidelity.kid_by_group`.

    Raises:
        QualityError: the prompts name no real images, or the ensemble names no judge.
    """
    plan = store.plan() if store.plan().images.reference_images is None else store.sources()
    folder = plan.images.reference_images
    if folder is None:
        return
    if plan.ensemble.judge is None:
        raise QualityError(f"{plan.ensemble.name}: names no judge for real images; add `judge:` to its YAML")
    from emoe_audit.quality.clip_score import ClipJudge
    from emoe_audit.quality.fidelity import kid_by_group
    from emoe_audit.quality.reference import judge_by_group, judge_references, read_pictures, reference_column

    progress("real images", 0, 1)
    results = store.query(UNGUARDED)
    judge = ClipJudge(plan.ensemble.judge, device=plan.images.device)
    real = read_pictures(
        results, Path(folder), reference_column(results, brought=plan.images.brought is not None), judge.image_features
    )
    store.record_error(*real.row_errors)
    judged = results.join(judge_references(results, real, judge))
    store.write_analysis("real_images", judged[["prompt_id", *judged.columns.difference(results.columns)]])
    columns = group_columns_of(store)
    store.write_analysis("judge_bias", pd.concat([judge_by_group(judged, by) for by in columns]))
    drawn = read_pictures(_shown(results), store.path, "image", judge.image_features)
    distances = pd.concat([kid_by_group(results, by, drawn, real) for by in columns])
    store.write_analysis("kid", distances.drop_duplicates(["by", "group"]))
    progress("real images", 1, 1)


def _shown(results: pd.DataFrame) -> pd.DataFrame:
    """The rows without the images that a safety checker blanked, which show nothing that was drawn."""
    if "flagged" not in results:
        return results
    blank = (results["flagged"] == True) & results["clip_cosine"].isna()  # noqa: E712 - missing is not flagged
    return results.assign(image=results["image"].where(~blank, None))
