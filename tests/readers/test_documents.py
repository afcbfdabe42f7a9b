"""JSON and YAML from outside: what is read is plain and finite; other files are told by file, line and column."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from emoe_audit.errors import AuditError, StoreError
from emoe_audit.readers.documents import parse_json, read_json, read_json_object, read_yaml

TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cc"]))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63) + 1, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(PLAIN)
def test_every_plain_value_is_read_as_it_was_written(value: object) -> None:
    assert parse_json(json.dumps(value), "here", AuditError) == value


def write(folder: Path, content: str | bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", ":1:2: not valid JSON"),
        ('{"a": 1,\n "b": }', ":2:7: not valid JSON"),
        ('{"a": NaN}', "NaN is no finite number"),
        ('{"a": 1e999}', "inf is no finite number"),
        ('{"a": 18446744073709551616}', "is no number of 64 bits"),
        ('{"a": 1, "a": 2}', "key 'a' is given twice"),
        ('["\\ud800"]', "a lone surrogate, which is no text"),
        ('["a\\u0000b"]', "holds a NUL"),
        ("[" * 65 + "]" * 65, "nested more than 64 levels deep"),
        ("[" * 200_000, "nested more than 64 levels deep"),
        ("9" * 5000, "not valid JSON"),
        (b'\n\n{"a": "\xff"}', ":3: not UTF-8"),
    ],
)
def test_json_that_is_none_is_told(content: str | bytes, told: str, tmp_path: Path) -> None:
    path = write(tmp_path, content)
    with pytest.raises(StoreError) as error:
        read_json(path, StoreError)
    assert str(error.value).startswith(str(path)) and told in str(error.value)


def test_a_list_is_no_object(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="expected a JSON object"):
        read_json_object(write(tmp_path, "[]"), AuditError)


def test_a_byte_order_mark_is_no_part_of_a_document(tmp_path: Path) -> None:
    assert read_json(write(tmp_path, b'\xef\xbb\xbf{"a": 1}'), AuditError) == {"a": 1}
    assert read_yaml(write(tmp_path, b"\xef\xbb\xbfa: 1"), AuditError) == {"a": 1}


def test_a_file_larger_than_is_taken_is_refused_with_the_variable_that_takes_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, json.dumps("x" * 100))
    monkeypatch.setenv("EMOE_AUDIT_MAX_DOCUMENT", "101")
    with pytest.raises(AuditError, match=r"102 bytes .* at most 101 are taken; set EMOE_AUDIT_MAX_DOCUMENT"):
        read_json(path, AuditError)
    monkeypatch.setenv("EMOE_AUDIT_MAX_DOCUMENT", "102")
    assert read_json(path, AuditError) == "x" * 100
    monkeypatch.setenv("EMOE_AUDIT_MAX_DOCUMENT", "many")
    with pytest.raises(AuditError, match="EMOE_AUDIT_MAX_DOCUMENT: 'many' is no whole number"):
        read_json(path, AuditError)


def test_yaml_larger_than_is_taken_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match="set EMOE_AUDIT_MAX_YAML to take more"):
        read_yaml(write(tmp_path, "- a\n" * 300_000), AuditError)


def test_what_looks_like_a_date_or_a_country_stays_a_text(tmp_path: Path) -> None:
    content = "seed: 2020-01-01\nlanguages: [no, on, en]\nflag: true\nnumber: 0.05\nnothing: ~\n"
    assert read_yaml(write(tmp_path, content), AuditError) == {
        "seed": "2020-01-01",
        "languages": ["no", "on", "en"],
        "flag": True,
        "number": 0.05,
        "nothing": None,
    }


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a: &x [1, 2]\nb: *x\n", ":2:4: not valid YAML: references"),
        ("a: 1\na: 2\n", ":2:1: not valid YAML: key 'a' is given twice"),
        ("? [1]\n: 2\n", "a key is a text"),
        ("a: .nan", "nan is no finite number"),
        ("a: !!float 1e999", "inf is no finite number"),
        ("a: !!python/object/apply:os.system [id]", ":1:4: not valid YAML: could not determine a constructor"),
        ("a: !!binary aGFsbG8=", "is neither text, number, list nor mapping"),
        ("a: !!set {b, c}", "is neither text, number, list nor mapping"),
        ("a: !!timestamp 2020-99-99", "not valid YAML: month must be in 1..12"),
        ("a: [1", ":1:6: not valid YAML"),
        ("a: \x07", "not valid YAML: unacceptable character"),
        ("[" * 5000, "nested more than 64 deep"),
        (b"name: M\xfcller\n", ":1: not UTF-8"),
    ],
)
def test_yaml_that_is_none_is_told(content: str | bytes, told: str, tmp_path: Path) -> None:
    path = write(tmp_path, content)
    with pytest.raises(StoreError) as error:
        read_yaml(path, StoreError)
    assert str(error.value).startswith(str(path)) and told in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_doubles_with_every_line_would_be_read_by_the_library_and_is_not(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 8))]
    path = write(tmp_path, "\n".join(lines))
    assert str(yaml.safe_load(path.read_text())["a7"]).count("x") == 256
    with pytest.raises(AuditError, match="references"):
        read_yaml(path, AuditError)


def test_an_empty_yaml_file_holds_nothing(tmp_path: Path) -> None:
    assert read_yaml(write(tmp_path, ""), AuditError) is None


@pytest.mark.parametrize("name", ["gone", "folder", "nul\0", "x" * 300])
def test_a_file_that_cannot_be_opened_is_told(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(AuditError, match="cannot be read"):
        read_json(tmp_path / name, AuditError)
