"""The commands about ensembles: which there are, what they hold, whether a score can be trusted on them."""

from __future__ import annotations

import json
import runpy
from dataclasses import asdict
from pathlib import Path

import click

from emoe_audit.cli.console import EXIT_ROW_ERRORS, command_line, progress_of
from emoe_audit.cli.kinds import SEED, ByteCount, Target
from emoe_audit.cli.options import DEFAULT_ENSEMBLE, check_option, option, output_options
from emoe_audit.errors import AuditError
from emoe_audit.types import CheckPolicy, Dtype, ScoringConfig, SplitParts

VERIFIED_ENSEMBLE = "emoji-b"
"""The one on which no choice was made."""


@click.group()
def ensemble() -> None:
    """List, show, make, check and verify ensembles."""


@ensemble.command("list")
def list_ensembles() -> int:
    """Names of the ensembles: embedded ones, and those of public checkpoints."""
    from emoe_audit.experts.spec import named_ensembles

    click.echo("\n".join(named_ensembles()))
    return 0


@ensemble.command("show")
@click.argument("name", default=DEFAULT_ENSEMBLE)
def show_ensemble(name: str) -> int:
    """An ensemble's parts, as JSON."""
    from emoe_audit.experts.spec import load_spec

    click.echo(json.dumps(asdict(load_spec(name)), indent=2))
    return 0


@ensemble.command("tiny")
@click.argument("folder", type=Target(is_folder=True))
@option("--seed", type=SEED, default=0, help="Of the random weights.")
def tiny_ensemble(folder: Path, seed: int) -> int:
    """Make a tiny ensemble with random weights, for tests of your own."""
    from emoe_audit.experts.tiny import make_tiny_ensemble

    make_tiny_ensemble(folder, seed=seed)
    click.echo(folder)
    return 0


@ensemble.command("emergent")
@click.argument("checkpoint")
@option("--out", type=Target(is_folder=True), required=True, show_default=False, help="Folder to write.")
@option("--expert", default=None, help="Of an ensemble; by default its base.")
@option("--revision", default=None, help="Of a hub id.")
@option("--members", type=click.IntRange(2), default=4, help="Experts of the ensemble.")
@option("--n-clusters", type=click.IntRange(1), default=None, help="Of each layer; by default 64 where they fit.")
@option("--top-k", type=click.IntRange(1), default=None, help="Clusters that a token keeps; by default a quarter.")
@option("--what", type=click.Choice(["unet", "unet+text"]), default="unet", help="What is split.")
@option("--judge", default=None, help="Open_clip model that measures images, as in `judge:` of a YAML file.")
@option("--seed", type=SEED, default=0, help="Of clusters and members.")
def emergent_ensemble(
    checkpoint: str,
    out: Path,
    expert: str | None,
    revision: str | None,
    members: int,
    n_clusters: int | None,
    top_k: int | None,
    what: SplitParts,
    judge: str | None,
    seed: int,
) -> int:
    """Make an ensemble of one checkpoint: an ensemble by name, a folder, a single file or a hub id."""
    from emoe_audit.experts.emergent_recipe import make_emergent_ensemble

    spec = make_emergent_ensemble(
        checkpoint,
        out,
        expert=expert,
        revision=revision,
        n_members=members,
        n_clusters=n_clusters,
        top_k=top_k,
        seed=seed,
        what=what,
        judge=judge,
    )
    click.echo(out)
    prompts, images = "" if spec.captions else " PROMPTS", "" if spec.judge else " --n-images 0"
    run = f"emoe-audit run{prompts} --ensemble {out} --out RUN{images}"
    click.echo(f"now: emoe-audit ensemble check {out}; {run}", err=True)
    return 0


@ensemble.command("check")
@click.argument("name", default=DEFAULT_ENSEMBLE)
@option("--pairs", type=click.IntRange(1), default=ScoringConfig().check_pairs, help="Of each kind in each language.")
@option("--n-noise", type=click.IntRange(1), default=ScoringConfig().n_noise, help="Noises to average over.")
@option("--device", default="auto", help="auto, cpu, cuda or mps.")
@click.option("--published", is_flag=True, help="Compare with what is published of a public text encoder, too.")
@check_option
@output_options
def check_ensemble(
    name: str, pairs: int, n_noise: int, device: str, published: bool, check: CheckPolicy, as_json: bool, quiet: bool
) -> int:
    """Say which scores can be trusted on an ensemble, from prompts that are strange to every model."""
    from emoe_audit.experts.spec import load_spec
    from emoe_audit.scoring.loading import load_engine
    from emoe_audit.steps.checks import find_outcome
    from emoe_audit.steps.published import compare_published
    from emoe_audit.validity.outcome import Check

    spec = load_spec(name)
    engine = load_engine(spec, ScoringConfig(n_noise=n_noise, device=device, check_pairs=pairs, check=check))
    readings = compare_published(engine, progress_of(quiet)) if published else None
    outcome = find_outcome(engine, progress_of(quiet))
    found = Check.from_frame(outcome, spec.name, engine.ensemble_hash)
    told = {"published": readings.to_json()} if readings else {}
    text = [found.to_text(), *([readings.to_text()] if readings else [])]
    click.echo(json.dumps(found.to_json() | told) if as_json else "\n".join(text))
    return 0


