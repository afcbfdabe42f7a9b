"""Who is depicted: which skin tones and genders images show for prompts that name none.

Zero-shot: an image is of the class whose caption, "waving hand: dark skin tone" for a waving hand, is nearest to it by
the judge. What the judge sees is corrected for how it errs on labelled images (`emoe_audit.analysis.prevalence`) and
set against a reference that is stated, never assumed.

An image counts when the judge finds a subject in it: when of all captions that it knows the nearest is of some subject
and not of another thing. Without that rule the noise that a model draws for a language it cannot read would have a
skin tone too. Labelled images count by the same rule. Where most images of a group do not count, nothing is said about
it: those that do are as likely taken for a subject by mistake.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from PIL import Image

from emoe_audit.analysis.prevalence import ESTIMATED, prevalence
from emoe_audit.errors import QualityError
from emoe_audit.quality.attributes import AttributeSet, names_none, source_captions
from emoe_audit.quality.labelled import LabelledImages
from emoe_audit.readers.pictures import numbered, open_picture

OVERALL = "all"
"""The group of all images together."""
MIN_FOUND = 0.5
"""The judge must find a subject in such a share of a group's images."""
CHUNK = 64
"""Images held at once."""
MOST_IMAGES = 64
"""Of a prompt."""


class Judge(Protocol):
    """Reads images and texts; see `emoe_audit.quality.clip_score.ClipJudge`."""

    def image_features(self, images: Sequence[Image.Image]) -> np.ndarray: ...  # noqa: D102

    def text_features(self, texts: Sequence[str]) -> np.ndarray: ...  # noqa: D102


class Classifier:
    """Sorts images of known subjects into the classes of an attribute."""

    def __init__(
        self, judge: Judge, attribute: AttributeSet, concepts: Collection[str], things: Sequence[str] = ()
    ) -> None:
        """Read the captions.

        Args:
            judge: Reads images and captions.
            attribute: What is asked for.
            concepts: The subjects, in the language of the judge's captions.
            things: Captions of what is no subject; with none of them every image counts.
        """
        self._judge, self._attribute = judge, attribute
        self._concepts = pd.Index(sorted(set(concepts)))
        captions = [caption for concept in self._concepts for caption in attribute.captions_of(concept)]
        self._texts = judge.text_features(captions).reshape(len(self._concepts), len(attribute.classes), -1)
        self._things = judge.text_features(things) if len(things) else np.empty((0, self._texts.shape[2]))

    def classify(self, images: Sequence[Image.Image], concepts: Sequence[str]) -> pd.DataFrame:
        """A row per image: the cosine with each class of its own concept, and the class `seen`.

        That is the class of the highest cosine, null where something else than a subject is nearest.
        """
        features = self._judge.image_features(images)
        own = self._texts[self._concepts.get_indexer(pd.Index(concepts))]
        scores = pd.DataFrame(np.einsum("if,icf->ic", features, own), columns=self._attribute.classes)
        best = (features @ self._texts.reshape(-1, features.shape[1]).T).max(axis=1)
        is_subject = best > (features @ self._things.T).max(axis=1, initial=-np.inf)
        return scores.assign(seen=scores.idxmax(axis=1).where(is_subject, None))

    def seen_in(self, folder: Path, names: Sequence[str], concepts: Sequence[str]) -> list[str | None]:
        """The class seen in each file of a folder; few images are held at once.

        Raises:
            QualityError: one cannot be read, or lies outside of the folder.
        """
        found: list[str | None] = []
        for start in range(0, len(names), CHUNK):
            images = [open_picture(folder, name, QualityError) for name in names[start : start + CHUNK]]
            found += self.classify(images, concepts[start : start + CHUNK])["seen"].to_list()
        return found


def who_is_depicted(
    results: pd.DataFrame,
    folder: Path,
    judge: Judge,
    attribute: AttributeSet,
    labelled: LabelledImages,
    *,
    concepts: Collection[str],
    reference: Mapping[str, float],
    things: Sequence[str] = (),
    by: str = "language",
    n_boot: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """A row per group and class, those of all images first: see `prevalence.COLUMNS`, after the column `attribute`.

    `n_images` are those in which the judge finds a subject, `n_drawn` all that were made for prompts of the group that
    name no class.

    Args:
        results: A row per prompt of a run, with `source_id`, `image` and the source captions; see `names_none`.
        folder: The run's, in which `image` is a relative path.
        judge: Reads images.
        attribute: What is asked for.
        labelled: Images on which the judge's errors are counted.
        concepts: The source captions that are of subjects.
        reference: Shares of classes to compare with; see `prevalence`.
        things: Source captions of what is no subject.
        by: The group column.
        n_boot: Of the intervals.
        seed: Of the resampling.

    Raises:
        QualityError: no image was made for such a prompt, or one cannot be read.
        AuditError: the reference is no distribution over the classes, or a label is no class.
    """
    chosen = results[names_none(results, attribute, concepts) & results["image"].notna()]
    if chosen.empty:
        raise QualityError(f"no image of a subject whose prompt names no {attribute.name}; draw such prompts first")
    chosen = one_row_an_image(chosen)
    captions = source_captions(results)[chosen.index]
    classifier = Classifier(judge, attribute, {*captions, *labelled.frame["concept"]}, things)
    known = labelled.frame.reset_index(drop=True).assign(
        seen=classifier.classify(labelled.images, labelled.frame["concept"].to_list())["seen"]
    )
    names = chosen["image"].astype(str).to_list()
    seen = chosen[["source_id", by]].assign(seen=classifier.seen_in(folder, names, captions.to_list()), overall=OVERALL)
    options: dict[str, Any] = {"reference": reference, "n_boot": n_boot, "seed": seed}
    tables = [_shares(seen, known, attribute, column, **options) for column in ("overall", by)]
    return _without_lost(pd.concat(tables, ignore_index=True))


def one_row_an_image(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of a run that have an image, each as often as it has images, and with the name of one of them."""
    n_images = results["n_images"] if "n_images" in results else pd.Series(1, index=results.index)
    rows = results.loc[results.index.repeat(n_images.fillna(1).clip(1, MOST_IMAGES).astype(int))]
    number = rows.groupby(level=0).cumcount() + 1
    return rows.assign(image=[numbered(str(image), own) for image, own in zip(rows["image"], number, strict=True)])


def _shares(seen: pd.DataFrame, known: pd.DataFrame, attribute: AttributeSet, by: str, **options: Any) -> pd.DataFrame:
    """`prevalence` over the groups of one column, with `attribute` and `n_drawn`."""
    table = prevalence(seen, known, attribute.classes, by=by, **options)
    table.insert(0, "attribute", attribute.name)
    return table.assign(n_drawn=table["group"].map(seen[by].value_counts()))


def _without_lost(table: pd.DataFrame) -> pd.DataFrame:
    """The table without the estimates of groups most of whose images show no subject."""
    lost = table["n_images"] < MIN_FOUND * table["n_drawn"]
    table.loc[lost, [*ESTIMATED, "p_bh"]] = np.nan
    table.loc[lost, "verdict"] = "most images show no subject"
    return table
