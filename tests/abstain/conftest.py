from __future__ import annotations

import pytest

from emoe_audit.abstain import student
from emoe_audit.abstain.abstainer import Abstainer
from tests.abstain.made import made_features


@pytest.fixture(autouse=True)
def short_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred steps are enough for what is tested here."""
    monkeypatch.setattr(student, "STEPS", 100)


@pytest.fixture(scope="session")
def abstainer() -> Abstainer:
    """A small model of the made run. Read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(student, "STEPS", 100)
        return Abstainer.fit(made_features(), n_labellers=8, ensemble_hash="e" * 64)
