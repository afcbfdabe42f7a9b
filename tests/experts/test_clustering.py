"""Balanced clusters, against scipy's assignment of rows to places, and what they do to the weights of a real UNet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.activations import GEGLU
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.checkpoint import read_base
from emoe_audit.experts.clustering import (
    balanced_assignment,
    balanced_clusters,
    find_clusters,
    key_rows,
    merge_weights,
    most_clusters,
    read_clusters,
    split_layers,
    split_weights,
    write_clusters,
)
from emoe_audit.experts.models import build_unet
from emoe_audit.types import EnsembleSpec


@pytest.fixture(scope="module")
def tensors(tiny_spec: EnsembleSpec) -> dict[str, Tensor]:
    return read_base(tiny_spec.base).unet.tensors


@pytest.fixture(scope="module")
def text_tensors(tiny_spec: EnsembleSpec) -> dict[str, Tensor]:
    return read_base(tiny_spec.base).read_texts()[0].tensors


def planted(n_groups: int, size: int) -> tuple[np.ndarray, Tensor]:
    """Rows around a direction for each group, of any length, and which group each is of."""
    rng = np.random.default_rng(0)
    groups = rng.permutation(np.repeat(np.arange(n_groups), size))
    rows = np.eye(n_groups, 12)[groups] + 0.05 * rng.normal(size=(len(groups), 12))
    return groups, torch.tensor(rows * rng.uniform(0.1, 10, (len(groups), 1)), dtype=torch.float32)


@settings(max_examples=40, deadline=None)
@given(n_clusters=st.integers(1, 6), size=st.integers(1, 6), seed=st.integers(0, 999), skew=st.integers(1, 6))
def test_an_assignment_costs_what_the_best_one_costs(n_clusters: int, size: int, seed: int, skew: int) -> None:
    cost = np.random.default_rng(seed).random((n_clusters * size, n_clusters)) ** skew
    cost[:, 0] /= skew  # all would rather go to the first
    assigned = balanced_assignment(cost)
    places = np.repeat(cost, size, axis=1)
    best = places[linear_sum_assignment(places)].sum()
    assert np.bincount(assigned, minlength=n_clusters).tolist() == [size] * n_clusters
    assert cost[np.arange(len(cost)), assigned].sum() == pytest.approx(best, abs=1e-7)


def test_groups_of_equal_size_are_found_whatever_the_length_of_their_rows() -> None:
    groups, rows = planted(8, 5)
    clusters = balanced_clusters(rows, 8, seed=0)
    assert sorted(groups[own.numpy()].tolist() for own in clusters) == [[group] * 5 for group in range(8)]


def test_clusters_are_of_equal_size_where_the_groups_are_not() -> None:
    rows = torch.cat([torch.eye(1, 6).repeat(18, 1), torch.eye(6)])
    clusters = balanced_clusters(rows, 4, seed=0)
    assert clusters.shape == (4, 6)
    assert sorted(clusters.flatten().tolist()) == list(range(24))


def test_the_same_seed_gives_the_same_clusters() -> None:
    rows = torch.randn(60, 8, generator=torch.Generator().manual_seed(0))
    first, again = (balanced_clusters(rows, 6, seed=3) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, balanced_clusters(rows, 6, seed=4))


def test_split_are_the_feed_forwards_that_a_score_passes(
    tensors: dict[str, Tensor], text_tensors: dict[str, Tensor], tiny_spec: EnsembleSpec
) -> None:
    base = read_base(tiny_spec.base).unet
    unet = build_unet(base.config, base.tensors, base.where)
    found = [name.removesuffix(".net.0") for name, module in unet.named_modules() if isinstance(module, GEGLU)]
    assert split_layers(tensors) == sorted(found)
    assert len(found) == 4 and any(name.startswith("mid_block") for name in found)
    assert split_layers(text_tensors) == ["encoder.layers.0.mlp", "encoder.layers.1.mlp"]


def test_a_unit_without_its_key_never_fires() -> None:
    geglu = GEGLU(6, 10).requires_grad_(False)
    weights = {f"down_blocks.0.ff.net.0.{key}": tensor for key, tensor in geglu.state_dict().items()}
    key_rows(weights, "down_blocks.0.ff")[3] = 0
    geglu.proj.bias.chunk(2)[1][3] = 0
    fired = (geglu(torch.randn(50, 6)) != 0).any(dim=0)
    assert fired.tolist() == [unit != 3 for unit in range(10)]


def test_splitting_adds_no_weight_and_merging_gives_every_bit_back(
    tensors: dict[str, Tensor], text_tensors: dict[str, Tensor]
) -> None:
    for own in (tensors, text_tensors):
        clusters = find_clusters(own, 16)
        split = split_weights(own, clusters)
        assert {key: tensor.shape for key, tensor in split.items()} == {key: own[key].shape for key in own}
        moved = {key for key in own if split[key] is not own[key]}
        assert moved and all(key.startswith(tuple(clusters)) for key in moved)
        merged = merge_weights(split, clusters)
        assert all(torch.equal(merged[key], own[key]) for key in own)
        assert not all(torch.equal(split[key], own[key]) for key in own)


def test_an_experts_rows_lie_next_to_each_other(tensors: dict[str, Tensor]) -> None:
    clusters = find_clusters(tensors, 8)
    split = split_weights(tensors, clusters)
    for layer, rows in clusters.items():
        size = rows.shape[1]
        assert torch.equal(key_rows(split, layer)[size : 2 * size], key_rows(tensors, layer)[rows[1]])
        values, old = (own[f"{layer}.net.2.weight"] for own in (split, tensors))
        assert torch.equal(values[:, size : 2 * size], old[:, rows[1]])


def test_clusters_have_to_divide_every_layer(tensors: dict[str, Tensor]) -> None:
    assert most_clusters(tensors) == 32  # the narrowest layer has 32 keys
    with pytest.raises(EnsembleError, match=r"64 clusters of equal size do not fit.*can be split into 32"):
        find_clusters(tensors, 64)


def test_stored_clusters_are_read_again(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    clusters, path = find_clusters(tensors, 8), tmp_path / "clusters.safetensors"
    write_clusters(clusters, tensors, path)
    again = read_clusters(path, tensors)
    assert clusters.keys() == again.keys()
    assert all(torch.equal(clusters[layer], again[layer]) for layer in clusters)


def test_clusters_of_another_checkpoint_are_refused(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "clusters.safetensors"
    write_clusters(find_clusters(tensors, 8), tensors, path)
    other = tensors | {key: tensor + 1 for key, tensor in tensors.items() if key.endswith("ff.net.0.proj.weight")}
    with pytest.raises(EnsembleError, match="clusters of another checkpoint; make them again"):
        read_clusters(path, other)
    save_file(load_file(path), path)  # without the digest
    with pytest.raises(EnsembleError, match="clusters of another checkpoint"):
        read_clusters(path, tensors)


def test_clusters_that_hold_a_row_twice_are_refused(tensors: dict[str, Tensor], tmp_path: Path) -> None:
    clusters, path = find_clusters(tensors, 8), tmp_path / "clusters.safetensors"
    layer = next(iter(clusters))
    clusters[layer][0, 0] = clusters[layer][1, 0]
    write_clusters(clusters, tensors, path)
    with pytest.raises(EnsembleError, match=f"{layer}: the clusters do not hold every row"):
        read_clusters(path, tensors)


@pytest.mark.parametrize(
    "change",
    [lambda rows: rows.flatten(), lambda rows: rows[None], lambda rows: rows.float(), lambda rows: rows.short()],
    ids=["flat", "deep", "floats", "short"],
)
def test_clusters_that_are_no_table_of_rows_are_refused(
    tensors: dict[str, Tensor], tmp_path: Path, change: Callable[[Tensor], Tensor]
) -> None:
    path = tmp_path / "clusters.safetensors"
    write_clusters(find_clusters(tensors, 8), tensors, path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file({layer: change(rows).contiguous() for layer, rows in load_file(path).items()}, path, metadata)
    with pytest.raises(EnsembleError, match="the clusters do not hold every row"):
        read_clusters(path, tensors)
