"""READ FIRST: the story of an audit. Prompts and an ensemble go in; scores, images, quality and a report come out.

Everything computed is stored as it comes, so a run that is stopped goes on where it was when it is started again.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from emoe_audit.cluster.crew import Crew, hired
from emoe_audit.cluster.engine import ClusterEngine, settle_there
from emoe_audit.errors import AuditError
from emoe_audit.experts.spec import load_spec
from emoe_audit.progress import Progress, silent
from emoe_audit.prompts.table import PromptTable
from emoe_audit.report.render import write_report
from emoe_audit.runs.manifest import check_same, stored_dtype
from emoe_audit.runs.shares import Share
from emoe_audit.runs.store import RunStore
from emoe_audit.scoring.loading import load_engine, settle_dtype
from emoe_audit.steps.begun import forget_fewer_noises
from emoe_audit.steps.checks import check_pending, find_languages, know_languages, watch_experts
from emoe_audit.steps.growth import grow
from emoe_audit.steps.images import judge_pending
from emoe_audit.steps.mending import mend
from emoe_audit.steps.plan import check_drawable, check_prefix, plan_run
from emoe_audit.steps.prompts import take_prompts
from emoe_audit.steps.readers import keep_reader
from emoe_audit.steps.references import measure_references
from emoe_audit.steps.scores import Engine, score_pending
from emoe_audit.steps.shares import begun_once, own_share, take_shares
from emoe_audit.steps.summary import RunResult, count, summarize
from emoe_audit.types import AnalysisConfig, ClusterConfig, EnsembleSpec, ImageConfig, RunManifest, ScoringConfig

if TYPE_CHECKING:
    from emoe_audit.scoring.anywhere import AnyEngine


def run_audit(
    prompts: PromptTable,
    ensemble: EnsembleSpec | str | Path,
    out: Path | str,
    *,
    scoring: ScoringConfig | None = None,
    images: ImageConfig | None = None,
    analysis: AnalysisConfig | None = None,
    cluster: ClusterConfig | None = None,
    command: str = "",
    progress: Progress = silent,
) -> RunResult:
    """Do a whole audit, or the rest of one.

    Args:
        prompts: From `read_prompts` or `default_prompts`.
        ensemble: A spec, an embedded name, a folder with `ensemble.yaml`, or a YAML file; `images_alone` for a model of
            which only images are known, that are brought along.
        out: The run folder; a run of the same prompts, ensemble and settings that lies there is resumed.
        scoring: How prompts are scored.
        images: How images are made, or where those are that were made elsewhere; `n_images=0` makes none.
        analysis: What the statistics rest on.
        cluster: The Ray cluster that scores and draws; None for this process.
        command: The command line that makes the run again, for the report.
        progress: Called with stage, done, total; on a cluster also with who works.

    Raises:
        AuditError: the ensemble cannot be loaded, or `out` holds another run.
    """
    spec, images = _spec(ensemble), images or ImageConfig()
    check_drawable(spec, images)
    with hired(cluster, out) as crew:
        store = start_run(prompts, spec, out, scoring, images, crew=crew, command=command, progress=progress)
        with store.locked():
            judge_pending(store, progress, hands=crew)
    with store.locked():
        measure_references(store, progress)
        summarize(store, analysis, progress)
        store.finish()
        report = write_report(store)
    return count(store, report)


def start_run(
    prompts: PromptTable,
    ensemble: EnsembleSpec | str | Path,
    out: Path | str,
    scoring: ScoringConfig | None = None,
    images: ImageConfig | None = None,
    *,
    engine: Engine | None = None,
    crew: Crew | None = None,
    command: str = "",
    progress: Progress = silent,
) -> RunStore:
    """The first half of an audit: open or resume the run folder, score the prompts, check the scores; see `run_audit`.

    `engine` takes the place of the ensemble's own, to score in another way; its scores are not checked. A `crew` does
    the work in the place of this process, see `emoe_audit.cluster.crew.hired`.
    """
    engine, ours, plan = _planned(prompts, ensemble, out, scoring, images, engine, command, crew)
    grow(Path(out), plan)
    store = RunStore.open(out, plan=plan)
    with store.locked():
        mend(store)
        take_prompts(store, prompts)
        take_shares(store)
        if ours is not None:
            know_languages(store, ours, progress)
        if isinstance(engine, ClusterEngine):
            engine.score_pending(store, progress)
        elif engine is not None:
            score_pending(store, engine, progress)
        forget_fewer_noises(store)
        if ours is not None:
            check_pending(store, ours, progress)
            watch_experts(store, ours, progress)
            keep_reader(store, ours.ensemble.public_reader)
    return store


def score_share(
    prompts: PromptTable,
    ensemble: EnsembleSpec | str | Path,
    out: Path | str,
    share: Share,
    scoring: ScoringConfig | None = None,
    images: ImageConfig | None = None,
    *,
    engine: Engine | None = None,
    command: str = "",
    progress: Progress = silent,
) -> RunStore:
    """Score a share of the prompts, in one of several processes, on as many machines as see the run folder.

    Whoever comes first begins the run. `start_run` and `run_audit` take in what all shares made, and do the rest.

    Raises:
        AuditError: there is nothing to score.
        StoreError: another process works on this share or on the run itself, or takes too long to begin it.
    """
    engine, ours, plan = _planned(prompts, ensemble, out, scoring, images, engine, command)
    if engine is None:
        raise AuditError(f"{plan.ensemble.name}: images alone are known of it, so there is nothing to score")
    grow(Path(out), plan)
    store = begun_once(Path(out), plan, prompts)
    with own_share(store, share) as work:
        check_same(store.plan(), plan, store.path)
        if ours is not None and ours.config.check_pairs:
            find_languages(ours, progress)
        score_pending(store, engine, progress, work)
    return work.store


def _planned(
    prompts: PromptTable,
    ensemble: EnsembleSpec | str | Path,
    out: Path | str,
    scoring: ScoringConfig | None,
    images: ImageConfig | None,
    engine: Engine | None,
    command: str,
    crew: Crew | None = None,
) -> tuple[Engine | None, AnyEngine | None, RunManifest]:
    """What scores, the ensemble's own engine where nothing takes its place, and the plan.

    Nothing scores for a model of which images alone are known.
    """
    spec = _spec(ensemble)
    scoring, images, stored = scoring or ScoringConfig(), images or ImageConfig(), stored_dtype(out)
    if not spec.experts:
        return None, None, plan_run(prompts, spec, "", scoring, images, command)
    scoring = settle_dtype(scoring, stored) if crew is None else settle_there(crew, scoring, stored)
    ours: AnyEngine | None = None
    if engine is None:
        engine = ours = load_engine(spec, scoring) if crew is None else ClusterEngine.of(crew, spec, scoring)
    described = None if ours is None else ours.ensemble
    check_prefix(scoring, described)
    return engine, ours, plan_run(prompts, spec, engine.ensemble_hash, scoring, images, command, described)


def _spec(ensemble: EnsembleSpec | str | Path) -> EnsembleSpec:
    return ensemble if isinstance(ensemble, EnsembleSpec) else load_spec(ensemble)
