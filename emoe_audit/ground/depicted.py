"""Skin tones that are asked for and those that are shown, where it is known how often each was seen in training.

The embedded ensembles never saw a subject without a tone: for prompts that name none they draw other things, and there
is no tone that they show by default. What can be checked on them is whether an image shows the tone that its prompt
asks for, and which it shows instead.

    python -m emoe_audit.ground.depicted RUN --labelled FOLDER --out FILE.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from emoe_audit.analysis.prevalence import prevalence
from emoe_audit.errors import EnsembleError
from emoe_audit.experts.coverage import read_coverage
from emoe_audit.ground.record import write_record
from emoe_audit.prompts.emoji import SOURCE_LANGUAGE
from emoe_audit.quality.attributes import SHOWN_TONE, subjects, things
from emoe_audit.quality.clip_score import ClipJudge
from emoe_audit.quality.depicted import Classifier, Judge
from emoe_audit.quality.labelled import LabelledImages, read_labelled
from emoe_audit.runs.store import RunStore
from emoe_audit.types import EnsembleSpec

COLUMNS = ["asked", "coverage", "shown", "n_images", "n_sources", "share_seen", "share_corrected", "low", "high"]
COLUMNS += ["verdict"]


def asked_and_shown(
    results: pd.DataFrame,
    folder: Path,
    spec: EnsembleSpec,
    judge: Judge,
    labelled: LabelledImages,
    *,
    n_boot: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """A row per tone asked for and tone shown, see `COLUMNS`; subjects are resampled for the intervals.

    `coverage` is the share of the tone that is asked for among all toned captions of the training. Images in which the
    judge finds no subject do not count. Undefined figures are NaN, and the verdict says why; else it is empty.

    Args:
        results: A row per prompt of a run, with `source_id`, `skin_tone` and `image`.
        folder: The run's.
        spec: The ensemble, whose captions name the subjects.
        judge: Reads images.
        labelled: Images on which the judge's errors are counted.
        n_boot: Of the intervals.
        seed: Of the resampling.

    Raises:
        EnsembleError: the ensemble says not what it was trained on.
        QualityError: an image cannot be read.
    """
    trained = trained_shares(spec)
    known = subjects(spec)[SOURCE_LANGUAGE]
    toned = results.dropna(subset=["skin_tone", "image"]).reset_index(drop=True)
    rows = toned[["skin_tone"]].assign(source_id=toned["source_id"].str.rpartition("-")[0])
    classifier = Classifier(judge, SHOWN_TONE, {*known, *labelled.frame["concept"]}, things(spec))
    names = toned["image"].astype(str).to_list()
    rows["seen"] = classifier.seen_in(folder, names, rows["source_id"].map(known).to_list())
    own = labelled.of(SHOWN_TONE)
    labels = own.frame.assign(seen=classifier.classify(own.images, own.frame["concept"].to_list())["seen"])
    table = prevalence(
        rows, labels, SHOWN_TONE.classes, by="skin_tone", reference=trained, n_boot=n_boot, seed=seed
    ).rename(columns={"group": "asked", "class": "shown"})
    table["coverage"] = table["asked"].map(trained)
    table["verdict"] = table["verdict"].where(table["share_corrected"].isna(), "")
    return table[COLUMNS]


def trained_shares(spec: EnsembleSpec) -> dict[str, float]:
    """Shares of the tones among all toned captions of the training. Raises `EnsembleError` where it is not known."""
    table = None if spec.training_coverage is None else read_coverage(spec.training_coverage)
    own = None if table is None else table[table["by"] == SHOWN_TONE.name].set_index("group")["coverage"]
    if own is None or own.empty:
        raise EnsembleError(f"{spec.name}: says of no {SHOWN_TONE.name} how often it was seen in training")
    return {str(tone): float(share) for tone, share in (own / own.sum()).items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Read a run, write the record and print its table."""
    parser = argparse.ArgumentParser(prog="python -m emoe_audit.ground.depicted", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run that drew toned prompts")
    parser.add_argument("--labelled", type=Path, required=True, help="folder of labelled images")
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the record")
    args = parser.parse_args(arguments)
    store = RunStore.open(args.run)
    spec = store.sources().ensemble
    results, labelled = store.query("SELECT * FROM results"), read_labelled(args.labelled)
    table = asked_and_shown(results, store.path, spec, ClipJudge(spec.judge or ""), labelled)
    write_record(args.out, {"ensemble": spec.name}, table.astype(object).where(table.notna(), None).to_dict("records"))
    print(table.to_string(index=False, float_format="%.2f"))


if __name__ == "__main__":
    main()
