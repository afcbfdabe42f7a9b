"""Some passes of a mixture at true size: `python -m tests.benchmarks.shelved FOLDER SHARE` prints a line of JSON.

SHARE of the experts' bytes is the budget, or `all` of them are in memory.
"""

from __future__ import annotations

import gc
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emoe_audit.experts.checkpoint import read_whole_unet
from emoe_audit.experts.gates import expert_layers, gated_unet
from emoe_audit.experts.models import build_unet, empty_unet
from emoe_audit.experts.paths import read_path
from emoe_audit.experts.residency import TensorMover
from emoe_audit.experts.sources import UNetWeights
from emoe_audit.mixture.forecasts import Foreseen, LastStep
from emoe_audit.mixture.shelf import Shelf, shelved_layers, shelved_unet
from emoe_audit.types import EnsembleSpec, ExpertSpec
from tests.benchmarks.process import status_bytes
from tests.benchmarks.sd15 import TRUE

PASSES, TOP_K = 4, 2
CPU = torch.device("cpu")


def spec_of(folder: Path) -> EnsembleSpec:
    """Experts with whole UNets of their own, of which the expert layers are taken, in up blocks too."""
    places = sorted((folder / "independent").glob("expert-*"))
    return EnsembleSpec(
        name="true size",
        base=ExpertSpec(name="base", source=str(folder / "base")),
        experts=tuple(ExpertSpec(name=own.name, source=str(own)) for own in places),
        assembly="shared_trunk",
    )


def gates_of(trunk: UNetWeights, n_experts: int) -> dict[str, torch.Tensor]:
    """Drawn by lot."""
    rng, unet = torch.Generator().manual_seed(1), empty_unet(trunk.config, trunk.where, whole=True)
    widths = {layer: next(unet.get_submodule(layer).parameters()).shape[-1] for layer in expert_layers(unet, "all")}
    return {
        layer: torch.nn.functional.normalize(torch.randn(n_experts, width, generator=rng))
        for layer, width in widths.items()
    }


def passes(unet: torch.nn.Module) -> tuple[str, float]:
    """A hash of the noise of the last of some guided passes, and seconds a pass but for the first."""
    rng, size = torch.Generator().manual_seed(0), TRUE.sample_size
    latents = torch.randn(PASSES, 1, 4, size, size, generator=rng).repeat(1, 2, 1, 1, 1)
    states = torch.randn(2, 77, TRUE.text_width, generator=rng)
    took = []
    for step in range(PASSES):
        started = time.perf_counter()
        with torch.inference_mode():
            noise = unet(latents[step], 900 - 200 * step, encoder_hidden_states=states).sample
        took.append(time.perf_counter() - started)
    return hashlib.sha256(noise.numpy().tobytes()).hexdigest(), float(np.median(took[1:]))


def in_memory(spec: EnsembleSpec, trunk: UNetWeights, gates: dict[str, torch.Tensor]) -> dict[str, Any]:
    mover = TensorMover(CPU, torch.float32, shared=trunk.tensors)
    paths = (read_path(spec, expert, trunk) for expert in spec.experts)
    unets = [build_unet(path.config, mover.move(path.tensors), path.where) for path in paths]
    noise, seconds = passes(gated_unet(unets, gates, TOP_K, halves=2))
    return {"noise": noise, "seconds": seconds}


def on_a_shelf(spec: EnsembleSpec, trunk: UNetWeights, gates: dict[str, torch.Tensor], share: float) -> dict[str, Any]:
    paths = (read_path(spec, expert, trunk) for expert in spec.experts)
    unet, shelf = shelved_unet(trunk, paths, gates, TOP_K, 2, CPU)
    for layer in shelved_layers(unet):
        layer.gate.copy_(gates[layer.name])
    total = sum(shelf.sizes.values())
    shelf.keep(int(share * total), Foreseen(LastStep(), shelf.sizes))
    shelf.begin("")
    gc.collect()
    most, lend, in_files = dict.fromkeys(("rss", "bytes"), 0), Shelf.lend, status_bytes("RssFile")

    def watched(own: Shelf, layer: str, expert: int) -> Any:
        module = lend(own, layer, expert)
        most["rss"] = max(most["rss"], status_bytes("VmRSS"))
        most["bytes"] = max(most["bytes"], own.n_bytes)
        return module

    Shelf.lend = watched  # type: ignore[method-assign, assignment]
    noise, seconds = passes(unet)
    assert shelf.places is not None
    about = {"budget": int(share * total), "total": total, "hit_rate": shelf.places.counts.hit_rate}
    return {"noise": noise, "seconds": seconds, "file_growth": status_bytes("RssFile") - in_files, **most, **about}


if __name__ == "__main__":
    spec = spec_of(Path(sys.argv[1]))
    trunk = read_whole_unet(spec.base)
    gates = gates_of(trunk, len(spec.experts))
    share = sys.argv[2]
    print(json.dumps(in_memory(spec, trunk, gates) if share == "all" else on_a_shelf(spec, trunk, gates, float(share))))
