"""Use of experts by language, against scipy's Jensen-Shannon distance and planted effects."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import false_discovery_control

from emoe_audit.analysis.expert_use import divergences, expert_use, expert_use_divergence

LANGUAGES = ("de", "en", "hi")
N_EXPERTS, N_CAPTIONS = 6, 12


def use_of(shift: float = 0.0, *, by_caption: float = 1.0, seed: int = 0) -> pd.DataFrame:
    """Random use, which differs between captions, and in layer `late` by `shift` in Hindi."""
    rng = np.random.default_rng(seed)
    captions = by_caption * rng.random((N_CAPTIONS, N_EXPERTS))
    rows = []
    for layer in ("early", "late"):
        for caption in range(N_CAPTIONS):
            for language in LANGUAGES:
                share = captions[caption] + 0.2 * rng.random(N_EXPERTS)
                share[0] += shift * (layer == "late" and language == "hi")
                share = 2 * share / share.sum()
                names = {"source_id": f"c{caption}", "language": language, "layer": layer}
                rows += [{**names, "expert": number, "share": own} for number, own in enumerate(share)]
    return pd.DataFrame(rows)


def at(table: pd.DataFrame, layer: str, language: str = "") -> pd.Series:
    (row,) = table[(table["layer"] == layer) & (table["language"] == language)].to_dict("records")
    return pd.Series(row)


def test_the_heat_map_holds_mean_shares() -> None:
    use = use_of()
    table = expert_use(use)
    assert list(table) == ["layer", "expert", "language", "share"]
    assert len(table) == 2 * N_EXPERTS * len(LANGUAGES)
    own = table[(table["layer"] == "late") & (table["language"] == "en")].set_index("expert")["share"]
    rows = use[(use["layer"] == "late") & (use["language"] == "en")]
    assert own[3] == pytest.approx(sum(rows.loc[rows["expert"] == 3, "share"]) / N_CAPTIONS)
    assert own.sum() == pytest.approx(2)


def test_two_languages_diverge_as_scipy_says() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.random(N_EXPERTS), rng.random(N_EXPERTS)
    assert divergences(np.stack([a, b]))[0] == pytest.approx(jensenshannon(a, b, base=2) ** 2)


def test_the_divergence_of_a_layer_is_the_mean_over_its_languages_and_at_most_log_of_their_number() -> None:
    apart = divergences(np.eye(4))
    np.testing.assert_allclose(apart, np.log2(4))
    some = divergences(np.random.default_rng(0).random((5, N_EXPERTS)))
    assert some[0] == pytest.approx(some[1:].mean())
    np.testing.assert_allclose(divergences(np.ones((3, N_EXPERTS))), 0, atol=1e-15)


def test_a_language_that_uses_another_expert_is_found_in_its_layer_only() -> None:
    table = expert_use_divergence(use_of(0.5, seed=1), n_permutations=199)
    assert at(table, "late")["p"] == pytest.approx(1 / 200)
    assert at(table, "late", "hi")["p"] == pytest.approx(1 / 200)
    assert at(table, "late", "hi")["divergence"] > at(table, "late", "en")["divergence"]
    assert at(table, "early")["p"] > 0.05
    assert at(table, "late")["divergence"] > 3 * at(table, "late")["expected"]


def test_captions_that_differ_are_no_languages_that_differ() -> None:
    p = [at(expert_use_divergence(use_of(seed=seed), n_permutations=99), "late")["p"] for seed in range(40)]
    assert np.mean(np.array(p) <= 0.1) < 0.3
    assert 0.3 < np.mean(p) < 0.7


def test_languages_that_are_told_apart_by_nothing_have_p_one() -> None:
    use = use_of()
    use["share"] = use.groupby(["layer", "source_id", "expert"])["share"].transform("mean")
    table = expert_use_divergence(use, n_permutations=19)
    assert (table["p"] == 1).all() and (table["p_by"] == 1).all()
    np.testing.assert_allclose(table["divergence"], 0, atol=1e-12)


def test_captions_that_lack_a_language_take_no_part() -> None:
    use = use_of(0.5)
    lacking = use[~((use["source_id"] == "c0") & (use["language"] == "en"))]
    whole = expert_use_divergence(use[use["source_id"] != "c0"], n_permutations=19)
    found = expert_use_divergence(lacking, n_permutations=19)
    assert (found["n_sources"] == N_CAPTIONS - 1).all()
    pd.testing.assert_frame_equal(found, whole)


def test_p_values_are_adjusted_for_all_layers_and_apart_for_all_languages() -> None:
    table = expert_use_divergence(use_of(0.5), n_permutations=99)
    assert len(table) == 2 * (1 + len(LANGUAGES))
    whole, own = table[table["language"] == ""], table[table["language"] != ""]
    for rows in (whole, own):
        np.testing.assert_allclose(rows["p_by"], false_discovery_control(rows["p"], method="by"))
    assert whole["p_by"].min() == pytest.approx(0.01 * 2 * (1 + 1 / 2)), "two layers, of which one differs"


def test_one_language_diverges_from_nothing() -> None:
    use = use_of()
    table = expert_use_divergence(use[use["language"] == "en"], n_permutations=19)
    assert table[["divergence", "expected", "p", "p_by"]].isna().all().all()
    assert (table["n_languages"] == 1).all()


def test_without_a_common_caption_nothing_is_compared() -> None:
    use = use_of()
    use["source_id"] += use["language"]
    table = expert_use_divergence(use, n_permutations=19)
    assert (table["n_sources"] == 0).all() and table["divergence"].isna().all()


def test_no_prompt_gives_no_row_but_all_columns() -> None:
    table = expert_use_divergence(use_of().iloc[:0])
    assert table.empty
    assert list(table) == ["layer", "language", "n_languages", "n_sources", "divergence", "expected", "p", "p_by"]
