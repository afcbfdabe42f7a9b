"""What commands say: results on stdout, progress on stderr, exit codes."""

from __future__ import annotations

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any

import click

from emoe_audit.progress import Progress, Reporter, silent
from emoe_audit.types import EnsembleSpec, ImageConfig

if TYPE_CHECKING:
    from emoe_audit.prompts.table import PromptTable

EXIT_GATE_FAILED = 1
"""`gate`: a bound is broken."""
EXIT_WRONG = 2
"""Wrong use or input; the message says what, where and what to do. `verify-run`: a file is not as it was written."""
EXIT_INCONCLUSIVE = 3
"""`gate`: no bound is broken, and some are undecided."""
EXIT_ROW_ERRORS = 4
"""Done, but rows were left out; `errors.jsonl` says which and why."""
EXIT_FAULT = 70
"""A fault of emoe_audit itself, shown with its traceback."""
EXIT_INTERRUPTED = 130
"""Interrupted; the message is the command that goes on."""
EXIT_UNREAD = 141
"""What reads the output has gone."""


def print_result(values: dict[str, Any], as_json: bool) -> None:
    """As `name: value` lines, or as one JSON object."""
    if as_json:
        click.echo(json.dumps(values, default=str))
    else:
        click.echo("\n".join(f"{name.removeprefix('n_')}: {value}" for name, value in values.items()))


def progress_of(quiet: bool) -> Progress:
    """Where a command reports how far it is."""
    return silent if quiet else Reporter()


def command_line() -> str:
    """The command as it was typed, to be typed again."""
    return shlex.join(["emoe-audit", *sys.argv[1:]])


def announce_fetch(spec: EnsembleSpec, quiet: bool) -> None:
    """Say on stderr what is about to be fetched, with commits, sizes and licences."""
    from emoe_audit.experts.hub import fetch_notice

    notice = "" if quiet else fetch_notice(spec)
    if notice:
        click.echo(f"from the hub: {notice}", err=True)


def warn(*warnings: str) -> None:
    """Say on stderr what looks wrong, and stops nothing."""
    for warning in warnings:
        click.echo(f"warning: {warning}", err=True)


def table_warnings(table: PromptTable, n_images: int) -> list[str]:
    """What of a prompt table is read, drawn or grouped in another way than it may be meant."""
    from emoe_audit.analysis.grouping import GROUP_COLUMNS, not_grouped
    from emoe_audit.prompts.captions import caption_warnings, compact
    from emoe_audit.prompts.columns import listed

    passed = not_grouped(table.parts)
    told = f"not grouped by: {listed(passed)}; set {GROUP_COLUMNS.variable} to group by more"
    return [*table.warnings, *caption_warnings(compact(table.parts), n_images), *([told] if passed else [])]


def judge_warnings(spec: EnsembleSpec, table: PromptTable, images: ImageConfig) -> list[str]:
    """What is known of a judge that is about to judge images of prompts in languages that it does not read."""
    if not images.n_images:
        return []
    from emoe_audit.experts.judges import judge_warning

    warning = judge_warning(spec.judge, languages_of(table))
    return [] if warning is None else [warning]


def languages_of(table: PromptTable) -> list[str]:
    """The tags of a prompt table, sorted."""
    return sorted({str(tag) for part in table.parts for tag in part["language"].unique()})
