"""A run against a policy: kept, broken, undecided, and what is wrong with a policy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from emoe_audit.cli.main import cli
from emoe_audit.decisions.evidence import read_standing
from emoe_audit.decisions.gate import Finding, Policy, Rule, judge_run, overall, read_policy, to_json, to_text
from emoe_audit.decisions.rungs import LADDER
from emoe_audit.errors import AuditError
from emoe_audit.runs.store import RunStore
from tests.synthetic import synthetic_plan

MEANS = {"en": 0.5, "de": 0.4, "fi": 0.1}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> RunStore:
    """Forty captions in three languages whose quality is known, and three captions in a fourth."""
    rng = np.random.default_rng(0)
    rows = [(f"s{n}", language) for n in range(40) for language in MEANS] + [(f"s{n}", "sw") for n in range(3)]
    table = pd.DataFrame(rows, columns=["source_id", "language"])
    quality = table["language"].map(MEANS | {"sw": 0.1}) + rng.normal(0, 0.05, len(table))
    table = table.assign(
        key=[f"{n:032x}" for n in range(len(table))],
        prompt_id=table["source_id"] + table["language"],
        prompt=table["source_id"] + table["language"],
        region=None,
        seen=(quality > 0.42).astype(float),
        same=0.3,
    )
    store = RunStore.open(tmp_path_factory.mktemp("gate") / "run", plan=synthetic_plan())
    store.write_prompts([table])
    store.append("scores", table[["key"]].assign(relative_disagreement=1 - quality, disagreement=0.0))
    store.append("quality", table[["key", "source_id"]].assign(clip_cosine=quality, image=None))
    return store


def findings(store: RunStore, **rule: object) -> dict[str, Finding]:
    policy = Policy(rules=(Rule(by="language", **{"measure": "clip_cosine", **rule}),))  # type: ignore[arg-type]
    return {finding.group: finding for finding in judge_run(store, policy)}


def verdicts(store: RunStore, **rule: object) -> dict[str, str]:
    return {group: finding.verdict for group, finding in findings(store, **rule).items()}


def test_a_bound_is_kept_broken_or_undecided(store: RunStore) -> None:
    found = verdicts(store, at_least=0.4)
    assert found == {"en": "pass", "de": "inconclusive", "fi": "fail", "sw": "inconclusive"}
    assert verdicts(store, at_most=0.45)["en"] == "fail"
    assert verdicts(store, at_least=0.3, at_most=0.45)["de"] == "pass"


def test_a_gap_is_to_the_mean_over_all_prompts(store: RunStore) -> None:
    found = verdicts(store, figure="gap", at_least=-0.1)
    assert (found["en"], found["de"], found["fi"]) == ("pass", "pass", "fail")


def test_few_captions_decide_nothing_and_are_told_how_many_are_needed(store: RunStore) -> None:
    few = findings(store, at_most=0.9)["sw"]
    assert few.verdict == "inconclusive"
    assert few.needed_sources is not None and few.needed_sources >= 28, "5.4 times 2.241 squared: four groups at 5%"
    assert f"(3 captions, needs {few.needed_sources}), at most 0.9" in to_text([few], read_standing(store))


def test_captions_of_one_value_decide_nothing(store: RunStore) -> None:
    same = findings(store, measure="same", at_most=0.9)["en"]
    assert (same.verdict, same.needed_sources) == ("inconclusive", None)
    assert "in language en: 0.3 (40 captions of one value), at most 0.9" in to_text([same], read_standing(store))
    row = to_json([same], read_standing(store))["findings"][0]
    assert (row["value"], row["low"], row["high"]) == (pytest.approx(0.3), None, None)
    assert findings(store, measure="same", figure="gap", at_most=0.9)["en"].verdict == "inconclusive"


def test_a_policy_can_ask_for_more_captions(store: RunStore) -> None:
    rule = Rule(by="language", measure="clip_cosine", at_least=0.2, groups=("en",))
    enough, more = (judge_run(store, Policy(rules=(rule,), min_sources=n))[0] for n in (40, 41))
    assert (enough.verdict, more.verdict, more.needed_sources) == ("pass", "inconclusive", 41)


@pytest.mark.parametrize(("bounds", "n_bounds"), [({"at_least": 0.9}, 1), ({"at_least": 0.1, "at_most": 0.9}, 2)])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_alpha_is_shared_out_over_all_bounds_of_all_groups(
    store: RunStore, alpha: float, bounds: dict[str, float], n_bounds: int
) -> None:
    """The ends for 0 and 1 are exact, and known from elsewhere."""
    rule = Rule(by="language", measure="seen", groups=("en", "de", "fi"), **bounds)  # type: ignore[arg-type]
    table = store.query("SELECT * FROM results")
    for found in judge_run(store, Policy(rules=(rule,), alpha=alpha)):
        hits = int(table.loc[table["language"] == found.group, "seen"].sum())
        ends = binomtest(hits, 40).proportion_ci(1 - 2 * alpha / (3 * n_bounds), method="exact")
        assert (found.low, found.high) == pytest.approx((ends.low, ends.high))


def test_a_group_that_the_run_does_not_have_is_undecided(store: RunStore) -> None:
    assert verdicts(store, at_least=0.1, groups=("en", "xx")) == {"en": "pass", "xx": "inconclusive"}


def test_more_groups_make_wider_intervals(store: RunStore) -> None:
    few, many = (
        judge_run(store, Policy(rules=(Rule(by="language", measure="clip_cosine", at_least=0.0),) * n)) for n in (1, 3)
    )
    assert many[0].high - many[0].low > few[0].high - few[0].low


@pytest.mark.slow
def test_the_chance_of_a_wrong_verdict_is_bounded(tmp_path: Path) -> None:
    """Bounds at the true means: a pass or a fail is wrong half of the time, so both have to be rare."""
    wrong = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        table = pd.DataFrame({"source_id": [f"s{n}" for n in range(50)] * 4, "language": np.repeat(list("abcd"), 50)})
        quality = rng.normal(0, 1, 50)[np.tile(np.arange(50), 4)] + rng.normal(0, 1, 200)
        store = RunStore.open(tmp_path / str(seed), plan=synthetic_plan())
        table = table.assign(key=[f"{n:032x}" for n in range(200)], prompt="x", prompt_id=[str(n) for n in range(200)])
        store.write_prompts([table.assign(region=None)])
        store.append("scores", table[["key"]].assign(relative_disagreement=quality, disagreement=0.0))
        policy = Policy(rules=(Rule(by="language", measure="relative_disagreement", at_least=0.0),))
        wrong += any(finding.verdict != "inconclusive" for finding in judge_run(store, policy))
    assert wrong <= 40 * (0.1 + 0.1), "alpha to each side"


@pytest.mark.parametrize(
    ("at_least", "code", "verdict"), [(-9, 0, "pass"), (0.4, 1, "fail"), (0.12, 3, "inconclusive")]
)
def test_the_command_says_its_verdict_and_exits_by_it(
    store: RunStore, tmp_path: Path, at_least: float, code: int, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text(f"rules:\n  - {{by: language, measure: clip_cosine, at_least: {at_least}, groups: [en, fi]}}\n")
    arguments = ["gate", str(store.path), "--policy", str(policy)]
    assert cli.main([*arguments, "--json"], standalone_mode=False) == code
    assert json.loads(capsys.readouterr().out)["verdict"] == verdict
    cli.main(arguments, standalone_mode=False)
    assert f"verdict: {verdict}" in capsys.readouterr().out


def test_the_command_says_what_the_ranking_of_the_run_rests_on(
    store: RunStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy = tmp_path / "policy.yaml"
    policy.write_text("rules:\n  - {by: language, measure: relative_disagreement, at_most: 1}\n")
    rests = read_standing(store)
    arguments = ["gate", str(store.path), "--policy", str(policy)]
    cli.main([*arguments, "--json"], standalone_mode=False)
    said = {"rung": rests.rung, "word": rests.word, "sentence": rests.sentence}
    assert json.loads(capsys.readouterr().out)["ranking"] == said
    cli.main(arguments, standalone_mode=False)
    assert f"ranking: {LADDER['none'].word}. {rests.sentence}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "not valid YAML"),
        ("alpha: 0.1", "expected a mapping with a list of rules"),
        ("rules: [{by: language, measure: m}]", "rule 1: needs a number under `at_least` or `at_most`"),
        ("rules: [{by: language, measure: m, at_least: yes}]", "rule 1: at_least: .*number, found 'yes'"),
        ("rules: [{by: l, measure: m, at_least: true}]", "rule 1: at_least: .*number, found True"),
        ("rules: [{by: l, measure: m, at_least: .inf}]", "inf is no finite number"),
        ("rules: [{by: l, measure: m, at_least: 2020-01-01}]", "rule 1: at_least: .*number, found '2020-01-01'"),
        ("rules: [{measure: m, at_least: 1}]", "rule 1: by is missing"),
        ("rules: [{by: 5, measure: m, at_least: 1}]", "rule 1: by: .*string, found 5"),
        ("rules: [{by: l, measure: m, at_least: 1}, 3]", "rule 2: expected a mapping with the keys"),
        ("rules: [{by: l, measure: m, at_least: 1, groups: en}]", "rule 1: groups: .*found 'en'"),
        ("rules: [{by: l, measure: m, at_least: 1, groups: []}]", "rule 1: `groups` is empty"),
        ("rules: [{by: l, measure: m, at_least: 1, groups: [en, [de]]}]", r"rule 1: groups\.1: .*found \['de'\]"),
        ("rules: [{by: l, measure: m, at_least: 1, groups: [014]}]", "rule 1: `groups` holds the number .*, as '014'"),
        ("rules: [{by: l, measure: m, at_least: 1, by: r}]", "key 'by' is given twice"),
        ("rules: [{by: l, measure: m, at_lest: 1}]", "rule 1: unknown key 'at_lest'; known: at_least, at_most"),
        ("rules: [{by: l, measure: m, at_least: 1, figure: sum}]", "figure: .*'mean' or 'gap', found 'sum'"),
        ("alpha: no\nrules: [{by: l, measure: m, at_least: 1}]", "alpha: .*number, found 'no'"),
        ("min_sources: 1.5\nrules: [{by: l, measure: m, at_least: 1}]", "min_sources: .*integer"),
        ("min_sources: 1\nrules: [{by: l, measure: m, at_least: 1}]", "min_sources is 1, expected a whole number"),
        ("alfa: 1\nrules: [{by: l, measure: m, at_least: 1}]", "unknown key 'alfa'; known: alpha, min_sources, rules"),
        ("alpha: 2\nrules: [{by: l, measure: m, at_least: 1}]", "alpha is 2, expected a number between 0 and 0.5"),
    ],
)
def test_a_fault_in_a_policy_is_named(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(text)
    with pytest.raises(AuditError, match=f"policy.yaml.*{message}"):
        read_policy(file)


def test_groups_are_texts_also_where_they_look_like_something_else(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text("rules: [{by: language, measure: m, at_least: 1, groups: [no, en, on, '014', 155]}]\n")
    (rule,) = read_policy(file).rules
    assert rule == Rule(by="language", measure="m", at_least=1.0, groups=("no", "en", "on", "014", "155"))


@pytest.mark.timeout(10)
def test_a_policy_of_references_to_references_ends(tmp_path: Path) -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    file = tmp_path / "policy.yaml"
    file.write_text("\n".join(["a0: &a0 [x]", *levels, "rules: *a8"]))
    with pytest.raises(AuditError, match=r"policy.yaml:2:10: .*references \(\*name\) are not read; write it out"):
        read_policy(file)


def test_a_policy_that_is_no_utf_8_is_told_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    file.write_bytes("alpha: 0.1\n# größe\n".encode("latin-1"))
    with pytest.raises(AuditError, match=r"policy\.yaml:2: not UTF-8"):
        read_policy(file)


def test_a_column_that_the_run_does_not_have_is_named(store: RunStore) -> None:
    with pytest.raises(AuditError, match="has no column 'beauty'"):
        verdicts(store, measure="beauty", at_least=0.1)


def test_no_group_is_no_pass() -> None:
    assert overall([]) == "inconclusive"
