"""Two runs compared: planted changes are found and no others, whatever the scale of a score; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from emoe_audit.cli.main import cli, main
from emoe_audit.decisions.compare import compare_runs, group_changes, image_pairs, pair, rank, rank_shares
from emoe_audit.decisions.comparison import GroupChange, Outcome
from emoe_audit.errors import StoreError
from emoe_audit.report.comparison import comparison_text
from emoe_audit.runs.store import RunStore
from tests.synthetic import synthetic_plan

pytestmark = pytest.mark.slow

LANGUAGES = ["en", "de", "fr", "ar", "hi", "ja", "fi", "sw"]
SWAPPED = {"en": "rose", "sw": "fell"}
"""What becomes of the surest and the least sure language when they change places; the others keep theirs."""
KEYS = ["a", "b", "score", "by", "n_prompts", "n_only_a", "n_only_b", "n_tests", "fdr", "groups"]
GROUP_KEYS = ["group", "n_prompts", "n_sources", "difference", "low", "high", "p", "p_bh", "p_by", "verdict"]


def prompts(captions: range) -> pd.DataFrame:
    rows = [(f"s{caption:03d}", language) for caption in captions for language in LANGUAGES]
    table = pd.DataFrame(rows, columns=["source_id", "language"])
    return table.assign(prompt="picture " + table["source_id"], prompt_id=table["source_id"] + table["language"])


def scored(table: pd.DataFrame, seed: int, *, swapped: bool = False) -> pd.DataFrame:
    """Scores that rise with the language's place in `LANGUAGES`, with noise of twice the step between two."""
    order = [LANGUAGES[-1], *LANGUAGES[1:-1], LANGUAGES[0]] if swapped else LANGUAGES
    place = table["language"].map({language: place for place, language in enumerate(order)})
    score = 0.05 * place + np.random.default_rng(seed).normal(0, 0.1, len(table))
    return table.assign(score=score, group=table["language"], image=None)


def paired(rows_a: pd.DataFrame, rows_b: pd.DataFrame) -> pd.DataFrame:
    return rank(pair(rows_a, rows_b.drop(columns="group")))


def write_run(path: Path, rows: pd.DataFrame, *, finish: bool = True) -> RunStore:
    store = RunStore.open(path, plan=synthetic_plan(command="emoe-audit run mine.csv"))
    rows = rows.assign(key=[f"{number:032x}" for number in range(len(rows))], region="150")
    store.write_prompts([rows.drop(columns=["score", "group", "image"])])
    scores = rows[["key"]].assign(relative_disagreement=rows["score"], disagreement=-rows["score"])
    store.append("scores", scores)
    if finish:
        store.finish()
    return store


@pytest.fixture(scope="module")
def rows() -> dict[str, pd.DataFrame]:
    """A: 12 captions and a lone one of a language of its own. B: the first is missing, two are new, two unscored."""
    table = prompts(range(12))
    lone = pd.DataFrame([{"source_id": "lone", "language": "eo", "prompt": "alone", "prompt_id": "lone"}])
    a = scored(pd.concat([table, lone], ignore_index=True), 0).fillna({"score": 0.2})
    kept = pd.concat([table.iloc[1:], lone, prompts(range(12, 13)).iloc[:2]], ignore_index=True)
    b = scored(kept, 1, swapped=True).fillna({"score": 0.2})
    b.loc[:1, "score"] = np.nan
    return {"a": a, "b": b.assign(score=np.exp(9 * b["score"]))}


