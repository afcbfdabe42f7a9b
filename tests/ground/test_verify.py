"""The bench on the tiny ensemble: every score has its row, nothing is computed twice, new scores need one function."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from scipy.stats import spearmanr

from emoe_audit.errors import EnsembleError
from emoe_audit.ground.baselines import BASELINES
from emoe_audit.ground.figures import FIGURES
from emoe_audit.ground.one_language import ONE_LANGUAGE
from emoe_audit.ground.table import Verification
from emoe_audit.ground.verify import known_coverage, lay_ground, related_languages, verify
from emoe_audit.prompts.emoji import caption_matrix
from emoe_audit.runs.store import RunStore
from emoe_audit.scoring import disagreement as disagreement_module
from emoe_audit.types import EnsembleSpec, ImageConfig, ScoringConfig
from tests.ground.known_languages import known_by_few

pytestmark = pytest.mark.slow

SCORING = ScoringConfig(n_noise=2, batch_size=8, device="cpu")
IMAGES = ImageConfig(n_images=8, num_inference_steps=1, device="cpu")


@pytest.fixture(scope="module", autouse=True)
def few_languages() -> Iterator[None]:
    with known_by_few(["en", "de", "hi", "ja"], is_bench_alone=True):
        yield


def run(spec: EnsembleSpec, out: Path, check_pairs: int = 2) -> Verification:
    scoring = dataclasses.replace(SCORING, check_pairs=check_pairs)
    return verify(spec, out, n_concepts=3, scoring=scoring, images=IMAGES, n_boot=20)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench") / "run"


@pytest.fixture(scope="module")
def found(known_spec: EnsembleSpec, out: Path) -> Verification:
    return run(known_spec, out)


def test_every_score_and_baseline_has_a_row_but_translations_where_no_language_is_read(found: Verification) -> None:
    names = [row.name for row in found.scores]
    assert names == [
        "unfamiliarity", *disagreement_module.SCORES, "feature_power", "token_count", "tokens_per_word",
        *BASELINES, "text_distance", *ONE_LANGUAGE,
    ]  # fmt: skip
    assert [row["name"] for row in found.to_json()["scores"]] == names
    assert (found.n_languages, found.n_concepts) == (4, 8)
    assert found.n_images == 4 * 2 + 1, "of two captions in every language, of the third in the best covered one"


def test_a_row_says_what_the_stored_rows_say(found: Verification, known_spec: EnsembleSpec, out: Path) -> None:
    results = RunStore.open(out).query("SELECT * FROM results")
    plain = results[results["region"].isna() & results["skin_tone"].isna()]
    measured = ["n_tokens", "relative_disagreement", "feature_power"]
    means = plain.groupby("language")[measured].mean()
    coverage = pd.Series({"de": 0.0995, "en": 0.9, "hi": 0.0005, "ja": 0.0})
    by_name = {row.name: row.figures["language_rho"].value for row in found.scores}
    for name, column, sign in (
        ("token_count", "n_tokens", 1),
        ("relative_disagreement", "relative_disagreement", 1),
        ("feature_power", "feature_power", -1),
    ):
        assert by_name[name] == pytest.approx(spearmanr(sign * means[column], coverage).statistic)


def test_counting_tokens_costs_nothing_and_experts_cost_more_than_one(found: Verification) -> None:
    cost = {row.name: row.gflop for row in found.scores}
    assert cost["token_count"] == 0
    assert 0 < cost["noise_variance"] < cost["disagreement"]


def test_signs_and_the_score_that_ranks_are_those_of_the_check(found: Verification, out: Path) -> None:
    validity = RunStore.open(out).query("SELECT * FROM validity")
    signs = dict(zip(validity["score"], validity["sign"], strict=True))
    assert set(signs) >= {"disagreement", "relative_disagreement", "feature_power", "token_count"}
    assert signs.pop("translation_disagreement") == "unclear"
    assert {row.name: row.sign for row in found.scores if row.sign} == signs
    published = {row["name"]: row["sign"] for row in found.to_json()["scores"]}
    assert published["noise_variance"] is None and published["token_count"] == signs["token_count"]
    best = validity["default_score"].iloc[0]
    assert found.default_score == (best if isinstance(best, str) else "relative_disagreement")


@pytest.mark.parametrize(("chosen", "ranks"), [("disagreement", "disagreement"), (None, "relative_disagreement")])
def test_the_score_that_the_check_chose_is_compared_with_the_others(
    found: Verification, known_spec: EnsembleSpec, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    chosen: str | None, ranks: str,
) -> None:  # fmt: skip
    store = RunStore.open(shutil.copytree(out, tmp_path / "run"))
    outcome = store.query("SELECT * FROM validity").assign(sign="turned", default_score=chosen)
    store.write_analysis("validity", outcome[outcome["score"] != "token_count"])
    monkeypatch.setattr("emoe_audit.ground.verify.BenchEngine.gflop", lambda *_: defaultdict(float))
    again = run(known_spec, store.path)
    assert again.default_score == ranks
    ours = [difference for difference in again.differences if difference.score == ranks]
    assert {difference.against for difference in ours} == {row.name for row in again.scores} - {ranks}
    signs = {row.name: row.sign for row in again.scores}
    assert (signs["disagreement"], signs["token_count"]) == ("turned", "")


def test_the_published_form_is_flat_with_null_for_what_is_undefined(found: Verification) -> None:
    published = json.loads(json.dumps(found.to_json()))
    (row,) = [row for row in published["scores"] if row["name"] == "relative_disagreement"]
    figures = {f"{figure}{end}" for figure in FIGURES for end in ("", "_low", "_high")}
    assert set(row) == {"name", "gflop", "quality_quartiles", "sign", "sign_by_coverage"} | figures
    assert row["tone_rho"] is None
    assert len(row["quality_quartiles"]) == 4
    assert {d["against"] for d in published["differences"]} >= {"feature_power", "token_count"}
    assert published["one_language_score"] == "unfamiliarity"
    alone = {d["figure"] for d in published["differences"] if d["score"] == "unfamiliarity"}
    assert alone == {"within_language_quality_rho"}, "no concepts are planted here"


def test_the_table_for_a_terminal_puts_the_best_ranking_first(found: Verification) -> None:
    lines = found.to_text().splitlines()
    rho = {row.name: row.figures["language_rho"].value for row in found.scores}
    defined = [line.split()[0] for line in lines[1:] if not math.isnan(rho[line.split()[0]])]
    assert [rho[name] for name in defined] == sorted(rho[name] for name in defined)
    assert len(lines) == 1 + len(found.scores)


def test_a_second_bench_computes_nothing(
    found: Verification, known_spec: EnsembleSpec, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emoe_audit.ground.verify.BenchEngine.score", lambda *_: pytest.fail("scored again"))
    assert run(known_spec, out).to_json()["scores"][0] == found.to_json()["scores"][0]


def test_an_ensemble_of_unknown_training_is_refused(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    with pytest.raises(EnsembleError, match="tiny: says not what it was trained on"):
        verify(tiny_spec, tmp_path / "run")


def test_related_languages_are_those_never_seen_that_share_words_with_seen_ones() -> None:
    captions = pd.DataFrame(
        {"source_id": ["1", "2"], "en": ["red sun", "panda"], "es": ["sol rojo", "Panda"], "ko": ["해", "판다"]}
    )
    coverage = pd.DataFrame({"by": "language", "group": ["en", "es", "ko"], "coverage": [1.0, 0.0, 0.0]})
    assert related_languages(captions, coverage) == {"es"}


def test_an_image_whose_concept_is_not_among_the_first_ten_has_failed(known_spec: EnsembleSpec) -> None:
    results = pd.DataFrame(
        {
            "language": ["en", "en", "en"],
            "source_id": ["1", "2", "3"],
            "prompt": ["dog", "cat", "tree"],
            "n_tokens": [1, 2, 3],
            "clip_cosine_source": [0.1, 0.2, None],
            "source_rank": [10.0, 11.0, None],
        }
    )
    ground = lay_ground(results, known_coverage(known_spec), caption_matrix(known_spec))
    assert ground.failed.tolist()[0][:2] == [0.0, 1.0]
    assert math.isnan(ground.failed[0][2])
