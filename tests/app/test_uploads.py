"""Uploaded tables: checked by line and column, kept beside the runs and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from emoe_audit.errors import AuditError


@pytest.fixture
def uploads(app_on_path: None) -> Any:
    import uploads

    return uploads


def test_a_bad_table_names_line_and_column_and_no_file_of_this_machine(uploads: Any) -> None:
    table = uploads.check_upload("mine.csv", b"prompt,language\na dog,en\na cat,xx-nonsense-tag\n,en\n")
    assert [(fault.line, fault.column) for fault in table.row_errors] == [(3, "language"), (4, "prompt")]
    assert all(
        fault.message.startswith("line ") and "/" not in fault.message.split(":")[0] for fault in table.row_errors
    )
    with pytest.raises(AuditError, match=r"^line 1: no column 'prompt'"):
        uploads.check_upload("mine.csv", b"words\na dog\n")
    with pytest.raises(AuditError, match="is not read"):
        uploads.check_upload("mine.exe", b"MZ")


def test_what_is_kept_is_what_was_uploaded(uploads: Any, tmp_path: Path) -> None:
    uploads.keep_upload(tmp_path, "mine", "Table.CSV", b"prompt\na dog\n")
    assert uploads.kept_upload(tmp_path, "mine", ".csv").read_bytes() == b"prompt\na dog\n"


def test_a_folder_that_is_a_link_is_not_followed(uploads: Any, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / ".uploads").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuditError, match="a link or a file"):
        uploads.keep_upload(tmp_path / "runs", "mine", "mine.csv", b"prompt\na dog\n")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_table_that_is_a_link_is_neither_written_through_nor_read(uploads: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("prompt\nsecret\n")
    (tmp_path / ".uploads").mkdir()
    (tmp_path / ".uploads" / "mine.csv").symlink_to(secret)
    with pytest.raises(AuditError, match="not there any more"):
        uploads.kept_upload(tmp_path, "mine", ".csv")
    uploads.keep_upload(tmp_path, "mine", "mine.csv", b"prompt\na dog\n")
    assert secret.read_text() == "prompt\nsecret\n"
    assert uploads.kept_upload(tmp_path, "mine", ".csv").read_bytes() == b"prompt\na dog\n"
