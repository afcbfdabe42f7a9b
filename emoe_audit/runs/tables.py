"""What the tables of a run hold: the kinds of their columns, and by which of these a row is known.

Columns that are not named here are whatever the prompts brought or an engine measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["label", "text", "count", "number", "flag", "bytes"]
"""A `label` is a text and a `count` a number from 0 on, both never missing; the others may be."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of a run folder."""

    columns: Mapping[str, Kind]
    key: tuple[str, ...] = ()
    """The columns by which others are joined with it: no two rows are the same in them."""
    optional: frozenset[str] = frozenset()
    """Those of the columns that need not be there."""
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """All that a label may say, where that is a word of the code."""
    others: Kind | None = None
    """What all other columns are; None: anything but lists and mappings."""


def _columns(*, label: str = "", text: str = "", count: str = "", number: str = "", flag: str = "") -> dict[str, Kind]:
    given: dict[Kind, str] = {"label": label, "text": text, "count": count, "number": number, "flag": flag}
    return {name: kind for kind, names in given.items() for name in names.split()}


def _table(key: str, *, words: dict[str, tuple[str, ...]] | None = None, **columns: str) -> Table:
    return Table(columns=_columns(**columns), key=tuple(key.split()), words=words or {})


def _grown(columns: dict[str, Kind], key: str, needed: str) -> Table:
    return Table(columns=columns, key=tuple(key.split()), optional=frozenset(columns) - {*needed.split()})


_PROMPTS = _columns(label="key prompt_id source_id prompt language", text="region")
_SCORES = _columns(
    label="key",
    number="disagreement relative_disagreement feature_power disagreement_noise_sd relative_disagreement_noise_sd "
    "unfamiliarity n_noise n_tokens tokens_per_word",
    flag="truncated",
)
_QUALITY = _columns(
    label="key source_id",
    text="image image_stamp",
    number="image_seed n_images clip_cosine clip_cosine_source source_rank",
    flag="flagged",
)
_TRANSLATIONS = _columns(
    label="key source_id", number="translation_disagreement translation_reliability", text="read_as"
)
_AGREEMENT = _columns(label="key source_id", number="image_agreement image_reliability")
_BEYOND = ("placebo", "beyond", "beyond_low", "beyond_high")
PUBLIC_READERS = ("ViT-L-14/openai", "ViT-H-14/laion2b_s32b_b79k", "ViT-bigG-14/laion2b_s39b_b160k")
"""The text encoders of which it is published how well they read a language, by open_clip's names."""
_SCOPE = "score by group"
_NEEDED = "key prompt_id source_id prompt language"

