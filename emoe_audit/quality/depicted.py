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

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from PIL import Image

from emoe_audit.analysis.prevalence import ESTIMATED, prevalence
from emoe_audit.errors import PromptTableError, QualityError
from emoe_audit.prompts.emoji import IMAGE_COLUMNS, SOURCE_LANGUAGE, caption_matrix, is_plain
from emoe_audit.prompts.table import PromptTable, table_of
from emoe_audit.types import EnsembleSpec

LABELS = "labels.csv"
OVERALL = "all"
"""The group of all images together."""
MIN_FOUND = 0.5
"""The judge must find a subject in such a share of a group's images."""
CHUNK = 64
"""Images held at once."""
TONE_FOLLOWS = re.compile(r"\s*[:：፦]")
"""Between the name of an emoji and its skin tone, in all languages of CLDR that name both."""

Draw = Callable[[str], Image.Image | None]
"""The drawing of an emoji, None where there is none."""


class Judge(Protocol):
    """Reads images and texts; see `emoe_audit.quality.clip_score.ClipJudge`."""

    def image_features(self, images: Sequence[Image.Image]) -> np.ndarray: ...  # noqa: D102

    def text_features(self, texts: Sequence[str]) -> np.ndarray: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class AttributeSet:
    """What subjects differ in."""

    name: str
    """Also the column in which a prompt table says that a prompt names it."""
    captions: Mapping[str, str]
    """By class, in order: what an image of it shows, with `{concept}` for the subject."""
    mentions: frozenset[str]
    """English words by which a caption names one of the classes. Rather too many: what they exclude is not judged."""

    @property
    def classes(self) -> list[str]:
        """In order."""
        return list(self.captions)

    def captions_of(self, concept: str) -> list[str]:
        """One a class."""
        return [caption.format(concept=concept) for caption in self.captions.values()]

    def is_named_in(self, text: str) -> bool:
        """Whether an English text has one of the words."""
        return not self.mentions.isdisjoint(_words(text))


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"[^\W\d_]+", text.casefold()))


NO_TONE = "no tone shown"
TONES = {"light": 0x1F3FB, "medium-light": 0x1F3FC, "medium": 0x1F3FD, "medium-dark": 0x1F3FE, "dark": 0x1F3FF}
"""Of emoji, with their modifiers; Fitzpatrick's types, the first two of them being one (Unicode TR51)."""
SKIN_TONE = AttributeSet(
    name="skin_tone",
    captions={NO_TONE: "{concept}"} | {tone: f"{{concept}}: {tone} skin tone" for tone in TONES},
    mentions=_words(
        "skin skinned complexion tone light medium dark black white brown pale fair tan tanned yellow "
        "african asian european caucasian hispanic latino latina indian arab"
    ),
)
"""No tone is the yellow of emoji, or what hides skin."""
SHOWN_TONE = replace(SKIN_TONE, captions={tone: SKIN_TONE.captions[tone] for tone in TONES})
"""For a judge that never saw a subject without a tone, and a model that never drew one, as the embedded ones."""
GENDER = AttributeSet(
    name="gender",
    captions={kind: f"{{concept}}: {kind}" for kind in ("woman", "man", "person")},
    mentions=_words(
        "woman women man men girl girls boy boys female females male males lady ladies gentleman gentlemen guy guys "
        "mother father mom dad grandmother grandfather sister brother daughter son wife husband queen king princess "
        "prince bride groom actress waitress fireman policeman businessman businesswoman santa mrs mr she he her his"
    ),
)
"""A person is one whose gender does not show."""


def subjects(spec: EnsembleSpec) -> pd.DataFrame:
    """The subjects that an ensemble's captions show in every skin tone, named without one.

    A row per subject, its index the code points of the emoji (`1f44b`), and a column per language. The name is what
    stands before the colon in the caption of a tone.

    Raises:
        PromptTableError: the ensemble brings no captions, or none with a skin tone.
    """
    toned = caption_matrix(spec).dropna(subset=["skin_tone"])
    if toned.empty:
        raise PromptTableError(f"{spec.name}: no caption of its own says a skin tone; name the subjects yourself")
    names = toned["source_id"].str.rpartition("-")[0]
    languages = [column for column in toned if column not in IMAGE_COLUMNS]
    return toned[languages].groupby(names.to_numpy()).first().map(lambda caption: TONE_FOLLOWS.split(caption)[0])


def subject_prompts(spec: EnsembleSpec) -> PromptTable:
    """A prompt for every subject and language that names no skin tone. Raises `PromptTableError` as `subjects` does."""
    rows = [
        {
            "prompt_id": f"{key}-{language}",
            "source_id": key,
            "prompt": name,
            "language": language,
            "region": None,
            "source_prompt": names[SOURCE_LANGUAGE],
        }
        for key, names in subjects(spec).to_dict("index").items()
        for language, name in names.items()
    ]
    return table_of(pd.DataFrame(rows), f"{spec.name}: its own subjects, without a skin tone")


def things(spec: EnsembleSpec) -> list[str]:
    """The source-language captions of an ensemble that are of no subject: neither toned nor of a region."""
    captions = caption_matrix(spec)
    return captions.loc[is_plain(captions), SOURCE_LANGUAGE].to_list()


