"""Asking a part of an ensemble: the options of commands that do, and which part it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from emoe_audit.analysis.translations import MIN_LANGUAGES, TRANSLATION_SCORE
from emoe_audit.cli.console import announce_fetch, languages_of
from emoe_audit.cli.kinds import Duration, Faithful
from emoe_audit.cli.options import option
from emoe_audit.errors import AuditError
from emoe_audit.progress import in_words
from emoe_audit.types import EnsembleSpec, ImageConfig, ScoringConfig

if TYPE_CHECKING:
    from emoe_audit.elastic.manifest import Elastic, Prefix
    from emoe_audit.prompts.table import PromptTable

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a part of an ensemble has to be."""

    score: str | None
    """Whose fidelity is meant; None: of the one that ranks."""
    fidelity: float | None
    seconds: float | None
    """In which the whole audit is to be done."""
    n_bytes: int | None
    """For what is held at once, so that nothing is streamed."""

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
            show_default="none",
            help="Ask as small a part of the ensemble as ranks prompts like the whole, like 0.95, by the score that "
            "ranks or by the one named; see `ensemble elastic`.",
        ),
    ):
        command = decorate(command)
    return command


def wanted_part(settings: dict[str, Any], *, alone: bool = True) -> Wanted | None:
    """What the values of `prefix_options` ask for, which are taken out; None for the whole.

    Raises:
        UsageError: `--elastic` without a budget, noises that are asked for beside a part, or a time for work that this
            process does not do `alone`.
    """
    faithful, seconds, elastic = (settings.pop(name) for name in ("fidelity", "time_budget", "elastic"))
    if elastic and settings["memory_budget"] is None:
        raise click.UsageError("--elastic asks what a memory budget holds: give --memory-budget, too")
    if faithful is None and seconds is None and not elastic:
        return None
    if seconds is not None and not alone:
        raise click.UsageError("--time-budget is measured in this process: leave out --ray and --shard")
    if click.get_current_context().get_parameter_source("n_noise") is not ParameterSource.DEFAULT:
        raise click.UsageError("a part of the ensemble says how many noises there are: leave out --n-noise")
    score, fidelity = faithful or (None, None)
    n_bytes = settings["memory_budget"] if elastic else None
    return Wanted(score=score, fidelity=fidelity, seconds=seconds, n_bytes=n_bytes)


def part_of(
    spec: EnsembleSpec,
    scoring: ScoringConfig,
    images: ImageConfig,
    table: PromptTable,
    out: Path,
    wanted: Wanted | None,
    *,
    quiet: bool,
) -> ScoringConfig:
    """The settings that ask the part of an ensemble which is wanted, said on stderr; in a run that asks it, that one.

    Raises:
        AuditError: what its parts are worth is not known, or none is as is wanted.
    """
    if wanted is None:
        return scoring
    from emoe_audit.elastic.choose import check_settings, find_elastic, with_prefix
    from emoe_audit.runs.store import RunStore
    from emoe_audit.scoring.loading import settle_dtype

    if RunStore(out).is_started:
        begun = RunStore(out).plan().scoring
        if begun.prefix is not None and begun.prefix.asked == wanted.asked:
            return replace(scoring, experts=begun.experts, n_noise=begun.n_noise, prefix=begun.prefix)
    elastic = find_elastic(spec)
    check_settings(elastic, settle_dtype(scoring))
    score = wanted.score or elastic.score
    if score == TRANSLATION_SCORE and not _is_translated(table):
        raise AuditError(
            f"{spec.name} ranks by {score}, which takes captions in {MIN_LANGUAGES} languages; this table has none, so "
            "name the score that is meant, as in --fidelity disagreement=0.95"
        )
    fitting = _fitting(elastic, spec, scoring, images, table, wanted, quiet=quiet)
    if wanted.fidelity is None:
        prefix = elastic.largest(fitting)
    else:
        prefix = elastic.reaching(wanted.fidelity, score, within_language=len(languages_of(table)) == 1)
        if prefix not in fitting:
            raise AuditError(
                f"{spec.name}: a fidelity of {wanted.fidelity:g} takes {prefix.name}, which is more than the budget; "
                "give it more, or leave --fidelity out"
            )
    chosen = with_prefix(scoring, elastic, prefix, wanted.asked, score)
    if chosen.prefix is not None and not quiet:
        click.echo(f"asking {prefix.name}, {prefix.cost:.0%} of the work: {chosen.prefix.to_text()}", err=True)
    return chosen


def _fitting(
    elastic: Elastic,
    spec: EnsembleSpec,
    scoring: ScoringConfig,
    images: ImageConfig,
    table: PromptTable,
    wanted: Wanted,
    *,
    quiet: bool,
) -> list[Prefix]:
    """The prefixes that the budgets hold."""
    fitting = list(elastic.prefixes)
    if wanted.n_bytes is not None:
        from emoe_audit.elastic.choose import bytes_needed

        fitting = [own for own in fitting if bytes_needed(spec, scoring, own) <= wanted.n_bytes]
    if wanted.seconds is not None:
        announce_fetch(spec, quiet)
        from emoe_audit.decisions.estimate import n_read, seconds_of_parts

        a_text, a_path, of_images = seconds_of_parts(table, spec, scoring, images, elastic.prefixes[1].experts)
        if of_images >= wanted.seconds:
            raise AuditError(
                f"the images alone take {in_words(of_images)}, which is the whole time budget; give fewer --n-images"
            )
        n_texts, n_checked = n_read(spec, scoring)
        n_prompts, left = table.n_prompts + n_checked, wanted.seconds - of_images - n_texts * a_text
        fitting = [own for own in fitting if n_prompts * (a_text + len(own.experts) * own.n_noise * a_path) <= left]
    if not fitting:
        raise AuditError(f"{spec.name}: even the {elastic.prefixes[0].name} takes more than the budget")
    return fitting


def _is_translated(table: PromptTable) -> bool:
    """Whether a caption stands in as many languages as the translation score takes."""
    from emoe_audit.prompts.captions import compact

    rows = compact(table.parts)
    languages = rows.drop_duplicates(["source_id", "language"]).groupby("source_id", observed=True).size()
    return bool((languages >= MIN_LANGUAGES).any())
