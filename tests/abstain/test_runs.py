"""From a run to a model, from a model to decisions, from decisions to rates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from emoe_audit.abstain import runs
from emoe_audit.abstain.abstainer import Abstainer
from emoe_audit.abstain.runs import abstention_rates, decided_results, fit_run, predict_run
from emoe_audit.errors import AuditError
from emoe_audit.runs.store import RunStore
from tests.abstain.made import made_run
from tests.synthetic import synthetic_run

pytestmark = pytest.mark.slow


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return made_run(tmp_path / "run")


def test_a_model_of_a_run_decides_on_every_prompt_of_it(store: RunStore) -> None:
    table = predict_run(store, fit_run(store, n_labellers=4))
    assert list(table) == ["key", "source_id", "p_good", "confidence", "decision", "reason", "fitted_on"]
    assert sorted(table["key"]) == sorted(store.query("SELECT key FROM prompts")["key"])
    assert table["fitted_on"].all()
    assert set(table["decision"]) == {"accept", "refuse"}
    stored = decided_results(store).set_index("key").loc[table["key"]]
    assert stored["decision"].to_list() == table["decision"].to_list()
    assert "language" in stored


def test_chunks_do_not_change_the_decisions(
    store: RunStore, abstainer: Abstainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = predict_run(store, abstainer)
    monkeypatch.setattr(runs, "CHUNK", 50)
    pd.testing.assert_frame_equal(predict_run(store, abstainer), whole, rtol=1e-5)


def test_only_prompts_that_were_learned_from_are_marked(tmp_path: Path, abstainer: Abstainer) -> None:
    table = predict_run(made_run(tmp_path / "larger", n_captions=30), abstainer)
    assert table["fitted_on"].sum() == len(abstainer.fitted_on)
    assert len(table) == 30 * 8


def test_a_run_of_another_ensemble_is_refused(store: RunStore, abstainer: Abstainer) -> None:
    with pytest.raises(AuditError, match="a run of another ensemble than the model's"):
        predict_run(store, replace(abstainer, ensemble_hash="other"))


def test_a_run_without_readings_says_what_to_do(tmp_path: Path, abstainer: Abstainer) -> None:
    with pytest.raises(AuditError, match="holds no readings"):
        predict_run(synthetic_run(tmp_path / "plain", 40), abstainer)


def test_before_anything_was_decided_the_command_is_named(store: RunStore) -> None:
    with pytest.raises(AuditError, match="emoe-audit abstain predict"):
        decided_results(store)


def decided() -> pd.DataFrame:
    """Ten captions in two languages: all but one accepted in de, two in sw; two further rows were learned from."""
    rows = [
        {
            "source_id": f"s{place}",
            "language": language,
            "decision": "accept" if accepted else "refuse",
            "reason": "" if accepted else "low predicted quality" if place % 2 else "outside of what was learned",
            "fitted_on": False,
        }
        for language, n_accepted in (("de", 9), ("sw", 2))
        for place, accepted in ((place, place < n_accepted) for place in range(10))
    ]
    learned = {"source_id": "s0", "language": "sw", "decision": "accept", "reason": "", "fitted_on": True}
    return pd.DataFrame([*rows, learned, learned])


def test_rates_are_shares_of_prompts_that_were_not_learned_from() -> None:
    rates = abstention_rates(decided(), "language").set_index("group")
    assert rates.index.to_list() == ["sw", "de"]
    assert rates["n_prompts"].to_list() == [10, 10]
    assert rates["abstained"].to_list() == pytest.approx([0.8, 0.1])
    assert rates["gap"].to_list() == pytest.approx([0.35, -0.35])
    assert rates["low_quality"].to_list() == pytest.approx([0.4, 0.1])
    assert rates["outside"].to_list() == pytest.approx([0.4, 0.0])
    assert (rates["low"] <= rates["abstained"]).all()
    assert (rates["abstained"] <= rates["high"]).all()
    assert rates.loc["sw", "gap_low"] > 0


def test_where_all_prompts_were_learned_from_there_is_no_rate() -> None:
    rates = abstention_rates(decided().assign(fitted_on=True), "language")
    assert rates.empty
    assert list(rates) == runs.RATE_COLUMNS


def test_a_group_column_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(AuditError, match="no column 'region' to group by; the prompts have source_id, language"):
        abstention_rates(decided(), "region")
