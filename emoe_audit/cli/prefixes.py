"""Asking a part of an ensemble: the options of commands that do, and which part it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from emoe_audit.cli.kinds import Duration, Faithful
from emoe_audit.cli.options import option
from emoe_audit.errors import AuditError
from emoe_audit.types import EnsembleSpec, ImageConfig, ScoringConfig

if TYPE_CHECKING:
    from emoe_audit.elastic.manifest import Elastic
    from emoe_audit.prompts.table import PromptTable

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a part of an ensemble has to be."""

    score: str | None
    """Whose fidelity is meant; None: of the one that ranks."""
    fidelity: float | None
    seconds: float | None
    """In which the whole audit is to be done."""
    n_bytes: int | None
    """That the weights may have, without being streamed."""

    @property
    def asked(self) -> str:
        """The options, for the manifest of a run."""
        named = "" if self.score is None else f"{self.score}="
        said = [
            None if self.fidelity is None else f"--fidelity {named}{self.fidelity:g}",
            None if self.seconds is None else f"--time-budget {self.seconds:g}s",
            None if self.n_bytes is None else f"--elastic --memory-budget {self.n_bytes}",
        ]
        return " ".join(own for own in said if own)


def prefix_options(command: F) -> F:
    """`--fidelity`, `--time-budget` and `--elastic`."""
    for decorate in (
        option("--elastic", is_flag=True, help="Ask as large a part of the ensemble as --memory-budget holds at once."),
        option(
            "--time-budget",
            type=Duration(),
            default=None,
            show_default="none",
            help="Ask as large a part of the ensemble as is done in that time, like 20min.",
        ),
        option(
            "--fidelity",
            metavar="[SCORE=]RHO",
            type=Faithful(),
            default=None,
            show_default="the whole",
            help="Ask as small a part of the ensemble as ranks prompts like the whole, like 0.95, by the score that "
            "ranks or by the one named; see `ensemble elastic`.",
        ),
    ):
        command = decorate(command)
    return command


def wish_of(settings: dict[str, Any]) -> Wish | None:
    """What the values of `prefix_options` ask for, which are taken out; None for the whole.

    Raises:
        UsageError: `--elastic` without a budget.
    """
    faithful, seconds, elastic = (settings.pop(name) for name in ("fidelity", "time_budget", "elastic"))
    if elastic and settings["memory_budget"] is None:
        raise click.UsageError("--elastic asks what a memory budget holds: give --memory-budget, too")
    if faithful is None and seconds is None and not elastic:
        return None
    score, fidelity = faithful or (None, None)
    n_bytes = settings["memory_budget"] if elastic else None
    return Wish(score=score, fidelity=fidelity, seconds=seconds, n_bytes=n_bytes)


def part_of(
    spec: EnsembleSpec, scoring: ScoringConfig, images: ImageConfig, table: PromptTable, wish: Wish | None
) -> ScoringConfig:
    """The settings that ask the part of an ensemble which is wished for; said on stderr.

    Raises:
        AuditError: what its parts are worth is not known, or none is as is wished.
    """
    if wish is None:
        return scoring
    from emoe_audit.elastic.choose import find_elastic, with_prefix

    elastic = find_elastic(spec)
    times = None if wish.seconds is None else _times(elastic, spec, scoring, images, table, wish.seconds)
    if wish.fidelity is None:
        prefix = elastic.within(seconds=times, n_bytes=wish.n_bytes)
    else:
        prefix = elastic.reaching(wish.fidelity, wish.score)
        if (times is not None and prefix.name not in times) or (wish.n_bytes or prefix.n_bytes) < prefix.n_bytes:
            raise AuditError(
                f"{spec.name}: a fidelity of {wish.fidelity:g} takes {prefix.name}, which is more than the budget; "
                "give it more, or leave --fidelity out"
            )
    chosen = with_prefix(scoring, elastic, prefix, wish.asked, wish.score)
    if chosen.prefix is not None:
        click.echo(
            f"asking {prefix.name}, {prefix.cost:.0%} of the work: {chosen.prefix.score} ranks prompts as the whole "
            f"does, Spearman {chosen.prefix.fidelity:.3f} ({chosen.prefix.low:.3f} to {chosen.prefix.high:.3f})",
            err=True,
        )
    return chosen


def _times(
    elastic: Elastic,
    spec: EnsembleSpec,
    scoring: ScoringConfig,
    images: ImageConfig,
    table: PromptTable,
    seconds: float,
) -> dict[str, float]:
    """The prefixes that score all prompts in a time, less that of the images, with their seconds; measured here."""
    from emoe_audit.decisions.estimate import n_checked, seconds_of_parts
    from emoe_audit.elastic.choose import seconds_within

    a_text, a_path, of_images = seconds_of_parts(table, spec, scoring, images, elastic.prefixes[1].experts)
    n_prompts = table.n_prompts + n_checked(scoring)
    return dict(seconds_within(elastic, a_text, a_path, n_prompts, seconds - of_images))
