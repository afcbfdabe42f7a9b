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
        ("by,group,coverage\nlanguage,en,much\n", "the coverage of language 'en' is 'much', not a number from 0 to 1"),
        (
            "by,group,coverage\nlanguage,en,0.1\nlanguage,de,inf\n",
            "the coverage of language 'de' is 'inf', not a number",
        ),
        ("by,group,coverage\nlanguage,en,-5\n", "the coverage of language 'en' is '-5', .* it is a share"),
        ("by,group,coverage\nlanguage,en,37\n", "the coverage of language 'en' is '37', not a number from 0 to 1"),
        ("by,group,coverage\nlanguage,en,nan\n", "the coverage of language 'en' is 'nan'"),
        ("by,group,coverage\nlanguage,en,\n", "the coverage of language 'en' is ''"),
        ("by,group,coverage\nlanguage,en,1,2,3,4\nlanguage,de,1\n", r"coverage\.csv:2: 6 fields, the header has 3"),
        ("", r"coverage\.csv: no column by, coverage, group"),
        ("by,group,coverage,group\nlanguage,en,1,2\n", r"coverage\.csv:1: two columns are called 'group'"),
        ('by,group,coverage\nlanguage,"en,1\n', r"coverage\.csv:2: not valid CSV"),
        ("by,group,coverage\nlanguage,e\0n,1\n", r"coverage\.csv:2: holds a NUL"),
        ("by,group,coverage," + ",".join(map(str, range(600))) + "\n", "columns, at most 500 are taken"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(tmp_path: Path, content: str, message: str) -> None:
    with pytest.raises(AuditError, match=message):
        read_coverage(write(tmp_path, content))


def test_a_table_in_another_encoding_and_one_that_is_gone_say_why(tmp_path: Path) -> None:
    (tmp_path / "coverage.csv").write_bytes("by,group,coverage\nlanguage,español,1\n".encode("latin-1"))
    with pytest.raises(AuditError, match=r"coverage\.csv:\d: not UTF-8"):
        read_coverage(str(tmp_path / "coverage.csv"))
    with pytest.raises(AuditError, match=r"gone\.csv: no such file"):
        read_coverage(str(tmp_path / "gone.csv"))


@pytest.mark.parametrize(
    "content",
    [
        "by;group;coverage\nlanguage;en;0,25\n",
        "sep=;\nby;group;coverage\nlanguage;en;0.25\n",
        "by\tgroup\tcoverage\nlanguage\ten\t0.25\n",
    ],
)
def test_a_table_is_read_as_a_spreadsheet_writes_it(tmp_path: Path, content: str) -> None:
    assert read_coverage(write(tmp_path, content))["coverage"].tolist() == [0.25]
