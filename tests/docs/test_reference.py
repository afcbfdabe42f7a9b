"""The reference that is made from the code holds everything the code has, and pages by hand name all that there is."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import reference

import emoe_audit
from emoe_audit.cli import console
from emoe_audit.decisions.gate import POLICY_KEYS, RULE_KEYS, Policy, Rule
from emoe_audit.decisions.rungs import LADDER
from emoe_audit.experts.spec_reader import EMERGENT_KEYS, EXPERT_KEYS, MIXTURE_KEYS, PROMPT_KEYS, SPEC_KEYS
from emoe_audit.prompts.columns import KNOWN
from emoe_audit.report.data import ReportData
from emoe_audit.report.render import NOT_IN_JSON
from emoe_audit.runs.views import ANALYSES, COLUMNS, JOINED, RESULTS
from emoe_audit.types import AnalysisConfig, EnsembleSpec, ScoringConfig
from tests.docs.texts import DOCS

CODE = DOCS.parent / "emoe_audit"


def first_cells(text: str) -> list[str]:
    """What stands in the first column of every table, in order."""
    return re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)


def test_every_exit_code_is_there_with_its_meaning() -> None:
    codes = {value for name, value in vars(console).items() if name.startswith("EXIT_")}
    rows = re.findall(r"^\| (\d+) \| (\S.*) \|$", reference.exit_codes(), re.MULTILINE)
    assert [int(code) for code, _ in rows] == sorted(codes)
    assert dict(rows)["1"] == "`gate`: a bound is broken."


def test_the_keys_of_an_ensemble_are_those_that_are_read() -> None:
    assert set(first_cells(reference.ensemble_keys())) == {
        *(*SPEC_KEYS, *EXPERT_KEYS, *MIXTURE_KEYS, *PROMPT_KEYS, *EMERGENT_KEYS)
    }


def test_the_keys_of_a_policy_are_those_that_are_read() -> None:
    assert set(first_cells(reference.policy_keys())) == POLICY_KEYS | RULE_KEYS


def test_the_columns_of_prompts_are_those_that_are_known() -> None:
    assert first_cells(reference.prompt_columns()) == list(KNOWN)


def test_every_table_that_grows_has_its_columns() -> None:
    made = reference.run_tables()
    assert re.findall(r"^### `(\w+)/`", made, re.MULTILINE) == list(COLUMNS)
    assert "| `clip_cosine` | DOUBLE |" in made


def test_the_page_of_the_run_folder_names_every_table_of_the_analysis() -> None:
    page = (DOCS / "reference" / "run-folder.md").read_text(encoding="utf-8")
    assert set(first_cells(page.split("## The tables of the analysis")[1])) == {*ANALYSES, *JOINED, RESULTS}


def test_every_bound_that_a_message_can_name_is_there() -> None:
    used = set(re.findall(r"(\w+) = Limit\(", "".join(file.read_text() for file in CODE.rglob("*.py"))))
    assert {name.removeprefix("EMOE_AUDIT_MAX_") for name in first_cells(reference.limits())} == used


def test_every_object_and_key_of_the_report_is_there() -> None:
    made = reference.report_json()
    keys = {field.name for field in dataclasses.fields(ReportData)} - set(NOT_IN_JSON)
    assert keys <= set(first_cells(made.split("\n## ")[0]))
    assert "| `ranking` | string" in made
    assert "| `verdict` | [Verdict](#verdict) |" in made


def test_every_rung_is_there_with_what_it_rests_on() -> None:
    made = reference.evidence_ladder()
    assert made.count("\n") == len(LADDER) + 1
    assert all(f"| {own.word} | {own.rests_on} |" in made for own in LADDER.values())


def test_every_public_name_is_there() -> None:
    made = reference.python_names()
    assert sorted(re.findall(r"auto(?:class|function):: emoe_audit\.(\w+)", made)) == sorted(emoe_audit.__all__)
    assert ".. autofunction:: emoe_audit.run_audit" in made
    assert ".. autoclass:: emoe_audit.RunStore" in made


@pytest.mark.parametrize("cls", [EnsembleSpec, Policy, Rule, ScoringConfig])
def test_every_field_says_what_it_is(cls: Any) -> None:
    rows = reference.fields_of(cls).splitlines()[2:]
    assert [row for row in rows if row.endswith("|  |")] == []


def test_types_are_told_in_words() -> None:
    assert "| `assembly` | `shared_trunk` or `independent` | `independent` |" in reference.fields_of(EnsembleSpec)
    assert "| `experts` | list of `ExpertSpec` | required |" in reference.fields_of(EnsembleSpec)
    assert "| `margins` | number by text | empty |" in reference.fields_of(AnalysisConfig)
    assert "| `memory_budget` | integer | none |" in reference.fields_of(ScoringConfig)


def test_defaults_are_told() -> None:
    rows = dict(zip(first_cells(reference.fields_of(Rule)), reference.fields_of(Rule).splitlines()[2:], strict=True))
    assert rows["by"].startswith("| `by` | text | required | ")
    assert "| `mean` |" in rows["figure"]
    assert "| none |" in rows["at_least"]
