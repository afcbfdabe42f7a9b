"""The bench: every score and every baseline on an ensemble whose training coverage is known.

It is an audit whose engine adds a column for each baseline, so it is stored, resumed and drawn like any other run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import regex

from emoe_audit.analysis.familiarity import UNFAMILIARITY
from emoe_audit.analysis.image_agreement import IMAGE_AGREEMENT
from emoe_audit.analysis.refusal import TOP
from emoe_audit.analysis.translations import TRANSLATION_SCORE
from emoe_audit.audit import start_run
from emoe_audit.decisions.ranking import ranking_score, read_validity
from emoe_audit.errors import EnsembleError
from emoe_audit.experts.coverage import CONCEPT, read_coverage
from emoe_audit.experts.hashing import json_digest
from emoe_audit.ground import members  # noqa: F401  registers its rows
from emoe_audit.ground.baselines import BASELINES, WHOLE_UNETS, Baseline, text_distance
from emoe_audit.ground.figures import Ground
from emoe_audit.ground.one_language import ONE_LANGUAGE, Candidate
from emoe_audit.ground.table import Verification, tabulate
from emoe_audit.progress import Progress, chunks, silent
from emoe_audit.prompts.emoji import IMAGE_COLUMNS, caption_matrix, default_prompts, is_plain
from emoe_audit.prompts.table import PromptTable
from emoe_audit.scoring.disagreement import SCORES
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.flops import gflop
from emoe_audit.scoring.loading import load_engine
from emoe_audit.steps.checks import check_pending, find_languages, know_languages
from emoe_audit.steps.images import judge_pending
from emoe_audit.steps.summary import summarize
from emoe_audit.types import EnsembleSpec, ImageConfig, Prompt, RunManifest, ScoringConfig
from emoe_audit.validity.signs import oriented_scores

RELATED_WORDS = 0.05
"""Share of its words that a never-seen language has in common with seen ones from which it counts as related."""
WORD = regex.compile(r"\p{L}[\p{L}\p{M}\u200c\u200d]*")
READABILITY = "text_recall_at_10"
IMAGE_DISAGREEMENT = "image_disagreement"
"""The row of 1 minus the agreement of images, which is no score: it takes images."""
TRAINING_CAPTIONS = 2000
COUNTED_PROMPTS = 8
NOISES = 4
"""With which all records were made."""
PER_PROMPT = 2
"""Images of a prompt, from two noises: whether translations show the same cannot be told from one."""


class BenchEngine:
    """The scoring engine, and a column more for every baseline."""

    def __init__(self, engine: ScoringEngine, baselines: Mapping[str, Candidate]) -> None:
        self.engine, self.baselines = engine, baselines

    @property
    def ensemble_hash(self) -> str:
        """Of the ensemble and of which scores and baselines there are."""
        return json_digest([self.engine.ensemble_hash, sorted(SCORES), sorted(self.baselines)])

    def score(self, prompts: Sequence[Prompt]) -> pd.DataFrame:
        """The engine's rows with a column for every baseline."""
        batches = list(chunks(prompts, self.engine.batch_size))
        columns = {n: np.concatenate([compute(b) for b in batches]) for n, compute in self.baselines.items()}
        return self.engine.score(prompts).assign(**columns)

    def gflop(self, texts: Sequence[str]) -> dict[str, float]:
        """Billions of floating-point operations a prompt, counted by PyTorch, by score; 0 for counting tokens.

        What is done once for all prompts is left out. Feature power is charged what the scores are, over all experts.
        """
        _ = self.engine.starts
        prompts = [Prompt(prompt_id=str(place), prompt=text) for place, text in enumerate(texts)]
        own = gflop(lambda: self.engine.score(prompts)) / len(texts)
        text = gflop(lambda: self.engine.text_states(texts)) / len(texts)
        counted = {name: gflop(lambda f=f: f(prompts)) / len(texts) for name, f in self.baselines.items()}  # type: ignore[misc]
        free = dict.fromkeys(("token_count", "tokens_per_word"), 0.0)
        by_text = dict.fromkeys((TRANSLATION_SCORE, UNFAMILIARITY), text)
        return dict.fromkeys((*SCORES, "feature_power"), own) | by_text | free | counted


