"""Documents of a received run: a plan of other types is told, a line that is no fault is passed over and counted."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from emoe_audit.errors import StoreError
from emoe_audit.runs.listing import broken_runs, list_runs
from emoe_audit.runs.store import RunStore
from emoe_audit.types import RowError
from tests.runs.written import forget_the_record
from tests.synthetic import synthetic_plan

FAULT = RowError(stage="score", message="cannot be scored", prompt_id="p1", line=3)


def planned(folder: Path, change: dict[str, Any] | str) -> Path:
    """A run whose plan somebody has changed, by field or as a whole."""
    store = RunStore.open(folder, plan=synthetic_plan())
    file = store.path / "plan.json"
    plan = json.loads(file.read_text())
    file.write_text(change if isinstance(change, str) else json.dumps(plan | change))
    forget_the_record(store.path)
    return store.path


def scoring(**changes: Any) -> dict[str, Any]:
    return {"scoring": asdict(synthetic_plan().scoring) | changes}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"created": 5}, "created: input should be a valid string, found 5"),
        ({"created": "yesterday"}, "created: 'yesterday' is no time"),
        ({"created": "99999-01-01T00:00:00+00:00"}, "created: '99999-01-01T00:00:00.00:00' is no time"),
        (scoring(seed="2020-01-01"), r"scoring\.seed: .*found '2020-01-01'"),
        (scoring(seed=True), r"scoring\.seed"),
        (scoring(seed=10**30), "is no number of 64 bits"),
        (scoring(dtype="float8"), r"scoring\.dtype"),
        ({"ensemble": None}, "ensemble"),
        ({"ensemble": {"name": "x"}}, "is missing"),
        ({"versions": ["torch"]}, "versions"),
        ({"command": ["rm"]}, "command"),
        ({"complete": "yes"}, "complete"),
        ({"surprise": 1}, "surprise is no known field"),
        ("[]", "the whole"),
        ("[" * 100_000, "nested"),
        ('{"ensem', "not valid JSON"),
        ('{"created": NaN}', "NaN is no finite number"),
        ("\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "not valid JSON"),
    ],
)
def test_a_plan_of_another_type_is_told_with_file_and_field(
    tmp_path: Path, change: dict[str, Any] | str, told: str
) -> None:
    with pytest.raises(StoreError, match=rf"plan\.json:.*{told}"):
        RunStore.open(planned(tmp_path / "run", change))


def test_bad_runs_are_passed_over_and_named_and_the_others_listed_newest_first(tmp_path: Path) -> None:
    RunStore.open(tmp_path / "old", plan=synthetic_plan())
    RunStore.open(tmp_path / "new", plan=synthetic_plan(created="2026-06-01T00:00:00+00:00"))
    RunStore.open(tmp_path / "also old", plan=synthetic_plan())
    planned(tmp_path / "number", {"created": 5})
    planned(tmp_path / "torn", '{"ensem')
    finished = RunStore.open(tmp_path / "finished", plan=synthetic_plan())
    (finished.path / "manifest.json").write_text("null")
    linked = RunStore.open(tmp_path / "linked", plan=synthetic_plan())
    (linked.path / "plan.json").rename(tmp_path / "elsewhere.json")
    (linked.path / "plan.json").symlink_to(tmp_path / "elsewhere.json")
    (tmp_path / "letters").mkdir()
    (tmp_path / "file").write_text("")
    assert [store.path.name for store in list_runs(tmp_path)] == ["new", "also old", "old"]
    named = dict(broken_runs(tmp_path))
    assert sorted(named) == ["finished", "linked", "number", "torn"]
    assert "created" in named["number"] and "lies outside" in named["linked"]


def test_a_folder_that_is_not_there_holds_no_run(tmp_path: Path) -> None:
    assert not list_runs(tmp_path / "gone") and not broken_runs(tmp_path / "gone")


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    store = RunStore.open(tmp_path / "run", plan=synthetic_plan())
    store.record_error(FAULT)
    return store


@pytest.mark.parametrize(
    "line",
    [
        b"{}", b"[]", b"null", b"5", b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"stage": "read"}',
        b'{"stage": "cook", "message": "x"}', b'{"stage": "read", "message": 5}', b'{"stage": "read", "message": null}',
        b'{"stage": "read", "message": "x", "line": "three"}', b'{"stage": "read", "message": "x", "line": 1e999}',
        b'{"stage": "read", "message": "x", "extra": 1}', b'{"stage": "read", "message": "\\ud800"}',
    ],
)  # fmt: skip
def test_a_line_that_is_no_fault_is_passed_over_and_counted(store: RunStore, line: bytes) -> None:
    with (store.path / "errors.jsonl").open("ab") as file:
        file.write(line + b"\n" + line + b"\n")
    forget_the_record(store.path)
    store.record_error(FAULT)
    told, *others = store.errors()
    assert told.message == "errors.jsonl:2: 2 lines are no row error, and passed over"
    assert others == [FAULT, FAULT]


def test_more_faults_than_are_taken_are_told(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOE_AUDIT_MAX_FAULTS", "50")
    with pytest.raises(StoreError, match=r"errors\.jsonl: .* bytes of row errors, at most 50 are taken"):
        store.errors()


def test_a_fault_with_half_a_surrogate_is_recorded(store: RunStore) -> None:
    store.record_error(RowError(stage="read", message="caf\udce9"))
    assert [error.message for error in store.errors()] == ["cannot be scored", "caf?"]
