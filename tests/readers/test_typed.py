"""A plain value becomes what is meant, or the field that is wrong is named."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import pytest

from emoe_audit.errors import AuditError
from emoe_audit.readers.typed import typed, typed_fields
from emoe_audit.types import ExpertSpec


@dataclass(frozen=True, kw_only=True)
class Example:
    count: int
    share: float = 0.5
    names: tuple[str, ...] = ()
    base: ExpertSpec | None = None


def test_lists_become_tuples_and_whole_numbers_numbers() -> None:
    expert = ExpertSpec(name="one", source="folder", loras=("a", "b"))
    read = typed({"count": 3, "share": 1, "names": ["x"], "base": asdict(expert)}, Example, "here", AuditError)
    assert read == Example(count=3, share=1.0, names=("x",), base=expert)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({}, "here: count is missing"),
        ({"count": True}, "here: count: input should be a valid integer, found True"),
        ({"count": "3"}, "count: .*integer, found '3'"),
        ({"count": 3.5}, "count: .*integer"),
        ({"count": 3, "share": "much"}, "share: .*number"),
        ({"count": 3, "names": "abc"}, "names: "),
        ({"count": 3, "names": ["a", 5]}, r"names\.1: .*string, found 5"),
        ({"count": 3, "kount": 4}, "kount is no known field"),
        ({"count": 3, "base": {"name": "one", "source": "folder", "more": 1}}, r"base\.more is no known field"),
        ([1], "the whole: .*, found \\[1\\]"),
        (None, "the whole: "),
    ],
)
def test_a_wrong_field_is_named(value: Any, told: str) -> None:
    with pytest.raises(AuditError, match=told):
        typed(value, Example, "here", AuditError)


def test_a_plain_type_is_held_too() -> None:
    assert typed({"a": 1}, dict[str, int], "here", AuditError) == {"a": 1}
    with pytest.raises(AuditError, match="b: "):
        typed({"b": "x"}, dict[str, int], "here", AuditError)


def test_of_an_object_that_others_add_to_only_what_is_meant_is_read() -> None:
    value = {"count": 3, "share": 1, "added": "later"}
    assert typed_fields(value, Example, "here", AuditError) == Example(count=3, share=1.0)
    with pytest.raises(AuditError, match=r"here: count: .*integer, found 'three'"):
        typed_fields(value | {"count": "three"}, Example, "here", AuditError)
