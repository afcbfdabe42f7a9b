"""What people install: a wheel of the tool with one ensemble, and a wheel of each other ensemble."""

from __future__ import annotations

import email
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from emoe_audit.embedded.distributions import APART
from emoe_audit.experts.spec import EMBEDDED
from tests.package.conftest import ROOT

pytestmark = pytest.mark.slow


def tracked(folder: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", folder], cwd=ROOT, check=True, capture_output=True, text=True)
    return set(listed.stdout.split())


def emoe_audit(*words: str, at: Path, sites: list[Path]) -> subprocess.CompletedProcess[str]:
    """The command as `sites` have it, before what the environment has, outside the clone."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, sites)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "emoe_audit", *words]
    return subprocess.run(command, cwd=at, env=environment, capture_output=True, text=True, check=False)


def test_a_wheel_brings_templates_data_and_the_dashboard(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    apart = set().union(*(tracked(f"emoe_audit/embedded/{name}") for name in APART))
    assert tracked("emoe_audit") - apart <= names
    app = {f"emoe_audit/_app/{name}" for name in ("dashboard.py", "guard.py", "pages.py", ".streamlit/config.toml")}
    assert app <= names
    assert "emoe_audit/_prompts/cldr-emoji.csv" in names


def test_it_is_small_enough_and_holds_one_ensemble(wheel: Path) -> None:
    assert wheel.stat().st_size <= 70e6
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[2] for name in names if re.match("emoe_audit/embedded/.+/", name)} == {"emoji-a"}


def test_every_other_ensemble_of_the_clone_is_known_by_name() -> None:
    assert {file.parent.name for file in EMBEDDED.glob("*/ensemble.yaml")} == {"emoji-a", *APART}


def test_the_wheel_of_an_ensemble_holds_all_of_it_and_depends_on_the_tool(data_wheel: Path) -> None:
    archive = zipfile.ZipFile(data_wheel)
    place = "emoe_audit/embedded/emoji-b"
    files = {name.replace(place, "emoe_audit_emoji_b") for name in tracked(place)}
    names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == files | {"emoe_audit_emoji_b/__init__.py"}
    about = email.message_from_bytes(archive.read("emoe_audit_emoji_b-0.2.0.dist-info/METADATA"))
    assert (about["Name"], about["Requires-Dist"]) == ("emoe-audit-emoji-b", "emoe-audit>=0.2.0")


def test_its_licences_are_those_of_its_model_card(data_wheel: Path) -> None:
    about = email.message_from_bytes(zipfile.ZipFile(data_wheel).read("emoe_audit_emoji_b-0.2.0.dist-info/METADATA"))
    card = str(about.get_payload())
    assert card.startswith("# emoji-b")
    named = re.findall(r"[\w-]+-\d\.\d|\bMIT\b", card.split("## Data and licences")[1].split("##")[0])
    assert set(str(about["License-Expression"]).split(" AND ")) == set(named)


def test_a_wheel_installed_elsewhere_audits(site: Path, tmp_path: Path) -> None:
    few = ["--concepts", "1", "--n-images", "40", "--check-pairs", "0", "--n-noise", "1", "--image-steps", "1"]
    done = emoe_audit("run", *few, "--out", "run", at=tmp_path, sites=[site])
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.html").is_file()
    assert len(list((tmp_path / "run" / "images").rglob("*.png"))) == 40
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert manifest["ensemble"]["base"]["source"] == str(site / "emoe_audit/embedded/emoji-a/base")
    assert manifest["versions"]["emoe-audit"] == "0.2.0"


def test_an_ensemble_installed_beside_it_goes_by_its_name(site: Path, data_site: Path, tmp_path: Path) -> None:
    shown = emoe_audit("ensemble", "show", "emoji-b", at=tmp_path, sites=[site, data_site])
    spec, first = json.loads(shown.stdout), site / "emoe_audit" / "embedded" / "emoji-a"
    assert spec["base"]["source"] == str(data_site / "emoe_audit_emoji_b" / "base")
    assert spec["judge"] == f"local-dir:{first / 'judge'}"
    assert spec["vae"] == str(first / "base" / "vae" / "diffusion_pytorch_model.safetensors")
    assert spec["captions"] == str(first / "captions.json")


def test_without_it_the_message_is_the_command_that_brings_it(site: Path, tmp_path: Path) -> None:
    done = emoe_audit("ensemble", "show", "emoji-b", at=tmp_path, sites=[site])
    assert done.returncode == 2
    message = "Error: emoji-b: is not installed; bring it with: pip install emoe-audit-emoji-b"
    assert done.stderr.strip() == message