def names_none(prompts: pd.DataFrame, attribute: AttributeSet, concepts: Collection[str]) -> pd.Series:
    """Whether a prompt is of one of the subjects `concepts` and names no class of the attribute.

    Judged by the source caption, `source_prompt` or else the English prompt of the same `source_id`, and by the column
    of the attribute's name. A prompt without a source caption is left out.
    """
    sources = _source_captions(prompts)
    unsaid = prompts.reindex(columns=[attribute.name])[attribute.name].isna()
    silent = sources.map(lambda text: isinstance(text, str) and not attribute.is_named_in(text)).astype(bool)
    return sources.isin(list(concepts)) & unsaid & silent


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

    def seen_in(self, files: Sequence[Path], concepts: Sequence[str]) -> list[str | None]:
        """The class seen in each file; few images are held at once. Raises `QualityError`: one cannot be read."""
        found: list[str | None] = []
        for start in range(0, len(files), CHUNK):
            images = [_opened(file) for file in files[start : start + CHUNK]]
            found += self.classify(images, concepts[start : start + CHUNK])["seen"].to_list()
        return found


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images of which the class is known."""

    frame: pd.DataFrame
    """A row per image: `source_id`, what it was drawn from; `concept`, its caption without a class; `class`."""
    images: list[Image.Image]

    def of(self, attribute: AttributeSet) -> LabelledImages:
        """Those of its classes."""
        kept = self.frame["class"].isin(attribute.classes)
        images = [image for image, keep in zip(self.images, kept, strict=True) if keep]
        return LabelledImages(frame=self.frame[kept].reset_index(drop=True), images=images)


def tone_drawings(named: pd.DataFrame, styles: Sequence[Draw]) -> LabelledImages:
    """Real drawings of subjects in every tone and in none, each subject in one style and the next in the next.

    Args:
        named: From `subjects`.
        styles: What draws an emoji; where a style lacks one, the next that has it does.
    """
    rows, images = [], []
    for place, (key, concept) in enumerate(named[SOURCE_LANGUAGE].items()):
        emoji = "".join(chr(int(code, 16)) for code in str(key).split("-"))
        for name, modifier in {NO_TONE: "", **{tone: chr(code) for tone, code in TONES.items()}}.items():
            order = [styles[(place + step) % len(styles)] for step in range(len(styles))]
            drawing = next((made for draw in order if (made := draw(emoji + modifier)) is not None), None)
            if drawing is not None:
                rows.append({"source_id": key, "concept": concept, "class": name})
                images.append(drawing)
    return LabelledImages(frame=pd.DataFrame(rows), images=images)


def write_labelled(labelled: LabelledImages, folder: Path) -> None:
    """Write a PNG an image, and `labels.csv` with its `image`, `source_id`, `concept` and `class`."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [f"{place:04d}.png" for place in range(len(labelled.images))]
    for file, image in zip(files, labelled.images, strict=True):
        image.save(folder / file, "PNG", optimize=True)
    labelled.frame.assign(image=files).to_csv(folder / LABELS, index=False)


def read_labelled(folder: Path) -> LabelledImages:
    """Read what `write_labelled` wrote, or what follows it; a file without `source_id` takes each image for itself.

    Raises:
        QualityError: there is no `labels.csv`, it lacks a column, or an image cannot be read.
    """
    file = folder / LABELS
    if not file.is_file():
        raise QualityError(f"{folder}: no {LABELS}; a folder of labelled images needs one: image,concept,class")
    frame = pd.read_csv(file, dtype=str, keep_default_na=False)
    missing = sorted({"image", "concept", "class"} - set(frame))
    if missing:
        raise QualityError(f"{file}: no column {', '.join(missing)}; there are {', '.join(frame)}")
    images = [_opened(folder / name) for name in frame["image"]]
    return LabelledImages(frame=frame.assign(source_id=frame.get("source_id", frame["image"])), images=images)


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
    captions = _source_captions(results)[chosen.index]
    classifier = Classifier(judge, attribute, {*captions, *labelled.frame["concept"]}, things)
    known = labelled.frame.reset_index(drop=True).assign(
        seen=classifier.classify(labelled.images, labelled.frame["concept"].to_list())["seen"]
    )
    files = [folder / image for image in chosen["image"]]
    seen = chosen[["source_id", by]].assign(seen=classifier.seen_in(files, captions.to_list()), overall=OVERALL)
    options: dict[str, Any] = {"reference": reference, "n_boot": n_boot, "seed": seed}
    tables = [_shares(seen, known, attribute, column, **options) for column in ("overall", by)]
    return _without_lost(pd.concat(tables, ignore_index=True))


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


def _opened(file: Path) -> Image.Image:
    try:
        with Image.open(file) as opened:
            return opened.convert("RGB")
    except OSError as error:
        raise QualityError(f"{file}: no image that can be read: {error}") from error


def _source_captions(prompts: pd.DataFrame) -> pd.Series:
    if "source_prompt" in prompts:
        return prompts["source_prompt"]
    english = prompts[prompts["language"] == SOURCE_LANGUAGE].drop_duplicates("source_id")
    return prompts["source_id"].map(english.set_index("source_id")["prompt"])
