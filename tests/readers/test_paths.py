"""Paths that stand in files: what no file can be called, and links that lead to nothing, are told."""

from __future__ import annotations

from pathlib import Path

import pytest

from emoe_audit.errors import AuditError, EnsembleError
from emoe_audit.readers.paths import named_path, unbroken
from emoe_audit.readers.text import read_text


def test_a_relative_path_lies_beside_the_folder_and_an_absolute_one_where_it_says(tmp_path: Path) -> None:
    assert named_path("a/b", AuditError, beside=tmp_path) == tmp_path / "a" / "b"
    assert named_path("/a/b", AuditError, beside=tmp_path) == Path("/a/b")
    assert named_path("~/a", AuditError, beside=tmp_path) == Path.home() / "a"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("~nobody-of-this-name/x", r"^here: '~nobody-of-this-name/x': Could not determine home directory"),
        ("x" * 5000, r"^here: 'x+': .*x: cannot be read: File name too long"),
        ("x" * 300 + "/b", r"File name too long"),
        ("a\0b", r"^here: 'a\\x00b' holds a NUL"),
    ],
)
def test_what_no_file_can_be_called_is_told_with_its_place(name: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(EnsembleError, match=told) as error:
        named_path(name, EnsembleError, beside=tmp_path, where="here")
    assert len(str(error.value)) < 400


def test_a_link_to_nothing_is_told_with_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "config.json").symlink_to("/nowhere/blob")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name, target in (("config.json", "/nowhere/blob"), ("circle", str(tmp_path / "circle"))):
        for read in (unbroken, read_text):
            with pytest.raises(AuditError, match=rf"{name}: broken link to {target}; .*copy what it leads to"):
                read(tmp_path / name, AuditError)


def test_a_link_to_a_file_and_a_path_of_nothing_are_paths(tmp_path: Path) -> None:
    (tmp_path / "blob").touch()
    (tmp_path / "link").symlink_to(tmp_path / "blob")
    assert unbroken(tmp_path / "link", AuditError) == tmp_path / "link"
    assert unbroken(tmp_path / "nothing", AuditError) == tmp_path / "nothing"
