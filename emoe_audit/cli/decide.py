"""The commands that draw a decision from finished runs: which groups changed, and whether a run may pass."""

from __future__ import annotations

import json
from pathlib import Path

import click

from emoe_audit.cli.console import EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, command_line
from emoe_audit.cli.kinds import SHARE, Target
from emoe_audit.cli.options import option, output_options, run_argument


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@option("--by", default="language", help="Group column of the prompts.")
@option("--score", default=None, help="Measure of both runs; by default the one that ranks A.")
@option(
    "--fdr",
    type=SHARE,
    default=0.1,
    help="Share of false alarms to be expected among the groups that rose or fell.",
)
@option("--out", type=Target(), default=None, help="HTML page to write.")
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


@click.command()
@run_argument
@option("--policy", type=click.Path(path_type=Path), required=True, show_default=False, help="YAML file of rules.")
@output_options
def gate(run_folder: Path, policy: Path, as_json: bool, quiet: bool) -> int:
    """Hold a run against a policy: pass (exit 0), fail (1) or inconclusive (3)."""
    from emoe_audit.decisions.evidence import read_standing
    from emoe_audit.decisions.gate import judge_run, overall, read_policy, to_json, to_text
    from emoe_audit.runs.store import RunStore

    store = RunStore.open(run_folder)
    findings, standing = judge_run(store, read_policy(policy)), read_standing(store)
    click.echo(json.dumps(to_json(findings, standing), allow_nan=False) if as_json else to_text(findings, standing))
    return {"pass": 0, "fail": EXIT_GATE_FAILED, "inconclusive": EXIT_INCONCLUSIVE}[overall(findings)]
