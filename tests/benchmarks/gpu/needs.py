"""The packages that the checks take, by the standard library alone: they may be what is missing."""

from __future__ import annotations

import re
import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = {
    "torch": "torch",
    "torchvision": "torchvision",
    "accelerate": "accelerate",
    "annotated_types": "annotated-types",
    "babel": "babel",
    "diffusers": "diffusers",
    "ftfy": "ftfy",
    "huggingface_hub": "huggingface_hub",
    "jaxtyping": "jaxtyping",
    "langcodes": "langcodes",
    "numpy": "numpy",
    "open_clip": "open_clip_torch",
    "pandas": "pandas",
    "PIL": "pillow",
    "pycocotools": "pycocotools",
    "pydantic": "pydantic",
    "pydantic_core": "pydantic_core",
    "regex": "regex",
    "safetensors": "safetensors",
    "scipy": "scipy",
    "timm": "timm",
    "transformers": "transformers",
    "typing_inspection": "typing-inspection",
    "wcwidth": "wcwidth",
    "yaml": "PyYAML",
}
"""By the module that is imported; of those that come along with one, what a machine with PyTorch may lack."""
CONSTRAINTS = Path(__file__).parents[3] / "constraints.txt"
TESTED = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)$", re.MULTILINE)


def missing() -> list[str]:
    """The packages that this Python does not have."""
    return [package for module, package in PACKAGES.items() if find_spec(module) is None]


def told(packages: list[str]) -> str:
    """What is missing, and how it is brought to a machine where nothing can be fetched."""
    tested = {plain(name): version for name, version in TESTED.findall(CONSTRAINTS.read_text(encoding="utf-8"))}
    pinned = [f"{package}=={tested[plain(package)]}" for package in packages]
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        f"{sys.executable} lacks {', '.join(packages)}.\n"
        "With network:\n"
        f"  {sys.executable} -m pip install {' '.join(pinned)}\n"
        "Without, on another machine, then carry build/wheels here:\n"
        f"  python3 -m pip download --no-deps --only-binary=:all: --python-version {version} "
        "--platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 "
        f"--dest build/wheels {' '.join(pinned)}\n"
        f"  {sys.executable} -m pip install --no-index --no-deps build/wheels/*.whl"
    )


def plain(name: str) -> str:
    """As package indexes tell names apart."""
    return re.sub(r"[-_.]+", "-", name).lower()
