"""Prompt tables, ratings and captions, in each format that they are read in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from tests.hostile import alter
from tests.hostile.readers import BY_ENDING, Fault, Reader, written

LINES = ["a dog on a sofa", "ein Hund auf dem Sofa", "un chien", "koira sohvalla", 'a "quoted", cat', "ねこ"]
LANGUAGES = ["en", "de", "fr", "fi", "en", "ja"]
TEMPLATES = (
    'kind,name,en,de\ntemplate,photo,"photo: {noun}, {country}","Foto: {noun}, {country}"\n'
    "noun,house,a house,ein Haus\nnoun,dog,a dog,ein Hund\n"
)
COUNTRIES = ("Germany", "Deutschland", "Japan")
"""Their names in the languages of the templates."""


def rows() -> list[dict[str, Any]]:
    """An honest prompt table, with a column of each type."""
    return [
        {
            "prompt_id": f"p{n}",
            "source_id": f"s{n // 4}",
            "prompt": text,
            "language": tag,
            "region": "DE",
            "style": "a",
            "number": n / 2,
            "rating": 0.5,
        }
        for n, (text, tag) in enumerate(zip(LINES * 2, LANGUAGES * 2, strict=True))
    ]


def write_table(path: Path, table: list[dict[str, Any]]) -> None:
    """As CSV, JSON lines or Parquet, by the ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(table)
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
        case _:
            frame.to_parquet(path, index=False)


def table_readers() -> Iterator[Reader]:
    """Prompt tables and ratings in each format."""
    from emoe_audit.prompts.read import read_prompts
    from emoe_audit.quality.imported import read_quality

    for ending in (".csv", ".jsonl", ".parquet"):
        name = f"table{ending}"

        def make(folder: Path, name: str = name) -> None:
            write_table(folder / name, rows())

        def read(folder: Path, name: str = name) -> Any:
            return read_prompts(folder / name)

        def rate(folder: Path, name: str = name) -> Any:
            return read_quality(folder / name, ["rating"], prompt_ids={row["prompt_id"] for row in rows()})

        yield Reader(
            name=f"prompts{ending}",
            make=make,
            file=name,
            alter=BY_ENDING[ending],
            weight=40,
            read=read,
            fault=fault_of_prompts,
        )
        yield Reader(
            name=f"ratings{ending}",
            make=make,
            file=name,
            alter=BY_ENDING[ending],
            weight=10,
            read=rate,
            fault=fault_of_ratings,
        )


def fault_of_prompts(table: Any, file: Path) -> Fault:
    """Prompts are texts of the file, ids are there once, and the frame can be stored and read again."""
    frame = table.frame
    if frame["prompt_id"].duplicated().any() or not frame["prompt"].str.strip().astype(bool).all():
        return "an id stands twice, or a prompt is empty"
    stored = io.BytesIO()
    frame.to_parquet(stored, index=False)
    if len(pd.read_parquet(stored)) != len(frame):
        return "the frame is not stored as it is"
    for name in frame.columns:
        frame.groupby(name, dropna=True).size()
    said = set(texts_in(file))
    unsaid = [prompt for prompt in frame["prompt"].astype(str) if prompt not in said]
    return f"{unsaid[0]!r:.80} is no text of the file" if unsaid else None


def texts_in(file: Path) -> Iterator[str]:
    """Every cell of a table that is a text."""
    if file.suffix == ".parquet":
        for column in pq.read_table(file).to_pydict().values():
            yield from (cell for cell in column if isinstance(cell, str))
    elif file.suffix == ".jsonl":
        for line in file.read_text(encoding="utf-8-sig").split("\n"):
            if line.strip():
                yield from (value for value in json.loads(line).values() if isinstance(value, str))
    elif file.suffix == ".json":
        yield from strings_of(json.loads(file.read_text(encoding="utf-8-sig")))
    else:
        csv.field_size_limit(10**9)
        text = file.read_bytes().decode("utf-8-sig")
        for delimiter in ",;\t|":
            for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
                yield from row
                yield from (cell.strip() for cell in row)


def strings_of(value: Any) -> Iterator[str]:
    """Every text inside a plain value."""
    waiting = [value]
    while waiting:
        own = waiting.pop()
        if isinstance(own, str):
            yield own
        waiting += own.values() if isinstance(own, dict) else own if isinstance(own, list) else ()


def fault_of_ratings(read: Any, _file: Path) -> Fault:
    """Ratings are finite numbers of prompts that the run has."""
    if not np.isfinite(read.frame["rating"]).all():
        return "a rating is no finite number"
    return None if set(read.frame["prompt_id"]) <= {row["prompt_id"] for row in rows()} else "a prompt that is none"


