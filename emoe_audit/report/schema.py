"""The JSON Schema of `report.json`: `python -m emoe_audit.report.schema > reports/report.schema.json`.

It is derived from the dataclasses that the report is made of, so it cannot fall behind them: every field is required
but those that are left out where they are None, no other is allowed, and a description is the docstring of the class or
under the field. Every number that is not a count may be null, which is how JSON says NaN.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import json
import textwrap
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from emoe_audit.report.data import ReportData
from emoe_audit.report.render import NOT_IN_JSON, OPTIONAL_IN_JSON

DIALECT = "https://json-schema.org/draft/2020-12/schema"
PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": ["number", "null"]},
    NoneType: {"type": "null"},
}


def report_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) that every `report.json` follows."""
    definitions: dict[str, Any] = {}
    root = _object(ReportData, definitions)
    return {
        "$schema": DIALECT,
        "title": "report.json of emoe-audit",
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def schema_text() -> str:
    """The schema as the published file holds it."""
    return json.dumps(report_schema(), ensure_ascii=False, indent=1) + "\n"


def field_docstrings(cls: type) -> dict[str, str]:
    """The docstrings under the fields of a class, by field, on one line each."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    found = {}
    for pair in itertools.pairwise(ast.iter_child_nodes(definition)):
        match pair:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = " ".join(text.split())
    return found


def _object(cls: type, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a dataclass; those that it holds are added to `definitions`."""
    hints, described = get_type_hints(cls), field_docstrings(cls)
    names = [field.name for field in dataclasses.fields(cls) if field.name not in NOT_IN_JSON]
    about = {name: {"description": described[name]} if name in described else {} for name in names}
    return {
        "description": " ".join(str(cls.__doc__).split()),
        "type": "object",
        "properties": {name: _value(hints[name], definitions) | about[name] for name in names},
        "required": [name for name in names if name not in OPTIONAL_IN_JSON],
        "additionalProperties": False,
    }


def _value(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of an annotation. Raises TypeError for one that no report field has had so far."""
    if kind in PLAIN:
        return dict(PLAIN[kind])
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}
            definitions[kind.__name__] = _object(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, UnionType):
        return {"anyOf": [_value(argument, definitions) for argument in arguments]}
    if origin is tuple and arguments[1:] == (...,):
        return {"type": "array", "items": _value(arguments[0], definitions)}
    if origin in (dict, Mapping) and arguments[0] is str:
        return {"type": "object", "additionalProperties": _value(arguments[1], definitions)}
    raise TypeError(f"no JSON Schema is known for the annotation {kind}")


if __name__ == "__main__":
    print(schema_text(), end="")