def verify(
    spec: EnsembleSpec,
    out: Path,
    *,
    n_concepts: int = 100,
    scoring: ScoringConfig | None = None,
    images: ImageConfig | None = None,
    n_boot: int = 500,
    command: str = "",
    progress: Progress = silent,
) -> Verification:
    """Put every score and baseline to the test; what is computed stays in the run folder `out`.

    Args:
        spec: An ensemble with captions and a table of its training coverage.
        out: Run folder; resumed if it exists.
        n_concepts: Captions of each kind (plain, with a region, with a skin tone), in every language.
        scoring: How prompts are scored.
        images: How images are made; of captions without region or skin tone, on which quality is measured, in every
            language as far as they reach, and once more as many in the best covered one alone.
        n_boot: Resamples of languages and concepts, for the intervals.
        command: The command line that makes it again.
        progress: Called with stage, done, total.

    Raises:
        EnsembleError: the ensemble says not what it was trained on.
    """
    coverage, captions = known_coverage(spec), caption_matrix(spec)
    engine = bench_engine(spec, scoring or ScoringConfig(n_noise=NOISES), captions, coverage)
    find_languages(engine.engine, progress)
    prompts = default_prompts(spec, n_concepts=n_concepts)
    plain = prompts.frame.loc[is_plain(prompts.frame), "source_id"].drop_duplicates().tolist()
    best = str(_language_shares(coverage).idxmax())
    store = start_run(prompts, spec, out, scoring, images, engine=engine, command=command, progress=progress)
    with store.locked():
        know_languages(store, engine.engine, progress)
        check_pending(store, engine.engine, progress)
        judge_pending(store, progress, among=plain)
        judge_pending(store, progress, among=plain, language=best)
        summarize(store, progress=progress)
        store.finish()
    results = store.query("SELECT * FROM results")
    columns = oriented_scores() | {name: (name, 1.0) for name in engine.baselines}
    ground = lay_ground(results, coverage, captions)
    grids = {name: sign * _grid(results, column) for name, (column, sign) in columns.items()}
    if IMAGE_AGREEMENT in results:
        grids[IMAGE_DISAGREEMENT] = _in_all_concepts(1 - _grid(results, IMAGE_AGREEMENT))
    scores = {name: grid for name, grid in grids.items() if not np.isnan(grid).all()}
    counted = engine.gflop(list(prompts.frame["prompt"].unique()[:COUNTED_PROMPTS]))
    if IMAGE_DISAGREEMENT in scores:
        counted[IMAGE_DISAGREEMENT] = gflop_of_images(store.sources(), prompts)
    validity = read_validity(store)
    ranking = ranking_score(store, validity)
    signs = {own.score: own.sign for own in validity.scores} if validity else {}
    return tabulate(spec.name, ground, scores, counted, default_score=ranking, signs=signs, n_boot=n_boot)


def gflop_of_images(plan: RunManifest, prompts: PromptTable) -> float:
    """Billions of floating-point operations in which the images of a prompt are drawn and seen."""
    from emoe_audit.quality.clip_score import ClipJudge
    from emoe_audit.quality.images import ImageMaker

    maker, judge = (
        ImageMaker(plan.ensemble, plan.images),
        ClipJudge(str(plan.ensemble.judge), device=plan.images.device),
    )
    sample = list(islice(prompts.prompts(), 2))
    return plan.images.per_prompt * gflop(lambda: judge.image_features(maker.make(sample))) / len(sample)


def _in_all_concepts(grid: np.ndarray) -> np.ndarray:
    """What is known of drawn concepts alone, with the mean of its language where a concept was not drawn."""
    means = np.array([np.nanmean(own) if np.isfinite(own).any() else np.nan for own in grid])
    return np.where(np.isnan(grid), means[:, None], grid)


def known_coverage(spec: EnsembleSpec) -> pd.DataFrame:
    """The ensemble's table `[by, group, coverage]`. Raises `EnsembleError` where it has none, or no captions."""
    if spec.captions is None:
        raise EnsembleError(f"{spec.name}: brings no captions, so no score can be verified on it")
    if spec.training_coverage is None:
        raise EnsembleError(
            f"{spec.name}: says not what it was trained on (no `training_coverage:` in its YAML), "
            "so no score can be verified on it"
        )
    return read_coverage(spec.training_coverage)


def bench_engine(
    spec: EnsembleSpec, scoring: ScoringConfig, captions: pd.DataFrame, coverage: pd.DataFrame
) -> BenchEngine:
    """The ensemble's engine with every registered baseline, and the distance to its training captions.

    Emergent members have no whole UNets of their own, so baselines of these are left out.
    """
    engine = load_engine(spec, scoring)
    left_out = () if spec.emergent is None else WHOLE_UNETS
    baselines = {name: make(engine) for name, make in BASELINES.items() if name not in left_out}
    baselines["text_distance"] = text_distance(engine, _drawn(captions, coverage))
    alone = {name: make(engine) for name, make in ONE_LANGUAGE.items()}
    return BenchEngine(engine, {name: _of_prompts(baseline) for name, baseline in baselines.items()} | alone)


def _of_prompts(baseline: Baseline) -> Candidate:
    return lambda prompts: baseline([prompt.prompt for prompt in prompts])


