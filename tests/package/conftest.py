"""The wheels, each built once, and each installed alone into a folder of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from emoe_audit.recipes.distribution import build_wheel

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return main_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def data_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of `emoji-b`."""
    return build_wheel("emoji-b", tmp_path_factory.mktemp("data-wheel"))


@pytest.fixture(scope="session")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(wheel, tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="session")
def data_site(data_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return installed(data_wheel, tmp_path_factory.mktemp("data-site"))


def main_wheel(folder: Path) -> Path:
    """That of the tool, built into a folder."""
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def installed(wheel: Path, folder: Path) -> Path:
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(wheel)]
    subprocess.run(install, check=True)
    return folder
