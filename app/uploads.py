"""Prompt tables that were uploaded: checked, and kept beside the runs under `.uploads`."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from emoe_audit.errors import AuditError, PromptTableError
from emoe_audit.prompts.read import read_prompts
from emoe_audit.prompts.table import PromptTable
from emoe_audit.runs.files import write_whole

FORMATS = (".csv", ".jsonl", ".parquet")


def check_upload(file_name: str, content: bytes) -> PromptTable:
    """The rows of an uploaded table, and what is wrong with the others, by line and column.

    Raises `PromptTableError` where nothing can be used.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = keep_upload(Path(folder), "table", file_name, content)
        try:
            table = read_prompts(path)
        except PromptTableError as error:
            raise PromptTableError(_named(str(error), path)) from None
        faults = tuple(replace(fault, message=_named(fault.message, path)) for fault in table.row_errors)
        return replace(table, row_errors=faults)


def keep_upload(root: Path, name: str, file_name: str, content: bytes) -> Path:
    """Write an uploaded table beside the runs. Raises `PromptTableError` for a format that is not read."""
    suffix = Path(file_name).suffix.lower()
    if suffix not in FORMATS:
        raise PromptTableError(f"{suffix or 'no ending'!r} is not read; use {', '.join(FORMATS)}")
    path = own_folder(root, ".uploads") / f"{name}{suffix}"
    write_whole(path, content)
    return path


def kept_upload(root: Path, name: str, suffix: str) -> Path:
    """The table that was uploaded for a run. Raises `AuditError` where it is not there, or is a link."""
    path = own_folder(root, ".uploads") / f"{name}{suffix}"
    if path.is_symlink() or not path.is_file():
        raise AuditError(f"{path}: the uploaded table is not there any more")
    return path


def own_folder(root: Path, name: str) -> Path:
    """A folder of the dashboard's own beside the runs. Raises `AuditError` where a link or a file has its name."""
    folder = root / name
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise AuditError(f"{folder}: a link or a file, where the dashboard keeps a folder of its own; remove it")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _named(message: str, path: Path) -> str:
    """A message that speaks of lines of the table, not of a file on this machine."""
    return message.replace(f"{path}:", "line ").replace(str(path), "the table")
