"""Plain values as the type that is meant: a field of another type or of no meaning is told by its place."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import TypeAdapter, ValidationError

from emoe_audit.errors import AuditError

T = TypeVar("T")


def typed(value: Any, kind: type[T], where: str, error: type[AuditError]) -> T:
    """A value of JSON or YAML as a dataclass, or another type that has annotations. Nothing is converted.

    Args:
        value: Plain, as `documents` reads it; a list stands for a tuple.
        kind: What is meant.
        where: The file, for the message.
        error: Raised for a field that is missing, unknown, or of another type.
    """
    try:
        return _adapter(cast(Hashable, kind)).validate_json(json.dumps(value), strict=True, extra="forbid")
    except ValidationError as fault:
        raise error(f"{where}: {_told(fault, value)}") from None
    except (TypeError, ValueError, RecursionError) as fault:
        raise error(f"{where}: {fault}") from fault


def typed_fields(value: Mapping[str, Any], kind: type[T], where: str, error: type[AuditError]) -> T:
    """An object as a dataclass, as `typed` does; fields that the dataclass does not have are not looked at."""
    known = {field.name for field in fields(cast(Any, kind))}
    return typed({name: own for name, own in value.items() if name in known}, kind, where, error)


@cache
def _adapter(kind: Hashable) -> TypeAdapter[Any]:
    return TypeAdapter(cast(Any, kind))


def _told(fault: ValidationError, value: Any) -> str:
    """The first fault: its place, what is wrong and what stands there."""
    first = fault.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the whole"
    if first["type"] == "missing":
        return f"{place} is missing"
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        return f"{place} is no known field"
    return f"{place}: {first['msg'][:1].lower()}{first['msg'][1:]}, found {first['input']!r:.60}"
