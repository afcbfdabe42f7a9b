"""The command line: arguments in, objects built, one call, result printed."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from emoe_audit.cli.abstain import abstain
from emoe_audit.cli.console import (
    EXIT_GATE_FAILED,
    EXIT_INCONCLUSIVE,
    EXIT_INTERRUPTED,
    EXIT_ROW_ERRORS,
    EXIT_WRONG,
    announce_fetch,
    command_line,
    print_result,
    progress_of,
)
from emoe_audit.cli.ensemble import ensemble
from emoe_audit.cli.export import export
from emoe_audit.cli.measures import depicted, import_quality
from emoe_audit.cli.options import (
    analysis_config,
    analysis_options,
    config_option,
    configs,
    ensemble_option,
    image_options,
    option,
    output_options,
    scoring_options,
)
from emoe_audit.cli.prompts import prompts
from emoe_audit.errors import AuditError


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
@option("--concepts", type=click.IntRange(1), default=100, help="Captions of each kind when PROMPTS is not given.")
@scoring_options
@image_options
@analysis_options
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
        from emoe_audit.decisions.estimate import estimate

        print_result(estimate(table, spec, out, scoring, images), as_json)
        return 0
    announce_fetch(spec, quiet)
    result = run_audit(
        table,
        spec,
        out,
        scoring=scoring,
        images=images,
        analysis=analysis_config(settings),
        command=command_line(),
        progress=progress_of(quiet),
    )
    print_result(asdict(result), as_json)
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
@option("--concepts", type=click.IntRange(1), default=100, help="Captions of each kind when PROMPTS is not given.")
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
    announce_fetch(spec, quiet)
    store = start_run(table, spec, out, *configs(settings), command=command_line(), progress=progress_of(quiet))
    print_result({"run": str(store.path)}, as_json)
    return EXIT_ROW_ERRORS if store.errors() else 0


@cli.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@output_options
def quality(run_folder: Path, as_json: bool, quiet: bool) -> int:
    """Make and judge the images that a run still lacks."""
    from emoe_audit.runs.store import RunStore
    from emoe_audit.steps.images import judge_pending
    from emoe_audit.steps.references import measure_references

    store = RunStore.open(run_folder)
    with store.locked():
        judge_pending(store, progress_of(quiet))
        measure_references(store, progress_of(quiet))
    print_result({"images": str(store.path / "images")}, as_json)
    return EXIT_ROW_ERRORS if store.errors() else 0


@cli.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@analysis_options
@output_options
def analyze(run_folder: Path, as_json: bool, quiet: bool, **settings: Any) -> int:
    """Compute the analysis tables of a run again."""
    from emoe_audit.runs.store import RunStore
    from emoe_audit.steps.summary import summarize

    store = RunStore.open(run_folder)
    with store.locked():
        summarize(store, analysis_config(settings), progress_of(quiet))
    print_result({"analysis": str(store.path / "analysis")}, as_json)
    return 0


@cli.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@output_options
def report(run_folder: Path, as_json: bool, quiet: bool) -> int:
    """Write report.html and report.json of a run again."""
    from emoe_audit.report.render import write_report
    from emoe_audit.runs.store import RunStore

    print_result({"report": str(write_report(RunStore.open(run_folder)))}, as_json)
    return 0


@cli.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@option("--by", default="language", help="Group column of the prompts.")
@option("--score", default=None, help="Measure of both runs; by default the one that ranks A.")
@option(
    "--fdr",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.1,
    help="Share of false alarms to be expected among the groups that rose or fell.",
)
@option("--out", type=click.Path(dir_okay=False, path_type=Path), default=None, help="HTML page to write.")
@output_options
def compare(
    a: Path, b: Path, by: str, score: str | None, fdr: float, out: Path | None, as_json: bool, quiet: bool
) -> int:
    """Say which groups rose and which fell from run A to run B, by rank among the prompts of both."""
    from emoe_audit.decisions.compare import compare_runs
    from emoe_audit.report.comparison import comparison_text, write_comparison
    from emoe_audit.runs.store import RunStore

    found = compare_runs(RunStore.open(a), RunStore.open(b), by=by, score=score, fdr=fdr)
    page = "" if out is None else f"\n\npage: {write_comparison(found, out, command_line())}"
    click.echo(json.dumps(found.to_json(), allow_nan=False) if as_json else f"{comparison_text(found)}{page}")
    return 0


@cli.command()
@click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
@option("--policy", type=click.Path(path_type=Path), required=True, show_default=False, help="YAML file of rules.")
@output_options
def gate(run_folder: Path, policy: Path, as_json: bool, quiet: bool) -> int:
    """Hold a run against a policy: pass (exit 0), fail (1) or inconclusive (3)."""
    from emoe_audit.decisions.gate import judge_run, overall, read_policy, to_json, to_text
    from emoe_audit.runs.store import RunStore

    findings = judge_run(RunStore.open(run_folder), read_policy(policy))
    click.echo(json.dumps(to_json(findings), allow_nan=False) if as_json else to_text(findings))
    return {"pass": 0, "fail": EXIT_GATE_FAILED, "inconclusive": EXIT_INCONCLUSIVE}[overall(findings)]


@cli.command()
@option("--runs", type=click.Path(file_okay=False, path_type=Path), default=Path("reports"), help="Folder with runs.")
@option("--port", type=click.IntRange(1, 65535), default=8501, help="On localhost.")
def dashboard(runs: Path, port: int) -> int:
    """Serve the dashboard on localhost and say its address."""
    from emoe_audit.cli.dashboard import serve

    return serve(runs, port)


cli.add_command(prompts)
cli.add_command(ensemble)
cli.add_command(abstain)
cli.add_command(import_quality)
cli.add_command(depicted)
cli.add_command(export)


@cli.command()
@output_options
def doctor(as_json: bool, quiet: bool) -> int:
    """Versions, devices, embedded ensembles: what this installation has."""
    from emoe_audit.cli.doctor import examine

    print_result(examine(), as_json)
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
        click.echo(f"\nInterrupted; nothing computed is lost. To go on:\n  {command_line()}", err=True)
        code = EXIT_INTERRUPTED
    sys.exit(code or 0)


def _table(path: Path | None, spec: Any, concepts: int, seed: int) -> Any:
    if path is None:
        from emoe_audit.prompts.emoji import default_prompts

        return default_prompts(spec, n_concepts=concepts, seed=seed)
    from emoe_audit.prompts.language_check import language_warnings
    from emoe_audit.prompts.read import read_prompts

    read = read_prompts(path)
    for warning in language_warnings(read.frame):
        click.echo(f"warning: {warning}", err=True)
    return read
