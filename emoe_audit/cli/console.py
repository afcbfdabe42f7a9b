"""What commands say: results on stdout, progress on stderr, exit codes."""

from __future__ import annotations

import json
import shlex
import sys
from typing import Any

import click

from emoe_audit.progress import Progress, Reporter, silent
from emoe_audit.types import EnsembleSpec

EXIT_GATE_FAILED = 1
"""`gate`: a bound is broken."""
EXIT_WRONG = 2
"""Wrong use or input; the message says what, where and what to do."""
EXIT_INCONCLUSIVE = 3
"""`gate`: no bound is broken, and some are undecided."""
EXIT_ROW_ERRORS = 4
"""Done, but rows were left out; `errors.jsonl` says which and why."""
EXIT_INTERRUPTED = 130
"""Interrupted; the message is the command that goes on."""


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
