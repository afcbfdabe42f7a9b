"""Which prefix a run asks: the smallest that is faithful enough, or the largest that there is time or memory for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

from emoe_audit.elastic.manifest import Elastic, Prefix, read_elastic
from emoe_audit.errors import AuditError
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
    brought = [folder / FILE] if folder is not None and load_spec(spec.name) == spec else []
    for file in (own_manifest(spec), *brought):
        if file.is_file():
            return read_elastic(file)
    raise AuditError(
        f"{spec.name}: what a part of it is worth is not known; `emoe-audit ensemble elastic {spec.name}` measures it"
    )


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


def seconds_within(elastic: Elastic, a_text: float, a_path: float, n_prompts: int, left: float) -> Mapping[str, float]:
    """The prefixes by name that score so many prompts in the time that is left, with their seconds.

    Args:
        elastic: The ensemble in order.
        a_text: Seconds in which a prompt is read by the text encoder, here.
        a_path: Seconds in which it passes one expert under one noise.
        n_prompts: Prompts to score.
        left: Seconds.
    """
    times = {own.name: n_prompts * (a_text + len(own.experts) * own.n_noise * a_path) for own in elastic.prefixes}
    return {name: own for name, own in times.items() if own <= left}
