"""What a run does not show: the general limits of the method, and those of this run in numbers."""

from __future__ import annotations

from emoe_audit.analysis.crossed import MIN_CLUSTERS
from emoe_audit.analysis.familiarity import UNFAMILIARITY
from emoe_audit.analysis.skewed import MIN_FOR_INTERVAL
from emoe_audit.analysis.translations import TRANSLATION_SCORE
from emoe_audit.decisions.judged import Judge
from emoe_audit.decisions.ranking import ranks_by_images
from emoe_audit.report.data import LEVEL, Company, GroupTable, Scope
from emoe_audit.report.image_verdict import judge_sentence
from emoe_audit.report.labels import column_label, counted
from emoe_audit.types import PrefixChoice, RunManifest

_OF_EXPERTS = (
    "Disagreement says where experts differ; they can agree on a blind spot.",
    "The score reads the first denoising step only, before an image exists.",
)
_OF_SCORES = {
    TRANSLATION_SCORE: (
        "Translation disagreement says where translations are read unlike; languages can agree on a blind spot.",
        "The score reads the text encoder alone, before an image exists.",
    ),
    UNFAMILIARITY: (
        "Unfamiliarity says of which prompts the text encoder makes little; what it makes of others may be wrong.",
        "The score reads the text encoder alone, before an image exists.",
    ),
}
"""What a score says and where it is read."""


def limits(
    manifest: RunManifest,
    scope: Scope,
    groups: tuple[GroupTable, ...],
    *,
    ranking: str,
    judge: Judge | None,
    complete: bool,
) -> tuple[str, ...]:
    """The limits of a run, those that are particular to it first."""
    tells = judge is not None and (judge.shares_encoder or judge.of(reads=False)) and not ranks_by_images(ranking)
    judged = [judge_sentence(judge)] if tells else []
    return (*_of_this_run(manifest, scope, groups, complete=complete), *judged, *_of_the_method(manifest, ranking))


def _of_this_run(manifest: RunManifest, scope: Scope, groups: tuple[GroupTable, ...], *, complete: bool) -> list[str]:
    said = []
    if not complete and manifest.is_scored:
        said.append(f"The run is unfinished: {scope.n_scored:,} of {scope.n_prompts:,} prompts are scored.")
    if not manifest.is_scored:
        said.append(
            "Nothing was scored: images alone are known of this model, so nothing is said of what it is unsure of "
            "before it draws."
        )
        if scope.n_judged < scope.n_prompts:
            said.append(f"Images were judged of {scope.n_judged:,} of {counted(scope.n_prompts, 'prompt')}.")
    elif scope.n_ranked < scope.n_scored:
        said.append(
            f"The score that ranks is defined for {scope.n_ranked:,} of {scope.n_scored:,} scored prompts; "
            "the ranking says nothing of the others."
        )
    said += _of_the_company(scope.company)
    if scope.faults.total:
        said.append(f"Left out: {counted(scope.faults.total, 'row')}. Whether they would change a group is not known.")
    if scope.n_truncated:
        said.append(f"Longer than the text encoder reads, and cut short: {counted(scope.n_truncated, 'prompt')}.")
    if 0 < scope.n_judged < scope.n_scored:
        said.append(
            f"Images were judged of {scope.n_judged:,} of {scope.n_scored:,} scored prompts; statements on quality "
            "rest on these."
        )
    if (
        manifest.is_scored
        and scope.n_judged
        and (scope.n_sources < MIN_CLUSTERS or 1 < scope.n_languages < MIN_CLUSTERS)
    ):
        said.append(
            f"{counted(scope.n_sources, 'caption')} in {counted(scope.n_languages, 'language')} cannot tell whether "
            f"score and quality go together: that takes {MIN_CLUSTERS} of both, so no interval is drawn."
        )
    if manifest.scoring.prefix is not None:
        said.append(_of_a_part(manifest.scoring.prefix, len(manifest.asked), manifest.scoring.n_noise))
    if manifest.is_scored and manifest.scoring.n_noise == 0:
        said.append("No expert was asked: the text encoder alone cannot say where the networks behind it are unsure.")
    if manifest.is_scored and manifest.scoring.n_noise == 1:
        said.append("One noise per prompt: the noise floor of a score is not known in this run.")
    if manifest.images.brought is not None and scope.n_images <= scope.n_judged:
        said.append(
            "Each prompt has one image: if translations were drawn from one seed, their images resemble each other "
            "whatever they show."
        )
    for table in groups:
        said += _of_a_table(table)
    return said


def _of_a_part(part: PrefixChoice, n_experts: int, n_noise: int) -> str:
    asked = f"{n_experts} of {part.n_experts} experts under {n_noise} of {part.n_noise} noises"
    return (
        f"A part of the ensemble was asked, {asked if n_noise else 'its text encoder alone'}, for {part.cost:.0%} of "
        f"the work: {part.to_text()}. Other scores of the part were not held to anything."
    )


def _of_the_company(company: Company) -> list[str]:
    said = []
    if company.n_unjudged:
        advice = f": add their captions in one or more of {', '.join(company.missing)}" if company.missing else ""
        said.append(
            f"Cannot be judged in the company of their translations: {counted(company.n_unjudged, 'prompt')}{advice}."
        )
    if company.n_read_as:
        said.append(
            f"Read well, but as another caption: {counted(company.n_read_as, 'prompt')}. These translations may be "
            f"wrong or swapped, look at them first: {'; '.join(company.read_as)}."
        )
    return said


def _of_a_table(table: GroupTable) -> list[str]:
    plural, said = column_label(table.by, plural=True), []
    small = sum(row.n_sources < MIN_FOR_INTERVAL for row in table.rows)
    if small:
        said.append(
            f"{small} of {len(table.rows)} {plural} hold fewer than {MIN_FOR_INTERVAL} captions: too few for an "
            "interval, so that none of them is called clear."
        )
    if len(table.rows) > 2:
        said.append(
            f"{len(table.rows)} {plural} are tested at once: of those called clear, {LEVEL:.0%} are expected to be "
            "false. Intervals are of one group each."
        )
    return said


def _of_the_method(manifest: RunManifest, ranking: str) -> list[str]:
    scored = [] if ranks_by_images(ranking) else _of_the_score(ranking)
    return [
        *scored,
        "Intervals cover the choice of captions, with all translations of a caption kept together, and where prompts "
        "of several languages are pooled that of languages; not that of experts, of translations or of the judge.",
        f"Image quality is what a judge model ({manifest.ensemble.judge or 'none in this run'}) sees; its own weakness "
        "in a language shows as low quality of that language.",
    ]


def _of_the_score(ranking: str) -> list[str]:
    says, reads = _OF_SCORES.get(ranking, _OF_EXPERTS)
    return [
        f"{says} {reads} It does not say why, and it is no measure of harm, bias or skill.",
        "Scores compare prompts within one ensemble. They do not compare ensembles, and the plain score moves with the "
        "size of the features.",
    ]
