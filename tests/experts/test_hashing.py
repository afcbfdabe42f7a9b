"""The hash of an ensemble changes with content and with nothing else."""

from __future__ import annotations

import hashlib

import pytest
import torch

from emoe_audit.experts.hashing import TensorHasher, json_digest, tensor_digest


def test_a_tensor_hashes_as_its_type_shape_and_bytes() -> None:
    tensor = torch.tensor([1.0, 2.0])
    expected = hashlib.sha256(b"torch.float32[2]" + tensor.numpy().tobytes()).hexdigest()
    assert tensor_digest(tensor) == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.int64, torch.float32])
def test_every_number_type_and_scalars_can_be_hashed(dtype: torch.dtype) -> None:
    assert tensor_digest(torch.tensor(1, dtype=dtype)) != tensor_digest(torch.tensor(2, dtype=dtype))


def test_layout_in_memory_does_not_matter() -> None:
    tensor = torch.arange(6.0).reshape(2, 3)
    assert tensor_digest(tensor.T.contiguous()) == tensor_digest(tensor.T)


def test_shape_matters() -> None:
    assert tensor_digest(torch.zeros(2, 3)) != tensor_digest(torch.zeros(3, 2))


def test_a_state_hashes_by_content_not_by_order_or_object() -> None:
    a, b = {"x": torch.ones(2), "y": torch.zeros(2)}, {"y": torch.zeros(2), "x": torch.ones(2)}
    swapped = {"x": torch.zeros(2), "y": torch.ones(2)}
    hasher = TensorHasher(a)
    assert hasher.state(a) == hasher.state(b) != hasher.state(swapped)


def test_json_digests_ignore_key_order_and_tuple_or_list() -> None:
    assert json_digest({"a": (1, 2), "b": 3}) == json_digest({"b": 3, "a": [1, 2]})
