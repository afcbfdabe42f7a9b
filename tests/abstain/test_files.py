"""A model on disk: it comes back the same, holds no pickle, and is refused where it is not what was written."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pandas as pd
import pytest

from emoe_audit.abstain.abstainer import Abstainer
from emoe_audit.abstain.files import load_abstainer, model_folder, save_abstainer
from emoe_audit.errors import AuditError
from tests.abstain.made import made_features


@pytest.fixture
def folder(abstainer: Abstainer, tmp_path: Path) -> Path:
    save_abstainer(abstainer, tmp_path / "model")
    return tmp_path / "model"


def changed(folder: Path, **values: object) -> None:
    model = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(model | values))


def test_a_model_comes_back_the_same(abstainer: Abstainer, folder: Path) -> None:
    back, new = load_abstainer(folder), made_features(seed=4)
    pd.testing.assert_frame_equal(back.decide(new), abstainer.decide(new), rtol=1e-6)
    assert back.limits == abstainer.limits
    assert back.languages == abstainer.languages
    assert back.scores == abstainer.scores
    assert back.fitted_on == abstainer.fitted_on
    assert back.ensemble_hash == "e" * 64


def test_nothing_is_pickled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    load_abstainer(folder)
    assert sorted(file.name for file in folder.iterdir()) == ["model.json", "tensors.safetensors"]


@pytest.mark.parametrize(("name", "value"), [("version", 1), ("format", "another")])
def test_another_format_or_version_is_refused(folder: Path, name: str, value: object) -> None:
    changed(folder, **{name: value})
    with pytest.raises(AuditError, match="this version reads emoe-audit/abstain 3; fit the model again"):
        load_abstainer(folder)


def test_a_changed_or_missing_file_is_refused(folder: Path) -> None:
    file = folder / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(AuditError, match="not the file that was written with the model"):
        load_abstainer(folder)
    file.unlink()
    with pytest.raises(AuditError, match=r"tensors\.safetensors is missing"):
        load_abstainer(folder)


@pytest.mark.parametrize("name", ["model.json", "tensors.safetensors"])
def test_a_link_out_of_the_folder_is_not_read(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).rename(tmp_path / "elsewhere")
    (folder / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuditError, match="lies outside"):
        load_abstainer(folder)


def test_a_link_is_replaced_and_not_written_through(abstainer: Abstainer, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (tmp_path / "model").mkdir()
    for name in ("model.json", "tensors.safetensors"):
        (tmp_path / "model" / name).symlink_to(precious)
    save_abstainer(abstainer, tmp_path / "model")
    assert precious.read_text() == "kept"
    load_abstainer(tmp_path / "model")


def test_a_runs_own_model_stays_inside_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    assert model_folder(tmp_path / "run") == tmp_path / "run" / "abstain"
    (tmp_path / "run" / "abstain").symlink_to(tmp_path)
    with pytest.raises(AuditError, match="lies outside"):
        model_folder(tmp_path / "run")


def test_a_folder_without_a_model_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=r"no model here .*emoe-audit abstain fit RUN"):
        load_abstainer(tmp_path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[]", "expected a JSON object"),
        ('{"format": 1}', "format 1 None, this version reads"),
        ('{"format": "emoe-audit/abstain", "version": 3}', "ensemble_hash is missing"),
        ("[" * 100_000, "nested more than"),
        ('{"format": NaN}', "NaN is no finite number"),
    ],
)
def test_a_broken_description_is_refused(folder: Path, text: str, told: str) -> None:
    (folder / "model.json").write_text(text)
    with pytest.raises(AuditError, match=rf"model\.json.*{told}.*; fit the model again"):
        load_abstainer(folder)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"limits": {}}, "limits: seen is missing"),
        ({"limits": []}, "limits: "),
        ({"languages": "en"}, "languages: .*, found 'en'"),
        ({"languages": ["en", False]}, r"languages\.1: .*, found False"),
        ({"fitted_on": {"a": 1}}, "fitted_on: "),
        ({"scores": ["prompt"]}, "scores: expected some of disagreement, "),
        ({"scores": ["disagreement", "disagreement"]}, "each once"),
        ({"files": {"../../secret": "0" * 64}}, "files is no known field"),
    ],
)
def test_a_description_of_other_types_is_refused(folder: Path, values: dict[str, object], told: str) -> None:
    changed(folder, **values)
    with pytest.raises(AuditError, match=told):
        load_abstainer(folder)


def test_a_limit_of_another_type_is_named(folder: Path) -> None:
    limits = json.loads((folder / "model.json").read_text())["limits"]
    limits["seen"]["promise"] = "everything"
    changed(folder, limits=limits)
    with pytest.raises(AuditError, match=r"limits: seen\.promise: .*, found 'everything'"):
        load_abstainer(folder)


def test_a_model_that_is_too_large_is_refused_before_it_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOE_AUDIT_MAX_MODEL", "1000")
    with pytest.raises(AuditError, match="at most 1,000 are taken; set EMOE_AUDIT_MAX_MODEL"):
        load_abstainer(folder)
