"""The command line: arguments in, objects built, one call, result printed."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

import click
import yaml

from emoe_audit.errors import AuditError
from emoe_audit.progress import Reporter, silent
from emoe_audit.types import ImageConfig, ScoringConfig

DEFAULT_ENSEMBLE = "emoji-a"
EXIT_WRONG, EXIT_ROW_ERRORS, EXIT_INTERRUPTED = 2, 4, 130
F = TypeVar("F", bound=Callable[..., Any])


def option(name: str, **kwargs: Any) -> Callable[[F], F]:
    """An option that also reads `EMOE_AUDIT_NAME`. Precedence: flag, environment, `--config` YAML, default."""
    variable = "EMOE_AUDIT_" + name.removeprefix("--").split("/")[0].replace("-", "_").upper()
    return click.option(name, envvar=variable, show_default=kwargs.pop("show_default", True), **kwargs)


def _read_config(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise click.UsageError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(settings, dict):
        raise click.UsageError(f"{path}: expected `option: value` lines")
    known = {p.name for p in context.command.params}
    unknown = [key for key in settings if str(key).replace("-", "_") not in known]
    if unknown:
        raise click.UsageError(f"{path}: no option {unknown[0]!r} for {context.command.name}; see --help")
    context.default_map = {str(key).replace("-", "_"): value for key, value in settings.items()}


def config_option(command: F) -> F:
    """`--config FILE`: defaults for this command's options."""
    return click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        help="YAML file with values for these options.",
    )(command)


def scoring_options(command: F) -> F:
    """The options of `ScoringConfig`."""
    default = ScoringConfig()
    for decorate in (
        option("--batch-size", type=click.IntRange(1), default=default.batch_size, help="Prompts at once."),
        option("--device", default=default.device, help="auto, cpu, cuda or mps."),
        option(
            "--dtype",
            type=click.Choice(["float32", "bfloat16", "float16"]),
            default=default.dtype,
            help="Number type of the experts.",
        ),
        option(
            "--both-halves/--conditional-half", default=default.both_halves, help="Score the empty prompt's half too."
        ),
        option(
            "--steps",
            type=click.IntRange(1, 1000),
            default=default.num_inference_steps,
            help="Of which the first is read.",
        ),
        option("--n-noise", type=click.IntRange(1), default=default.n_noise, help="Noises to average over."),
        option("--seed", type=int, default=default.seed, help="Of noises and images."),
    ):
        command = decorate(command)
    return command


def image_options(command: F) -> F:
    """The options of `ImageConfig` that scoring does not share."""
    default = ImageConfig()
    for decorate in (
        option("--image-expert", default=None, help="The expert that draws; by default the base."),
        option("--guidance-scale", type=float, default=default.guidance_scale, help="Classifier-free guidance."),
        option(
            "--image-steps",
            type=click.IntRange(1),
            default=default.num_inference_steps,
            help="Denoising steps an image.",
        ),
        option("--n-images", type=click.IntRange(0), default=default.n_images, help="At most; 0 makes none."),
    ):
        command = decorate(command)
    return command


def ensemble_option(command: F) -> F:
    """`--ensemble`."""
    return option(
        "--ensemble", default=DEFAULT_ENSEMBLE, help="Embedded name, folder with ensemble.yaml, or YAML file."
    )(command)


def output_options(command: F) -> F:
    """`--json` and `--quiet`."""
    command = click.option("--quiet", is_flag=True, help="No progress on stderr.")(command)
    return click.option("--json", "as_json", is_flag=True, help="The result as JSON on stdout.")(command)


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
    scoring, images = _configs(settings)
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
    store = start_run(table, spec, out, *_configs(settings), command=_command_line(), progress=_progress(quiet))
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
    from emoe_audit.prompts.table import read_prompts

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
    from emoe_audit.prompts.table import read_prompts

    return read_prompts(path)


def _configs(settings: dict[str, Any]) -> tuple[ScoringConfig, ImageConfig]:
    scoring = {**settings, "num_inference_steps": settings["steps"]}
    images = {**settings, "num_inference_steps": settings["image_steps"], "expert": settings["image_expert"]}
    return (
        ScoringConfig(**{f.name: scoring[f.name] for f in fields(ScoringConfig)}),
        ImageConfig(**{f.name: images[f.name] for f in fields(ImageConfig)}),
    )


def _progress(quiet: bool) -> Callable[[str, int, int], None]:
    return silent if quiet else Reporter()


def _command_line() -> str:
    return shlex.join(["emoe-audit", *sys.argv[1:]])


def _print(values: dict[str, Any], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(values, default=str))
    else:
        click.echo("\n".join(f"{name.removeprefix('n_')}: {value}" for name, value in values.items()))
