"""What work takes of memory, and a device that has only so much, on a CPU."""

from __future__ import annotations

import pytest
import torch

from tests.benchmarks.gpu.room import capped, peak_bytes

CPU = torch.device("cpu")
KIB = 1024


def passing() -> None:
    """Takes 8 KiB, and never more than 6 at once."""
    first = torch.ones(KIB)  # float32: 4 KiB
    first = first[:1].clone()
    torch.ones(KIB // 2).sum()
    assert first.numel() == 1


def test_the_most_at_once_is_told_not_the_sum() -> None:
    assert 4 * KIB <= peak_bytes(passing, CPU) < 5 * KIB
    assert peak_bytes(lambda: [torch.ones(KIB) for _ in range(3)], CPU) == 12 * KIB


def test_above_its_cap_memory_has_run_out_and_only_within() -> None:
    with capped(CPU, 5 * KIB):
        torch.ones(KIB)
        with pytest.raises(torch.OutOfMemoryError, match="out of memory"):
            [torch.ones(KIB) for _ in range(2)]
    assert len([torch.ones(KIB) for _ in range(2)]) == 2


def test_on_a_gpu_the_cap_is_a_share_of_its_memory_and_is_lifted(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, shares = torch.device("cuda:0"), list[tuple[float, torch.device]]()
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * KIB)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (5 * KIB, 16 * KIB))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", lambda *given: shares.append(given))
    with capped(gpu, KIB):
        assert shares == [(0.25, gpu)]
    assert shares[1:] == [(1.0, gpu)]