@pytest.fixture(scope="module")
def runs(rows: dict[str, pd.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> tuple[RunStore, RunStore]:
    folder = tmp_path_factory.mktemp("runs")
    return write_run(folder / "a", rows["a"]), write_run(folder / "b", rows["b"].sample(frac=1, random_state=2))


def test_planted_changes_are_found_in_every_draw_and_others_rarely() -> None:
    false = 0
    for seed in range(6):
        table = prompts(range(30))
        both = paired(scored(table, 2 * seed), scored(table, 2 * seed + 1, swapped=True))
        verdicts = {c.group: c.verdict for c in group_changes(both, fdr=0.1, n_permutations=999)}
        assert {group: verdicts.pop(group) for group in SWAPPED} == SWAPPED
        false += sum(verdict != "no clear change" for verdict in verdicts.values())
    assert false <= 3, "of 36 groups that keep their place, at a false discovery rate of 0.1"


def test_two_runs_of_one_ensemble_rarely_differ() -> None:
    table, different = prompts(range(10)), 0
    for seed in range(12):
        both = paired(scored(table, 100 + 2 * seed), scored(table, 101 + 2 * seed))
        changes = group_changes(both, fdr=0.1, n_permutations=199)
        different += any(change.is_clear for change in changes)
    assert different <= 4


def test_the_numbers_are_those_of_plain_pandas_over_the_prompts_in_both(
    rows: dict[str, pd.DataFrame], runs: tuple[RunStore, RunStore]
) -> None:
    found = compare_runs(*runs, n_permutations=999)
    a, b = (rows[run].dropna(subset="score").set_index(["source_id", "language"])["score"] for run in ("a", "b"))
    common = a.index.intersection(b.index)
    assert (found.n_prompts, found.n_only_a, found.n_only_b) == (len(common), len(a) - len(common), 2) == (94, 3, 2)
    ranks = [pd.Series((rankdata(side[common]) - 0.5) / 94, index=common) for side in (a, b)]
    expected = (ranks[1] - ranks[0]).groupby(level="language").mean().sort_values(ascending=False)
    assert [change.group for change in found.groups] == list(expected.index)
    assert [change.difference for change in found.groups] == pytest.approx(expected.tolist())
    sizes = (ranks[1] - ranks[0]).groupby(level="language").size()
    assert all(change.n_prompts == change.n_sources == sizes[change.group] for change in found.groups)
    assert {c.group: c.verdict for c in found.groups if c.is_clear} == SWAPPED
    assert all(c.low <= c.difference <= c.high for c in found.groups if c.verdict != "not tested")


def test_adjusted_p_values_follow_their_definitions_and_decide(runs: tuple[RunStore, RunStore]) -> None:
    """p_(i) adjusted is the least of m p_(k) / k over k >= i; by Benjamini and Yekutieli times the sum of 1 / k."""
    found = compare_runs(*runs, n_permutations=999)
    tested = [change for change in found.groups if change.verdict != "not tested"]
    p, m = np.array([change.p for change in tested]), len(tested)
    assert found.n_tests == m == 8
    for name, factor in (("p_bh", 1.0), ("p_by", sum(1 / k for k in range(1, m + 1)))):
        expected = [min(1.0, *(factor * m * q / (p <= q).sum() for q in p[p >= own])) for own in p]
        assert [getattr(change, name) for change in tested] == pytest.approx(expected)
    assert all(change.is_clear == (change.p_bh <= found.fdr) for change in tested)
    strict = compare_runs(*runs, fdr=1e-9, n_permutations=99)
    assert {change.verdict for change in strict.groups} == {"no clear change", "not tested"}


def test_a_group_of_one_caption_is_named_and_not_tested(runs: tuple[RunStore, RunStore]) -> None:
    found = compare_runs(*runs, n_permutations=99)
    (lone,) = [change for change in found.groups if change.group == "eo"]
    assert np.isnan([lone.low, lone.high, lone.p, lone.p_bh, lone.p_by]).all()
    assert found.untested == ("eo",)
    assert comparison_text(found).endswith("not tested, fewer than 8 captions: eo")


def test_neither_the_scale_of_a_score_nor_the_order_of_rows_matters() -> None:
    table = prompts(range(8))
    a, b = scored(table, 0), scored(table, 1, swapped=True)
    options: dict[str, Any] = {"fdr": 0.1, "n_permutations": 99}
    expected = group_changes(paired(a, b), **options)
    assert group_changes(paired(a.assign(score=7 + 3 * a["score"]), b.assign(score=np.exp(b["score"]))), **options) == (
        expected
    )
    shuffled = group_changes(paired(a.sample(frac=1, random_state=1), b.sample(frac=1, random_state=2)), **options)
    assert [change.group for change in shuffled] == [change.group for change in expected]
    for one, other in zip(shuffled, expected, strict=True):
        assert [one.difference, one.low, one.high, one.p] == pytest.approx(
            [other.difference, other.low, other.high, other.p]
        )


def test_a_against_b_is_b_against_a_turned_round() -> None:
    table = prompts(range(8))
    a, b = scored(table, 0), scored(table, 1, swapped=True)
    there = group_changes(paired(a, b), fdr=0.1, n_permutations=99)
    back = group_changes(paired(b, a), fdr=0.1, n_permutations=99)
    assert [(c.group, c.p_bh) for c in there] == [(c.group, c.p_bh) for c in reversed(back)]
    assert [c.difference for c in there] == pytest.approx([-c.difference for c in reversed(back)])


def test_ranks_are_shares_that_ties_split() -> None:
    assert rank_shares(pd.Series([5.0, -1.0, 5.0, 7.0])).tolist() == [0.5, 0.125, 0.5, 0.875]
    assert rank_shares(pd.Series([3.0])).tolist() == [0.5]


def change_of(group: str, verdict: Outcome) -> GroupChange:
    numbers = dict.fromkeys(("difference", "low", "high", "p", "p_bh", "p_by"), 0.0)
    return GroupChange(group=group, n_prompts=2, n_sources=2, verdict=verdict, **numbers)


def test_images_of_clear_changes_come_first_then_those_whose_rank_changed_most() -> None:
    differences = [0.1, -0.3, 0.9, -0.8, 0.7]
    both = prompts(range(2)).iloc[:5].assign(difference=differences, rank_a=0.5, rank_b=0.5, image_a="a", image_b="b")
    both["group"] = ["en", "en", "de", "de", "de"]
    both["prompt"] = list("pqrst")
    both.loc[2, "image_b"] = None
    pairs = image_pairs(both, [change_of("en", "fell"), change_of("de", "no clear change")])
    assert [(chosen.prompt, chosen.group) for chosen in pairs] == [("q", "en"), ("p", "en"), ("s", "de"), ("t", "de")]
    many = prompts(range(4)).assign(difference=0.1, rank_a=0.5, rank_b=0.6, image_a="a", image_b="b", group="en")
    assert len(image_pairs(many, [])) == 12


def test_the_score_is_the_one_that_ranks_a_or_the_one_asked_for(runs: tuple[RunStore, RunStore]) -> None:
    assert compare_runs(*runs, n_permutations=9).score == "relative_disagreement"
    plain = compare_runs(*runs, score="disagreement", n_permutations=9)
    assert (plain.score, plain.groups[0].group) == ("disagreement", "sw")


def ranked_run(path: Path, ranks: dict[str, float], **plan: Any) -> RunStore:
    """A run in which the source captions of a language have a rank."""
    rows = prompts(range(12)).assign(key=lambda own: [f"{number:032x}" for number in range(len(own))], region="150")
    store = RunStore.open(path, plan=synthetic_plan(n_candidates=100, **plan))
    store.write_prompts([rows])
    store.append("scores", rows[["key"]].assign(relative_disagreement=0.5, disagreement=0.5))
    rank = rows["language"].map(ranks).fillna(20.0) + np.arange(len(rows)) / 1000
    store.append("quality", rows[["key", "source_id"]].assign(source_rank=rank, image=None))
    store.finish()
    return store


def test_places_of_captions_compare_where_the_others_are_the_same(tmp_path: Path) -> None:
    before = ranked_run(tmp_path / "a", {"sw": 90.0}, candidates_hash="c" * 64)
    after = ranked_run(tmp_path / "b", {"en": 90.0}, candidates_hash="c" * 64)
    verdicts = {own.group: own.verdict for own in compare_runs(before, after, score="source_rank").groups}
    assert {language: verdicts[language] for language in ("en", "sw")} == {"en": "rose", "sw": "fell"}


def test_places_of_captions_among_different_others_are_not_compared(tmp_path: Path) -> None:
    a = ranked_run(tmp_path / "a", {}, candidates_hash="c" * 64)
    b = ranked_run(tmp_path / "b", {}, candidates_hash="d" * 64)
    with pytest.raises(StoreError, match=r"among 100 captions \(cccccccc\) and .* among 100 others \(dddddddd\), so"):
        compare_runs(a, b, score="source_rank")
    assert compare_runs(a, b, n_permutations=9).score == "relative_disagreement"


def test_a_prompt_that_stands_twice_in_a_run_counts_once(tmp_path: Path, rows: dict[str, pd.DataFrame]) -> None:
    again = rows["a"].iloc[:4].assign(prompt_id="again " + rows["a"]["prompt_id"])
    twice = write_run(tmp_path / "twice", pd.concat([rows["a"], again], ignore_index=True))
    found = compare_runs(twice, twice, n_permutations=9)
    assert (found.n_prompts, found.n_only_a, found.n_only_b) == (97, 0, 0)
    assert {change.difference for change in found.groups} == {0.0}
    assert {change.p for change in found.groups if change.verdict != "not tested"} == {1.0}


def test_what_cannot_be_compared_is_refused_with_a_way_out(tmp_path: Path, runs: tuple[RunStore, RunStore]) -> None:
    a, b = runs
    other = write_run(tmp_path / "other", scored(prompts(range(50, 52)), 0))
    refused: list[tuple[dict[str, Any], str]] = [
        ({"by": "langauge"}, f"{a.path}: no group column 'langauge'; give --by language"),
        ({"score": "disagreemnt"}, "no score 'disagreemnt' was measured; give --score disagreement or relative_dis"),
        ({"score": "clip_cosine"}, f"{a.path}: no score 'clip_cosine' was measured"),
    ]
    for wrong, text in refused:
        with pytest.raises(StoreError) as caught:
            compare_runs(a, b, **wrong)
        assert text in str(caught.value)
    with pytest.raises(StoreError, match=r"have no prompt with relative_disagreement in common; prompts are the same"):
        compare_runs(a, other)
    unfinished = write_run(tmp_path / "unfinished", scored(prompts(range(2)), 0), finish=False)
    with pytest.raises(StoreError, match=r"unfinished: the run is not finished; finish it first: emoe-audit run mine"):
        compare_runs(a, unfinished)


def test_the_command_prints_json_a_table_or_one_message(
    runs: tuple[RunStore, RunStore], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["compare", str(runs[0].path), str(runs[1].path)]
    assert cli.main([*words, "--json", "--quiet"], standalone_mode=False) == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(printed) == KEYS
    assert [list(group) for group in printed["groups"]] == [GROUP_KEYS] * 9
    assert [group["p"] for group in printed["groups"] if group["group"] == "eo"] == [None]
    cli.main([*words, "--fdr", "0.2", "--out", str(tmp_path / "new" / "page.html")], standalone_mode=False)
    text = capsys.readouterr().out
    assert "prompts: 94 in both, 3 only in a, 2 only in b" in text and "tests: 8, verdicts at a false disc" in text
    assert text.endswith(f"page: {tmp_path / 'new' / 'page.html'}\n")
    assert (tmp_path / "new" / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    for wrong, message in ((["--by", "x"], "no group column 'x'"), (["--fdr", "1"], "1.0 is not in the range 0<x<1")):
        monkeypatch.setattr("sys.argv", ["emoe-audit", *words, *wrong])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2
        assert message in capsys.readouterr().err
