"""SQL is put together by one function, from constants and quoted names; a name is a name, whatever it says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emoe_audit.runs.sql import Sql, identifier, joined, literal, sql

ROOT = Path(__file__).parents[2]
WORDS = re.compile(r"\b(SELECT|FROM|WHERE|COPY|CREATE|INSERT|ATTACH|JOIN|QUALIFY|HAVING|GROUP BY|ORDER BY)\b")
MAKER = ROOT / "emoe_audit" / "runs" / "sql.py"


def constants_of(tree: ast.Module) -> dict[str, str]:
    """Texts that a module names, those of its dictionaries too."""
    found = {}
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            parts = [own.value for own in ast.walk(node.value) if isinstance(own, ast.Constant)]
            if isinstance(node.value, ast.Constant | ast.Dict):
                found[target.id] = " ".join(part for part in parts if isinstance(part, str))
    return found


def text_of(node: ast.expr, constants: dict[str, str]) -> str | None:
    """The text of a constant, of a name of one, or of an entry of a dictionary of them."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.Name(id=name) | ast.Subscript(value=ast.Name(id=name)):
            return constants.get(name)
        case ast.JoinedStr(values=values):
            return " ".join(str(own.value) for own in values if isinstance(own, ast.Constant))
    return None


def put_together(source: str) -> list[int]:
    """Lines on which SQL is put together by anything but `sql`, or `sql` is given what is no constant."""
    tree, found = ast.parse(source), []
    constants = constants_of(tree)

    def is_sql(node: ast.expr) -> bool:
        return bool(WORDS.search(text_of(node, constants) or ""))

    for node in ast.walk(tree):
        match node:
            case ast.JoinedStr():
                wrong = is_sql(node)
            case ast.BinOp(op=ast.Mod() | ast.Add(), left=left, right=right):
                wrong = is_sql(left) or is_sql(right)
            case ast.Call(func=ast.Attribute(attr="format" | "format_map" | "replace", value=value)):
                wrong = is_sql(value)
            case ast.Call(func=ast.Name(id="sql"), args=[first, *_]):
                wrong = isinstance(first, ast.JoinedStr) or text_of(first, constants) is None
            case ast.Call(func=ast.Name(id="Sql")):
                wrong = True
            case _:
                wrong = False
        found += [node.lineno] if wrong else []  # type: ignore[attr-defined]
    return found


def test_sql_is_put_together_in_one_place() -> None:
    files = [file for folder in ("emoe_audit", "app") for file in (ROOT / folder).rglob("*.py") if file != MAKER]
    found = {str(file.relative_to(ROOT)): put_together(file.read_text(encoding="utf-8")) for file in files}
    assert {file: lines for file, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "source",
    [
        'f"SELECT avg({measure}) FROM results"',
        '"SELECT {} FROM results".format(measure)',
        'ASK = "SELECT {m} FROM results"\nASK.format(m=measure)',
        'ASK = "SELECT {m} FROM results"\nASK.replace("{m}", measure)',
        '"SELECT %s FROM results" % measure',
        '"SELECT * FROM results ORDER BY " + order',
        'BY = {"a": "ORDER BY {m}"}\nBY["a"].format(m=measure)',
        "sql(made_here)",
        'sql(f"SELECT {measure}")',
        "Sql(measure)",
    ],
)
def test_sql_that_is_put_together_elsewhere_is_found(source: str) -> None:
    assert put_together(source), source


@pytest.mark.parametrize("source", ['sql("SELECT {m} FROM results", m=column)', 'f"selected from {n} results"'])
def test_what_is_no_such_sql_is_let_alone(source: str) -> None:
    assert not put_together(source)


def test_into_a_hole_goes_nothing_but_what_was_quoted() -> None:
    assert sql("SELECT {m}", m=identifier('a"b')) == 'SELECT "a""b"'
    assert joined([identifier("a"), literal("it's")]) == "\"a\", 'it''s'"
    for part in ("1; DROP TABLE prompts", "disagreement"):
        with pytest.raises(TypeError, match="quote a name, and bind a value"):
            sql("SELECT {m}", m=part)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            joined([part])  # type: ignore[list-item]


def test_braces_in_a_name_are_no_holes() -> None:
    assert sql("SELECT {m}", m=sql("{c}", c=identifier("{0.__class__}"))) == 'SELECT "{0.__class__}"'


@settings(deadline=None, max_examples=50)
@given(name=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20))
def test_any_name_is_one_column_and_any_text_one_value(name: str) -> None:
    with duckdb.connect() as connection:
        answer = connection.execute(sql("SELECT {value} AS {name}", value=literal(name), name=identifier(name)))
        assert [column[0] for column in answer.description or ()] == [name]
        assert answer.fetchall() == [(name,)]


def test_a_piece_of_sql_is_text() -> None:
    assert isinstance(sql("true"), Sql) and sql("true") == "true"
