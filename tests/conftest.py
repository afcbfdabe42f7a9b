"""What several test folders share. Shapes in the annotations of the tensor code are checked while the tests run.

One thread each: tiny tensors gain nothing from more, and workers side by side lose much.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jaxtyping import install_import_hook

os.environ.setdefault("OMP_NUM_THREADS", "1")
install_import_hook(["emoe_audit.experts", "emoe_audit.scoring", "emoe_audit.abstain"], "beartype.beartype")

if TYPE_CHECKING:
    from emoe_audit.types import EnsembleSpec


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
