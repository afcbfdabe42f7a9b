"""READ FIRST: the story of an audit. Prompts and an ensemble go in; scores, images, quality and a report come out.

Everything computed is stored as it comes, so a run that is stopped goes on where it was when it is started again.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from emoe_audit.analysis.summary import analyze, group_columns
from emoe_audit.batches import chunks, one_by_one_if_it_fails
from emoe_audit.coverage import read_coverage
from emoe_audit.ensemble_checks import check_pending, watch_experts
from emoe_audit.errors import AuditError
from emoe_audit.experts.spec import load_spec
from emoe_audit.loading import load_engine, settle_dtype
from emoe_audit.manifest import prompt_key, settings_hash
from emoe_audit.pictures import measure_references
from emoe_audit.progress import Progress, silent
from emoe_audit.prompts.table import PromptTable
from emoe_audit.readings import append_scores, compare_translations
from emoe_audit.report.render import write_report
from emoe_audit.store import RunStore
from emoe_audit.types import AnalysisConfig, EnsembleSpec, ImageConfig, Prompt, RunManifest, ScoringConfig

if TYPE_CHECKING:
    from emoe_audit.quality.illustrator import Illustrator

SCORE_CHUNK = 256
"""Prompts scored between two shards: what a kill can cost."""
VERSIONS_OF = ("emoe-audit", "torch", "diffusers", "transformers", "open_clip_torch")


class Engine(Protocol):
    """Scores prompts; see `emoe_audit.scoring.engine.ScoringEngine`."""

    @property
    def ensemble_hash(self) -> str: ...  # noqa: D102

    def score(self, prompts: Sequence[Prompt]) -> pd.DataFrame: ...  # noqa: D102


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What an audit left behind."""

    path: Path
    report: Path
    n_prompts: int
    n_scored: int
    n_images: int
    n_errors: int


def run_audit(
    prompts: PromptTable,
    ensemble: EnsembleSpec | str | Path,
    out: Path | str,
    *,
    scoring: ScoringConfig | None = None,
    images: ImageConfig | None = None,
    analysis: AnalysisConfig | None = None,
    command: str = "",
    progress: Progress = silent,
) -> RunResult:
    """Do a whole audit, or the rest of one.

    Args:
        prompts: From `read_prompts` or `default_prompts`.
        ensemble: A spec, an embedded name, a folder with `ensemble.yaml`, or a YAML file.
        out: The run folder; a run of the same prompts, ensemble and settings that lies there is resumed.
        scoring: How prompts are scored.
        images: How images are made; `n_images=0` makes none.
        analysis: What the statistics rest on.
        command: The command line that makes the run again, for the report.
        progress: Called with stage, done, total.

    Raises:
        AuditError: the ensemble cannot be loaded, or `out` holds another run.
    """
    spec, images = _spec(ensemble), images or ImageConfig()
    check_drawable(spec, images)
    store = start_run(prompts, spec, out, scoring, images, command=command, progress=progress)
    with store.locked():
        judge_pending(store, progress)
        measure_references(store, progress)
        summarize(store, analysis, progress)
        store.finish()
        report = write_report(store)
    return result(store, report)


def start_run(
    prompts: PromptTable,
    ensemble: EnsembleSpec | str | Path,
    out: Path | str,
    scoring: ScoringConfig | None = None,
    images: ImageConfig | None = None,
    *,
    engine: Engine | None = None,
    command: str = "",
    progress: Progress = silent,
) -> RunStore:
    """The first step of an audit: open or resume the run folder, score the prompts, check the scores; see `run_audit`.

    `engine` takes the place of the ensemble's own, to score in another way; its scores are not checked.
    """
    spec = _spec(ensemble)
    scoring, images = settle_dtype(scoring or ScoringConfig(), out), images or ImageConfig()
    ours = None
    if engine is None:
        engine = ours = load_engine(spec, scoring)
    store = RunStore.open(out, plan=plan_run(prompts, spec, engine.ensemble_hash, scoring, images, command))
    with store.locked():
        take_prompts(store, prompts)
        score_pending(store, engine, progress)
        if ours is not None:
            check_pending(store, ours, scoring.check_pairs, progress)
            watch_experts(store, ours, progress)
    return store


