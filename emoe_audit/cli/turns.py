"""Waiting in the line of this machine: the options of commands that do, and the command that shows it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from emoe_audit.cli.console import print_result, progress_of
from emoe_audit.cli.kinds import Duration
from emoe_audit.cli.options import option
from emoe_audit.line.order import expected
from emoe_audit.line.speeds import Watched, key_of
from emoe_audit.line.tickets import Kind, line
from emoe_audit.line.turn import between_modules, nobody, taking_turns, with_turns
from emoe_audit.progress import Progress, in_words
from emoe_audit.types import EnsembleSpec, ImageConfig, ScoringConfig

if TYPE_CHECKING:
    from emoe_audit.prompts.table import PromptTable
    from emoe_audit.runs.store import RunStore

F = TypeVar("F", bound=Callable[..., Any])


def line_options(command: F) -> F:
    """`--queued` and `--deadline`."""
    for decorate in (
        option(
            "--deadline",
            type=Duration(),
            default=None,
            show_default="none",
            help="With --queued: in what time it is to be done, like 2h; what is tighter goes first.",
        ),
        option("--queued", is_flag=True, help="Wait for a turn: one audit at a time works on this machine."),
    ):
        command = decorate(command)
    return command


def check_line(settings: Mapping[str, Any], *, alone: bool = True) -> None:
    """Raise `UsageError` for a deadline without a line, and for work that is not done by this process `alone`."""
    if settings["deadline"] is not None and not settings["queued"]:
        raise click.UsageError("--deadline is for work that waits in line: give --queued, too")
    if settings["queued"] and not alone:
        raise click.UsageError("--queued is for the work of one process: leave out --ray, --shard and --dry-run")


@contextmanager
def in_line(
    settings: Mapping[str, Any],
    kind: Kind,
    out: Path,
    plan: Callable[[], Watched],
    *,
    quiet: bool,
) -> Iterator[Progress]:
    """The progress to work with: as it is, or one that waits in line and gives way where `--queued` says so.

    Args:
        settings: The values of `line_options`, and of what else the command has.
        kind: What is done.
        out: The run folder.
        plan: Gives the work that there is to do.
        quiet: Whether nothing is said of how far it is.
    """
    progress = progress_of(quiet)
    if not settings["queued"]:
        yield progress
        return
    work = plan()
    deadline = None if settings["deadline"] is None else time.time() + settings["deadline"]
    what = str(out.resolve())
    with (
        taking_turns(kind, what, seconds=work.seconds, deadline=deadline, told=nobody if quiet else _say_place) as turn,
        between_modules(turn),
    ):
        yield with_turns(turn, progress, work.of(turn))
        work.keep()


def work_of(table: PromptTable, spec: EnsembleSpec, scoring: ScoringConfig, images: ImageConfig) -> Watched:
    """The prompts of a table, and the images of them that are drawn."""
    from emoe_audit.prompts.captions import choose_captions, compact

    n_scored, n_images = table.n_prompts if spec.experts else 0, table.n_prompts
    if images.brought is None or not images.n_images:
        chosen = choose_captions(compact(table.parts), images.n_images, images.seed) if images.n_images else None
        n_images = chosen.n_images if chosen else 0
    return Watched(key_of(spec, scoring, images), {"scoring": n_scored, "images": n_images})


def images_of(store: RunStore) -> Watched:
    """The images of a run, at most so many."""
    plan = store.sources()
    return Watched(key_of(plan.ensemble, plan.scoring, plan.images), {"images": plan.images.n_images})


def _say_place(before: int) -> None:
    click.echo(f"waiting for a turn: {before} before, see `emoe-audit queue`", err=True)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The line as JSON on stdout.")
def queue(as_json: bool) -> None:
    """Show who works on this machine, who waits, and when each is expected to begin and end."""
    tickets, now = line(), time.time()
    rows = [
        {
            "place": place,
            "state": tickets[own.name].state,
            "kind": tickets[own.name].kind,
            "what": tickets[own.name].what,
            "start": own.start,
            "end": own.end,
            "deadline": tickets[own.name].deadline,
        }
        for place, own in enumerate(expected(tickets, now))
    ]
    if as_json:
        print_result({"line": rows}, as_json=True)
        return
    for row in rows:
        named = ("end",) if row["state"] == "works" else ("start", "end")
        times = [f"{name} {_moment(row[name], now)}" for name in named]
        click.echo(f"{row['place']}: {row['state']}, {row['kind']} of {row['what']!r}, {', '.join(times)}")
    if not rows:
        click.echo("nobody is in line")


def _moment(when: Any, now: float) -> str:
    if when is None:
        return "not known yet"
    return f"{datetime.fromtimestamp(when):%H:%M}, in {in_words(max(0.0, when - now))}"
