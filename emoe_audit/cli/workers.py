"""Who does the work of a run: the options for one of several processes, and for the workers of a cluster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from emoe_audit.cli.kinds import FiniteRange, OneOfSeveral
from emoe_audit.cli.options import option
from emoe_audit.runs.shares import Share
from emoe_audit.types import ClusterConfig

LEAST_GPU = 0.0001
"""The smallest part of a GPU that Ray gives."""
F = TypeVar("F", bound=Callable[..., Any])


def shard_option(command: F) -> F:
    """`--shard`."""
    return option(
        "--shard",
        metavar="I/N",
        type=OneOfSeveral(),
        default=None,
        show_default=False,
        help="Do one of N shares of the prompts, beside processes that do the others; `run` takes in all.",
    )(command)


def cluster_options(command: F) -> F:
    """The options of `ClusterConfig`."""
    for decorate in (
        option(
            "--gpus-per-worker",
            type=FiniteRange(0, min_open=True),
            default=None,
            show_default="workers use none",
            help="GPUs of each worker; with 0.5 two share one.",
        ),
        option(
            "--workers",
            type=click.IntRange(1),
            default=None,
            show_default="all that have room",
            help="How many processes of the cluster work.",
        ),
        option(
            "--ray",
            metavar="auto|ADDRESS",
            default=None,
            show_default=False,
            help="Work on a Ray cluster: the one at HOST:PORT, or that runs here, else one is started here.",
        ),
    ):
        command = decorate(command)
    return command


def cluster_config(settings: dict[str, Any], shard: Share | None = None) -> ClusterConfig | None:
    """The settings object from the values of `cluster_options`; None where no cluster is asked for.

    Raises:
        UsageError: what is asked of workers without a cluster, or a share of one.
    """
    address, workers, gpus = settings.pop("ray"), settings.pop("workers"), settings.pop("gpus_per_worker")
    if address is None:
        if workers is not None or gpus is not None:
            raise click.UsageError("--workers and --gpus-per-worker are of a Ray cluster: give --ray, too")
        return None
    if shard is not None:
        raise click.UsageError(
            "--shard is for processes that you start yourself: a Ray cluster needs none, leave it out"
        )
    if gpus is not None and not (gpus == int(gpus) or LEAST_GPU <= gpus < 1):
        raise click.UsageError(f"--gpus-per-worker is a whole number, or a part of one GPU from {LEAST_GPU} on")
    return ClusterConfig(address=address, workers=workers, gpus_per_worker=gpus)
