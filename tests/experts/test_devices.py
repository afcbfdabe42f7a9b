"""Devices and number types by name."""

from __future__ import annotations

import pytest
import torch

from emoe_audit.errors import EnsembleError
from emoe_audit.experts import devices
from emoe_audit.experts.devices import resolve_device, resolve_dtype


def test_auto_takes_the_best_device_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "available_devices", lambda: ["mps", "cpu"])
    assert resolve_device("auto") == torch.device("mps")
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cpu:7", "gpu", "cpu:x"])
def test_a_device_that_is_not_there_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "available_devices", lambda: ["cpu"])
    with pytest.raises(EnsembleError, match=f"device '{name}' is not here"):
        resolve_device(name)


def test_number_types_go_by_name() -> None:
    assert resolve_dtype("bfloat16") is torch.bfloat16
    with pytest.raises(EnsembleError, match="the nearest is 'float16'"):
        resolve_dtype("flaot16")
