"""The commands that add measures to a run: quality that was measured elsewhere, and who the images show."""

from __future__ import annotations

from pathlib import Path

import click

from emoe_audit.cli.console import EXIT_ROW_ERRORS, print_result
from emoe_audit.cli.kinds import Named
from emoe_audit.cli.options import option, output_options, run_argument, word_options

ATTRIBUTES = ("skin_tone", "shown_tone", "gender")


@click.command("import-quality")
@run_argument
@click.argument("file", type=click.Path(path_type=Path))
@option("--column", multiple=True, required=True, show_default=False, help="To take; the first becomes the quality.")
@option("--lower-is-better", multiple=True, help="Of these columns less is better; their sign is changed.")
@output_options
def import_quality(
    run_folder: Path, file: Path, column: tuple[str, ...], lower_is_better: tuple[str, ...], as_json: bool, quiet: bool
) -> int:
    """Take ratings, or any other quality by `prompt_id`, in the judge's place; `analyze` and `report` do the rest."""
    from emoe_audit.runs.store import RunStore
    from emoe_audit.steps.ratings import take_ratings

    store = RunStore.open(run_folder)
    with store.locked():
        errors = take_ratings(store, file, column, lower_is_better)
    for error in errors:
        click.echo(error.message, err=True)
    print_result({"columns": ", ".join(column), "left_out": len(errors)}, as_json)
    return EXIT_ROW_ERRORS if errors else 0


@click.command()
@run_argument
@option("--attribute", type=click.Choice(ATTRIBUTES), default="skin_tone", help="What subjects differ in.")
@option(
    "--labelled",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    show_default=False,
    help="Folder of labelled images with labels.csv (image,concept,class): what the judge takes for what.",
)
@option(
    "--reference",
    type=Named("dark=0.2"),
    multiple=True,
    required=True,
    show_default=False,
    help="The share of a class to compare with, like dark=0.2; give one for each class.",
)
@option(
    "--subjects",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    show_default="the ensemble's own",
    help="Text file with the source captions that are of people, one a line.",
)
@word_options
@output_options
def depicted(
    run_folder: Path,
    attribute: str,
    labelled: Path,
    reference: tuple[tuple[str, float], ...],
    subjects: Path | None,
    ensemble: str | None,
    trust_run: bool,
    as_json: bool,
    quiet: bool,
) -> int:
    """Say who the images show where the prompt does not say it, against a reference; `report` shows it."""
    from emoe_audit.steps.depicted import measure_depicted
    from emoe_audit.steps.sources import open_run

    store = open_run(run_folder, ensemble, trusts=trust_run)
    with store.locked():
        found = measure_depicted(store, attribute, labelled, dict(reference), subjects)
    print_result({"groups": found["group"].nunique(), "images": int(found["n_drawn"].max())}, as_json)
    return 0
