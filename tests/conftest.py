"""What several test folders share. Shapes in the annotations of the tensor code are checked while the tests run.

One thread each: tiny tensors gain nothing from more, and workers side by side lose much.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("OMP_NUM_THREADS", "1")
signal.signal(signal.SIGINT, signal.default_int_handler)  # else ignored by what a shell starts in the background

CHECKED = ["emoe_audit.experts", "emoe_audit.scoring", "emoe_audit.abstain"]
"""Rooms whose annotated shapes are checked."""
LARGE = ("torch._dynamo", "scipy.stats", "diffusers.models", "transformers", "open_clip", "lightgbm")


class LargeFirst(MetaPathFinder):
    """Loads the large packages before the first checked room: within one, the hook has all that loads compiled anew."""

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Finds nothing itself."""
        if fullname in CHECKED:
            for name in LARGE:
                import_module(name)


install_import_hook(CHECKED, "beartype.beartype")
sys.meta_path.insert(0, LargeFirst())

if TYPE_CHECKING:
    from emoe_audit.types import EnsembleSpec

LONGEST_FIRST = ("browser", "slow")
"""Marks of tests whose files are given to a worker before the others, so that none is alone with them at the end."""
ONE_DASHBOARD = {"tests/browser/test_accessibility.py": "tests/browser/test_desk.py"}
"""Files that are given to the worker of another, whose server they look at."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the files that take longest."""
    first = {mark: {item.path for item in items if item.get_closest_marker(mark)} for mark in LONGEST_FIRST}
    items.sort(key=lambda item: [item.path not in first[mark] for mark in LONGEST_FIRST])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file's tests stay on one worker, which makes what they share once."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return ONE_DASHBOARD.get(file, file)

    return ByFile(config, log)


@pytest.fixture(autouse=True, scope="module")
def settled_heap() -> None:
    """What is loaded by now is not looked through again each time that a test has garbage collected."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Which runs were started here is noted in a folder of the tests, and what is kept of ensembles in another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session")
def tiny_spec(tmp_path_factory: pytest.TempPathFactory) -> EnsembleSpec:
    """The tiny ensemble: three random experts, shared trunk. Read only: copy the folder to change it."""
    from emoe_audit.experts.tiny import make_tiny_ensemble

    return make_tiny_ensemble(tmp_path_factory.mktemp("ensembles") / "tiny")


@pytest.fixture
def tiny_copy(tiny_spec: EnsembleSpec, tmp_path: Path) -> Path:
    """A folder with the tiny ensemble that a test may change."""
    import shutil

    source = Path(tiny_spec.base.source).parent
    return Path(shutil.copytree(source, tmp_path / "tiny"))


@pytest.fixture(scope="session")
def known_spec(tiny_spec: EnsembleSpec, tmp_path_factory: pytest.TempPathFactory) -> EnsembleSpec:
    """The tiny ensemble as if its training were known: English covered, Japanese never seen, flags and skin tones."""
    import dataclasses
    import json

    folder = tmp_path_factory.mktemp("known")
    assert tiny_spec.captions is not None
    coco = json.loads(Path(tiny_spec.captions).read_text(encoding="utf-8"))
    regions, tones = ("014", "155", "005"), ("dark", "light")
    groups = [*[{}] * 3, *({"region": region} for region in regions), *({"skin_tone": tone} for tone in tones)]
    coco["images"] = [image | group for image, group in zip(coco["images"], groups, strict=True)]
    (folder / "captions.json").write_text(json.dumps(coco), encoding="utf-8")
    (folder / "coverage.csv").write_text(
        "by,group,coverage\nlanguage,en,0.9\nlanguage,de,0.0995\nlanguage,hi,0.0005\nlanguage,ja,0\n"
        "region,014,0.7\nregion,155,0.3\nregion,005,0\nskin_tone,dark,0.8\nskin_tone,light,0.2\n"
    )
    return dataclasses.replace(
        tiny_spec, captions=str(folder / "captions.json"), training_coverage=str(folder / "coverage.csv")
    )
