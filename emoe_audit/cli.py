"""The command line: arguments in, objects built, one call, result printed."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from emoe_audit.errors import AuditError
from emoe_audit.options import (
    DEFAULT_ENSEMBLE,
    config_option,
    configs,
    ensemble_option,
    image_options,
    option,
    output_options,
    scoring_options,
)
from emoe_audit.progress import Reporter, silent

EXIT_WRONG, EXIT_ROW_ERRORS, EXIT_INTERRUPTED = 2, 4, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="emoe-audit")
def cli() -> None:
    """Find where a text-to-image diffusion model is blind, before an image exists."""


@cli.command()
@click.argument("prompts", required=False, type=click.Path(path_type=Path))
@ensemble_option
@option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    show_default=False,
    help="Run folder; resumed if it exists.",
)
@option("--concepts", type=click.IntRange(1), default=100, help="Captions to draw when PROMPTS is not given.")
@scoring_options
@image_options
@click.option("--dry-run", is_flag=True, help="Say what would be done and how long it takes; store nothing.")
@output_options
@config_option
def run(
    prompts: Path | None,
    ensemble: str,
    out: Path,
    concepts: int,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> int:
    """Score, draw, judge, analyze and report; started again, do the rest.

    PROMPTS is a CSV, JSONL or Parquet table with a column `prompt`, or a COCO captions file; by default the ensemble's
    own captions.
    """
    from emoe_audit.audit import run_audit
    from emoe_audit.experts.spec import load_spec

    spec = load_spec(ensemble)
    table = _table(prompts, spec, concepts, settings["seed"])
    scoring, images = configs(settings)
    if dry_run:
        from emoe_audit.estimate import estimate

        _print(estimate(table, spec, out, scoring, images), as_json)
        return 0
    result = run_audit(
        table, spec, out, scoring=scoring, images=images, command=_command_line(), progress=_progress(quiet)
    )
    _print(asdict(result), as_json)
    if result.n_errors:
        click.echo(f"{result.n_errors} rows were left out; {result.path / 'errors.jsonl'} says why", err=True)
    return EXIT_ROW_ERRORS if result.n_errors else 0


@cli.command()
@click.argument("prompts", required=False, type=click.Path(path_type=Path))
@ensemble_option
@option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    show_default=False,
    help="Run folder; resumed if it exists.",
)
@option("--concepts", type=click.IntRange(1), default=100, help="Captions to draw when PROMPTS is not given.")
@scoring_options
@image_options
@output_options
@config_option
def score(
    prompts: Path | None, ensemble: str, out: Path, concepts: int, as_json: bool, quiet: bool, **settings: Any
) -> int:
    """Only the first step of `run`: score every prompt. `quality`, `analyze` and `report` do the rest."""
    from emoe_audit.audit import start_run
    from emoe_audit.experts.spec import load_spec

    spec = load_spec(ensemble)
    table = _table(prompts, spec, concepts, settings["seed"])
    store = start_run(table, spec, out, *configs(settings), command=_command_line(), progress=_progress(quiet))
    _print({"run": str(store.path)}, as_json)
    return EXIT_ROW_ERRORS if store.errors() else 0


@cli.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@output_options
def quality(run_folder: Path, as_json: bool, quiet: bool) -> int:
    """Make and judge the images that a run still lacks."""
    from emoe_audit.audit import judge_pending
    from emoe_audit.store import RunStore

    store = RunStore.open(run_folder)
    with store.locked():
        judge_pending(store, _progress(quiet))
    _print({"images": str(store.path / "images")}, as_json)
    return EXIT_ROW_ERRORS if store.errors() else 0


@cli.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@output_options
def analyze(run_folder: Path, as_json: bool, quiet: bool) -> int:
    """Compute the analysis tables of a run again."""
    from emoe_audit.audit import summarize
    from emoe_audit.store import RunStore

    store = RunStore.open(run_folder)
    with store.locked():
        summarize(store, _progress(quiet))
    _print({"analysis": str(store.path / "analysis")}, as_json)
    return 0


@cli.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@output_options
def report(run_folder: Path, as_json: bool, quiet: bool) -> int:
    """Write report.html and report.json of a run again."""
    from emoe_audit.report.render import write_report
    from emoe_audit.store import RunStore

    _print({"report": str(write_report(RunStore.open(run_folder)))}, as_json)
    return 0


@cli.command()
@option("--runs", type=click.Path(file_okay=False, path_type=Path), default=Path("reports"), help="Folder with runs.")
@option("--port", type=click.IntRange(1, 65535), default=8501, help="On localhost.")
def dashboard(runs: Path, port: int) -> int:
    """Open the dashboard in a browser."""
    from emoe_audit.dashboard import serve

    return serve(runs, port)


@cli.group()
def prompts() -> None:
    """Make and check prompt tables."""


@prompts.command("check")
@click.argument("table", type=click.Path(path_type=Path))
@output_options
def check_prompts(table: Path, as_json: bool, quiet: bool) -> int:
    """Read a prompt table and say what is wrong with it."""
    from emoe_audit.prompts.read import read_prompts

    read = read_prompts(table)
    for error in read.row_errors:
        click.echo(error.message, err=True)
    _print({"prompts": len(read.frame), "left_out": len(read.row_errors)}, as_json)
    return EXIT_ROW_ERRORS if read.row_errors else 0


@prompts.command("emoji")
@ensemble_option
@option("--concepts", type=click.IntRange(1), default=100, help="Captions to draw.")
@option("--seed", type=int, default=0, help="Of the draw.")
@option("--out", type=click.Path(path_type=Path), required=True, show_default=False, help="CSV file.")
def emoji_prompts(ensemble: str, concepts: int, seed: int, out: Path) -> int:
    """Write the prompts that an ensemble brings as a CSV table."""
    from emoe_audit.experts.spec import load_spec
    from emoe_audit.prompts.emoji import default_prompts
    from emoe_audit.prompts.table import write_csv

    write_csv(default_prompts(load_spec(ensemble), n_concepts=concepts, seed=seed), out)
    click.echo(out)
    return 0


@cli.group()
def ensemble() -> None:
    """List, show and make ensembles."""


@ensemble.command("list")
def list_ensembles() -> int:
    """Names of the embedded ensembles."""
    from emoe_audit.experts.spec import embedded_names

    click.echo("\n".join(embedded_names()))
    return 0


@ensemble.command("show")
@click.argument("name", default=DEFAULT_ENSEMBLE)
def show_ensemble(name: str) -> int:
    """An ensemble's parts, as JSON."""
    from emoe_audit.experts.spec import load_spec

    click.echo(json.dumps(asdict(load_spec(name)), indent=2))
    return 0


