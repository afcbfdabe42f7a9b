"""`ensemble.yaml` in and out, and what it says when something is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoe_audit.errors import EnsembleError
from emoe_audit.experts import spec as spec_module
from emoe_audit.experts.spec import embedded_names, load_spec, save_spec
from emoe_audit.experts.spec_reader import nearest
from emoe_audit.types import EnsembleSpec, ExpertSpec

GOOD = """\
name: demo
base: {source: base}
assembly: shared_trunk
moe_layers: attn
experts:
  - {name: one, source: experts/one}
  - {name: far, source: org/model, revision: v1}
judge: judge
captions: captions.json
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("base", "experts/one", "judge"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "captions.json").write_text("{}")
    (tmp_path / "ensemble.yaml").write_text(GOOD)
    return tmp_path


def fault(folder: Path, old: str, new: str) -> str:
    """The message for `GOOD` with one thing changed."""
    assert old in GOOD
    (folder / "ensemble.yaml").write_text(GOOD.replace(old, new))
    with pytest.raises(EnsembleError) as error:
        load_spec(folder)
    return str(error.value)


def test_a_folder_and_its_yaml_file_give_the_same_spec(folder: Path) -> None:
    assert load_spec(folder) == load_spec(folder / "ensemble.yaml")


def test_folders_become_absolute_and_hub_ids_stay(folder: Path) -> None:
    assert load_spec(folder) == EnsembleSpec(
        name="demo",
        base=ExpertSpec(name="base", source=str(folder / "base")),
        experts=(
            ExpertSpec(name="one", source=str(folder / "experts" / "one")),
            ExpertSpec(name="far", source="org/model", revision="v1"),
        ),
        assembly="shared_trunk",
        moe_layers="attn",
        judge=f"local-dir:{folder / 'judge'}",
        captions=str(folder / "captions.json"),
    )


@pytest.mark.parametrize("judge", ["hf-hub:org/judge", "ViT-B-32/laion2b_s34b_b79k"])
def test_judges_that_open_clip_finds_itself_stay(folder: Path, judge: str) -> None:
    (folder / "ensemble.yaml").write_text(GOOD.replace("judge: judge", f"judge: {judge}"))
    assert load_spec(folder).judge == judge


def test_a_saved_spec_reads_the_same_after_its_folder_moved(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    before = load_spec(folder)
    save_spec(before, folder)
    assert load_spec(folder) == before
    moved = tmp_path_factory.mktemp("moved") / "ensemble"
    folder.rename(moved)
    after = load_spec(moved)
    assert after.base.source == str(moved / "base")
    assert after.judge == f"local-dir:{moved / 'judge'}"


def test_an_autoencoder_may_be_a_file_a_folder_or_on_the_hub(folder: Path) -> None:
    (folder / "vae.safetensors").touch()
    for vae, read in (("vae.safetensors", str(folder / "vae.safetensors")), ("org/vae", "org/vae")):
        (folder / "ensemble.yaml").write_text(GOOD + f"vae: {vae}\n")
        assert load_spec(folder).vae == read
        assert f"vae: {vae}\n" in save_spec(load_spec(folder), folder).read_text()


def test_an_unknown_key_is_named_with_its_place_and_the_nearest_key(folder: Path) -> None:
    message = fault(folder, "assembly:", "asembly:")
    assert f"{folder / 'ensemble.yaml'}:3:1" in message
    assert "'asembly'" in message and "'assembly'" in message


def test_an_unknown_key_inside_an_expert_is_named_with_its_place(folder: Path) -> None:
    message = fault(folder, "{name: one, source: experts/one}", "{name: one, sorce: experts/one}")
    assert "ensemble.yaml:6:17: unknown key 'sorce'; the nearest is 'source'" in message


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("shared_trunk", "shared-trunk", "ensemble.yaml:3:11: 'shared-trunk' is not one of"),
        ("moe_layers: attn", "moe_layers: atn", "the nearest is 'attn'"),
        ("name: demo\n", "", "ensemble.yaml:1:1: key 'name' is missing"),
        ("name: far", "name: one", "ensemble.yaml:7:5: two experts are named 'one'"),
        ("captions: captions.json", "name: again", "ensemble.yaml:9:1: key 'name' is given twice"),
        ("captions.json", "caption.json", "the nearest is 'captions.json'"),
        ("judge: judge", "vae: juge", "ensemble.yaml:8:6: no folder"),
        ("judge: judge", "judge: juge", "the nearest is 'judge'"),
        ("source: experts/one", "source: experts/on", "the nearest is 'one'"),
        ("source: base", "source: bse", "the nearest is 'base'"),
        ("source: experts/one", "source: experts/one, revision: v2", "revision is only for hub ids"),
        ("source: base", "source: [base]", "ensemble.yaml:2:16: expected a text"),
        ("name: demo", "name: [", "not valid YAML"),
    ],
)
def test_faults_say_where_and_what(folder: Path, old: str, new: str, expected: str) -> None:
    assert expected in fault(folder, old, new)


