"""Captions that lie in one file a language: tables that a column joins (MAGBIG), texts that lines join (Multi30k).

MAGBIG (Friedrich et al., arXiv 2401.16092): `occ_english.csv`, `occ_german.csv` with `name,prompt`, the occupation in
English in each. Multi30k (Elliott et al., WMT 2016): `train.en`, `train.de`, line by line what the other says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.columns import listed
from emoe_audit.prompts.join import join_tables
from emoe_audit.prompts.read import read_prompts
from emoe_audit.prompts.table import PromptTable, check_rows
from emoe_audit.readers.tables import FORMATS, Broken
from emoe_audit.readers.text import Lines


def join_files(files: Sequence[tuple[str, Path]], by: str | None = None) -> PromptTable:
    """The captions of several files as one table, the first file's as their source.

    Args:
        files: Language (BCP-47) and file of each: tables with a column `prompt`, or texts with a caption a line.
        by: The column of the tables that says which rows belong together; lines of texts do by their number.

    Raises:
        PromptTableError: a file cannot be read, a table lacks the column, or texts have different numbers of lines.
    """
    if len(files) < 2:
        raise PromptTableError("captions of one file have no translations; give two files or more, as en=FILE de=FILE")
    first, *others = [_read(language, path, by) for language, path in files]
    return join_tables(first, others) if all(_is_table(path) for _, path in files) else _even(files, first, others)


def _even(files: Sequence[tuple[str, Path]], first: PromptTable, others: Sequence[PromptTable]) -> PromptTable:
    counts = [table.n_prompts + len(table.row_errors) for table in (first, *others)]
    if len({*counts}) > 1:
        told = ", ".join(f"{path} {n:,}" for (_, path), n in zip(files, counts, strict=True))
        raise PromptTableError(f"line by line the same captions are expected, and there are {told} lines")
    return join_tables(first, others)


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in FORMATS


def _read(language: str, path: Path, by: str | None) -> PromptTable:
    if not _is_table(path):
        return check_rows(_lines(language, path), str(path))
    table = read_prompts(path)
    frame = table.frame
    if by is None or by not in frame:
        found = f"no column {by!r}" if by else "no column is named that says which rows belong together"
        raise PromptTableError(f"{path}: {found}; give --by one of {listed(frame.columns)}")
    rows = enumerate(frame.astype(object).where(frame.notna(), None).to_dict("records"), start=2)
    return check_rows(_joined_by(rows, language, by), str(path), table.warnings)


def _joined_by(
    rows: Iterator[tuple[int, dict[Any, Any]]], language: str, by: str
) -> Iterator[tuple[int, dict[str, Any] | Broken]]:
    for line, row in rows:
        if row[by] is None:
            yield line, Broken(f"column {by!r} is empty")
            continue
        names = {"prompt_id": f"{row[by]}-{language}", "source_id": str(row[by]), "language": language}
        yield line, {str(name): value for name, value in row.items()} | names


def _lines(language: str, path: Path) -> Iterator[tuple[int, dict[str, Any] | Broken]]:
    with Lines(path, PromptTableError) as lines:
        for text in lines:
            source_id = f"line-{lines.line}"
            own = {"prompt_id": f"{source_id}-{language}", "source_id": source_id, "language": language}
            yield lines.line, {**own, "prompt": text.rstrip("\r\n")}
