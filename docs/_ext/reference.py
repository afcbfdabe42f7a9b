"""Reference made from the code: commands, columns, keys, exit codes and the report's form, as Markdown."""

from __future__ import annotations

import ast
import dataclasses
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import click

import emoe_audit
from emoe_audit.analysis.grouping import GROUP_COLUMNS
from emoe_audit.cli import console
from emoe_audit.cli.main import cli
from emoe_audit.decisions.gate import Policy, Rule
from emoe_audit.decisions.rungs import LADDER
from emoe_audit.prompts.columns import KNOWN
from emoe_audit.readers import limits as readers_limits
from emoe_audit.report.schema import field_docstrings, report_schema
from emoe_audit.runs.views import COLUMNS
from emoe_audit.types import EmergentSpec, EnsembleSpec, ExpertSpec, GatePrompts, MixtureSpec, Prompt

WORDS = {str: "text", int: "integer", float: "number", bool: "yes or no"}


def commands() -> str:
    """Every command with the first sentence of its help."""
    rows = [(f"`emoe-audit {' '.join(words)}`", command.get_short_help_str(200)) for words, command in every_command()]
    return table(("command", "what it does"), rows)


def every_command(
    group: click.Group = cli, words: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below a group with the words that call it."""
    for name, command in group.commands.items():
        yield (*words, name), command
        if isinstance(command, click.Group):
            yield from every_command(command, (*words, name))


def python_names() -> str:
    """The public names: functions, then classes with their fields or methods."""
    functions = {name: home for name, home in _public().items() if not isinstance(home, type)}
    classes = {name: home for name, home in _public().items() if isinstance(home, type)}
    said = [f"### `{name}`\n\n{_rst(f'.. autofunction:: emoe_audit.{name}')}" for name in functions]
    return "\n\n".join(["## Functions", *said, "## Classes", *map(_class, classes, classes.values())])


def _public() -> dict[str, Any]:
    return {name: getattr(emoe_audit, name) for name in emoe_audit.__all__}


def _class(name: str, home: type) -> str:
    """A dataclass with a table of its fields, another class with its methods."""
    head, directive = f"### `{name}`", f".. autoclass:: emoe_audit.{name}"
    if dataclasses.is_dataclass(home):
        return f"{head}\n\n{_rst(directive)}\n\n{fields_of(home)}"
    inherited = "" if issubclass(home, Exception) else "\n   :members:\n   :inherited-members:"
    return f"{head}\n\n{_rst(directive + inherited)}"


def exit_codes() -> str:
    """Every exit code that a command ends with."""
    tree = ast.parse(Path(console.__file__).read_text(encoding="utf-8"))
    rows = []
    for pair in itertools.pairwise(tree.body):
        match pair:
            case (
                ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=code)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ) if name.startswith("EXIT_"):
                rows.append((str(code), text))
    return table(("code", "meaning"), sorted(rows, key=lambda row: int(row[0])))


def ensemble_keys() -> str:
    """The keys of an ensemble's YAML file."""
    return _sections(
        [
            ("The file", EnsembleSpec),
            ("`base` and each of `experts`", ExpertSpec),
            ("`mixture`", MixtureSpec),
            ("Each of its `prompts`", GatePrompts),
            ("`emergent`", EmergentSpec),
        ]
    )


def policy_keys() -> str:
    """The keys of a policy's YAML file."""
    return _sections([("The file", Policy), ("Each of `rules`", Rule)])


def evidence_ladder() -> str:
    """Every rung with what it rests on, the highest first."""
    rows = [(own.word, own.rests_on, f"{own.sentence.partition(':')[0]}.") for own in LADDER.values()]
    return table(("word", "rests on", "what to do"), rows)


def prompt_columns() -> str:
    """The columns of a prompt table that the audit knows."""
    said = field_docstrings(Prompt)
    return table(("column", "meaning"), [(f"`{name}`", said[name]) for name in KNOWN])


def run_tables() -> str:
    """The columns of the tables that grow, as SQL names them."""
    parts = []
    for name, columns in COLUMNS.items():
        rows = [(f"`{column.split()[0]}`", column.split()[1]) for column in columns.split(", ")]
        parts.append(f"### `{name}/`\n\n{table(('column', 'type'), rows)}")
    return "\n\n".join(parts)


def limits() -> str:
    """Every bound on what is taken from a file, by the variable that sets it."""
    found = [own for own in (*vars(readers_limits).values(), GROUP_COLUMNS) if isinstance(own, readers_limits.Limit)]
    rows = [(f"`{own.variable}`", f"{own.default:,} {own.what}") for own in found]
    return table(("variable", "default"), rows)


def report_json() -> str:
    """Every object of report.json with its keys."""
    schema = report_schema()
    objects = {"The file": schema} | {f"`{name}`": own for name, own in schema["$defs"].items()}
    return "\n\n".join(f"## {title}\n\n{own['description']}\n\n{_properties(own)}" for title, own in objects.items())


def fields_of(cls: Any) -> str:
    """The fields of a dataclass, with the docstrings under them."""
    said, hints = field_docstrings(cls), get_type_hints(cls)
    rows = [(f"`{f.name}`", _type(hints[f.name]), _default(f), said.get(f.name, "")) for f in dataclasses.fields(cls)]
    return table(("key", "type", "default", "meaning"), rows)


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [head, ("---",) * len(head), *([cell.replace("|", r"\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _sections(parts: list[tuple[str, Any]]) -> str:
    said = [f"## {title}\n\n{' '.join(str(cls.__doc__).split())}\n\n{fields_of(cls)}" for title, cls in parts]
    return "\n\n".join(said)


def _type(hint: Any) -> str:
    """An annotation in words; what may be None is told by its default."""
    origin, arguments = get_origin(hint), [own for own in get_args(hint) if own not in (NoneType, ...)]
    if origin is Literal:
        return " or ".join(f"`{choice}`" for choice in arguments)
    if origin in (Union, UnionType):
        return " or ".join(map(_type, arguments))
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is not None:
        return f"{_type(arguments[1])} by {_type(arguments[0])}"
    return WORDS.get(hint, f"`{hint.__name__}`")


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "required" if field.default_factory is dataclasses.MISSING else "empty"
    return "none" if field.default in (None, (), "") else f"`{field.default}`"


def _properties(own: dict[str, Any]) -> str:
    rows = [(f"`{name}`", _kind(value), value.get("description", "")) for name, value in own["properties"].items()]
    return table(("key", "type", "meaning"), rows)


def _kind(value: dict[str, Any]) -> str:
    """A schema's type in words, with a link to the object that it refers to."""
    if "$ref" in value:
        name = value["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in value:
        return " or ".join(map(_kind, value["anyOf"]))
    if "enum" in value:
        return " or ".join(f"`{choice}`" for choice in value["enum"])
    if value["type"] == "array":
        return f"list of {_kind(value['items'])}"
    if value["type"] == "object":
        return f"object of {_kind(value['additionalProperties'])}"
    kinds = [value["type"]] if isinstance(value["type"], str) else value["type"]
    return " or ".join(kinds)


def _rst(directive: str) -> str:
    return f"````{{eval-rst}}\n{directive}\n````"
