"""The command that takes a finished run elsewhere: into a spreadsheet, a model card, or a catalogue of datasets."""

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
    type=click.Choice(["csv", "groups", "model-card", "croissant"]),
    required=True,
    show_default=False,
    help="Every prompt as CSV, the means of groups as CSV, a section of a model card as Markdown, or what others need "
    "to load the run's tables, as Croissant 1.1.",
)
@option("--out", type=Target(), required=True, show_default=False, help="The file.")
@option("--license", default=None, show_default="none", help="Of a dataset, as a name or an address.")
@output_options
def export(run_folder: Path, what: str, out: Path, license: str | None, as_json: bool, quiet: bool) -> int:
    """Write a run as CSV, as a section of a model card, or as the description of a dataset."""
    from emoe_audit.report.collect import collect
    from emoe_audit.report.croissant import describe_run
    from emoe_audit.report.export import export_groups, export_results
    from emoe_audit.report.model_card import write_model_card
    from emoe_audit.runs.store import RunStore

    if license is not None and what != "croissant":
        raise click.UsageError("--license is that of a dataset: give it with --what croissant")
    store = RunStore.open(run_folder)
    if what == "csv":
        export_results(store, out)
    elif what == "groups":
        export_groups(store, out)
    elif what == "croissant":
        describe_run(store, collect(store), out, license)
    else:
        write_model_card(collect(store), out)
    print_result({"file": str(out)}, as_json)
    return 0
