"""Which prefix a run asks: the smallest that is faithful enough, or the largest that there is time or memory for."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, replace
from pathlib import Path

from emoe_audit.elastic.manifest import Elastic, Prefix, read_elastic
from emoe_audit.errors import AuditError
from emoe_audit.experts.ensemble import footprint_of
from emoe_audit.experts.hashing import json_digest
from emoe_audit.experts.spec import embedded_folders, load_spec
from emoe_audit.readers.paths import user_cache
from emoe_audit.types import EnsembleSpec, PrefixChoice, ScoringConfig

FILE = "elastic.json"


def own_manifest(spec: EnsembleSpec) -> Path:
    """Where the manifest of an ensemble lies that was made here.

    Raises:
        AuditError: there is no home to keep it in.
    """
    try:
        cache = user_cache()
    except RuntimeError as error:
        raise AuditError(f"{error}; give --out FILE, or set XDG_CACHE_HOME") from error
    return cache / "elastic" / f"{json_digest(asdict(spec))[:32]}.json"


def find_elastic(spec: EnsembleSpec) -> Elastic:
    """The manifest that was made here, else the one that an embedded ensemble brings.

    Raises:
        AuditError: there is none, or it is none of this ensemble; with what makes it.
    """
    folder = embedded_folders().get(spec.name)
    places = [folder / FILE] if folder is not None and load_spec(spec.name) == spec else []
    with contextlib.suppress(AuditError):  # there is no home
        places.insert(0, own_manifest(spec))
    for file in places:
        if file.is_file():
            return read_elastic(file)
    raise AuditError(
        f"{spec.name}: what a part of it is worth is not known; `emoe-audit ensemble elastic {spec.name}` measures it"
    )


def check_settings(elastic: Elastic, scoring: ScoringConfig) -> None:
    """Raise `AuditError` where prompts are scored in another way than that in which parts were measured."""
    names = ("dtype", "num_inference_steps", "both_halves")
    other = [name for name in names if getattr(elastic, name) != getattr(scoring, name)]
    if other:
        raise AuditError(
            f"{elastic.ensemble}: what its parts are worth was measured with another {' and '.join(other)} than is "
            f"asked for; leave that as it is by default, or see `emoe-audit ensemble elastic --help`"
        )


def bytes_needed(spec: EnsembleSpec, scoring: ScoringConfig, prefix: Prefix) -> int:
    """Of memory, for all weights of a prefix at once and one prompt."""
    names, n_noise = prefix.experts, prefix.n_noise
    return replace(footprint_of(spec, names, scoring.dtype), n_noise=n_noise).needed("all")


def with_prefix(
    scoring: ScoringConfig, elastic: Elastic, prefix: Prefix, asked: str, score: str | None = None
) -> ScoringConfig:
    """Settings that ask a prefix, and say why.

    Raises:
        AuditError: the prefix does not give the score.
    """
    name = score or elastic.score
    own, whole = prefix.scores.get(name), elastic.prefixes[-1]
    if own is None or own.fidelity.rho is None or own.fidelity.low is None or own.fidelity.high is None:
        raise AuditError(f"{elastic.ensemble}: {prefix.name} gives no {name}, so what it is worth is not known")
    choice = PrefixChoice(
        asked=asked,
        score=name,
        fidelity=own.fidelity.rho,
        low=own.fidelity.low,
        high=own.fidelity.high,
        cost=prefix.cost,
        n_experts=len(whole.experts),
        n_noise=whole.n_noise,
        order_hash=elastic.order_hash,
        weights_hash=prefix.weights_hash,
    )
    return replace(scoring, experts=prefix.experts if prefix.n_noise else (), n_noise=prefix.n_noise, prefix=choice)
