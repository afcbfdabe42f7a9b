"""The command that holds a run against what was written."""

from __future__ import annotations

import json
from pathlib import Path

import click

from emoe_audit.cli.console import EXIT_WRONG, progress_of
from emoe_audit.cli.options import output_options, run_argument


@click.command("verify-run")
@run_argument
@output_options
def verify_run(run_folder: Path, as_json: bool, quiet: bool) -> int:
    """Name every file of a run that was changed, is missing, or that the run has not written (then exit 2)."""
    from emoe_audit.runs.integrity import verify

    found = verify(run_folder, progress_of(quiet))
    click.echo(json.dumps(found.to_json()) if as_json else found.to_text())
    return EXIT_WRONG if found.faults else 0
