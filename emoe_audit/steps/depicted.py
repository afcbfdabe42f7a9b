"""Who the images of a run show, where labelled images say how the judge errs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from emoe_audit.errors import QualityError
from emoe_audit.readers.text import read_text
from emoe_audit.runs.store import RunStore


def measure_depicted(
    store: RunStore, attribute: str, labelled: Path, reference: Mapping[str, float], subject_file: Path | None = None
) -> pd.DataFrame:
    """Write and return the table `depicted`, see `depicted.who_is_depicted`.

    Args:
        store: A run with images.
        attribute: `skin_tone`, `shown_tone` or `gender`.
        labelled: The folder of images by which the judge's errors are known.
        reference: Shares of classes to compare with.
        subject_file: The source captions that are of people; by default those that the ensemble itself brings.

    Raises:
        QualityError: the ensemble names no judge, or no image was made of a subject whose prompt names no class.
        AuditError: the reference is no distribution over the classes.
    """
    from emoe_audit.quality.attributes import GENDER, SHOWN_TONE, SKIN_TONE, subjects, things
    from emoe_audit.quality.clip_score import ClipJudge
    from emoe_audit.quality.depicted import who_is_depicted
    from emoe_audit.quality.labelled import read_labelled

    spec = store.sources().ensemble
    if spec.judge is None:
        raise QualityError(f"{spec.name}: names no judge; add `judge:` to its YAML")
    own = {"skin_tone": SKIN_TONE, "shown_tone": SHOWN_TONE, "gender": GENDER}[attribute]
    concepts = (
        list(subjects(spec)["en"]) if subject_file is None else read_text(subject_file, QualityError).splitlines()
    )
    found = who_is_depicted(
        store.query("SELECT * FROM results"),
        store.path,
        ClipJudge(spec.judge),
        own,
        read_labelled(labelled).of(own),
        concepts=concepts,
        reference=reference,
        things=things(spec) if subject_file is None else (),
    )
    store.write_analysis("depicted", found)
    return found
