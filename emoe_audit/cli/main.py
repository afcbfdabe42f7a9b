"""The command line: all commands, and what an error or an interrupt becomes."""

from __future__ import annotations

import io
import os
import sys
import traceback
from pathlib import Path

import click

from emoe_audit.cli.abstain import abstain
from emoe_audit.cli.audit import analyze, quality, report, run, score
from emoe_audit.cli.console import EXIT_FAULT, EXIT_INTERRUPTED, EXIT_UNREAD, EXIT_WRONG, command_line
from emoe_audit.cli.dashboard import dashboard
from emoe_audit.cli.decide import compare, gate
from emoe_audit.cli.doctor import doctor
from emoe_audit.cli.ensemble import ensemble
from emoe_audit.cli.export import export
from emoe_audit.cli.measures import depicted, import_quality
from emoe_audit.cli.prompts import prompts
from emoe_audit.cli.turns import queue
from emoe_audit.cli.verify_run import verify_run
from emoe_audit.errors import AuditError, told
from emoe_audit.readers.text import is_text

COMMANDS = (
    *(run, score, quality, analyze, report),
    *(verify_run, compare, gate, dashboard, queue, prompts, ensemble),
    *(abstain, import_quality, depicted, export, doctor),
)


class Commands(click.Group):
    """Commands whose words are texts, and name no home that is not there."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The words, once that is known of them."""
        for word in args:
            if not is_text(word):
                raise click.UsageError(f"{word[:200]!r} is no text of UTF-8; give the file another name")
            if word.startswith("~"):
                _check_home(word)
        return super().parse_args(ctx, args)


def _check_home(word: str) -> None:
    try:
        Path(word).expanduser()
    except RuntimeError as error:
        raise click.UsageError(f"{word[:200]!r} lies in the home of nobody here; write the whole path") from error


@click.group(
    cls=Commands,
    commands=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="emoe-audit")
def cli() -> None:
    """Find where a text-to-image diffusion model is blind, before an image exists."""


def main() -> None:
    """Run a command; an error is one message and an exit code, never a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = _run()
    try:
        sys.stdout.flush()
    except OSError:  # said already; at exit it would be said again, with another code
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def _run() -> int:
    try:
        return cli.main(standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        return EXIT_WRONG
    except (AuditError, OSError, MemoryError) as error:
        click.echo(f"Error: {told(error)}", err=True)
        return EXIT_WRONG
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"\nInterrupted; nothing computed is lost. To go on:\n  {command_line()}", err=True)
        return EXIT_INTERRUPTED
    except SystemExit:  # how click ends where the reader of a pipe has gone
        return EXIT_UNREAD
    except Exception:
        click.echo(f"{traceback.format_exc()}This is a fault of emoe_audit; please report it.", err=True)
        return EXIT_FAULT
