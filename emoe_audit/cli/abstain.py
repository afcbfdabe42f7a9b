"""The commands that learn from the images of a run which prompts to refuse, and refuse them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from emoe_audit.cli.console import print_result
from emoe_audit.cli.kinds import SEED, SHARE, Target
from emoe_audit.cli.options import F, option, output_options, run_argument


def model_option(kind: click.Path) -> Callable[[F], F]:
    """`--model`, to write or to read."""
    return option("--model", type=kind, default=None, show_default="RUN/abstain", help="Folder of the model.")


@click.group()
def abstain() -> None:
    """Refuse the prompts that will be drawn wrong, before an image exists."""


@abstain.command("fit")
@run_argument
@model_option(Target(is_folder=True))
@option("--target", type=SHARE, default=0.2, help="Share of accepted prompts that may be misread.")
@option("--delta", type=SHARE, default=0.1, help="Probability that more are, see `promise`.")
@option("--labellers", type=click.IntRange(2), default=128, help="Boosted models, and heads of the student.")
@option("--seed", type=SEED, default=0, help="Of everything drawn.")
@output_options
def fit(
    run_folder: Path,
    model: Path | None,
    target: float,
    delta: float,
    labellers: int,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> int:
    """Learn from the judged images of RUN which prompts are drawn right.

    Prints what the limits promise: that for languages learned from (seen), and that for a language never seen.
    """
    from emoe_audit.abstain.files import model_folder, save_abstainer
    from emoe_audit.abstain.runs import fit_run
    from emoe_audit.runs.store import RunStore

    store, folder = RunStore.open(run_folder), model or model_folder(run_folder)
    abstainer = fit_run(store, target=target, delta=delta, n_labellers=labellers, seed=seed)
    with store.locked():
        save_abstainer(abstainer, folder)
        store.take(folder)
    limits = abstainer.limits.to_json()
    kinds = {f"{kind}_{name}": value for kind in ("seen", "unseen") for name, value in limits[kind].items()}
    print_result({"model": str(folder), "n_prompts": len(abstainer.fitted_on)} | kinds, as_json)
    return 0


@abstain.command("predict")
@run_argument
@model_option(click.Path(file_okay=False, path_type=Path))
@option("--by", default="language", help="Group column of the prompts, for the rates.")
@output_options
def predict(run_folder: Path, model: Path | None, by: str, as_json: bool, quiet: bool) -> int:
    """Accept or refuse every prompt of RUN, and say how often each group is refused; `report` shows it."""
    from emoe_audit.abstain.files import load_abstainer, model_folder
    from emoe_audit.abstain.runs import abstention_rates, decided_results, predict_run
    from emoe_audit.runs.store import RunStore

    store, abstainer = RunStore.open(run_folder), load_abstainer(model or model_folder(run_folder))
    with store.locked():
        predict_run(store, abstainer)
        rates = abstention_rates(decided_results(store), by)
        store.write_analysis("abstention", rates)
    if not quiet:
        seen, unseen = (limit.promise for limit in (abstainer.limits.seen, abstainer.limits.unseen))
        click.echo(f"promised in languages learned from: {seen}; in a language never seen: {unseen}", err=True)
    click.echo(rates.to_json(orient="records") if as_json else rates.to_string(index=False, float_format="%.3f"))
    return 0
