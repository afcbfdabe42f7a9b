"""An ensemble in order: every prefix against an engine that loads just that, what it costs, and how it is told."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from emoe_audit.elastic.make import make_elastic, split_captions
from emoe_audit.elastic.manifest import Elastic, Prefix, read_elastic
from emoe_audit.elastic.measured import Measured, PartEngine
from emoe_audit.elastic.order import TEXT, Part, by_lot
from emoe_audit.elastic.worth import Agreement, Worth
from emoe_audit.errors import AuditError, EnsembleError
from emoe_audit.experts.ensemble import weights_hash
from emoe_audit.scoring.disagreement import SCORES
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.flops import gflop
from emoe_audit.scoring.loading import load_engine
from emoe_audit.types import EnsembleSpec, Prompt, ScoringConfig

pytestmark = pytest.mark.slow

SCORING = ScoringConfig(n_noise=2, device="cpu", batch_size=8, check_pairs=1)
TEXTS = ["a dog", "ein roter Apfel", "कुत्ता", "犬", "a cat", "two cats", "a house", ""]
PARTS = [Part(experts=(0, 2), n_noise=1), Part(experts=(1, 2), n_noise=2), Part(experts=(0, 1, 2), n_noise=1)]
ASKED = ["disagreement", "relative_disagreement", "feature_power", "n_tokens", "tokens_per_word"]


def prompts(texts: list[str]) -> list[Prompt]:
    return [Prompt(prompt_id=str(number), prompt=text) for number, text in enumerate(texts)]


@pytest.fixture(scope="module")
def measured(tiny_spec: EnsembleSpec) -> Measured:
    return Measured(load_engine(tiny_spec, SCORING))


@pytest.fixture(scope="module")
def elastic(tiny_spec: EnsembleSpec) -> Elastic:
    return make_elastic(tiny_spec, SCORING, n_captions=3)


def engine_of(spec: EnsembleSpec, part: Part | Prefix) -> ScoringEngine:
    """An engine that loads the experts of a part, and nothing else."""
    names = [spec.experts[own].name if isinstance(own, int) else own for own in part.experts]
    return load_engine(spec, replace(SCORING, experts=tuple(names), n_noise=part.n_noise))


@pytest.mark.parametrize("part", PARTS, ids=str)
def test_a_part_scores_as_an_engine_that_loads_it_alone(
    tiny_spec: EnsembleSpec, measured: Measured, part: Part
) -> None:
    expected = engine_of(tiny_spec, part).score(prompts(TEXTS))[ASKED]
    pd.testing.assert_frame_equal(measured.scores(TEXTS, part)[ASKED], expected, rtol=1e-5)
    pd.testing.assert_frame_equal(PartEngine(measured, part).score(prompts(TEXTS))[ASKED], expected, rtol=1e-5)


def test_the_text_alone_gives_no_score_of_the_experts(measured: Measured) -> None:
    assert measured.scores(TEXTS, TEXT)[[*SCORES]].isna().all(axis=None)


def test_a_part_agrees_as_its_least_score_does(measured: Measured) -> None:
    own, whole = measured.scores(TEXTS, PARTS[0]), measured.scores(TEXTS, measured.whole)
    expected = min(spearmanr(own[name], whole[name]).statistic for name in SCORES)
    assert Agreement(measured, TEXTS)(PARTS[0]) == pytest.approx(expected)
    assert Agreement(measured, TEXTS)(measured.whole) == pytest.approx(1)


def test_the_control_is_the_mean_over_orders_by_lot_at_no_more_cost(measured: Measured) -> None:
    rows = pd.DataFrame({"source_id": list("aabbccdd"), "language": ["en", "de"] * 4, "prompt": TEXTS})
    rng = np.random.default_rng(1)
    lots = [by_lot(measured.whole, rng) for _ in range(8)]
    worth = Worth(measured, rows, None, lots)
    whole = measured.scores(TEXTS, measured.whole)["disagreement"]
    same = [own for lot in lots for own in lot if own.n_paths == 3]
    assert 0 < len(same) < len(lots), "some orders take the second noise before the third expert"
    expected = [spearmanr(measured.scores(TEXTS, own)["disagreement"], whole).statistic for own in same]
    assert worth.of(PARTS[2])["disagreement"].by_lot == pytest.approx(np.mean(expected))


def test_a_manifest_goes_from_the_text_to_the_whole(tiny_spec: EnsembleSpec, elastic: Elastic) -> None:
    first, *rest, last = elastic.prefixes
    assert (first.experts, first.n_noise) == ((), 0)
    assert ({*last.experts}, last.n_noise) == ({own.name for own in tiny_spec.experts}, 2)
    assert all({*a.experts} <= {*b.experts} for a, b in itertools.pairwise(elastic.prefixes))
    assert [own.cost for own in elastic.prefixes] == sorted(own.cost for own in elastic.prefixes)
    assert last.cost == 1 and last.scores["disagreement"].fidelity.rho == 1
    assert "disagreement" not in first.scores and first.scores["translation_disagreement"].fidelity.rho == 1
    assert {*first.signs} == {"translation_disagreement", "unfamiliarity"}
    assert all("disagreement" in own.signs and own.scores["disagreement"].by_lot is not None for own in rest)
    assert elastic.n_captions == 3 and (elastic.dtype, elastic.num_inference_steps) == ("float32", 50)


def test_fidelity_within_languages_is_the_mean_of_each(measured: Measured) -> None:
    rows = pd.DataFrame({"source_id": list("abcdabcd"), "language": ["en"] * 4 + ["de"] * 4, "prompt": TEXTS})
    own, whole = (measured.scores(TEXTS, part)["disagreement"] for part in (PARTS[0], measured.whole))
    each = [spearmanr(own[part], whole[part]).statistic for part in (slice(0, 4), slice(4, 8))]
    found = Worth(measured, rows, None, ()).of(PARTS[0])["disagreement"].within_language
    assert found.rho == pytest.approx(np.mean(each))
    assert found.low is not None and found.high is not None and found.low <= np.mean(each) <= found.high


def test_a_prefix_costs_what_an_engine_costs_that_loads_it_alone(tiny_spec: EnsembleSpec, elastic: Elastic) -> None:
    for prefix in (elastic.prefixes[1], elastic.prefixes[-1]):
        engine = engine_of(tiny_spec, prefix)
        _ = engine.starts
        assert prefix.gflop == pytest.approx(gflop(lambda e=engine: e.score(prompts(TEXTS))) / 8, rel=1e-6)  # type: ignore[misc]
        assert prefix.n_bytes == engine.ensemble.footprint.weights("all")
        assert prefix.weights_hash == weights_hash(engine.ensemble.base_hash, engine.ensemble.expert_hashes)


def test_the_text_alone_loads_no_expert(tiny_spec: EnsembleSpec, elastic: Elastic) -> None:
    engine = load_engine(tiny_spec, replace(SCORING, n_noise=0))
    assert len(engine.ensemble.unets) == 0
    assert elastic.prefixes[0].n_bytes == engine.ensemble.footprint.weights("all")
    assert elastic.prefixes[0].weights_hash == weights_hash(engine.ensemble.base_hash, ())


def test_captions_that_an_order_is_measured_on_are_others(tiny_spec: EnsembleSpec) -> None:
    chosen_on, measured_on, more = split_captions(tiny_spec, 5, 0, n_parts=3)
    assert len(chosen_on) == len(measured_on) == len(more) == 5
    assert len({*chosen_on.index, *measured_on.index, *more.index}) == 15
    with pytest.raises(EnsembleError, match="2 x 60 captions are asked for, there are 100; ask for fewer"):
        split_captions(tiny_spec, 60, 0)


def test_a_manifest_is_read_as_it_was_written(elastic: Elastic, tmp_path: Path) -> None:
    elastic.write(tmp_path / "elastic.json")
    assert read_elastic(tmp_path / "elastic.json") == elastic
    (tmp_path / "other.json").write_text('{"ensemble": 1}')
    with pytest.raises(AuditError, match=r"other\.json"):
        read_elastic(tmp_path / "other.json")


def test_a_manifest_is_told_in_lines(elastic: Elastic) -> None:
    told = elastic.to_text()
    assert "text encoder alone" in told and "2 experts x 1 noise" in told and "by lot" in told


def test_what_is_no_prefix_is_refused(tiny_spec: EnsembleSpec) -> None:
    with pytest.raises(EnsembleError, match="leave `top_k` out"):
        make_elastic(replace(tiny_spec, top_k=2), SCORING)
    with pytest.raises(EnsembleError, match="without noises there is nothing to put in order"):
        make_elastic(tiny_spec, replace(SCORING, n_noise=0))
