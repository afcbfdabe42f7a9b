from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from emoe_audit.report import ReportData, collect
from emoe_audit.report.render import report_json
from emoe_audit.report.schema import field_docstrings, report_schema
from emoe_audit.runs.store import RunStore

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "reports" / "report.schema.json"


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(PUBLISHED.read_text(encoding="utf-8")))


@pytest.fixture
def stored(report: ReportData) -> dict[str, Any]:
    return json.loads(report_json(report))


def test_the_published_file_is_what_the_command_prints() -> None:
    command = [sys.executable, "-W", "error::RuntimeWarning:runpy", "-m", "emoe_audit.report.schema"]
    printed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert printed.stdout.decode() == PUBLISHED.read_text(encoding="utf-8")


def test_it_is_a_schema_of_its_dialect() -> None:
    schema = report_schema()
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("name", ["run", "hostile_run"])
def test_the_report_of_a_run_follows_it(
    name: str, validator: Draft202012Validator, request: pytest.FixtureRequest
) -> None:
    store: RunStore = request.getfixturevalue(name)
    assert [error.message for error in validator.iter_errors(json.loads(report_json(collect(store))))] == []


def test_undefined_numbers_follow_it_as_null(report: ReportData, validator: Draft202012Validator) -> None:
    scope = replace(report.scope, noise_share=float("nan"))
    stored = json.loads(report_json(replace(report, scope=scope)))
    assert stored["scope"]["noise_share"] is None
    validator.validate(stored)


def test_an_autoencoder_of_its_own_is_named_and_otherwise_not_mentioned(
    report: ReportData, stored: dict[str, Any], validator: Draft202012Validator
) -> None:
    assert "vae" not in stored["manifest"]["ensemble"]
    ensemble = replace(report.manifest.ensemble, vae="org/vae")
    named = json.loads(report_json(replace(report, manifest=replace(report.manifest, ensemble=ensemble))))
    assert named["manifest"]["ensemble"]["vae"] == "org/vae"
    validator.validate(named)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda report: report.pop("verdict"),
        lambda report: report.update(colour="red"),
        lambda report: report.update(schema="emoe-audit/report/0"),
        lambda report: report["scope"].update(n_prompts="400"),
        lambda report: report["scope"].update(n_prompts=None),
        lambda report: report["verdict"].update(status="certain"),
        lambda report: report["groups"][0]["rows"][0]["gap"].update(mean="NaN"),
        lambda report: report["manifest"]["ensemble"]["experts"][0].pop("source"),
        lambda report: report["manifest"]["versions"].update(torch=2.0),
        lambda report: report["gallery"]["rows"][0]["cells"][0].update(data_uri="data:,"),
    ],
    ids=[
        "a part is missing",
        "a part is unknown",
        "another version",
        "a count is a text",
        "a count is null",
        "an unknown status",
        "a number is a text",
        "an expert without a source",
        "a version that is a number",
        "an image inside",
    ],
)
def test_a_wrong_report_does_not(
    spoil: Callable[[dict[str, Any]], object], stored: dict[str, Any], validator: Draft202012Validator
) -> None:
    validator.validate(stored)
    spoil(stored)
    assert not validator.is_valid(stored)


def test_what_the_code_says_of_a_field_is_its_description(validator: Draft202012Validator) -> None:
    scope = validator.schema["$defs"]["Scope"]
    assert scope["description"] == "What was audited."
    assert scope["properties"]["n_ranked"]["description"].startswith("Scored prompts for which")
    assert "description" not in scope["properties"]["n_scored"]


def test_a_docstring_belongs_to_the_field_above_it() -> None:
    assert field_docstrings(Described) == {"first": "Of the first, on two lines.", "third": "Of the third."}


@dataclass
class Described:
    first: int
    """Of the first,
    on two lines."""
    second: int = 2
    third: int = 3
    """Of the third."""
