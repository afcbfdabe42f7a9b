"""A model on disk: it comes back the same, holds no pickle, and is refused where it is not what was written."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pandas as pd
import pytest

from emoe_audit.abstain.abstainer import Abstainer
from emoe_audit.abstain.files import load_abstainer, save_abstainer
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
    assert {file.suffix for file in folder.rglob("*") if file.is_file()} == {".json", ".safetensors", ".txt"}
    for file in folder.rglob("*.txt"):
        assert file.read_text(encoding="utf-8").startswith("tree\n")


@pytest.mark.parametrize(("name", "value"), [("version", 2), ("format", "another")])
def test_another_format_or_version_is_refused(folder: Path, name: str, value: object) -> None:
    changed(folder, **{name: value})
    with pytest.raises(AuditError, match="this version reads emoe-audit/abstain 1; fit it again"):
        load_abstainer(folder)


@pytest.mark.parametrize("name", ["tensors.safetensors", "labellers/0003.txt"])
def test_a_changed_or_missing_file_is_refused(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-1])
    with pytest.raises(AuditError, match="not the file that was written with the model"):
        load_abstainer(folder)
    (folder / name).unlink()
    with pytest.raises(AuditError, match="cannot be read"):
        load_abstainer(folder)


@pytest.mark.parametrize("name", ["../model.json", "/etc/passwd"])
def test_a_file_outside_of_the_folder_is_not_read(folder: Path, name: str) -> None:
    changed(folder, files={name: "0" * 64})
    with pytest.raises(AuditError, match="outside of its folder"):
        load_abstainer(folder)


def test_a_folder_without_a_model_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(AuditError, match=r"no model here .*emoe-audit abstain fit RUN"):
        load_abstainer(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": "a", "version": 1, "files": 3}'])
def test_a_broken_description_is_refused(folder: Path, text: str) -> None:
    (folder / "model.json").write_text(text)
    with pytest.raises(AuditError, match=r"not a readable model\.json"):
        load_abstainer(folder)


def test_a_description_without_limits_is_refused(folder: Path) -> None:
    changed(folder, limits={})
    with pytest.raises(AuditError, match="not a readable model"):
        load_abstainer(folder)
