"""Prompt tables joined: translations by caption, captions of the same image by image.

A translation says what its source says, so the two are compared as a pair: they share `source_id`, and `parallel` is
`translation`. Captions that people wrote of one image in their own languages (Crossmodal-3600, arXiv 2205.12522) say
different things about the same picture: they share `image_id` alone, `parallel` is `image`, and they are never a pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.columns import GIVEN, frame_of
from emoe_audit.prompts.names import IMAGE_KEY
from emoe_audit.prompts.read import read_prompts
from emoe_audit.prompts.table import UNDETERMINED, PromptTable, check_rows, table_of
from emoe_audit.prompts.tags import english_rank
from emoe_audit.prompts.wide import is_wide, language_of, read_wide
from emoe_audit.readers.limits import CELL
from emoe_audit.readers.tables import Broken, Rows, json_rows
from emoe_audit.types import RowError

TRANSLATION, IMAGE = "translation", "image"
"""Values of `parallel`."""
HUMAN = "human"
"""`translation_source` of a translation that does not say who made it."""
IMAGE_LOCALE, CAPTION = "image/locale", "caption"


def join_translations(path: Path, translations: Sequence[Path]) -> PromptTable:
    """A prompt table and its translations as one table.

    Each file is a prompt table (a row a prompt, with `source_id` and `language`), a CSV table with a column for each
    language, or the captions of Crossmodal-3600, which join on `image_id`. In `path` the first language of a table
    with a column for each is the original.

    Raises:
        PromptTableError: a file cannot be read, or there is nothing to join.
    """
    if not translations and not is_wide(path):
        raise PromptTableError(f"{path}: nothing to join; give a file of translations, or name columns 'en', 'fi'")
    return join_tables(_read(path, has_original=True), [_read(other, has_original=False) for other in translations])


def join_tables(base: PromptTable, others: Sequence[PromptTable]) -> PromptTable:
    """The rows of `base`, and those of the others that belong to its captions or images.

    A translation takes from its caption every column that it lacks; `prompt_id` becomes `source_id-language`,
    `source_prompt` the English prompt of its caption, else the first. A row that belongs to nothing, or is a second
    translation into a language, is left out.

    Raises:
        PromptTableError: captions of images are to be joined, and `base` has no column `image_id`.
    """
    joined = _Joined(base)
    for other in others:
        joined.take(other)
    return joined.table("; ".join(table.source for table in (base, *others)))


def read_xm3600(path: Path) -> PromptTable:
    """Crossmodal-3600's `captions.jsonl`: one prompt for each caption, joined by `image_id` and nothing else.

    `image_file` is the name of the image in the published archive, `image_locale` where it was taken.

    Raises:
        PromptTableError: the file cannot be read; with line and column.
    """
    return check_rows(_xm3600_rows(path), str(path))


class _Joined:
    """A table while rows come in."""

    def __init__(self, base: PromptTable) -> None:
        self._base = base
        self._rows, self._errors, self._warnings = _records(base.frame), list(base.row_errors), list(base.warnings)
        self._texts = {(row["source_id"], row["language"]): row["prompt"] for row in self._rows}
        self._ids = {row["prompt_id"] for row in self._rows}
        self._files = {str(row["image_id"]): row.get("image_file") for row in self._rows if row.get("image_id")}
        self._origins: dict[str, dict[str, Any]] = {}
        for row in self._rows:
            origin = self._origins.get(row["source_id"])
            if origin is None or _is_nearer_english(row, origin):
                self._origins[row["source_id"]] = row
        self._shared: set[str] = set()

    def take(self, table: PromptTable) -> None:
        """Take the rows of a table that belong to this one."""
        self._errors += table.row_errors
        self._warnings += table.warnings
        for row in _records(table.frame):
            if row.get("parallel") == IMAGE:
                self._take_caption(row, table.source)
            else:
                self._take_translation(row, table.source)

    def table(self, source: str) -> PromptTable:
        """What came together."""
        languages = pd.DataFrame(list(self._texts), columns=["source_id", "language"]).groupby("source_id").size()
        translated = set(languages.index[languages > 1])
        for row in self._rows:
            if row["source_id"] in translated:
                row["parallel"] = TRANSLATION
            elif str(row.get("image_id")) in self._shared:
                row["parallel"] = IMAGE
            if "source_prompt" not in row:
                row["source_prompt"] = self._source_prompt(row, is_translated=row["source_id"] in translated)
        frame, told = frame_of(self._rows, source)
        return table_of(frame, source, tuple(self._errors), (*self._warnings, *told))

    def _take_translation(self, row: dict[str, Any], source: str) -> None:
        source_id, language, prompt = row["source_id"], row["language"], row["prompt"]
        known = self._texts.get((source_id, language))
        if known == prompt:
            return
        if source_id not in self._origins:
            self._refuse(row, source, f"source_id {source_id!r} is in no row of {self._base.source}")
        elif language == UNDETERMINED:
            self._refuse(row, source, "a translation needs a language")
        elif known is not None:
            self._refuse(row, source, f"{source_id!r} has another prompt in {language!r} already")
        else:
            self._texts[source_id, language] = prompt
            self._add(self._translation(row), source)

    def _translation(self, row: Mapping[str, Any]) -> dict[str, Any]:
        source_id = row["source_id"]
        own = {name: value for name, value in row.items() if value is not None}
        inherited = {name: value for name, value in self._origins[source_id].items() if name != GIVEN}
        return {
            **inherited,
            **own,
            "prompt_id": f"{source_id}-{row['language']}",
            "source_prompt": self._source_prompt(row, is_translated=True),
            "translation_source": own.get("translation_source", HUMAN),
        }

    def _take_caption(self, row: dict[str, Any], source: str) -> None:
        image = str(row.get("image_id"))
        if not self._files:
            raise PromptTableError(
                f"{self._base.source}: no column 'image_id', on which {source} joins; "
                "'emoe-audit prompts xm3600' makes a table of such captions alone"
            )
        if image not in self._files:
            self._refuse(row, source, f"image_id {image!r} is in no row of {self._base.source}")
            return
        self._shared.add(image)
        self._add(row | {"image_file": self._files[image] or row.get("image_file")}, source)

    def _add(self, row: dict[str, Any], source: str) -> None:
        if row["prompt_id"] in self._ids:
            self._refuse(row, source, "another row has this prompt_id")
            return
        self._ids.add(row["prompt_id"])
        self._rows.append(row)

    def _refuse(self, row: Mapping[str, Any], source: str, reason: str) -> None:
        message = f"{source}: {row['prompt_id']} is left out: {reason}"
        self._errors.append(RowError(stage="read", message=message, prompt_id=row["prompt_id"]))

    def _source_prompt(self, row: Mapping[str, Any], *, is_translated: bool) -> str | None:
        """A caption that is neither English nor translated has none."""
        origin = self._origins.get(row["source_id"], row)
        own = origin["prompt"] if is_translated or english_rank(origin["language"]) < 2 else None
        return origin.get("source_prompt") or own


def _is_nearer_english(row: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether a row is English, and the other is none or no plainer one."""
    rank = english_rank(row["language"])
    return rank < 2 and rank <= english_rank(other["language"])


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    plain = frame.astype(object).where(frame.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def _read(path: Path, *, has_original: bool) -> PromptTable:
    if _is_xm3600(path):
        return read_xm3600(path)
    return check_rows(_wide_rows(path, has_original=has_original), str(path)) if is_wide(path) else read_prompts(path)


def _wide_rows(path: Path, *, has_original: bool) -> Iterator[tuple[int, dict[str, Any]]]:
    """One row for each text; where the first language is the original, its text is the source of the others."""
    for row in read_wide(path):
        source_id = row.fields.get("source_id", f"row-{row.line}")
        original = next(iter(row.texts)) if has_original else None
        for language, text in row.texts.items():
            own = {"translation_source": HUMAN} | row.fields
            own |= {"prompt_id": f"{source_id}-{language}", "source_id": source_id, "prompt": text}
            if original is not None:
                own["source_prompt"] = row.texts[original]
            if language == original:
                own["translation_source"] = ""
            if text:
                yield row.line, own | {"language": language}


def _is_xm3600(path: Path) -> bool:
    if path.suffix.lower() != ".jsonl" or not path.is_file():
        return False
    with path.open("rb") as file:
        return f'"{IMAGE_KEY}"'.encode() in file.readline(CELL.value)


def _xm3600_rows(path: Path) -> Rows:
    for line, image in json_rows(path, PromptTableError):
        if isinstance(image, Broken):
            yield line, image
        elif not isinstance(image.get(IMAGE_KEY), str | int):
            yield line, Broken(f"expected a JSON object with {IMAGE_KEY!r}")
        else:
            yield from ((line, row) for locale, entry in image.items() for row in _captions(image, locale, entry))


def _captions(image: Mapping[str, Any], locale: str, entry: Any) -> Iterator[dict[str, Any] | Broken]:
    """A row for each caption in one locale; none where the entry is another thing that is known of the image."""
    if not isinstance(entry, dict) and (entry is not None or not language_of(locale)):
        return
    captions = entry.get(CAPTION) if isinstance(entry, dict) else None
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        yield Broken(f"{locale!r} must hold a list of texts under {CAPTION!r}")
        return
    for number, caption in enumerate(captions, start=1):
        prompt_id = f"{image[IMAGE_KEY]}-{locale}-{number}"
        yield {
            "prompt_id": prompt_id,
            "source_id": prompt_id,
            "prompt": caption,
            "language": locale,
            "image_id": str(image[IMAGE_KEY]),
            "image_file": f"{image[IMAGE_KEY]}.jpg",
            "image_locale": image.get(IMAGE_LOCALE),
            "parallel": IMAGE,
        }
