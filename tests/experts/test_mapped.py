"""Pages of a file that has been copied elsewhere leave memory, and what they held stays readable."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from emoe_audit.experts.residency import TensorMover
from emoe_audit.experts.sources import read_tensors
from tests.benchmarks.process import status_bytes

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux says what is mapped where")
MIB = 1 << 20


def read(folder: Path, dtype: torch.dtype) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What was written, and the same from the file, linked as in the hub's cache: 32 MiB in float16."""
    written = {key: torch.randn(4096, 2048).to(dtype) for key in "ab"} | {"small": torch.randn(3).to(dtype)}
    save_file(written, folder / "blob")
    (folder / "model.safetensors").symlink_to(folder / "blob")
    return written, read_tensors([folder / "model.safetensors"], lambda key: True)


def test_what_was_converted_leaves_memory_and_can_be_read_again(tmp_path: Path) -> None:
    written, tensors = read(tmp_path, torch.float16)
    before = status_bytes("RssFile")
    moved = TensorMover(torch.device("cpu"), torch.float32).move(tensors)
    assert status_bytes("RssFile") - before < 4 * MIB
    for key, tensor in written.items():
        assert torch.equal(moved[key], tensor.float())
        assert torch.equal(tensors[key], tensor)


def test_what_is_used_where_it_lies_stays(tmp_path: Path) -> None:
    written, tensors = read(tmp_path, torch.float32)
    before = status_bytes("RssFile")
    moved = TensorMover(torch.device("cpu"), torch.float32).move(tensors)
    assert all(torch.equal(moved[key], tensor) for key, tensor in written.items())
    assert status_bytes("RssFile") - before > 60 * MIB


def test_weights_that_lie_in_no_file_are_left_alone() -> None:
    tensors = {"a": torch.randn(2048, 2048).half()}
    kept = tensors["a"].clone()
    TensorMover(torch.device("cpu"), torch.float32).move(tensors)
    assert torch.equal(tensors["a"], kept)