TABLES: dict[str, Table] = {
    "prompts": _grown(_PROMPTS, "", _NEEDED),
    "scores": _grown(_SCORES, "key", "key"),
    "readings": _grown({"key": "label", "reading": "bytes"}, "key", "key reading"),
    "noises": Table(
        columns={"key": "label", "n_noise": "count", "features": "bytes"}, key=("key", "n_noise"), others="bytes"
    ),
    "sights": Table(columns={"key": "label", "n_seen": "count", "features": "bytes"}, key=("key",)),
    "quality": _grown(_QUALITY, "key source_id", "key source_id"),
    "translations": _grown(_TRANSLATIONS, "key source_id", "key source_id"),
    "calibration": Table(
        columns={"language": "label", "mean": "bytes", "cosines": "bytes", "alike": "number"}, key=("language",)
    ),
    "familiarity": Table(columns={"language": "label", "mean": "bytes", "length": "number"}, key=("language",)),
    "ratings": Table(columns={"prompt_id": "label"}, key=("prompt_id",), others="number"),
    "image_agreement": _grown(_AGREEMENT, "key source_id", "key source_id"),
    "image_bounds": _table("language", label="language", count="n_prompts", number="agreement ceiling floor"),
    "judge_reading": _table(
        "language",
        label="language basis judge",
        flag="reads is_source shares_encoder",
        number="reading n_captions",
        words={"basis": ("reference images", "published", "unknown")},
    ),
    "results": _grown({**_AGREEMENT, **_TRANSLATIONS, **_SCORES, **_QUALITY, **_PROMPTS}, "", _NEEDED),
    "groups": _table(
        "by group measure",
        label="by group measure",
        count="n_prompts n_sources",
        number="mean low high gap gap_low gap_high",
    ),
    "gaps": _table(
        "measure by group",
        label="measure by group reference design verdict",
        number="difference low high p effect_size p_equivalent p_bh p_by p_equivalent_bh margin detectable",
        count="n_sources n_tests",
        words={"design": ("paired", "between"), "verdict": ("different", "equivalent", "unclear")},
    ),
    "disparity": _table(
        "by measure figure",
        label="by measure figure",
        text="group",
        number="estimate bias_corrected low high",
        count="n_groups n_suppressed",
    ),
    "quartiles": _table(
        "score measure quartile",
        label="score measure",
        count="quartile n_prompts",
        number="score_mean mean low high",
    ),
    "correlations": _table("x y level given", label="x y level", text="given", count="n", number="rho low high"),
    "validity": Table(
        columns=_columns(
            label="score sign probe",
            text="default_score language",
            number="share low high placebo beyond beyond_low beyond_high alignment",
            count="n_pairs n_languages",
            flag="strict comparable",
        ),
        key=("score", "probe"),
        optional=frozenset({"strict", "n_languages", "language", *_BEYOND}),
        words={"sign": ("holds", "unclear", "turned")},
    ),
    "text_encoder": _table("name", label="name", flag="exact", words={"name": PUBLIC_READERS}),
    "rejection_curves": _table(f"{_SCOPE} coverage", label=_SCOPE, number="coverage risk low high"),
    "rejection": _table(
        _SCOPE,
        label=_SCOPE,
        count="n_prompts n_sources",
        number="risk_all aurc aurc_low aurc_high aurc_best prr prr_low prr_high auroc auroc_low auroc_high",
    ),
    "thresholds": _table(
        _SCOPE,
        label=f"{_SCOPE} verdict",
        number="threshold accepted_share empirical_risk n_clusters target delta",
    ),
    "trust": _table(
        _SCOPE,
        label=f"{_SCOPE} verdict",
        number="n_prompts n_sources n_failed auroc auroc_low auroc_high pooled_auroc difference difference_low "
        "difference_high p p_bh accepted_share selection_ratio",
        words={"verdict": ("equal", "unequal", "unclear")},
    ),
    "real_images": _table(
        "",
        label="prompt_id",
        number="reference_cosine reference_rank chance_rank clip_cosine_minus_reference",
    ),
    "judge_bias": _table(
        "by group",
        label="by group",
        count="n_prompts",
        number="reference_cosine reference_rank chance_rank clip_cosine_minus_reference",
    ),
    "kid": _table("by group", label="by group", number="n_images n_reference kid kid_sd"),
    "confounders": _table(
        "measure covariate level",
        label="measure covariate",
        text="level reason",
        number="coefficient low high p partial_r2 n_prompts n_sources n_languages",
    ),
    "adjusted": _table(
        "by group measure",
        label="by group measure",
        text="given",
        number="n_sources raw_difference difference low high p p_bh",
    ),
    "depicted": _table(
        "attribute by group class",
        label="attribute by group class verdict",
        number="n_images n_sources n_drawn share_seen share_corrected low high reference difference difference_low "
        "difference_high total_variation total_variation_low total_variation_high p p_bh",
    ),
    "expert_use": _table("layer expert language", label="layer language", number="expert share"),
    "expert_use_divergence": _table(
        "layer language", label="layer language", number="n_languages n_sources divergence expected p p_by"
    ),
    "abstain": _table(
        "key source_id", label="key source_id decision", text="reason", number="p_good confidence", flag="fitted_on"
    ),
    "abstention": _table(
        "by group",
        label="by group",
        count="n_prompts",
        number="n_sources abstained low high gap gap_low gap_high low_quality outside",
    ),
}
"""Every table by name."""
