"""Which model is audited, and who judges its images: an ensemble, or any model of which there are images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from emoe_audit.cli.options import option
from emoe_audit.types import EnsembleSpec

OF_DRAWING = (
    *("n_images", "images_per_prompt", "image_steps", "guidance_scale", "lossy_mixture", "image_expert"),
    "safety_checker",
)
"""Options that say how images are drawn."""
F = TypeVar("F", bound=Callable[..., Any])


def model_name_option(command: F) -> F:
    """`--model-name`."""
    return option(
        "--model-name",
        default=None,
        show_default="none",
        help="With --images: the model that made them, in the place of an ensemble; nothing is scored.",
    )(command)


def audited(ensemble: str, settings: dict[str, Any]) -> EnsembleSpec:
    """What the values of `--ensemble`, `--model-name` and `--judge` name; the latter two are taken out of `settings`.

    Raises:
        UsageError: a model is named beside an ensemble, or without images of it; or it is said how images are drawn
            where they are brought.
        EnsembleError: there is no such ensemble, or no such judge.
    """
    from emoe_audit.experts.images_alone import images_alone, judged_by
    from emoe_audit.experts.spec import load_spec

    name, judge = settings.pop("model_name", None), settings.pop("judge")
    if settings["images"] is not None:
        _check_brought()
    if name is None:
        return judged_by(load_spec(ensemble), judge)
    if settings["images"] is None:
        raise click.UsageError("--model-name is for a model of which there are images: give --images, too")
    if click.get_current_context().get_parameter_source("ensemble") is not ParameterSource.DEFAULT:
        raise click.UsageError("--model-name is in the place of an ensemble: leave one of them out")
    return images_alone(name, judge)


def _check_brought() -> None:
    given = click.get_current_context().get_parameter_source
    for name in OF_DRAWING:
        if given(name) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"--images are judged as they are: leave out --{name.replace('_', '-')}")
