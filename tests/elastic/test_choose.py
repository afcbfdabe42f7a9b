"""Which prefix is taken for a fidelity, a time or a memory; where its manifest is found; what a run says of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from emoe_audit.elastic.choose import find_elastic, own_manifest, seconds_within, with_prefix
from emoe_audit.elastic.manifest import Elastic, Fidelity, Prefix, Rho
from emoe_audit.errors import AuditError
from emoe_audit.experts.spec import load_spec
from emoe_audit.types import EnsembleSpec, ScoringConfig

EXACT = Rho(rho=1.0, low=1.0, high=1.0)


def fidelity(rho: float) -> Fidelity:
    return Fidelity(
        fidelity=Rho(rho=rho, low=rho - 0.02, high=rho + 0.01), by_language=EXACT, by_lot=0.5, coverage=None
    )


def prefix(experts: int, n_noise: int, cost: float, **scores: float) -> Prefix:
    text = {"translation_disagreement": Fidelity(fidelity=EXACT, by_language=EXACT, by_lot=None, coverage=None)}
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


def test_the_largest_prefix_is_taken_that_a_budget_holds() -> None:
    assert ELASTIC.within(n_bytes=300).name == "2 experts x 2 noises"
    assert ELASTIC.within(seconds={"text encoder alone": 1.0, "2 experts x 1 noise": 5.0}).name == "2 experts x 1 noise"
    assert ELASTIC.within(seconds={"text encoder alone": 1.0}, n_bytes=10**6).name == "text encoder alone"
    with pytest.raises(AuditError, match="the text encoder alone takes more"):
        ELASTIC.within(n_bytes=99)


def test_the_time_of_a_prefix_is_that_of_the_text_and_of_its_paths() -> None:
    assert seconds_within(ELASTIC, 1.0, 0.5, 10, left=30.0) == {
        "text encoder alone": 10.0,
        "2 experts x 1 noise": 20.0,
        "2 experts x 2 noises": 30.0,
    }


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


def test_without_a_home_a_file_is_asked_for(tiny_spec: EnsembleSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(AuditError, match="give --out FILE, or set XDG_CACHE_HOME"):
        own_manifest(tiny_spec)
