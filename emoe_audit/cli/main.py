"""The command line: all commands, and what an error or an interrupt becomes."""

from __future__ import annotations

import sys

import click

from emoe_audit.cli.abstain import abstain
from emoe_audit.cli.audit import analyze, quality, report, run, score
from emoe_audit.cli.console import EXIT_INTERRUPTED, EXIT_WRONG, command_line
from emoe_audit.cli.dashboard import dashboard
from emoe_audit.cli.decide import compare, gate
from emoe_audit.cli.doctor import doctor
from emoe_audit.cli.ensemble import ensemble
from emoe_audit.cli.export import export
from emoe_audit.cli.measures import depicted, import_quality
from emoe_audit.cli.prompts import prompts
from emoe_audit.errors import AuditError

COMMANDS = (
    *(run, score, quality, analyze, report),
    *(compare, gate, dashboard, prompts, ensemble),
    *(abstain, import_quality, depicted, export, doctor),
)


@click.group(commands=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="emoe-audit")
def cli() -> None:
    """Find where a text-to-image diffusion model is blind, before an image exists."""


def main() -> None:
    """Run a command; an error is one message and an exit code, never a traceback."""
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = EXIT_WRONG
    except AuditError as error:
        click.echo(f"Error: {error}", err=True)
        code = EXIT_WRONG
    except (KeyboardInterrupt, click.Abort):
        click.echo(f"\nInterrupted; nothing computed is lost. To go on:\n  {command_line()}", err=True)
        code = EXIT_INTERRUPTED
    sys.exit(code or 0)
