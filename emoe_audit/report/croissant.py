"""Runs and prompt tables as datasets that others find and load: Croissant 1.1 (mlcommons.org/croissant/1.1).

A description names files with their SHA-256, relative to where it lies itself, and the columns of each. That of a run
says with Croissant's vocabulary of responsible AI what the audit found and what it does not show.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from emoe_audit.errors import AuditError, StoreError
from emoe_audit.prompts.table import PromptTable
from emoe_audit.report.data import ReportData
from emoe_audit.report.labels import clip_text, counted, measure_label
from emoe_audit.runs.files import replace_file
from emoe_audit.runs.store import RunStore
from emoe_audit.runs.views import RESULTS, analysis

CONFORMS_TO = "http://mlcommons.org/croissant/1.1"
RAI = "http://mlcommons.org/croissant/RAI/1.0"
PARQUET = "application/x-parquet"
TABLES = {
    RESULTS: "a row per prompt with what was measured of it",
    "groups": "the mean of every measure in every group, with its interval",
    "gaps": "how far every group lies from the others, tested",
    "image_bounds": "whether the images of a language show what those of others do",
    "judge_reading": "which languages the judge of the images reads",
}
"""Tables of a run that are described, where it has them."""
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""As the specification has it."""
DELIMITED = {
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".parquet": PARQUET,
    ".jsonl": "application/jsonlines",
}
ID = re.compile(r"[^\w.-]+", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class _Described:
    """One file, and what it holds."""

    file: Path
    name: str
    words: str
    columns: Mapping[str, str]
    """Croissant's type of each."""


def describe_run(store: RunStore, data: ReportData, out: Path, licence: str | None = None) -> Path:
    """Write the description of a run; return the file.

    Raises:
        StoreError: the run is not analysed yet.
        AuditError: the file cannot be written.
    """
    if store.file(f"analysis/{RESULTS}.parquet") is None:
        raise StoreError(f"{store.path}: not analysed yet; run `emoe-audit analyze {store.path}` first")
    files = [
        _Described(file=file, name=name, words=words, columns=_of_parquet(file))
        for name, words in TABLES.items()
        if (file := analysis(store.path, name)).is_file()
    ]
    scope, model = data.scope, data.manifest.ensemble.name
    about = (
        f"Audit of the text-to-image model {model}: {counted(scope.n_prompts, 'prompt')} in "
        f"{counted(scope.n_languages, 'language')}, {counted(scope.n_images, 'image')} judged by "
        f"{data.manifest.ensemble.judge or 'nobody'}."
    )
    verdict = [data.verdict.where, data.verdict.quality, data.verdict.validity, data.verdict.trust]
    found = {"rai:dataBiases": verdict, "rai:dataLimitations": list(data.limits)}
    stated = {"version": _version(store), "datePublished": data.manifest.created[:10]}
    name = f"emoe-audit-{data.run}"
    return _write(_dataset(name, about, files, out, licence, conforms_to=[CONFORMS_TO, RAI]) | stated | found, out)


def describe_table(table: PromptTable, file: Path, out: Path, licence: str | None = None) -> Path:
    """Write the description of a prompt table; return the file.

    Args:
        table: As it was read.
        file: Where it was read from.
        out: The file to write.
        licence: Of the table, as a name or an address.

    Raises:
        AuditError: the table is of a form that Croissant does not know, or the file cannot be written.
    """
    if file.suffix.lower() not in DELIMITED:
        raise AuditError(f"{file}: Croissant describes {', '.join(DELIMITED)}; write the table as one of these")
    kinds: dict[str, str] = {}
    for part in table.parts:
        kinds |= {str(name): _kind(pa.Array.from_pandas(part[name]).type) for name in part}
    columns = {name: kinds.get(name, "sc:Text") for name in _columns_of(file)}
    languages = {str(tag) for part in table.parts for tag in part["language"].unique()}
    about = f"{counted(table.n_prompts, 'prompt')} for text-to-image models in {counted(len(languages), 'language')}."
    described = _Described(file=file, name="prompts", words="a row per prompt", columns=columns)
    return _write(_dataset(file.stem, about, [described], out, licence) | {"inLanguage": sorted(languages)}, out)


def _dataset(
    name: str,
    about: str,
    files: Sequence[_Described],
    out: Path,
    licence: str | None,
    conforms_to: str | list[str] = CONFORMS_TO,
) -> dict[str, Any]:
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": ID.sub("-", name).strip("-") or "prompts",
        "description": about,
        "conformsTo": conforms_to,
        **({} if licence is None else {"license": licence}),
        "distribution": [_file_object(own, out) for own in files],
        "recordSet": [_record_set(own) for own in files],
    }


def _file_object(own: _Described, out: Path) -> dict[str, Any]:
    with own.file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return {
        "@type": "cr:FileObject",
        "@id": f"file-{own.name}",
        "name": own.file.name,
        "description": own.words,
        "contentUrl": Path(os.path.relpath(own.file.resolve(), os.path.dirname(os.path.abspath(out)))).as_posix(),
        "contentSize": f"{own.file.stat().st_size} B",
        "encodingFormat": DELIMITED[own.file.suffix.lower()],
        "sha256": digest,
    }


def _record_set(own: _Described) -> dict[str, Any]:
    return {
        "@type": "cr:RecordSet",
        "@id": own.name,
        "name": own.name,
        "description": own.words,
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{own.name}/{column}",
                "name": column,
                "description": clip_text(measure_label(column), 200),
                "dataType": kind,
                "source": {"fileObject": {"@id": f"file-{own.name}"}, "extract": {"column": column}},
            }
            for column, kind in own.columns.items()
        ],
    }


def _of_parquet(file: Path) -> dict[str, str]:
    return {field.name: _kind(field.type) for field in pq.read_schema(file) if not pa.types.is_binary(field.type)}


def _columns_of(file: Path) -> list[str]:
    """As the file itself calls them."""
    if file.suffix.lower() == ".parquet":
        return list(_of_parquet(file))
    from emoe_audit.readers.tables import open_table

    return list(open_table(file, AuditError, lambda _name: True).columns)


def _kind(held: pa.DataType) -> str:
    if pa.types.is_boolean(held):
        return "sc:Boolean"
    if pa.types.is_integer(held):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(held) else "sc:Text"


def _version(store: RunStore) -> str:
    """Of a run there is one, which its prompts and weights name: what they were made from."""
    plan = store.plan()
    return f"1.0.0+{(plan.ensemble_hash or plan.quality_hash or plan.prompts_hash)[:12]}"


def _write(dataset: dict[str, Any], out: Path) -> Path:
    return replace_file(out, [json.dumps(dataset, ensure_ascii=False, indent=1) + "\n"])
