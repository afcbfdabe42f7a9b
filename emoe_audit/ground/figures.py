"""Known ground: every language crossed with every concept, what was seen of each in training, and the figures on it.

A figure is a function of one score on this ground. Languages and concepts are resampled together for its interval, so
the translations of a caption stay together, and so do the captions of a language.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from emoe_audit.analysis.rank_correlation import partial_spearman, spearman
from emoe_audit.analysis.rejection import area_under_risk_coverage, auroc, by_rising_score
from emoe_audit.experts.coverage import COVERED, STARVED


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Arrays are `[language, concept]`, `[language]` or `[concept]`; NaN where there is nothing.

    Concepts are of three kinds: those with a region, those with a skin tone, and plain ones, on which everything about
    languages and images is measured.
    """

    languages: np.ndarray
    coverage: np.ndarray
    """Share of the training captions, `[language]`."""
    readability: np.ndarray
    """Recall at 10 of concepts by their captions in the audited text encoder, `[language]`; NaN where not measured."""
    related: np.ndarray
    """Whether a language was never seen but shares words with one that was, `[language]`."""
    shared: np.ndarray
    """Whether a prompt holds a word that stands in captions of a seen language, `[language, concept]`."""
    tokens: np.ndarray
    """Token counts, `[language, concept]`."""
    quality: np.ndarray
    """How well the image shows the source caption, `[language, concept]`; NaN where no image was made."""
    failed: np.ndarray
    """1 where the image does not show the concept, 0 where it does, `[language, concept]`."""
    regions: np.ndarray
    """The region of a concept, `[concept]` of str; empty for concepts without one."""
    skin_tones: np.ndarray
    """The same of its skin tone."""
    group_coverage: Mapping[str, float]
    """Training coverage of every region and skin tone."""
    concept_coverage: np.ndarray
    """Share of the plain training captions, `[concept]`; NaN where single concepts were not planted."""

    @property
    def plain(self) -> np.ndarray:
        """Which concepts have neither region nor skin tone, `[concept]`."""
        return (self.regions == "") & (self.skin_tones == "")

    @property
    def drawn(self) -> np.ndarray:
        """Which plain concepts have an image in every language, `[concept]`."""
        return self.plain & ~np.isnan(self.failed).any(axis=0)

    def take(self, languages: np.ndarray, concepts: np.ndarray) -> Ground:
        """The ground of these languages and concepts, by position; one may come several times."""
        grid = np.ix_(languages, concepts)
        return Ground(
            languages=self.languages[languages],
            coverage=self.coverage[languages],
            readability=self.readability[languages],
            related=self.related[languages],
            shared=self.shared[grid],
            tokens=self.tokens[grid],
            quality=self.quality[grid],
            failed=self.failed[grid],
            regions=self.regions[concepts],
            skin_tones=self.skin_tones[concepts],
            group_coverage=self.group_coverage,
            concept_coverage=self.concept_coverage[concepts],
        )


Figure = Callable[[Ground, np.ndarray], float]


def language_rho(ground: Ground, score: np.ndarray) -> float:
    """Spearman's rho of the languages' mean scores with their training coverage; -1 is a perfect audit."""
    return spearman(score[:, ground.plain].mean(axis=1), ground.coverage)


def language_partial_rho(ground: Ground, score: np.ndarray) -> float:
    """The same on ranks with the mean token count partialled out."""
    plain = ground.plain
    return partial_spearman(score[:, plain].mean(axis=1), ground.coverage, np.nanmean(ground.tokens[:, plain], axis=1))


def readability_rho(ground: Ground, score: np.ndarray) -> float:
    """Spearman's rho of the languages' mean scores with what the text encoder can read; -1 is a perfect audit.

    Coverage is why a language is read or not, and readability what a score of a prompt can see: a language that was
    never seen but shares words with one that was can be read a little.
    """
    measured = ~np.isnan(ground.readability)
    if not measured.any():
        return float("nan")
    return spearman(score[np.ix_(measured, ground.plain)].mean(axis=1), ground.readability[measured])


def region_rho(ground: Ground, score: np.ndarray) -> float:
    """Spearman's rho over regions, on prompts in covered languages: a region cannot be seen where nothing is read."""
    return _group_rho(ground, score, ground.regions)


def tone_rho(ground: Ground, score: np.ndarray) -> float:
    """Spearman's rho over skin tones, on prompts in covered languages."""
    return _group_rho(ground, score, ground.skin_tones)


def auroc_starved(ground: Ground, score: np.ndarray) -> float:
    """How often a prompt of a starved language scores above one of a covered language; related ones are left out."""
    starved = (ground.coverage < STARVED) & ~ground.related
    own = score[:, ground.plain]
    return auroc(own[starved].ravel(), own[ground.coverage >= COVERED].ravel())


def auroc_related(ground: Ground, score: np.ndarray) -> float:
    """The same for never-seen languages that share words with seen ones: lower where shared words help."""
    own = score[:, ground.plain]
    return auroc(own[ground.related].ravel(), own[ground.coverage >= COVERED].ravel())


def auroc_shared_words(ground: Ground, score: np.ndarray) -> float:
    """In never-seen languages: how often a prompt without any word of a seen language scores above one with some.

    0.5 if shared words do not matter (published: "pizza" scores low even in Finnish).
    """
    never = ground.coverage == 0
    own, shared = score[np.ix_(never, ground.plain)], ground.shared[np.ix_(never, ground.plain)]
    return auroc(own[~shared], own[shared])