def lay_ground(results: pd.DataFrame, coverage: pd.DataFrame, captions: pd.DataFrame) -> Ground:
    """The ground of a run in which every caption comes in every language, from the captions that training had."""
    known = coverage.set_index(["by", "group"])["coverage"]
    tokens = results.pivot(index="language", columns="source_id", values="n_tokens")
    concepts = results.drop_duplicates("source_id").set_index("source_id").reindex(tokens.columns)
    groups = {c: concepts[c].fillna("").to_numpy(dtype=str) for c in ("region", "skin_tone") if c in concepts}
    none = np.full(len(concepts), "")
    rank = _grid(results, "source_rank")
    seen = seen_words(captions, coverage)
    texts = results.pivot(index="language", columns="source_id", values="prompt").astype(str)
    return Ground(
        languages=tokens.index.to_numpy(dtype=str),
        coverage=known["language"].reindex(tokens.index).to_numpy(dtype=np.float64),
        readability=_readability(coverage).reindex(tokens.index).to_numpy(dtype=np.float64),
        related=tokens.index.isin(related_languages(captions, coverage)),
        shared=texts.map(lambda text: bool(words_of([text]) & seen)).to_numpy(),
        tokens=tokens.to_numpy(dtype=np.float64),
        quality=_grid(results, "clip_cosine_source"),
        failed=np.where(np.isnan(rank), np.nan, rank > TOP),
        regions=groups.get("region", none),
        skin_tones=groups.get("skin_tone", none),
        group_coverage=known.drop(["language", CONCEPT], errors="ignore").droplevel(0).to_dict(),
        concept_coverage=_concept_coverage(coverage).reindex(tokens.columns).to_numpy(dtype=np.float64),
    )


def related_languages(captions: pd.DataFrame, coverage: pd.DataFrame) -> set[str]:
    """The never-seen languages of whose words at least 5% stand in captions of languages that were seen."""
    seen, shares = seen_words(captions, coverage), _language_shares(coverage)
    words = {language: words_of(captions[language]) for language in _languages(captions)}
    return {
        language
        for language, own in words.items()
        if shares.get(language, 0.0) == 0 and own and len(own & seen) >= RELATED_WORDS * len(own)
    }


def seen_words(captions: pd.DataFrame, coverage: pd.DataFrame) -> set[str]:
    """All words of the languages that training drew captions of."""
    shares = _language_shares(coverage)
    return set().union(*(words_of(captions[own]) for own in _languages(captions) if shares.get(own, 0.0) > 0))


def words_of(texts: Iterable[str]) -> set[str]:
    """The words of some texts, in lower case."""
    return {word for text in texts for word in WORD.findall(text.casefold())}


def _languages(captions: pd.DataFrame) -> list[str]:
    return [column for column in captions if column not in IMAGE_COLUMNS]


def _language_shares(coverage: pd.DataFrame) -> pd.Series:
    return coverage[coverage["by"] == "language"].set_index("group")["coverage"]


def _concept_coverage(coverage: pd.DataFrame) -> pd.Series:
    """By concept, where single ones were planted; else empty."""
    return coverage[coverage["by"] == CONCEPT].set_index("group")["coverage"]


def _readability(coverage: pd.DataFrame) -> pd.Series:
    """By language, from the table's column `text_recall_at_10`; empty where it has none."""
    rows = coverage[coverage["by"] == "language"].set_index("group").reindex(columns=[READABILITY])[READABILITY]
    return pd.to_numeric(rows, errors="coerce")


def _drawn(captions: pd.DataFrame, coverage: pd.DataFrame) -> list[str]:
    """Captions drawn much as the training drew them: languages and, within their kind, groups by their coverage."""
    shares = _language_shares(coverage)
    of_group = coverage[~coverage["by"].isin(["language", CONCEPT])].set_index("group")["coverage"]
    rng = np.random.default_rng(0)
    languages = rng.choice(shares.index.to_numpy(), size=TRAINING_CAPTIONS, p=(shares / shares.sum()).to_numpy())
    group = captions["region"].fillna(captions["skin_tone"])
    plain, of_concept = group.isna(), _concept_coverage(coverage)
    even = pd.Series(1 / max(1, int(plain.sum())), index=captions.index)
    of_plain = even if of_concept.empty else captions["source_id"].map(of_concept)
    weight = group.map(of_group).where(~plain, of_plain).fillna(0.0)
    rows = rng.choice(len(captions), size=TRAINING_CAPTIONS, p=(weight / weight.sum()).to_numpy())
    return [str(captions[language].iloc[row]) for language, row in zip(languages, rows, strict=True)]


def _grid(results: pd.DataFrame, column: str) -> np.ndarray:
    """A column as `[language, concept]`; what is undefined for a prompt is NaN."""
    grid: np.ndarray = results.pivot(index="language", columns="source_id", values=column).to_numpy(dtype=np.float64)
    return grid
