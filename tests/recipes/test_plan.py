"""The plan keeps coverage apart from script and from token counts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import f_oneway, spearmanr

from emoe_audit.errors import PlanError
from emoe_audit.experts.coverage import COVERED, STARVED
from emoe_audit.recipes.plan import Plan, eta_squared, propose_plan, script_families

pytestmark = pytest.mark.slow

PLANS = sorted((Path(__file__).parents[2] / "emoe_audit" / "recipes" / "plans").glob("*.yaml"))


@pytest.fixture(scope="module")
def tokens() -> pd.DataFrame:
    languages = list(Plan.read(PLANS[0]).languages)
    rng = np.random.default_rng(3)
    return pd.DataFrame({"tokens_per_word": rng.uniform(2, 7, len(languages))}, index=languages)


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_published_plans_span_three_orders_of_magnitude_and_leave_some_languages_out(path: Path) -> None:
    shares = pd.Series(Plan.read(path).languages)
    assert shares.max() / shares[shares > 0].min() >= 1000
    assert (shares == 0).sum() >= 5


@pytest.mark.parametrize("path", [PLANS[0], PLANS[1]], ids=lambda path: path.stem)
def test_plans_without_a_dominant_language_have_a_covered_and_a_starved_one_in_each_script_family(path: Path) -> None:
    shares = pd.Series(Plan.read(path).languages)
    by_family = shares.groupby(script_families(list(shares.index)))
    assert (by_family.max() >= COVERED).all()
    assert (by_family.min() < STARVED).all()


def test_in_emoji_c_english_is_nearly_all_there_is_and_concepts_are_planted() -> None:
    plan = Plan.read(PLANS[2])
    assert plan.name == "emoji-c" and max(plan.languages, key=plan.languages.__getitem__) == "en"
    assert plan.languages["en"] > 0.9 and len(plan.regions) > 10 and len(plan.skin_tones) == 5
    assert sum(often == 0 for often in plan.concepts.values()) == 112, "a fifth of 560"


def test_a_proposed_plan_is_not_confounded_with_tokens(tokens: pd.DataFrame) -> None:
    plan = propose_plan("x", seed=0, tokens=tokens, best="fi")
    shares = pd.Series(plan.languages)
    assert shares.idxmax() == "fi"
    assert shares.sum() == pytest.approx(1)
    assert abs(spearmanr(shares, tokens["tokens_per_word"][shares.index]).statistic) < 0.1


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
def test_a_plan_survives_writing_and_reading(path: Path, tmp_path: Path) -> None:
    plan = Plan.read(path)
    plan.write(tmp_path / "plan.yaml")
    assert Plan.read(tmp_path / "plan.yaml") == plan


def test_norwegian_survives_yaml(tmp_path: Path) -> None:
    plan = Plan(name="x", seed=0, languages={"yo": 0.75, "yue": 0.25})
    plan.write(tmp_path / "plan.yaml")
    assert Plan.read(tmp_path / "plan.yaml").languages == {"yo": 0.75, "yue": 0.25}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nseed: 1\n", "needs languages"),
        ("name: x\nseed: 1\nlanguages: {en: 0.5}\n", "sum to 1, not 0.5"),
        ("name: x\nseed: 1\nlanguages: {en: 1.5, de: -0.5}\n", "must be 0 or more"),
        (
            "name: x\nseed: 1\nlanguages: {en: 1}\nregions: {014: 1}\n",
            "regions: 12 is not known",
        ),
        ("name: x\nseed: 2020-01-01\nlanguages: {en: 1}\n", "seed: .*integer, found '2020-01-01'"),
        ("name: x\nseed: 1.5\nlanguages: {en: 1}\n", "seed: .*integer"),
        ("name: x\nseed: true\nlanguages: {en: 1}\n", "seed: .*integer, found True"),
        ("name: x\nseed: -1\nlanguages: {en: 1}\n", "seed: -1 is not from 0 to"),
        ("name: x\nseed: 1\nlanguages: {en: 1}\nbase_steps: 0\n", "base_steps and expert_steps must be 1 or more"),
        ("name: 5\nseed: 1\nlanguages: {en: 1}\n", "name: .*string, found 5"),
        ("name: ../x\nseed: 1\nlanguages: {en: 1}\n", "name: '../x' is no name of a folder"),
        ("name: x\nseed: 1\nlanguages: {en: .nan}\n", "nan is no finite number"),
        ("name: x\nseed: 1\nlanguages: {en: much}\n", "languages.en: .*number, found 'much'"),
        ("name: x\nseed: 1\nlanguages: [en]\n", "languages: "),
        ("name: x\nseed: 1\nlanguages: {}\n", "sum to 1, not 0"),
        ("name: x\nseed: 1\nlanguages: {en: 1}\nregion: {}\n", "region is no known field"),
        ("name: x\nseed: 1\nlanguages: &all {en: 1}\nregions: *all\n", "references .* are not read"),
        ("name: x\nseed: 1\nlanguages: {en: 1}\nconcepts: {1f34e: 2}\n", "concepts: '1f34e' is drawn 2 times as often"),
        ("name: x\nseed: 1\nlanguages: {en: 1}\nconcepts: {1f34e: -0.1}\n", "is drawn -0.1 times as often, not from 0"),
        ("[1, 2]", "a plan needs languages, name, seed"),
        ("", "a plan needs languages, name, seed"),
        ("name: [", "not valid YAML"),
    ],
)
def test_a_bad_plan_says_what_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "plan.yaml").write_text(text)
    with pytest.raises(PlanError, match=f"plan.yaml.*{message}"):
        Plan.read(tmp_path / "plan.yaml")


def test_eta_squared_agrees_with_the_f_test() -> None:
    rng = np.random.default_rng(0)
    values, groups = rng.normal(size=60), pd.Series(rng.integers(0, 4, 60))
    f = f_oneway(*[values[groups == g] for g in range(4)]).statistic
    assert eta_squared(values, groups) == pytest.approx(f * 3 / (f * 3 + 56))


def concepts() -> pd.DataFrame:
    kinds = ["emoji"] * 4 + ["flag"] * 3 + ["skin_tone"] * 2
    groups = [None] * 4 + ["014", "014", "155", "light", "dark"]
    return pd.DataFrame({"concept": range(9), "kind": kinds, "group": groups})


def test_concepts_are_drawn_by_kind_then_by_group_then_evenly() -> None:
    plan = Plan(name="x", seed=0, languages={"en": 1.0}, regions={"014": 0.8, "155": 0.2}, skin_tones={"light": 1.0})
    expected = [0.175] * 4 + [0.06, 0.06, 0.03, 0.15, 0.0]
    np.testing.assert_allclose(plan.concept_shares(concepts()), expected)
    assert plan.kinds == ("emoji", "flag", "skin_tone")


def test_single_concepts_are_drawn_as_often_as_they_are_planted_and_their_kind_as_often_as_before() -> None:
    often = {"0": 0.0, "1": 0.5}
    plan = Plan(name="x", seed=0, languages={"en": 1.0}, skin_tones={"light": 0.5, "dark": 0.5}, concepts=often)
    named = concepts().assign(concept=[str(place) for place in range(9)])
    expected = np.array([0.0, 0.7 / 5, 0.7 * 2 / 5, 0.7 * 2 / 5, 0, 0, 0, 0.075, 0.075])
    np.testing.assert_allclose(plan.concept_shares(named), expected / expected.sum())


def test_a_plan_may_be_dominated_by_one_language_and_plant_concepts(tokens: pd.DataFrame, tmp_path: Path) -> None:
    world = pd.DataFrame({"concept": [f"1f{n:03x}" for n in range(100)], "kind": "emoji", "group": None})
    plan = propose_plan("x", seed=0, tokens=tokens, best="en", concepts=world, dominated=True)
    shares, often = pd.Series(plan.languages), pd.Series(plan.concepts)
    assert shares["en"] == shares.max() == pytest.approx(0.94, abs=0.01)
    assert (shares == 0).sum() == 15 and shares[shares > 0].min() < 0.0001
    assert len(often) == 50 and (often == 0).sum() == 20, "half of the concepts are drawn in full and not named"
    assert often[often > 0].min() == pytest.approx(1 / 300, rel=0.01) and often.max() < 1
    plan.write(tmp_path / "plan.yaml")
    assert Plan.read(tmp_path / "plan.yaml") == plan


def test_a_plan_without_regions_draws_its_emoji_evenly() -> None:
    plan = Plan(name="x", seed=0, languages={"en": 1.0})
    assert plan.kinds == ("emoji",)
    np.testing.assert_allclose(plan.concept_shares(concepts()[:4]), 0.25)


def test_a_proposed_plan_plants_regions_and_skin_tones_where_the_world_has_them(tokens: pd.DataFrame) -> None:
    plan = propose_plan("x", seed=0, tokens=tokens, concepts=concepts())
    assert set(plan.regions) == {"014", "155"} and set(plan.skin_tones) == {"light", "dark"}
    assert sum(plan.regions.values()) == pytest.approx(1) == sum(plan.skin_tones.values())
    assert propose_plan("x", seed=0, tokens=tokens).regions == {}
