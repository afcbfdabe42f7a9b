"""The table of known training coverage, and what is said of one that cannot be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from emoe_audit.errors import AuditError
from emoe_audit.experts.coverage import read_coverage


def write(folder: Path, content: str) -> str:
    (folder / "coverage.csv").write_text(content)
    return str(folder / "coverage.csv")


def test_codes_are_text_and_shares_are_numbers(tmp_path: Path) -> None:
    table = read_coverage(write(tmp_path, "by,group,coverage,drawn\nregion,014,0.25,7\nlanguage,nan,0,0\n"))
    assert table["group"].tolist() == ["014", "nan"]
    assert table["coverage"].tolist() == [0.25, 0.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("language,coverage\nen,1\n", r"coverage\.csv: no column by, group"),
        ("by,group,coverage\nlanguage,en,1\nlanguage,en,0\n", "language 'en' has more than one row"),
        ("by,group,coverage\nlanguage,en,much\n", "the coverage of language 'en' is 'much', not a number"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(AuditError, match=message):
        read_coverage(write(tmp_path, content))
