"""The number type of `--dtype auto`."""

from __future__ import annotations

import pytest
import torch

import emoe_audit.experts.fastest as fastest
from emoe_audit.experts.devices import DTYPES
from emoe_audit.types import Dtype

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        ({"float32": 100, "float16": 120, "bfloat16": 125}, "float32"),
        ({"float32": 100, "float16": 3, "bfloat16": 800}, "bfloat16"),
        ({"float32": 100, "float16": 800, "bfloat16": 900}, "float16"),
        ({"float32": 100, "float16": 0, "bfloat16": 0}, "float32"),
    ],
)
def test_a_narrower_type_has_to_be_worth_it(
    speeds: dict[Dtype, float], expected: Dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fastest, "speeds_of", lambda device: speeds)
    assert fastest.fastest_dtype(CPU) == expected


def test_speeds_are_measured_and_what_a_device_cannot_multiply_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DTYPES, "bfloat16", torch.bool)  # the CPU has no such product
    fastest.speeds_of.cache_clear()
    speeds = fastest.speeds_of(CPU)
    fastest.speeds_of.cache_clear()
    assert speeds["float32"] > 1
    assert speeds["bfloat16"] == 0
