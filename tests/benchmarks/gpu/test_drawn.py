"""Ensembles with random weights that never lie on disk: their true sizes in numbers, the naive way at small ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel

from tests.benchmarks.gemm import layer_gemms, path_cost
from tests.benchmarks.gpu.drawn import SMALL, TRUE, Design, draw
from tests.benchmarks.gpu.naive import Naive
from tests.benchmarks.gpu.scores import engine_of, prompts_of
from tests.benchmarks.sd15 import N_PARAMETERS

pytestmark = pytest.mark.slow
CPU = torch.device("cpu")
N_PARAMETERS_OF_SDXL = 2_567_463_684
TEXTS = ["a red apple", "ein Hund", "犬"]


def test_the_true_sizes_are_those_that_were_published() -> None:
    for design, expected in zip(TRUE, (N_PARAMETERS, N_PARAMETERS_OF_SDXL), strict=True):
        with torch.device("meta"):
            unet = UNet2DConditionModel.from_config(dict(design.unet))
        assert sum(weight.numel() for weight in unet.parameters()) == expected


def test_of_sdxl_no_prompt_is_spared_more_than_the_first_convolution() -> None:
    config = dict(TRUE[1].unet)
    cost = path_cost(config)
    first = 2 * 128 * 128 * 9 * 4 * 320 / 1e9
    assert first < cost.prompt_free < 1.02 * first, "and the embedding of the time"
    layers = sum(n * gemm.gflop for gemm, n in layer_gemms(config, batch=1).items())
    assert 0.8 * cost.path < layers < cost.path < 0.5 * cost.whole, "all but what attention does between its layers"


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("design", SMALL, ids=["sd15", "sdxl"])
def test_the_engine_has_the_scores_of_the_naive_way(design: Design) -> None:
    drawn = draw(design)
    found = engine_of(drawn.load(CPU, torch.float32), 2).score(prompts_of(TEXTS))["disagreement"]
    naive = Naive(drawn, CPU, torch.float32)
    np.testing.assert_allclose(found, naive.disagreement(TEXTS), rtol=1e-4)
    guided = naive.mid_blocks(TEXTS, guided=True)
    torch.testing.assert_close(guided, naive.mid_blocks(TEXTS), rtol=1e-3, atol=1e-4)
    assert len(naive.mid_blocks(TEXTS, n_experts=1)) == 1


def test_the_seed_decides_what_is_drawn_and_the_type_how_it_is_kept() -> None:
    one, again, other = (draw(SMALL[0], seed=seed) for seed in (0, 0, 1))
    key = "mid_block.resnets.0.conv1.weight"
    assert one.base.tensors[key].equal(again.base.tensors[key])
    assert not one.base.tensors[key].equal(other.base.tensors[key])
    assert draw(SMALL[0], dtype=torch.float16).base.tensors[key].equal(one.base.tensors[key].half())
