"""JSON and YAML as plain values: bounded in size and depth, every number finite, every text a text.

YAML is read as YAML 1.2's core schema has it: `no` and `2020-01-01` are texts, and no node refers to another, so a file
holds no more than it shows.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import yaml

from emoe_audit.errors import AuditError
from emoe_audit.readers.limits import DEPTH, DOCUMENT, YAML, Limit
from emoe_audit.readers.text import is_text, read_text

PLAIN = (dict, list, str, int, float, bool, type(None))


class Digits(str):
    """A whole number that no 64 bits hold."""

    __slots__ = ()


def read_json(path: Path, error: type[AuditError], *, at_most: Limit = DOCUMENT) -> Any:
    """The value of a JSON file. Raises `error` with file, line and column."""
    return parse_json(read_text(path, error, at_most=at_most), str(path), error)


def read_json_object(path: Path, error: type[AuditError], *, at_most: Limit = DOCUMENT) -> dict[str, Any]:
    """The object of a JSON file. Raises `error`, also where the file holds something else."""
    value = read_json(path, error, at_most=at_most)
    if not isinstance(value, dict):
        raise error(f"{path}: expected a JSON object")
    return value


def parse_json(text: str, where: str, error: type[AuditError]) -> Any:
    """The value of a JSON text. Raises `error` with `where`, line and column."""
    try:
        value = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_each_key_once)
    except json.JSONDecodeError as fault:
        raise error(f"{where}:{fault.lineno}:{fault.colno}: not valid JSON: {fault.msg}") from fault
    except ValueError as fault:
        raise error(f"{where}: not valid JSON: {fault}") from fault
    except RecursionError:
        raise error(f"{where}: nested more than {DEPTH.value} levels deep") from None
    check_plain(value, where, error)
    return value


def loose_json(text: str) -> Any:
    """The value of a JSON text for tables, whose cells are judged one by one.

    A whole number beyond 64 bits stands as its `Digits`; other numbers and texts that cannot be stored are let through.

    Raises:
        ValueError: not JSON (then a `json.JSONDecodeError`, with line and column), a key that is given twice, or nested
            too deep.
    """
    try:
        value = json.loads(text, parse_int=_whole_number, object_pairs_hook=_each_key_once)
        too_deep = text.count("[") + text.count("{") > DEPTH.value and _is_too_deep(value)
    except RecursionError:
        too_deep = True
    if too_deep:
        raise ValueError(f"nested more than {DEPTH.value} levels deep")
    return value


def read_yaml(path: Path, error: type[AuditError]) -> Any:
    """The value of a YAML file, None where it is empty. Raises `error` with file, line and column."""
    node = compose_yaml(path, error)
    if node is None:
        return None
    loader = _Core("")
    try:
        value = loader.construct_document(node)
    except yaml.MarkedYAMLError as fault:
        raise error(f"{_at(path, fault)}: not valid YAML: {fault.problem}") from fault
    except (ValueError, OverflowError) as fault:
        raise error(f"{path}: not valid YAML: {fault}") from fault
    finally:
        loader.dispose()
    check_plain(value, str(path), error)
    return value


def compose_yaml(path: Path, error: type[AuditError]) -> yaml.Node | None:
    """The nodes of a YAML file, for readers that tell lines. Raises `error` with file, line and column."""
    text = read_text(path, error, at_most=YAML)
    try:
        return yaml.compose(text, Loader=_Core)
    except yaml.MarkedYAMLError as fault:
        raise error(f"{_at(path, fault)}: not valid YAML: {fault.problem}") from fault
    except (yaml.YAMLError, ValueError) as fault:
        raise error(f"{path}: not valid YAML: {str(fault).splitlines()[0]}") from fault
    except RecursionError:
        raise error(f"{path}: nested more than {DEPTH.value} levels deep") from None


def check_plain(value: Any, where: str, error: type[AuditError]) -> None:
    """Raise `error` for what is nested too deep, a number that cannot be stored, and a text that is none."""
    for depth, own in _walk(value):
        if depth > DEPTH.value:
            raise error(f"{where}: nested more than {DEPTH.value} levels deep; set {DEPTH.variable} to take more")
        fault = _fault_of(own)
        if fault:
            raise error(f"{where}: {fault}")


def _fault_of(value: Any) -> str | None:
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is no finite number"
    if isinstance(value, int) and value.bit_length() > 63:
        return f"{str(value)[:20]}... is no number of 64 bits"
    if isinstance(value, str) and not is_text(value):
        return f"{value[:40]!r} holds a NUL or a lone surrogate, which is no text"
    if not isinstance(value, PLAIN):
        return f"{value!r:.40} is neither text, number, list nor mapping"
    return None


def _walk(value: Any) -> Iterator[tuple[int, Any]]:
    """Every value inside one, keys too, with its depth."""
    waiting = [(1, value)]
    while waiting:
        depth, own = waiting.pop()
        yield depth, own
        parts = [*own, *own.values()] if isinstance(own, dict) else own if isinstance(own, list) else ()
        waiting += [(depth + 1, part) for part in parts]


def _is_too_deep(value: Any) -> bool:
    """Whether lists and mappings are nested more than is taken."""
    level = [value]
    for _ in range(DEPTH.value):
        parts = (own.values() if isinstance(own, dict) else own for own in level if isinstance(own, dict | list))
        level = [part for own in parts for part in own if isinstance(part, dict | list)]
        if not level:
            return False
    return True


def _whole_number(digits: str) -> int | Digits:
    longest = len(str(2**63)) + 1
    number = int(digits) if len(digits) <= longest else 2**63
    return Digits(digits) if number.bit_length() > 63 else number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no finite number")


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"key {twice[:40]!r} is given twice")
    return found


def _at(path: Path, fault: yaml.MarkedYAMLError) -> str:
    mark = fault.problem_mark or fault.context_mark
    return f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)


class _Core(yaml.SafeLoader):
    """YAML 1.2's core schema, without references from node to node, and nested as deep as is allowed."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise yaml.MarkedYAMLError(problem="references (*name) are not read; write it out", problem_mark=mark)
        if self._depth > DEPTH.value:
            raise yaml.MarkedYAMLError(problem=f"nested more than {DEPTH.value} deep", problem_mark=mark)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key is a text", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"key {key.value[:40]!r} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_TRUE_OR_FALSE = re.compile("true|True|TRUE|false|False|FALSE")
_TYPED_BY_LOOK = ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge")
_Core.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in own if tag not in _TYPED_BY_LOOK]
    for first, own in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Core.add_implicit_resolver("tag:yaml.org,2002:bool", _TRUE_OR_FALSE, list("tTfF"))
