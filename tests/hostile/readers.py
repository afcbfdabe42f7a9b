"""Every reader of files from outside: an honest file for it, how it is made hostile, and what no reading may let pass.

What a reader lets pass is held against the file as plain Python reads it, never against the reader's own code.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import yaml

from tests.hostile import alter
from tests.hostile.alter import Alter

Fault = str | None
LINES = ["a dog on a sofa", "ein Hund auf dem Sofa", "un chien", "koira sohvalla", 'a "quoted", cat', "ねこ"]
LANGUAGES = ["en", "de", "fr", "fi", "en", "ja"]


def right(_value: Any, _file: Path) -> Fault:
    """Of a value of which nothing can be said."""
    return None


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One kind of file that can come from outside."""

    name: str
    make: Callable[[Path], None]
    """Writes an honest folder."""
    file: str
    """The file in it that is made hostile."""
    alter: Alter
    read: Callable[[Path], Any]
    """Reads the folder."""
    fault: Callable[[Any, Path], Fault] = right
    """What is wrong with a value that was read from the hostile file; None where it is right."""
    after: Callable[[Path], None] = lambda _folder: None
    """What somebody who made the file hostile would change beside it."""
    weight: int = 1
    """How often it is tried, relative to others."""


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
    frame = pd.DataFrame(table)
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in table), encoding="utf-8")
        case _:
            frame.to_parquet(path, index=False)


ALTER_TABLE: dict[str, Alter] = {
    ".csv": alter.alter_csv,
    ".jsonl": alter.alter_json_lines,
    ".parquet": alter.alter_parquet,
}