@ensemble.command("elastic")
@click.argument("name", default=DEFAULT_ENSEMBLE)
@option("--captions", type=click.IntRange(3), default=12, help="On which the order is chosen; and as many others.")
@option("--n-noise", type=click.IntRange(1), default=4, help="Noises of the whole.")
@option("--seed", type=SEED, default=0, help="Of captions, noises and orders drawn by lot.")
@option("--device", default="auto", help="auto, cpu, cuda or mps.")
@option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="float32",
    help="Number type of the experts; what is measured is said of that alone.",
)
@option(
    "--memory-budget", type=ByteCount(), default=None, help="For weights and features; what does not fit is streamed."
)
@option(
    "--out", type=Target(), default=None, show_default="the user's cache", help="File for the manifest, to publish it."
)
@output_options
def elastic_ensemble(
    name: str,
    captions: int,
    n_noise: int,
    seed: int,
    device: str,
    dtype: Dtype,
    memory_budget: int | None,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Put experts and noises in order, and measure what each part is worth; `run --fidelity` takes what is enough."""
    from emoe_audit.elastic.choose import own_manifest
    from emoe_audit.elastic.make import make_elastic
    from emoe_audit.experts.spec import load_spec

    spec = load_spec(name)
    file = out or own_manifest(spec)
    scoring = ScoringConfig(n_noise=n_noise, seed=seed, device=device, dtype=dtype, memory_budget=memory_budget)
    found = make_elastic(spec, scoring, n_captions=captions, seed=seed, progress=progress_of(quiet))
    found.write(file)
    click.echo(json.dumps(asdict(found)) if as_json else f"{found.to_text()}\n\nmanifest: {file}")
    return 0


@ensemble.command("verify")
@click.argument("name", default=VERIFIED_ENSEMBLE)
@option("--out", type=Target(is_folder=True), default=None, help="Run folder; by default reports/verify-ENSEMBLE.")
@option("--concepts", type=click.IntRange(1), default=100, help="Captions of each kind, each in every language.")
@option(
    "--n-images",
    type=click.IntRange(0),
    default=2000,
    help="At most, and once more as many in the best covered language alone; 0 makes none.",
)
@option("--device", default="auto", help="auto, cpu, cuda or mps.")
@option("--register", type=click.Path(exists=True, dir_okay=False), help="Python file that registers further scores.")
@output_options
def verify_ensemble(
    name: str,
    out: Path | None,
    concepts: int,
    n_images: int,
    device: str,
    register: str | None,
    as_json: bool,
    quiet: bool,
) -> int:
    """Hold every score and baseline against the known training coverage of an ensemble."""
    from emoe_audit.experts.spec import load_spec
    from emoe_audit.ground.page import write_page
    from emoe_audit.ground.verify import NOISES, PER_PROMPT, verify
    from emoe_audit.runs.store import RunStore
    from emoe_audit.types import ImageConfig

    if register is not None:
        try:
            runpy.run_path(register)
        except (Exception, SystemExit) as error:
            raise AuditError(f"{register}: cannot be run: {type(error).__name__}: {error}") from error
    spec = load_spec(name)
    folder = out or Path("reports") / f"verify-{spec.name}"
    found = verify(
        spec,
        folder,
        n_concepts=concepts,
        scoring=ScoringConfig(device=device, n_noise=NOISES),
        images=ImageConfig(n_images=n_images, device=device, per_prompt=PER_PROMPT),
        command=command_line(),
        progress=progress_of(quiet),
    )
    with RunStore(folder).locked():
        page = write_page(found, folder, command_line())
    click.echo(json.dumps(found.to_json()) if as_json else f"{found.to_text()}\n\nreport: {page}")
    return EXIT_ROW_ERRORS if RunStore.open(folder).errors() else 0