@ensemble.command("tiny")
@click.argument("folder", type=click.Path(path_type=Path))
@option("--seed", type=int, default=0, help="Of the random weights.")
def tiny_ensemble(folder: Path, seed: int) -> int:
    """Make a tiny ensemble with random weights, for tests of your own."""
    from emoe_audit.experts.tiny import make_tiny_ensemble

    make_tiny_ensemble(folder, seed=seed)
    click.echo(folder)
    return 0


@cli.command()
@output_options
def doctor(as_json: bool, quiet: bool) -> int:
    """Versions, devices, embedded ensembles: what this installation has."""
    from emoe_audit.doctor import examine

    _print(examine(), as_json)
    return 0


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
        click.echo(f"\nInterrupted; nothing computed is lost. To go on:\n  {_command_line()}", err=True)
        code = EXIT_INTERRUPTED
    sys.exit(code or 0)


def _table(path: Path | None, spec: Any, concepts: int, seed: int) -> Any:
    if path is None:
        from emoe_audit.prompts.emoji import default_prompts

        return default_prompts(spec, n_concepts=concepts, seed=seed)
    from emoe_audit.prompts.read import read_prompts

    return read_prompts(path)


def _progress(quiet: bool) -> Callable[[str, int, int], None]:
    return silent if quiet else Reporter()


def _command_line() -> str:
    return shlex.join(["emoe-audit", *sys.argv[1:]])


def _print(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(values, default=str))
    else:
        click.echo("\n".join(f"{name.removeprefix('n_')}: {value}" for name, value in values.items()))
