"""What subjects differ in, skin tone or gender: in which words prompts say it, and which prompts do not."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import pandas as pd

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.emoji import IMAGE_COLUMNS, SOURCE_LANGUAGE, caption_matrix, is_plain
from emoe_audit.prompts.table import PromptTable, table_of
from emoe_audit.prompts.tags import english_rank
from emoe_audit.types import EnsembleSpec

TONE_FOLLOWS = re.compile(r"\s*[:：፦]")
"""Between the name of an emoji and its skin tone, in all languages of CLDR that name both."""


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
    sources = source_captions(prompts)
    unsaid = prompts.reindex(columns=[attribute.name])[attribute.name].isna()
    silent = sources.map(lambda text: isinstance(text, str) and not attribute.is_named_in(text)).astype(bool)
    return sources.isin(list(concepts)) & unsaid & silent


def source_captions(prompts: pd.DataFrame) -> pd.Series:
    """The caption in the source language of each prompt, NaN where there is none."""
    if "source_prompt" in prompts:
        return prompts["source_prompt"]
    tags = [tag for tag in prompts["language"].unique() if english_rank(str(tag)) < 2]
    english = prompts[prompts["language"].isin(tags)].sort_values("language", kind="stable")
    english = english.drop_duplicates("source_id")
    return prompts["source_id"].map(english.set_index("source_id")["prompt"])