def caption_readers() -> Iterator[Reader]:
    """COCO captions, Crossmodal-3600 and tables with a column a language."""
    from emoe_audit.prompts.join import join_translations, read_xm3600
    from emoe_audit.prompts.read import read_prompts

    coco = {
        "images": [{"id": n, "file_name": f"{n}.jpg"} for n in range(4)],
        "annotations": [{"id": 10 + n, "image_id": n, "caption": LINES[n]} for n in range(4)],
    }
    texts = {"de": {"caption": ["ein Hund"]}, "en": {"caption": ["a dog"]}}
    images = [{"image/key": f"k{n}", "image/locale": "de", **texts} for n in range(3)]
    wide = [{"source_id": f"s{n}", "en": f"{n} dogs", "de": f"{n} Hunde", "fi": f"{n} koiraa"} for n in range(4)]
    yield Reader(
        name="coco.json",
        file="coco.json",
        alter=alter.alter_json,
        weight=20,
        fault=fault_of_prompts,
        make=lambda folder: written(folder / "coco.json", json.dumps(coco)),
        read=lambda folder: read_prompts(folder / "coco.json"),
    )
    yield Reader(
        name="xm3600.jsonl",
        file="x.jsonl",
        alter=alter.alter_json_lines,
        weight=10,
        make=lambda folder: write_table(folder / "x.jsonl", images),
        read=lambda folder: read_xm3600(folder / "x.jsonl"),
    )
    yield Reader(
        name="wide.csv",
        file="wide.csv",
        alter=alter.alter_csv,
        weight=10,
        fault=fault_of_prompts,
        make=lambda folder: write_table(folder / "wide.csv", wide),
        read=lambda folder: join_translations(folder / "wide.csv", []),
    )


def text_readers() -> Iterator[Reader]:
    """Templates of prompts about countries, the captions that an ensemble brings, and a list of subjects."""
    from emoe_audit.errors import QualityError
    from emoe_audit.prompts.emoji import default_prompts
    from emoe_audit.prompts.regions import read_templates, region_prompts
    from emoe_audit.readers.text import read_text
    from emoe_audit.types import EnsembleSpec, ExpertSpec

    def of_countries(folder: Path) -> Any:
        return region_prompts(read_templates(folder / "templates.csv"), ["DE", "JP"])

    def of_the_ensemble(folder: Path) -> Any:
        base, captions = ExpertSpec(name="base", source="base"), str(folder / "captions.json")
        return default_prompts(EnsembleSpec(name="own", base=base, experts=(base,), captions=captions))

    said = [(n, language, f"{n} {noun}") for n in range(4) for language, noun in (("en", "dogs"), ("de", "Hunde"))]
    captions = {
        "images": [{"id": n, "file_name": f"{n}.png", "region": "DE" if n > 1 else None} for n in range(4)],
        "annotations": [
            {"id": place, "image_id": n, "language": language, "caption": caption}
            for place, (n, language, caption) in enumerate(said)
        ],
    }
    for name, text, own, read, fault in (
        ("templates.csv", TEMPLATES, alter.alter_csv, of_countries, fault_of_countries),
        ("captions.json", json.dumps(captions), alter.alter_json, of_the_ensemble, fault_of_prompts),
        (
            "subjects.txt",
            "\n".join(LINES),
            alter.alter_bytes,
            lambda folder: read_text(folder / "subjects.txt", QualityError).splitlines(),
            lambda lines, file: None if lines == file.read_bytes().decode("utf-8-sig").splitlines() else "other lines",
        ),
    ):

        def make(folder: Path, name: str = name, text: str = text) -> None:
            written(folder / name, text)

        yield Reader(
            name=name,
            make=make,
            file=name,
            alter=own,
            weight=10,
            read=read,
            fault=fault,
        )


def fault_of_countries(table: Any, file: Path) -> Fault:
    """Each prompt is a template of the file with one of its nouns and a country's name in place of the two."""
    texts = {text.strip() for text in texts_in(file)}
    templates, names = [text for text in texts if "{noun}" in text], COUNTRIES
    made = {
        template.replace("{noun}", noun).replace("{country}", name)
        for template in templates
        for noun in texts
        for name in names
    }
    unsaid = [prompt for prompt in table.frame["prompt"] if prompt not in made]
    return f"{unsaid[0]!r:.80} is not made of the file" if unsaid else None