def plan_run(
    prompts: PromptTable,
    spec: EnsembleSpec,
    ensemble_hash: str,
    scoring: ScoringConfig,
    images: ImageConfig,
    command: str,
) -> RunManifest:
    """What will be done, with everything the result depends on."""
    from emoe_audit.experts.sources import fetched_commits
    from emoe_audit.quality.images import quality_hash

    return RunManifest(
        ensemble=spec,
        scoring=scoring,
        images=images,
        ensemble_hash=ensemble_hash,
        quality_hash=quality_hash(spec, images),
        prompts_hash=prompts.sha256,
        prompts_source=prompts.source,
        command=command,
        sources=fetched_commits(spec),
        versions={"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in VERSIONS_OF},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def take_prompts(store: RunStore, prompts: PromptTable) -> None:
    """Write the prompts with their keys, and the rows that could not be read."""
    plan = store.plan()
    settings = settings_hash(plan.scoring)
    pairs = zip(prompts.frame["prompt"], prompts.frame["language"], strict=True)
    keys = [prompt_key(prompt, language, plan.ensemble_hash, settings) for prompt, language in pairs]
    store.write_prompts(prompts.frame.assign(key=keys))
    store.clear_errors()
    for error in prompts.row_errors:
        store.record_error(error)


def score_pending(store: RunStore, engine: Engine, progress: Progress) -> None:
    """Score every prompt that has no score yet, a shard at a time. A prompt that fails is recorded and left out."""
    keys = store.query("SELECT DISTINCT key FROM prompts ORDER BY key")["key"]
    pending = store.pending("scores", keys)
    total, done = len(keys), len(keys) - len(pending)
    progress("scoring", done, total)
    for chunk in chunks(pending, SCORE_CHUNK):
        rows = store.prompts_of(chunk)
        scored = one_by_one_if_it_fails(rows, lambda part: _score(engine, part), "score", store)
        if scored:
            append_scores(store, pd.concat(scored, ignore_index=True))
        done += len(chunk)
        progress("scoring", done, total)


def check_drawable(spec: EnsembleSpec, images: ImageConfig) -> None:
    """Raise `QualityError` before anything is scored where the images that are asked for cannot be made."""
    if images.n_images:
        from emoe_audit.quality.images import check_source

        check_source(spec, images.expert, images.safety_checker)


def judge_pending(store: RunStore, progress: Progress = silent, *, among: Sequence[str] | None = None) -> None:
    """Make and judge an image for every chosen prompt that has none yet; `among` some `source_id`, or all."""
    spec, images = store.plan().ensemble, store.plan().images
    if not images.n_images:
        return
    chosen = choose_for_images(store, images, among)
    pending = store.pending("quality", chosen)
    done = len(chosen) - len(pending)
    progress("images", done, len(chosen))
    if not pending:
        return
    from emoe_audit.quality.illustrator import Illustrator

    illustrator = Illustrator(spec, images, source_captions(store))
    for chunk in chunks(pending, images.batch_size):
        rows = store.prompts_of(chunk)
        judged = one_by_one_if_it_fails(rows, lambda part: _draw_and_judge(store, illustrator, part), "image", store)
        if judged:
            store.append("quality", pd.concat(judged, ignore_index=True))
        done += len(chunk)
        progress("images", done, len(chosen))


def choose_for_images(store: RunStore, images: ImageConfig, among: Sequence[str] | None = None) -> list[str]:
    """Keys of the prompts that get an image: whole captions, those in most languages first, else at random by seed."""
    captions = store.query(
        "SELECT source_id, list(DISTINCT key ORDER BY key) AS keys, count(DISTINCT language) AS width "
        "FROM prompts WHERE ? IS NULL OR list_contains(?, source_id) "
        "GROUP BY source_id ORDER BY width DESC, sha256(? || ':' || source_id)",
        [among, among, str(images.seed)],
    )
    chosen: list[str] = []
    for keys in captions["keys"]:
        if len(chosen) + len(keys) > images.n_images:
            break
        chosen += list(keys)
    return chosen


def source_captions(store: RunStore) -> dict[str, str]:
    """The source-language caption of each `source_id`: column `source_prompt`, else its English prompt."""
    if "source_prompt" in store.columns():
        sql = "SELECT source_id, any_value(source_prompt) AS caption FROM prompts GROUP BY source_id"
    else:
        sql = "SELECT source_id, any_value(prompt) AS caption FROM prompts WHERE language = 'en' GROUP BY source_id"
    frame = store.query(sql).dropna()
    return dict(zip(frame["source_id"], frame["caption"], strict=True))


def summarize(store: RunStore, config: AnalysisConfig | None = None, progress: Progress = silent) -> None:
    """Compute the analysis tables from everything that is stored."""
    progress("analysis", 0, 1)
    store.compact("readings")
    compare_translations(store)
    file = store.plan().ensemble.training_coverage
    coverage = None if file is None else read_coverage(file)
    by = group_columns(store.query("SELECT * FROM prompts"))
    tables = analyze(
        store.query("SELECT * FROM results"), by, config, training_coverage=coverage, ratings=store.ratings()
    )
    for name, table in tables.items():
        store.write_analysis(name, table)
    store.join()
    progress("analysis", 1, 1)


def result(store: RunStore, report: Path) -> RunResult:
    """Count what a run holds."""
    counts = store.query(
        "SELECT count(*) AS p, count(relative_disagreement) AS s, count(image) AS i FROM results"
    ).iloc[0]
    return RunResult(
        path=store.path,
        report=report,
        n_prompts=int(counts.p),
        n_scored=int(counts.s),
        n_images=int(counts.i),
        n_errors=len(store.errors()),
    )


def _spec(ensemble: EnsembleSpec | str | Path) -> EnsembleSpec:
    return ensemble if isinstance(ensemble, EnsembleSpec) else load_spec(ensemble)


def _score(engine: Engine, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    scores = engine.score([_prompt(row) for row in rows]).drop(columns="prompt_id")
    if scores["disagreement"].isna().any():
        raise AuditError("the score is not a finite number; try --dtype float32")
    return scores.assign(key=[row["key"] for row in rows])


def _draw_and_judge(store: RunStore, illustrator: Illustrator, rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    from emoe_audit.quality.images import made_from, png

    frame, pictures = illustrator.judge([_prompt(row) for row in rows])
    frame.insert(0, "key", [row["key"] for row in rows])
    frame.insert(1, "image", [f"images/{key[:2]}/{key}.png" for key in frame["key"]])
    plan = store.plan()
    for row, name, picture in zip(rows, frame["image"], pictures, strict=True):
        about = made_from(_prompt(row), plan.ensemble, plan.images, plan.ensemble_hash)
        store.write_image(name, png(picture, about))
    return frame


def _prompt(row: dict[str, Any]) -> Prompt:
    return Prompt(
        prompt_id=row["prompt_id"], prompt=row["prompt"], language=row["language"], source_id=row["source_id"]
    )
