"""The options that commands share. Precedence: flag, `EMOE_AUDIT_<OPTION>`, `--config` YAML, default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from emoe_audit.cli.kinds import SEED, SHARE, ByteCount, Finite, Margin, Target
from emoe_audit.errors import AuditError
from emoe_audit.readers.documents import compose_yaml, read_yaml
from emoe_audit.types import MIXTURE, AnalysisConfig, ImageConfig, ScoringConfig

DEFAULT_ENSEMBLE = "emoji-a"
CHOSEN = ("experts", "prefix")
"""Settings of `ScoringConfig` that no option gives, see `emoe_audit.cli.prefixes`."""
F = TypeVar("F", bound=Callable[..., Any])
run_argument = click.argument("run_folder", metavar="RUN", type=click.Path(path_type=Path))
"""`RUN`, the folder of a run that exists."""


def option(name: str, **kwargs: Any) -> Callable[[F], F]:
    """An option that also reads `EMOE_AUDIT_<NAME>`."""
    variable = "EMOE_AUDIT_" + name.removeprefix("--").split("/")[0].replace("-", "_").upper()
    return click.option(name, envvar=variable, show_default=kwargs.pop("show_default", True), **kwargs)


def _read_config(context: click.Context, _parameter: click.Parameter, path: Path | None) -> None:
    """Take the file's values as this command's defaults. Raises `AuditError` with file and line."""
    if path is None:
        return
    settings = read_yaml(path, AuditError)
    if not isinstance(settings, dict | None):
        raise AuditError(f"{path}: expected `option: value` lines")
    lines = _lines_of(path)
    known = {own.name: own for own in context.command.params if own.expose_value}
    context.default_map = {}
    for key, value in (settings or {}).items():
        name, where = str(key).replace("-", "_"), f"{path}:{lines.get(str(key), 1)}"
        if name not in known:
            raise AuditError(f"{where}: no option {key!r:.60} for {context.command.name}; see --help")
        if value is not None:
            context.default_map[name] = _given(known[name], value, context, f"{where}: {key}")


def _given(parameter: click.Parameter, value: Any, context: click.Context, where: str) -> str | list[str]:
    """A value of the file as a word of the command line would give it."""
    listed = value if isinstance(value, list) else [value]
    if isinstance(value, list) != parameter.multiple or any(isinstance(own, dict | list) for own in listed):
        raise AuditError(f"{where}: expected {'a list' if parameter.multiple else 'one value'}, found {value!r:.60}")
    words = list(map(str, listed))
    given = words if parameter.multiple else words[0]
    try:
        parameter.type_cast_value(context, given)
    except click.BadParameter as error:
        raise AuditError(f"{where}: {error.message}") from error
    return given


def _lines_of(path: Path) -> dict[str, int]:
    """The line of each key of a YAML file that holds a mapping."""
    node = compose_yaml(path, AuditError)
    return {key.value: key.start_mark.line + 1 for key, _ in node.value} if node is not None else {}


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


def check_option(command: F) -> F:
    """`--check`."""
    return option(
        "--check",
        type=click.Choice(["once", "again"]),
        default=ScoringConfig().check,
        help="Test the scores of an ensemble once for all its runs, or again.",
    )(command)


def scoring_options(command: F) -> F:
    """The options of `ScoringConfig`."""
    default = ScoringConfig()
    for decorate in (
        option(
            "--batch-size",
            type=click.IntRange(1),
            default=default.batch_size,
            show_default="found while scoring",
            help="Prompts at once.",
        ),
        option(
            "--check-pairs",
            type=click.IntRange(0),
            default=default.check_pairs,
            help="Strange prompts of each kind and language that test the scores; 0 tests nothing.",
        ),
        check_option,
        option(
            "--memory-budget",
            type=ByteCount(),
            default=default.memory_budget,
            help="For weights and features, like 3GiB; what does not fit is streamed.",
        ),
        option("--device", default=default.device, help="auto, cpu, cuda or mps."),
        option(
            "--dtype",
            type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
            default=default.dtype,
            help="Number type of the experts; auto is the fastest here, see `doctor`.",
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
        option(
            "--n-noise",
            type=click.IntRange(0),
            default=default.n_noise,
            help="Noises to average over; 0 asks the text encoder alone. A run with fewer grows.",
        ),
        option("--seed", type=SEED, default=default.seed, help="Of noises and images."),
    ):
        command = decorate(command)
    return command


def image_options(command: F) -> F:
    """The options of `ImageConfig` that scoring does not share."""
    default = ImageConfig()
    for decorate in (
        option(
            "--safety-checker",
            type=click.Choice(["off", "flag", "blank"]),
            default=default.safety_checker,
            help="Flag or blank what the pipeline's own checker finds unsafe.",
        ),
        option(
            "--image-expert",
            default=None,
            help=f"The expert that draws, or `{MIXTURE}` for all of them; by default the base.",
        ),
        option(
            "--lossy-mixture",
            is_flag=True,
            help="Draw a mixture by the experts that fit into --memory-budget; others are replaced by these.",
        ),
        option(
            "--reference-images",
            type=click.Path(exists=True, file_okay=False),
            default=None,
            help="Folder of the real images that the prompts name in `reference_image` or `image_file`.",
        ),
        option("--guidance-scale", type=Finite(), default=default.guidance_scale, help="Classifier-free guidance."),
        option(
            "--image-steps",
            type=click.IntRange(1),
            default=default.num_inference_steps,
            help="Denoising steps an image.",
        ),
        option(
            "--judge",
            default=None,
            show_default="the ensemble's",
            help="Who judges images: an open_clip model, a folder, or an ensemble whose judge it is.",
        ),
        option(
            "--images",
            type=click.Path(exists=True, file_okay=False, resolve_path=True),
            default=None,
            show_default="none",
            help="Folder of images that were made elsewhere, by prompt_id or the column `image_file`; none is drawn.",
        ),
        option(
            "--images-per-prompt",
            type=click.IntRange(1, 64),
            default=default.per_prompt,
            help="From as many seeds; from two on it is told whether translations show the same.",
        ),
        option("--n-images", type=click.IntRange(0), default=default.n_images, help="Prompts drawn at most; 0: none."),
    ):
        command = decorate(command)
    return command


def analysis_options(command: F) -> F:
    """The options of `AnalysisConfig`."""
    default = AnalysisConfig()
    for decorate in (
        option(
            "--target-risk",
            type=SHARE,
            default=default.target_risk,
            show_default="half the run's own",
            help="Share of misread prompts that may be left among those accepted.",
        ),
        option(
            "--margin",
            type=Margin("clip_cosine=0.02"),
            multiple=True,
            show_default="a fifth of a standard deviation",
            help="The smallest gap that matters in a measure; can be given again for another.",
        ),
        option(
            "--min-sources",
            type=click.IntRange(1),
            default=default.min_sources,
            help="Captions without which the numbers of a group are not given.",
        ),
    ):
        command = decorate(command)
    return command


def analysis_config(settings: dict[str, Any]) -> AnalysisConfig:
    """The settings object from the values of `analysis_options`."""
    return AnalysisConfig(
        min_sources=settings["min_sources"],
        margins=dict(settings["margin"]),
        target_risk=settings["target_risk"],
    )


def ensemble_option(command: F) -> F:
    """`--ensemble`."""
    return option(
        "--ensemble", default=DEFAULT_ENSEMBLE, help="Embedded name, folder with ensemble.yaml, or YAML file."
    )(command)


def audit_options(command: F) -> F:
    """What an audit starts from: prompts, ensemble, run folder, and how prompts are scored and drawn."""
    for decorate in (
        image_options,
        scoring_options,
        option(
            "--concepts",
            type=click.IntRange(1),
            default=100,
            help="Captions of each kind when PROMPTS is not given.",
        ),
        option(
            "--out",
            type=Target(is_folder=True),
            required=True,
            show_default=False,
            help="Run folder; resumed if it exists.",
        ),
        ensemble_option,
        click.argument("prompts", required=False, type=click.Path(path_type=Path)),
    ):
        command = decorate(command)
    return command


def output_options(command: F) -> F:
    """`--json` and `--quiet`."""
    command = click.option("--quiet", is_flag=True, help="No progress on stderr.")(command)
    return click.option("--json", "as_json", is_flag=True, help="The result as JSON on stdout.")(command)


def word_options(command: F) -> F:
    """A user's word on what is loaded for a run that exists; for this one, so no variable says it."""
    command = click.option(
        "--trust-run", is_flag=True, help="Load what the run names, from now on; for one that was not started here."
    )(command)
    return click.option(
        "--ensemble", default=None, help="The run's own ensemble, where it lies here, in place of what the run names."
    )(command)


def configs(settings: dict[str, Any]) -> tuple[ScoringConfig, ImageConfig]:
    """The two settings objects, from the values of `scoring_options` and `image_options`."""
    scoring = {**settings, "num_inference_steps": settings["steps"]}
    images = {**settings, "num_inference_steps": settings["image_steps"], "expert": settings["image_expert"]}
    images |= {"lossy": settings["lossy_mixture"], "brought": settings["images"]}
    images["per_prompt"] = settings["images_per_prompt"]
    if images["lossy"] and settings["memory_budget"] is None:
        raise click.UsageError("--lossy-mixture draws by what fits into a memory budget: give --memory-budget, too")
    images["batch_size"] = settings["batch_size"] or ImageConfig().batch_size
    return (
        ScoringConfig(**{f.name: scoring[f.name] for f in fields(ScoringConfig) if f.name not in CHOSEN}),
        ImageConfig(**{f.name: images[f.name] for f in fields(ImageConfig)}),
    )