def quality_rho_within_language(ground: Ground, score: np.ndarray) -> float:
    """Spearman's rho of score with image quality within each language, averaged over languages."""
    drawn = ground.drawn
    rhos = [spearman(own, quality) for own, quality in zip(score[:, drawn], ground.quality[:, drawn], strict=True)]
    return float(np.nanmean(rhos)) if not np.isnan(rhos).all() else float("nan")


def concept_auroc(ground: Ground, score: np.ndarray) -> float:
    """In the best covered language: how often a concept that was never seen scores above one that was seen in full.

    In full is at least half as often as the most frequent one.
    """
    own, coverage = score[np.argmax(ground.coverage)], ground.concept_coverage
    full = coverage >= coverage[~np.isnan(coverage)].max(initial=0) / 2
    return auroc(own[coverage == 0], own[full & (coverage > 0)])


def concept_rho(ground: Ground, score: np.ndarray) -> float:
    """In the best covered language: Spearman's rho of the score with the concepts' coverage; -1 is a perfect audit."""
    planted = ~np.isnan(ground.concept_coverage)
    if not planted.any():
        return float("nan")
    return spearman(score[np.argmax(ground.coverage), planted], ground.concept_coverage[planted])


def concept_aurc(ground: Ground, score: np.ndarray) -> float:
    """In the best covered language: area under the risk-coverage curve, see `aurc`."""
    best = np.array([np.argmax(ground.coverage)])
    return aurc(ground.take(best, np.arange(score.shape[1])), score[best])


def within_language_quality_rho(ground: Ground, score: np.ndarray) -> float:
    """Spearman's rho of score with image quality in the best covered language, whose prompts are read well."""
    best = np.array([np.argmax(ground.coverage)])
    return quality_rho_within_language(ground.take(best, np.arange(score.shape[1])), score[best])


def aurc(ground: Ground, score: np.ndarray) -> float:
    """Area under the risk-coverage curve: mean failure rate as prompts are accepted by rising score; 0 is best."""
    drawn = ground.drawn
    return area_under_risk_coverage(score[:, drawn].ravel(), ground.failed[:, drawn].ravel())


def language_quality_r(ground: Ground, score: np.ndarray) -> float:
    """Pearson's r of mean score and mean image quality over languages (published: -0.79)."""
    drawn = ground.drawn
    if not drawn.any():
        return float("nan")
    means = score[:, drawn].mean(axis=1), ground.quality[:, drawn].mean(axis=1)
    return float(np.corrcoef(*means)[0, 1]) if min(np.ptp(mean) for mean in means) > 0 else float("nan")


FIGURES: dict[str, Figure] = {
    figure.__name__: figure
    for figure in (
        language_rho,
        language_partial_rho,
        readability_rho,
        region_rho,
        tone_rho,
        auroc_starved,
        auroc_related,
        auroc_shared_words,
        quality_rho_within_language,
        aurc,
        language_quality_r,
        concept_auroc,
        concept_rho,
        concept_aurc,
        within_language_quality_rho,
    )
}
"""The columns of the bench, in order."""
IN_ONE_LANGUAGE = (concept_auroc, concept_rho, concept_aurc, within_language_quality_rho)
"""Those of the best covered language: of other languages nothing is resampled."""


def quality_quartiles(ground: Ground, score: np.ndarray) -> list[float]:
    """Mean image quality in the quarters of the prompts by rising score."""
    drawn = ground.drawn
    ordered = by_rising_score(score[:, drawn].ravel(), ground.quality[:, drawn].ravel())
    return [float(part.mean()) if len(part) else float("nan") for part in np.array_split(ordered, 4)]


def replicates(
    ground: Ground, scores: Mapping[str, np.ndarray], *, n_boot: int, seed: int
) -> dict[str, dict[str, np.ndarray]]:
    """Every figure of every score on resampled ground, `[score][figure]` of `[replicate]`.

    Languages and concepts are resampled, and concepts alone for what is measured in one language. All scores see the
    same resamples, so differences between scores can be taken replicate by replicate.
    """
    rng = np.random.default_rng(seed)
    n_languages = len(ground.languages)
    kinds = [np.flatnonzero(kind) for kind in (ground.plain, ground.regions != "", ground.skin_tones != "")]
    found = {name: {figure: np.full(n_boot, np.nan) for figure in FIGURES} for name in scores}
    for number in range(n_boot):
        languages = rng.integers(n_languages, size=n_languages)
        concepts = np.concatenate([kind[rng.integers(len(kind), size=len(kind))] for kind in kinds if len(kind)])
        best = np.array([np.argmax(ground.coverage)])
        drawn, one = (ground.take(own, concepts) for own in (languages, best))
        for name, score in scores.items():
            own, in_best = score[np.ix_(languages, concepts)], score[np.ix_(best, concepts)]
            for figure, compute in FIGURES.items():
                given = (one, in_best) if compute in IN_ONE_LANGUAGE else (drawn, own)
                found[name][figure][number] = compute(*given)
    return found


def _group_rho(ground: Ground, score: np.ndarray, groups: np.ndarray) -> float:
    planted, covered = groups != "", ground.coverage >= COVERED
    if not planted.any() or not covered.any():
        return float("nan")
    means = pd.Series(score[np.ix_(covered, planted)].mean(axis=0)).groupby(groups[planted]).mean()
    return spearman(means.to_numpy(), np.array([ground.group_coverage.get(group, np.nan) for group in means.index]))
