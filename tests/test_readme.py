"""What a wheel brings."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from emoe_audit.types import EnsembleSpec

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_a_wheel_brings_templates_data_and_the_dashboard(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "ls-files", "emoe_audit"], cwd=ROOT, check=True, capture_output=True, text=True)
    assert set(tracked.stdout.split()) <= names
    assert {"emoe_audit/_app/dashboard.py", "emoe_audit/_app/.streamlit/config.toml"} <= names
    assert "emoe_audit/_prompts/cldr-emoji.csv" in names


def test_a_wheel_installed_elsewhere_audits(wheel: Path, tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(wheel)]
    subprocess.run(install, check=True)
    audit = "import emoe_audit.cli.main as cli; print(cli.__file__, flush=True); cli.main()"
    words = ["run", "--ensemble", str(Path(tiny_spec.base.source).parent), "--out", "run", "--image-steps", "1"]
    environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", audit, *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(site))
    assert (tmp_path / "run" / "report.html").is_file()