def test_experts_must_be_a_list(folder: Path) -> None:
    (folder / "ensemble.yaml").write_text("name: a\nbase: {source: base}\nexperts: base\n")
    with pytest.raises(EnsembleError, match=r"ensemble.yaml:3:10: expected a list of experts"):
        load_spec(folder)


@pytest.mark.parametrize(("content", "expected"), [(b"", "empty"), (b"\xff\xfe\x00", "not UTF-8"), (b"[]", "mapping")])
def test_files_that_hold_no_mapping_are_refused(tmp_path: Path, content: bytes, expected: str) -> None:
    (tmp_path / "ensemble.yaml").write_bytes(content)
    with pytest.raises(EnsembleError, match=expected):
        load_spec(tmp_path)


@given(st.binary(max_size=200))
def test_no_file_content_gives_anything_but_a_spec_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    with pytest.raises(EnsembleError, match=r"any\.yaml"):
        load_spec(path)


def test_embedded_ensembles_go_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.rename(folder.parent / "emoji-x")
    monkeypatch.setattr(spec_module, "EMBEDDED", folder.parent)
    assert "emoji-x" in embedded_names()
    assert load_spec("emoji-x").name == "demo"
    with pytest.raises(EnsembleError, match="the nearest is 'emoji-x'"):
        load_spec("emojix")


def test_nearest_lists_the_choices_when_none_is_near() -> None:
    assert nearest("zzz", ["alpha", "beta"]) == "; known: alpha, beta"


def test_reading_a_spec_does_not_load_torch() -> None:
    code = "import sys, emoe_audit.experts.spec; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("source: base", "source: ~nobody-of-this-name/x", "ensemble.yaml:2:16: '~nobody-of-this-name/x': Could not"),
        ("captions.json", "~nobody-of-this-name/x", "ensemble.yaml:9:11: '~nobody-of-this-name/x': Could not"),
        ("judge: judge", "judge: local-dir:~nobody-of-this-name", "ensemble.yaml:8:8: "),
        ("source: base", f"source: {'x' * 300}", "File name too long"),
        ("captions.json", f"{'x' * 300}/y", "File name too long"),
        ("source: base", f"source: {'x' * 5000}", "ensemble.yaml:2:16: expected a text of at most 4,096 characters"),
        ("source: base", 'source: "a\\0b"', "ensemble.yaml:2:16: expected a text of at most 4,096 characters, none"),
        ("name: demo", 'name: "a\\0b"', "ensemble.yaml:1:7: expected a text"),
        ("name: demo", "name: &a demo\nvae: *a", "ensemble.yaml:2:6: not valid YAML: references"),
        ("name: demo", f"name: {'[' * 5000}", "nested more than 64 deep"),
        ("captions.json", "embedded:nowhere/~root", "no ensemble 'nowhere' is embedded"),
    ],
)
def test_what_no_path_is_and_no_text_is_told_with_its_place(folder: Path, old: str, new: str, told: str) -> None:
    message = fault(folder, old, new)
    assert told in message and "\n" not in message and len(message) < 1000


def test_a_tilde_inside_an_embedded_ensemble_is_a_name_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.rename(folder.parent / "emoji-y")
    monkeypatch.setattr(spec_module, "EMBEDDED", folder.parent)
    path = folder.parent / "other.yaml"
    path.write_text(GOOD.replace("source: base", "source: embedded:emoji-y/~"))
    with pytest.raises(EnsembleError, match=r"no folder .*emoji-y/~, and not a hub id"):
        load_spec(path)


def test_a_spec_in_another_encoding_is_told_with_its_line(folder: Path) -> None:
    (folder / "ensemble.yaml").write_bytes(GOOD.encode() + "# Größe\n".encode("latin-1"))
    with pytest.raises(EnsembleError, match=r"ensemble\.yaml:10: not UTF-8 .*; save it as UTF-8"):
        load_spec(folder)


@pytest.mark.parametrize("name", ["~nobody-of-this-name", "x" * 300, "a\0b"])
def test_a_spec_under_a_name_that_no_file_has_is_told(name: str) -> None:
    with pytest.raises(EnsembleError, match=r"Could not determine home|File name too long|holds a NUL"):
        load_spec(name)


def test_a_folder_that_may_not_be_looked_into_has_no_nearest_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "ensemble.yaml").write_text(GOOD.replace("source: base", "source: bse"))
    monkeypatch.setattr(Path, "iterdir", Mock(side_effect=PermissionError))
    with pytest.raises(EnsembleError, match=r"ensemble.yaml:2:16: no folder .*/bse, and not a hub id \(org/name\)$"):
        load_spec(folder)


def test_of_many_names_that_are_not_near_some_are_listed() -> None:
    assert nearest("zzz", [f"a{place}" for place in range(25)]).endswith("a18, a19 and 5 more")
