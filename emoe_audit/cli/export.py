"""The command that takes a finished run elsewhere: into a spreadsheet, or into a model card."""

from __future__ import annotations

from pathlib import Path

import click

from emoe_audit.cli.console import print_result
from emoe_audit.cli.kinds import Target
from emoe_audit.cli.options import option, output_options, run_argument


@click.command()
@run_argument
@option(
    "--what",
    type=click.Choice(["csv", "groups", "model-card"]),
    required=True,
    show_default=False,
    help="Every prompt as CSV, the means of groups as CSV, or a section of a model card as Markdown.",
)
@option("--out", type=Target(), required=True, show_default=False, help="The file.")
@output_options
def export(run_folder: Path, what: str, out: Path, as_json: bool, quiet: bool) -> int:
    """Write a run as CSV or as a section of a model card."""
    from emoe_audit.report.collect import collect
    from emoe_audit.report.export import export_groups, export_results
    from emoe_audit.report.model_card import write_model_card
    from emoe_audit.runs.store import RunStore

    store = RunStore.open(run_folder)
    if what == "csv":
        export_results(store, out)
    elif what == "groups":
        export_groups(store, out)
    else:
        write_model_card(collect(store), out)
    print_result({"file": str(out)}, as_json)
    return 0