def table_readers() -> Iterator[Reader]:
    """Prompt tables and ratings in each format."""
    from emoe_audit.prompts.read import read_prompts
    from emoe_audit.quality.imported import read_quality

    for ending, own in ALTER_TABLE.items():
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
            alter=own,
            weight=60,
            read=read,
            fault=fault_of_prompts,
        )
        yield Reader(
            name=f"ratings{ending}", make=make, file=name, alter=own, weight=20, read=rate, fault=fault_of_ratings
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
        make=lambda folder: _write(folder / "coco.json", json.dumps(coco)),
        read=lambda folder: read_prompts(folder / "coco.json"),
    )
    yield Reader(
        name="xm3600.jsonl",
        file="x.jsonl",
        alter=alter.alter_json_lines,
        weight=20,
        make=lambda folder: write_table(folder / "x.jsonl", images),
        read=lambda folder: read_xm3600(folder / "x.jsonl"),
    )
    yield Reader(
        name="wide.csv",
        file="wide.csv",
        alter=alter.alter_csv,
        weight=20,
        fault=fault_of_prompts,
        make=lambda folder: write_table(folder / "wide.csv", wide),
        read=lambda folder: join_translations(folder / "wide.csv", []),
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


ENSEMBLE = """\
name: own
base: {source: base}
experts: [{name: one, source: base}, {name: two, source: other}]
assembly: shared_trunk
split: 1
top_k: 2
moe_layers: attn
training_coverage: coverage.csv
"""
RECIPE = """\
base_model: base
num_experts: 2
moe_layers: all
num_experts_per_tok: 2
type: sd
init: hidden
experts:
  - {source_model: base, positive_prompt: a, negative_prompt: b}
  - {source_model: other, positive_prompt: c, negative_prompt: d}
"""
POLICY = """\
alpha: 0.05
min_sources: 10
rules:
  - {by: language, measure: clip_cosine, figure: gap, at_least: -0.1, groups: [en, 'no', de]}
  - {by: region, measure: relative_disagreement, at_most: 0.5}
"""
COVERAGE = "by,group,coverage\nlanguage,en,0.9\nlanguage,de,0.1\nregion,150,0.5\n"
CONFIG = "n-noise: 2\nseed: 1\ndevice: cpu\nquiet: true\nmargin: [clip_cosine=0.02]\n"


def document_readers() -> Iterator[Reader]:
    """YAML and CSV that people write by hand: ensembles, recipes, policies, plans, settings, coverage."""
    from emoe_audit.cli.audit import run
    from emoe_audit.decisions.gate import read_policy
    from emoe_audit.experts.coverage import read_coverage
    from emoe_audit.experts.segmoe_recipe import read_segmoe_yaml
    from emoe_audit.experts.spec import load_spec
    from emoe_audit.recipes.plan import Plan

    plan = Path(__file__).parents[2] / "emoe_audit" / "recipes" / "plans" / "emoji-a.yaml"

    def folder_with(name: str, text: str) -> Callable[[Path], None]:
        def make(folder: Path) -> None:
            _write(folder / name, text)
            _write(folder / "coverage.csv" if name != "coverage.csv" else folder / name, COVERAGE)
            for part in ("base", "other"):
                (folder / part).mkdir()

        return make

    def settings(folder: Path) -> Any:
        return run.make_context("run", ["--config", str(folder / "config.yaml"), "--out", str(folder / "run")]).params

    for name, text, read, fault in (
        ("ensemble.yaml", ENSEMBLE, lambda folder: load_spec(str(folder / "ensemble.yaml")), right),
        ("recipe.yaml", RECIPE, lambda folder: read_segmoe_yaml(folder / "recipe.yaml"), right),
        ("policy.yaml", POLICY, lambda folder: read_policy(folder / "policy.yaml"), fault_of_policy),
        ("config.yaml", CONFIG, settings, right),
        ("plan.yaml", plan.read_text(encoding="utf-8"), lambda folder: Plan.read(folder / "plan.yaml"), fault_of_plan),
    ):
        yield Reader(
            name=name,
            make=folder_with(name, text),
            file=name,
            alter=alter.alter_yaml,
            read=read,
            weight=40,
            fault=fault,
        )
    yield Reader(
        name="coverage.csv",
        make=folder_with("coverage.csv", COVERAGE),
        file="coverage.csv",
        alter=alter.alter_csv,
        read=lambda folder: read_coverage(str(folder / "coverage.csv")),
        fault=fault_of_coverage,
        weight=40,
    )


def fault_of_policy(policy: Any, file: Path) -> Fault:
    """The bounds are those of the file, and finite numbers."""
    said = yaml.safe_load(file.read_text(encoding="utf-8-sig"))
    for rule, entry in zip(policy.rules, said["rules"], strict=True):
        for bound in ("at_least", "at_most"):
            value = getattr(rule, bound)
            if value != entry.get(bound) or (value is not None and not math.isfinite(value)):
                return f"{bound} is {value!r}, the file says {entry.get(bound)!r}"
        if (rule.by, rule.measure) != (entry["by"], entry["measure"]):
            return "a rule of another column"
    return None if 0 < policy.alpha < 1 else "alpha is no probability"


def fault_of_plan(plan: Any, _file: Path) -> Fault:
    """Shares are probabilities, the seed is a whole number, the name a text."""
    shares = [*plan.languages.values(), *plan.regions.values(), *plan.skin_tones.values()]
    if not all(isinstance(share, int | float) and 0 <= share <= 1 for share in shares):
        return "a share is no share"
    return None if type(plan.seed) is int and isinstance(plan.name, str) else "seed or name of another type"


def fault_of_coverage(table: pd.DataFrame, _file: Path) -> Fault:
    """Coverage is a share."""
    return None if table["coverage"].between(0, 1).all() else "a coverage is no share"


def copied(source: Path) -> Callable[[Path], None]:
    """An honest folder that is a copy of one."""

    def make(folder: Path) -> None:
        shutil.copytree(source, folder, dirs_exist_ok=True)

    return make


def fault_of_plan_json(store: Any, file: Path) -> Fault:
    """What a plan says is what its JSON says."""
    said, read = json.loads(file.read_text(encoding="utf-8")), json.loads(json.dumps(asdict(store.plan())))
    different = next((place for place in _places_in(said) if _at(read, place) != _at(said, place)), None)
    return f"{'.'.join(map(str, different))} is read as something else" if different else None


def _places_in(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the numbers and texts of a plain value stand."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, own in parts:
        yield from _places_in(own, (*place, key))
    if not isinstance(value, dict | list):
        yield place


def _at(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


def spread(readers: Iterable[Reader]) -> list[Reader]:
    """Each reader as often as its weight, in an order in which every stretch holds a bit of each."""
    own = list(readers)
    places = [((n + 0.5) / reader.weight, reader.name, reader) for reader in own for n in range(reader.weight)]
    return [reader for _, _, reader in sorted(places, key=lambda place: place[:2])]
