"""The checks by name, each on the ensembles that fit the device: of true size on a GPU, small ones on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from emoe_audit import embedded
from emoe_audit.experts.spec import load_spec
from emoe_audit.experts.tiny import make_tiny_ensemble
from emoe_audit.types import EnsembleSpec
from tests.benchmarks import sd15
from tests.benchmarks.gemm import Gemm
from tests.benchmarks.gpu.drawn import SMALL, TRUE
from tests.benchmarks.gpu.findings import Finding
from tests.benchmarks.gpu.images import check_images, draw_on, judge_on
from tests.benchmarks.gpu.memory import check_memory
from tests.benchmarks.gpu.scores import N_STREAMED, check_scores, check_streaming, check_true_size, scores_of
from tests.benchmarks.gpu.speed import LARGE, check_speed
from tests.benchmarks.gpu.workers import check_workers

REAL = "emoji-a"
SMALL_PRODUCT = Gemm(rows=512, inner=512, columns=512)


def run_check(name: str, device: str) -> list[Finding]:
    """Raises what the package raises."""
    return CHECKS[name](torch.device("cuda:0" if device == "cuda" else device))  # some of torch takes none without


def _scores(device: torch.device) -> list[Finding]:
    with TemporaryDirectory() as folder:
        spec = _ensemble(Path(folder) / "tiny")
        large = sd15.write_ensemble(Path(folder) / "streamed", replace(sd15.SMALL, n_experts=N_STREAMED))
        streamed = load_spec(large / "shared_trunk")
        found = check_scores(partial(scores_of, spec), str(device))
        return found + check_streaming(partial(scores_of, streamed), str(device))


def _images(device: torch.device) -> list[Finding]:
    with TemporaryDirectory() as folder:
        spec = _ensemble(Path(folder) / "tiny")
        return check_images(partial(draw_on, spec), partial(judge_on, spec), str(device))


def _ensemble(folder: Path) -> EnsembleSpec:
    """A trained one, unless only the code was brought here: it is 60 MB."""
    is_here = (Path(embedded.__file__).parent / REAL).is_dir()
    return load_spec(REAL) if is_here else make_tiny_ensemble(folder)


def _is_small(device: torch.device) -> bool:
    return device.type == "cpu"


def _true_size(device: torch.device) -> list[Finding]:
    return check_true_size((SMALL if _is_small(device) else TRUE)[0], device)


def _memory(device: torch.device) -> list[Finding]:
    return check_memory((SMALL if _is_small(device) else TRUE)[0], device)


def _workers(device: torch.device) -> list[Finding]:
    return check_workers("small" if _is_small(device) else "true", device)


def _speed_of_sd15(device: torch.device) -> list[Finding]:
    if _is_small(device):
        return check_speed(SMALL[0], device, ("float32",), SMALL_PRODUCT)
    return check_speed(TRUE[0], device, ("bfloat16", "float16", "float32"), LARGE)


def _speed_of_sdxl(device: torch.device) -> list[Finding]:
    if _is_small(device):
        return check_speed(SMALL[1], device, ("float32",), SMALL_PRODUCT)
    return check_speed(TRUE[1], device, ("bfloat16",), LARGE)


CHECKS: dict[str, Callable[[torch.device], list[Finding]]] = {
    "scores": _scores,
    "images": _images,
    "true-size": _true_size,
    "memory": _memory,
    "workers": _workers,
    "speed-sd15": _speed_of_sd15,
    "speed-sdxl": _speed_of_sdxl,
}
