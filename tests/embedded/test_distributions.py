"""An ensemble that is installed on its own goes by its name; one that is not says what brings it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from emoe_audit.cli.ensemble import VERIFIED_ENSEMBLE
from emoe_audit.cli.main import main
from emoe_audit.embedded.distributions import APART, GROUP, installed_folders
from emoe_audit.errors import EnsembleError
from emoe_audit.experts import spec as spec_module
from emoe_audit.experts.emergent_recipe import make_emergent_ensemble
from emoe_audit.experts.spec import EMBEDDED, embedded_names, embedded_reference, load_spec
from emoe_audit.runs.manifest import published
from tests.synthetic import synthetic_plan

ENSEMBLE = """\
name: {name}
base: {{source: base}}
experts: [{{name: one, source: base}}]
judge: {judge}
captions: {captions}
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Installs a small ensemble as a distribution of its own: the folder of its package."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def installed(name: str, judge: str = "base", captions: str = "captions.json") -> Path:
        package = tmp_path / f"ensemble_{name.replace('-', '_')}"
        (package / "base").mkdir(parents=True)
        (package / "__init__.py").write_text("raise AssertionError('only looked up, never imported')")
        (package / "captions.json").write_text("{}")
        (package / "ensemble.yaml").write_text(ENSEMBLE.format(name=name, judge=judge, captions=captions))
        about = tmp_path / f"ensemble_{name}-1.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: ensemble-{name}\nVersion: 1\n")
        (about / "entry_points.txt").write_text(f"[{GROUP}]\n{name} = {package.name}\n")
        return package

    return installed


@pytest.fixture
def wheel_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package as a wheel installs it: with `emoji-a` and no other."""
    folder = tmp_path / "embedded"
    folder.mkdir()
    (folder / "emoji-a").symlink_to(EMBEDDED / "emoji-a")
    monkeypatch.setattr(spec_module, "EMBEDDED", folder)


def test_it_goes_by_its_name_and_its_package_is_not_imported(install: Callable[..., Path]) -> None:
    package = install("emoji-x")
    assert installed_folders()["emoji-x"] == package
    assert embedded_names() == ["emoji-a", *APART, "emoji-x"]
    assert load_spec("emoji-x").base.source == str(package / "base")
    assert package.name not in sys.modules


def test_metadata_without_its_package_is_no_ensemble(install: Callable[..., Path]) -> None:
    package = install("emoji-x")
    package.rename(package.with_name("elsewhere"))
    assert "emoji-x" not in embedded_names()


def test_it_refers_to_what_another_embedded_ensemble_holds(install: Callable[..., Path]) -> None:
    install("emoji-x", judge="embedded:emoji-a/judge", captions="embedded:emoji-a/captions.json")
    spec = load_spec("emoji-x")
    assert spec.judge == f"local-dir:{EMBEDDED / 'emoji-a' / 'judge'}"
    assert spec.captions == str(EMBEDDED / "emoji-a" / "captions.json")
    assert embedded_reference(Path(spec.captions)) == "embedded:emoji-a/captions.json"
    assert embedded_reference(Path(__file__)) is None


@pytest.mark.parametrize(
    ("judge", "message"),
    [
        ("embedded:emoji-a/../emoji-b", r"ensemble\.yaml:4:8: .* is not inside the ensemble emoji-a"),
        ("embedded:emoji-a//tmp", "is not inside the ensemble emoji-a"),
        ("embedded:emoji-y/judge", "no ensemble 'emoji-y' is embedded; the nearest is 'emoji-"),
        ("embedded:emoji-a/juge", "holds the judge; the nearest is 'judge'"),
        ("embedded:emoji-a/nowhere/judge", "holds the judge"),
    ],
)
def test_a_reference_that_leads_nowhere_is_told(install: Callable[..., Path], judge: str, message: str) -> None:
    install("emoji-x", judge=judge)
    with pytest.raises(EnsembleError, match=message):
        load_spec("emoji-x")


def test_a_report_names_its_parts_by_their_package(install: Callable[..., Path]) -> None:
    install("emoji-x", captions="embedded:emoji-a/captions.json")
    found = published(synthetic_plan(ensemble=load_spec("emoji-x"))).ensemble
    assert found.base.source == "ensemble_emoji_x/base"
    assert found.captions == "emoe_audit/embedded/emoji-a/captions.json"


@pytest.mark.usefixtures("wheel_alone")
@pytest.mark.parametrize("name", APART)
def test_one_that_is_not_here_says_what_brings_it(name: str, tmp_path: Path, install: Callable[..., Path]) -> None:
    message = f"{name}: is not installed; bring it with: pip install emoe-audit-{name}"
    assert embedded_names() == ["emoji-a"]
    with pytest.raises(EnsembleError) as error:
        load_spec(name)
    assert str(error.value) == message
    with pytest.raises(EnsembleError, match=message):
        make_emergent_ensemble(name, tmp_path / "out")
    install("emoji-x", judge=f"embedded:{name}/judge")
    with pytest.raises(EnsembleError, match=f"yaml:4:8: {message}"):
        load_spec("emoji-x")


@pytest.mark.usefixtures("wheel_alone")
def test_the_command_that_needs_one_by_default_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["emoe-audit", "ensemble", "verify"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    assert f"pip install emoe-audit-{VERIFIED_ENSEMBLE}" in capsys.readouterr().err


def test_what_two_embedded_ensembles_share_is_kept_once() -> None:
    weights = [file for file in EMBEDDED.rglob("*") if file.is_file() and file.stat().st_size > 200_000]
    assert len({file.read_bytes() for file in weights}) == len(weights) > 10
