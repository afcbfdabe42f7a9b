"""The commands of an audit: all of it, or one step of it."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from emoe_audit.cli.console import (
    EXIT_ROW_ERRORS,
    announce_fetch,
    command_line,
    judge_warnings,
    print_result,
    progress_of,
    table_warnings,
    warn,
)
from emoe_audit.cli.models import audited, model_name_option
from emoe_audit.cli.options import (
    analysis_config,
    analysis_options,
    audit_options,
    config_option,
    configs,
    output_options,
    run_argument,
    word_options,
)
from emoe_audit.cli.prefixes import part_of, prefix_options, wanted_part
from emoe_audit.cli.turns import check_line, images_of, in_line, line_options, work_of
from emoe_audit.cli.workers import cluster_config, cluster_options, shard_option
from emoe_audit.runs.faults import read_faults
from emoe_audit.runs.shares import Share


@click.command()
@audit_options
@model_name_option
@prefix_options
@analysis_options
@cluster_options
@line_options
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
    own captions. With --images and --model-name any model is audited by its images alone.
    """
    from emoe_audit.audit import run_audit

    cluster, spec = cluster_config(settings), audited(ensemble, settings)
    check_line(settings, alone=cluster is None and not dry_run)
    wanted = wanted_part(settings, alone=cluster is None)
    if wanted is not None and not spec.experts:
        raise click.UsageError("of a model whose images alone are known no part is asked: leave out what chooses one")
    table = _table(prompts, spec, concepts, settings)
    scoring, images = configs(settings)
    scoring = part_of(spec, scoring, images, table, out, wanted, quiet=quiet)
    warn(*judge_warnings(spec, table, images))
    if dry_run:
        if cluster is not None:
            raise click.UsageError("--dry-run measures this machine, not a cluster: leave --ray out")
        from emoe_audit.decisions.estimate import estimate

        print_result(estimate(table, spec, out, scoring, images), as_json)
        return 0
    announce_fetch(spec, quiet)
    with in_line(settings, "audit", out, lambda: work_of(table, spec, scoring, images), quiet=quiet) as progress:
        result = run_audit(
            table,
            spec,
            out,
            scoring=scoring,
            images=images,
            analysis=analysis_config(settings),
            cluster=cluster,
            command=command_line(),
            progress=progress,
        )
    print_result(asdict(result), as_json)
    if result.n_errors:
        click.echo(f"{result.n_errors} rows were left out; {result.path / 'errors.jsonl'} says why", err=True)
    return EXIT_ROW_ERRORS if result.n_errors else 0


@click.command()
@audit_options
@prefix_options
@shard_option
@cluster_options
@line_options
@output_options
@config_option
def score(
    prompts: Path | None,
    ensemble: str,
    out: Path,
    concepts: int,
    shard: Share | None,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> int:
    """Only the first step of `run`: score every prompt. `quality`, `analyze` and `report` do the rest."""
    from emoe_audit.audit import score_share, start_run
    from emoe_audit.cluster.crew import hired

    cluster, spec = cluster_config(settings, shard), audited(ensemble, settings)
    check_line(settings, alone=cluster is None and shard is None)
    wanted = wanted_part(settings, alone=cluster is None and shard is None)
    table = _table(prompts, spec, concepts, settings)
    announce_fetch(spec, quiet)
    scoring, images = configs(settings)
    no_images = replace(images, n_images=0)
    scoring = part_of(spec, scoring, no_images, table, out, wanted, quiet=quiet)
    with in_line(settings, "scores", out, lambda: work_of(table, spec, scoring, no_images), quiet=quiet) as told:
        if shard is None:
            with hired(cluster, out) as crew:
                store = start_run(table, spec, out, scoring, images, crew=crew, command=command_line(), progress=told)
        else:
            store = score_share(table, spec, out, shard, scoring, images, command=command_line(), progress=told)
    print_result({"run": str(out)}, as_json)
    return EXIT_ROW_ERRORS if store.errors() or read_faults(out) else 0


@click.command()
@run_argument
@word_options
@shard_option
@cluster_options
@line_options
@output_options
def quality(
    run_folder: Path,
    ensemble: str | None,
    trust_run: bool,
    shard: Share | None,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> int:
    """Make and judge the images that a run still lacks."""
    from emoe_audit.cluster.crew import hired
    from emoe_audit.steps.images import judge_pending
    from emoe_audit.steps.mending import DRAWING_MENDS, mend
    from emoe_audit.steps.references import measure_references
    from emoe_audit.steps.shares import own_share, take_shares
    from emoe_audit.steps.sources import open_run

    cluster = cluster_config(settings, shard)
    check_line(settings, alone=cluster is None and shard is None)
    store = open_run(run_folder, ensemble, trusts=trust_run, mending=True)
    with in_line(settings, "images", run_folder, lambda: images_of(store), quiet=quiet) as progress:
        if shard is not None:
            with own_share(store, shard) as work:
                judge_pending(store, progress, work=work)
            store = work.store
        else:
            with hired(cluster, run_folder) as crew, store.locked():
                mend(store, DRAWING_MENDS)
                take_shares(store)
                judge_pending(store, progress, hands=crew)
                measure_references(store, progress)
    print_result({"images": str(store.path / "images")}, as_json)
    return EXIT_ROW_ERRORS if store.errors() else 0


@click.command()
@run_argument
@analysis_options
@word_options
@output_options
def analyze(
    run_folder: Path, ensemble: str | None, trust_run: bool, as_json: bool, quiet: bool, **settings: Any
) -> int:
    """Compute the analysis tables of a run again."""
    from emoe_audit.steps.mending import ANALYSIS_MENDS, mend
    from emoe_audit.steps.sources import open_run
    from emoe_audit.steps.summary import summarize

    store = open_run(run_folder, ensemble, trusts=trust_run, mending=True)
    with store.locked():
        mend(store, ANALYSIS_MENDS)
        summarize(store, analysis_config(settings), progress_of(quiet))
    print_result({"analysis": str(store.path / "analysis")}, as_json)
    return 0


@click.command()
@run_argument
@output_options
def report(run_folder: Path, as_json: bool, quiet: bool) -> int:
    """Write report.html and report.json of a run again."""
    from emoe_audit.report.render import write_report
    from emoe_audit.runs.store import RunStore

    store = RunStore.open(run_folder)
    with store.locked():
        page = write_report(store)
    print_result({"report": str(page)}, as_json)
    return 0


def _table(path: Path | None, spec: Any, concepts: int, settings: dict[str, Any]) -> Any:
    """The prompts; what looks wrong with them is said before anything is scored."""
    n_images = settings["n_images"] if settings["images"] is None else 0
    if path is None:
        from emoe_audit.prompts.emoji import default_prompts

        table = default_prompts(spec, n_concepts=concepts, seed=settings["seed"])
        warn(*table_warnings(table, n_images))
        return table
    from emoe_audit.prompts.language_check import language_warnings
    from emoe_audit.prompts.read import read_prompts

    table = read_prompts(path)
    warn(*table_warnings(table, n_images), *language_warnings(table.parts))
    return table
