"""Which prefix is taken for a fidelity, a time or a memory; where its manifest is found; what a run says of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from emoe_audit.elastic.choose import check_settings, find_elastic, own_manifest, with_prefix
from emoe_audit.elastic.manifest import Elastic, Fidelity, Prefix, Rho
from emoe_audit.errors import AuditError
from emoe_audit.experts.ensemble import load_ensemble
from emoe_audit.experts.spec import load_spec
from emoe_audit.types import EnsembleSpec, ScoringConfig

EXACT = Rho(rho=1.0, low=1.0, high=1.0)


def fidelity(rho: float) -> Fidelity:
    own, within = (Rho(rho=rho - less, low=rho - less - 0.02, high=rho - less + 0.01) for less in (0.0, 0.1))
    return Fidelity(fidelity=own, within_language=within, by_language=EXACT, by_lot=0.5, coverage=None)


def prefix(experts: int, n_noise: int, cost: float, **scores: float) -> Prefix:
    text = {
        "translation_disagreement": Fidelity(
            fidelity=EXACT, within_language=EXACT, by_language=EXACT, by_lot=None, coverage=None
        )
    }
    return Prefix(
        experts=("a", "b", "c")[:experts],
        n_noise=n_noise,
        gflop=10 * cost,
        cost=cost,
        seconds=cost,
        n_bytes=100 * (1 + experts),
        weights_hash=f"{experts}",
        default_score="translation_disagreement",
        signs={},
        scores=text | {name: fidelity(rho) for name, rho in scores.items()},
    )


ELASTIC = Elastic(
    ensemble="made",
    ensemble_hash="e",
    score="translation_disagreement",
    order_hash="o",
    n_captions=3,
    n_languages=2,
    seed=0,
    dtype="float32",
    num_inference_steps=50,
    both_halves=False,
    prefixes=(
        prefix(0, 0, 0.1),
        prefix(2, 1, 0.4, disagreement=0.90),
        prefix(2, 2, 0.6, disagreement=0.96),
        prefix(3, 2, 1.0, disagreement=0.99),
    ),
)


def test_the_smallest_prefix_is_taken_whose_fidelity_is_enough_at_its_lower_end() -> None:
    assert ELASTIC.reaching(0.95).name == "text encoder alone"
    assert ELASTIC.reaching(0.88, "disagreement").name == "2 experts x 1 noise"
    assert ELASTIC.reaching(0.95, "disagreement").name == "3 experts x 2 noises"
    with pytest.raises(AuditError, match="no score 'beauty'; there are translation_disagreement, disagreement"):
        ELASTIC.reaching(0.9, "beauty")


def test_among_prompts_of_one_language_there_is_less_to_be_told() -> None:
    assert ELASTIC.reaching(0.8, "disagreement", within_language=True).name == "2 experts x 2 noises"
    assert ELASTIC.reaching(0.8, "disagreement").name == "2 experts x 1 noise"


def test_a_prefix_counts_only_where_all_larger_ones_are_faithful_too() -> None:
    """0.97 by luck, then 0.90: the first is not taken."""
    lucky = replace(
        ELASTIC, prefixes=(*ELASTIC.prefixes[:1], prefix(2, 1, 0.4, disagreement=0.97), *ELASTIC.prefixes[1:])
    )
    assert lucky.reaching(0.95, "disagreement").name == "3 experts x 2 noises"


def test_the_largest_is_taken_of_those_that_fit() -> None:
    assert ELASTIC.largest([ELASTIC.prefixes[1], ELASTIC.prefixes[0]]).name == "2 experts x 1 noise"


def test_what_is_scored_in_another_way_is_not_promised_anything() -> None:
    check_settings(ELASTIC, ScoringConfig())
    with pytest.raises(AuditError, match="with another num_inference_steps and both_halves than is asked for"):
        check_settings(ELASTIC, ScoringConfig(num_inference_steps=20, both_halves=True))


def test_settings_ask_the_prefix_and_say_why() -> None:
    chosen = with_prefix(ScoringConfig(), ELASTIC, ELASTIC.prefixes[1], "--fidelity disagreement=0.88", "disagreement")
    assert (chosen.experts, chosen.n_noise) == (("a", "b"), 1)
    assert chosen.prefix is not None
    assert (chosen.prefix.fidelity, chosen.prefix.low, chosen.prefix.cost) == (0.90, 0.88, 0.4)
    assert (chosen.prefix.n_experts, chosen.prefix.n_noise, chosen.prefix.weights_hash) == (3, 2, "2")
    with pytest.raises(AuditError, match="text encoder alone gives no disagreement"):
        with_prefix(ScoringConfig(), ELASTIC, ELASTIC.prefixes[0], "", "disagreement")


def test_a_manifest_is_found_by_what_it_is_of(tiny_spec: EnsembleSpec) -> None:
    with pytest.raises(AuditError, match="`emoe-audit ensemble elastic tiny` measures it"):
        find_elastic(tiny_spec)
    ELASTIC.write(own_manifest(tiny_spec))
    try:
        assert find_elastic(tiny_spec) == ELASTIC
        with pytest.raises(AuditError, match="measures it"):
            find_elastic(replace(tiny_spec, split=1))
    finally:
        own_manifest(tiny_spec).unlink()


@pytest.mark.parametrize("name", ["emoji-a", "emoji-b"])
def test_embedded_ensembles_bring_theirs(name: str) -> None:
    found = find_elastic(load_spec(name))
    assert found.ensemble == name and found.prefixes[-1].n_noise == 4 and len(found.prefixes[-1].experts) == 4
    assert found.ensemble_hash == load_ensemble(name, device="cpu").ensemble_hash, "of the weights that ship"


def test_without_a_home_a_file_is_asked_for(tiny_spec: EnsembleSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(AuditError, match="give --out FILE, or set XDG_CACHE_HOME"):
        own_manifest(tiny_spec)
    assert find_elastic(load_spec("emoji-a")).ensemble == "emoji-a"
