"""Wheels of the ensembles that the main wheel leaves out: `python -m emoe_audit.recipes.distribution --out dist`."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from emoe_audit.embedded.distributions import APART, GROUP, distribution_name, package_name
from emoe_audit.errors import told
from emoe_audit.experts.spec import EMBEDDED

ROOT = Path(__file__).parents[2]
LICENCES = "Apache-2.0 AND CC-BY-4.0 AND MIT AND Unicode-3.0"
"""Of the weights, and of what they learned from, as the model card says."""
CARD, LICENCE_FILE = "MODEL_CARD.md", "LICENSE"
PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "{distribution}"
version = "{version}"
description = "{ensemble}: an ensemble for emoe-audit whose training coverage is known"
readme = "{package}/{card}"
requires-python = ">=3.11"
license = "{licences}"
license-files = ["{licence_file}"]
dependencies = ["emoe-audit>={version}"]

[project.entry-points."{group}"]
{ensemble} = "{package}"

[tool.hatch.build]
ignore-vcs = true

[tool.hatch.build.targets.wheel]
packages = ["{package}"]
"""


def build_wheel(ensemble: str, out: Path) -> Path:
    """Write the wheel of one embedded ensemble into `out`, with the version of this repository; its path."""
    with tempfile.TemporaryDirectory() as folder:
        write_project(ensemble, Path(folder))
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out.absolute())]
        subprocess.run(build, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return out / f"{package_name(ensemble)}-{_version()}-py3-none-any.whl"


def write_project(ensemble: str, folder: Path) -> None:
    """The project of which the wheel is built: the ensemble's folder as a package, and what is to be said of it."""
    package = package_name(ensemble)
    shutil.copytree(EMBEDDED / ensemble, folder / package)
    (folder / package / "__init__.py").write_text(f'"""The ensemble {ensemble}, for emoe-audit."""\n')
    shutil.copy(ROOT / LICENCE_FILE, folder)
    text = PROJECT.format(
        ensemble=ensemble,
        distribution=distribution_name(ensemble),
        package=package,
        version=_version(),
        group=GROUP,
        licences=LICENCES,
        card=CARD,
        licence_file=LICENCE_FILE,
    )
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")


def _version() -> str:
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"])


def main() -> None:
    """Build all that are left out of the main wheel, and say where they are."""
    parser = argparse.ArgumentParser(prog="python -m emoe_audit.recipes.distribution", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the wheels")
    args = parser.parse_args()
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        for ensemble in APART:
            print(build_wheel(ensemble, args.out))
    except OSError as error:
        parser.exit(2, f"Error: {told(error)}\n")
    except subprocess.CalledProcessError as error:
        parser.exit(2, f"Error: {args.out}: the wheel was not built, for what stands above; code {error.returncode}\n")


if __name__ == "__main__":
    main()
