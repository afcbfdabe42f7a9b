"""A mixture whose experts lie in files draws the same images as one that is in memory, under any budget."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from emoe_audit.audit import run_audit
from emoe_audit.errors import QualityError, StoreError
from emoe_audit.experts.mapped import MappedFiles
from emoe_audit.experts.segmoe_recipe import segmoe_folder_spec
from emoe_audit.mixture.forecasts import Foreseen, LastStep
from emoe_audit.mixture.places import Slot
from emoe_audit.mixture.profile import answer_from, block_of, needs, residents
from emoe_audit.mixture.shelf import Shelf, shelf_of, shelved_layers
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.prompts.shipped import shipped_captions, some_captions
from emoe_audit.quality.images import ImageMaker
from emoe_audit.types import MIXTURE, EnsembleSpec, ImageConfig, Prompt, ScoringConfig
from tests.mixture.keepers import replay
from tests.naive_segmoe import WEIGHTS, write_by_hand
from tests.processes import invoke

pytestmark = pytest.mark.slow

ENOUGH = 1 << 40
CONFIG = ImageConfig(expert=MIXTURE, num_inference_steps=3, device="cpu", memory_budget=ENOUGH)
TEXTS = ["dog", "眠っている顔", "ein Haus am Meer"]
PROMPTS = [Prompt(prompt_id=text, prompt=text, source_id=text) for text in TEXTS]


@pytest.fixture(autouse=True, scope="module")
def gates_of_two_steps() -> Iterator[None]:
    """How long gates were drawn for is nothing to where experts lie."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("emoe_audit.experts.gates.GATE_STEPS", 2)
        yield


def images(maker: ImageMaker) -> list[bytes]:
    return [image.tobytes() for image in maker.make(PROMPTS)]


def shelf_in(maker: ImageMaker) -> Shelf:
    shelf = shelf_of(maker._pipeline.unet)
    assert shelf is not None
    return shelf


def budget_for(spec: EnsembleSpec, share: float) -> int:
    """Bytes for all that is no expert's, and a share of what is."""
    others, experts = _weights(spec)
    return others + int(share * experts)


@cache
def _weights(spec: EnsembleSpec) -> tuple[int, int]:
    """Bytes of what is no expert's, and of what is."""
    maker = ImageMaker(spec, CONFIG)
    modules = [own for own in maker._pipeline.components.values() if isinstance(own, torch.nn.Module)]
    others = sum(own.nbytes for part in modules for own in chain(part.parameters(), part.buffers()))
    return others, sum(shelf_in(maker).sizes.values())


@pytest.fixture(scope="module")
def whole(tiny_spec: EnsembleSpec) -> list[bytes]:
    return images(ImageMaker(tiny_spec, replace(CONFIG, memory_budget=None)))


@pytest.mark.parametrize("share", [0.2, 0.4, 0.8, 1.5])
def test_images_are_the_same_byte_for_byte_and_no_more_lies_in_memory_than_may(
    tiny_spec: EnsembleSpec, whole: list[bytes], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    lend, budget = Shelf.lend, budget_for(tiny_spec, share)

    def counted(shelf: Shelf, layer: str, expert: int) -> Any:
        module = lend(shelf, layer, expert)
        slot = Slot(shelf.names.index(layer), expert)
        own = 0 if slot in shelf.lying else shelf.sizes[slot]
        assert sum(own.nbytes for own in module.parameters()) == shelf.sizes[slot]
        held.append(shelf.n_bytes + own)
        return module

    monkeypatch.setattr(Shelf, "lend", counted)
    maker = ImageMaker(tiny_spec, replace(CONFIG, memory_budget=budget))
    assert images(maker) == whole
    total = sum(shelf_in(maker).sizes.values())
    assert 0.5 * min(share, 1) * total < max(held) <= share * total


def test_what_it_costs_is_what_a_replay_of_the_route_says(tiny_spec: EnsembleSpec) -> None:
    maker = ImageMaker(tiny_spec, replace(CONFIG, memory_budget=budget_for(tiny_spec, 0.4)))
    shelf = shelf_in(maker)
    with shelf.watched() as route:
        images(maker)
    assert {now.step for now in route} == {0, 1, 2}
    assert {now.layer for now in route} == set(range(len(shelf.names)))
    assert shelf.places is not None
    again = replay(route, shelf.sizes, shelf.places.budget, Foreseen(LastStep(), shelf.sizes))
    assert again == shelf.places.counts
    assert 0 < again.hits < again.asked


def test_a_folder_that_segmoe_saved_draws_from_its_files(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    folder = write_by_hand(tiny_spec, tmp_path / "segmoe", top_k=2)
    saved = replace(segmoe_folder_spec(folder), judge=tiny_spec.judge, captions=tiny_spec.captions)
    of_memory = images(ImageMaker(saved, replace(CONFIG, expert=None, memory_budget=None)))
    few = replace(CONFIG, expert=None, memory_budget=budget_for(saved, 0.3))
    assert images(ImageMaker(saved, few)) == of_memory


def with_a_style(spec: EnsembleSpec, folder: Path) -> EnsembleSpec:
    """One of whose experts is computed as it is read."""
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
    unet = load_file(Path(spec.base.source) / "unet" / "diffusion_pytorch_model.safetensors")
    out, width = unet[f"{layer}.weight"].shape
    name = f"lora_unet_{layer.replace('.', '_')}"
    lora = {f"{name}.lora_down.weight": torch.randn(2, width), f"{name}.lora_up.weight": torch.randn(out, 2)}
    save_file(lora, folder / "style.safetensors")
    styled = replace(spec.experts[0], loras=(str(folder / "style.safetensors"),))
    return replace(spec, experts=(styled, *spec.experts[1:]))


def test_what_was_computed_of_an_expert_lies_in_a_file_too(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    spec = with_a_style(tiny_spec, tmp_path)
    of_memory = images(ImageMaker(spec, replace(CONFIG, memory_budget=None)))
    maker = ImageMaker(spec, replace(CONFIG, memory_budget=budget_for(spec, 0.4)))
    assert images(maker) == of_memory
    files, stored = MappedFiles(), shelf_in(maker).stored
    assert all(files.holds(tensor) for tensors in stored.values() for tensor in tensors.values())


def test_where_there_is_no_home_it_is_said_that_experts_need_one(
    tiny_spec: EnsembleSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pathlib.Path.home", nowhere)
    with pytest.raises(QualityError, match="there is no home folder to keep experts in; set XDG_CACHE_HOME"):
        ImageMaker(with_a_style(tiny_spec, tmp_path), CONFIG)


def test_a_budget_without_room_for_a_layer_is_refused(tiny_spec: EnsembleSpec) -> None:
    with pytest.raises(QualityError, match=r"memory budget of 0\.01 GiB is too small to draw the mixture; it takes"):
        ImageMaker(tiny_spec, replace(CONFIG, memory_budget=budget_for(tiny_spec, 0)))


LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
GATE, WEIGHT = f"{LAYER}.gate.weight", f"{LAYER}.experts.1.weight"
NOWHERE = "down_blocks.9.attn1.to_q.gate.weight"


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda own: own | {GATE: own[GATE][:, :1].clone()}, rf"gate of {LAYER} has shape \[3, 1\], not \[3, 8\]"),
        (lambda own: own | {NOWHERE: own[GATE].clone()}, "gates of layers that the UNet does not have: down_blocks.9"),
        (lambda own: {key: w for key, w in own.items() if key != GATE}, rf"weights that have no gate: {LAYER}\.weight"),
        (lambda own: own | {WEIGHT: own[WEIGHT][:2].clone()}, rf"{LAYER}\.weight is torch\.\w+ of shape \[2, 8\]"),
    ],
    ids=["gate of another width", "gate of no layer", "experts without a gate", "expert of another shape"],
)
def test_a_saved_folder_that_does_not_fit_together_is_refused(
    tiny_spec: EnsembleSpec, tmp_path: Path, alter: Any, message: str
) -> None:
    folder = write_by_hand(tiny_spec, tmp_path / "segmoe", top_k=2)
    save_file(alter(load_file(folder / "unet" / WEIGHTS)), folder / "unet" / WEIGHTS)
    saved = replace(segmoe_folder_spec(folder), judge=tiny_spec.judge)
    with pytest.raises(QualityError, match=message):
        ImageMaker(saved, replace(CONFIG, expert=None))


# Lossy: who stays is chosen once, and nobody else answers.


def test_who_stays_is_the_best_of_each_layer_and_then_who_is_needed_most_a_byte() -> None:
    sizes = {Slot(layer, expert): 2 if layer else 4 for layer in range(2) for expert in range(3)}
    need = dict(zip(sorted(sizes), (9.0, 5.0, 1.0, 3.0, 2.0, 2.6), strict=True))
    assert residents(need, sizes, 6) == {Slot(0, 0), Slot(1, 0)}
    assert residents(need, sizes, 8) == {Slot(0, 0), Slot(1, 0), Slot(1, 2)}
    assert residents(need, sizes, 10) == {Slot(0, 0), Slot(1, 0), Slot(1, 2), Slot(1, 1)}, "5 / 4 has no room"
    assert residents(need, sizes, 12) == {Slot(0, 0), Slot(0, 1), Slot(1, 0), Slot(1, 2)}
    with pytest.raises(ValueError, match="5 bytes, one expert of each layer takes 6"):
        residents(need, sizes, 5)


def test_layers_that_all_experts_share_need_nobody_in_particular(tiny_spec: EnsembleSpec) -> None:
    maker = ImageMaker(replace(tiny_spec, split=1), CONFIG)
    shelf = shelf_in(maker)
    found = needs(maker._pipeline, shelf, TEXTS[:2], 3.0)
    assert found.keys() == shelf.sizes.keys()
    by_block: dict[str, list[float]] = {}
    for slot, need in found.items():
        by_block.setdefault(block_of(shelf.names[slot.layer]), []).append(need)
    shared = {block for block in by_block if block.startswith("down_blocks.0.")}
    assert shared
    most = {block: max(own) for block, own in by_block.items()}
    assert max(most[block] for block in shared) < 1e-4 * max(most.values())


@pytest.fixture
def profiled_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emoe_audit.quality.images.PROFILED", 1)


def drawn_by(spec: EnsembleSpec, share: float) -> tuple[ImageMaker, list[bytes]]:
    maker = ImageMaker(spec, replace(CONFIG, lossy=True, memory_budget=budget_for(spec, share)))
    return maker, images(maker)


@pytest.mark.usefixtures("profiled_by_one")
def test_with_room_for_all_nothing_is_lost_and_with_less_something_is(
    tiny_spec: EnsembleSpec, whole: list[bytes]
) -> None:
    assert drawn_by(tiny_spec, 1)[1] == whole
    maker, some = drawn_by(tiny_spec, 0.6)
    assert some != whole
    shelf = shelf_in(maker)
    assert shelf.places is None
    assert 0.4 < shelf.n_bytes / sum(shelf.sizes.values()) <= 0.6
    assert drawn_by(tiny_spec, 0.6)[1] == some, "who stays does not depend on what is drawn"


def test_who_is_not_there_is_replaced_by_the_best_of_those_that_are(tiny_spec: EnsembleSpec) -> None:
    maker = ImageMaker(tiny_spec, CONFIG)
    shelf = shelf_in(maker)

    def asked_for(staying: Collection[Slot]) -> set[Slot]:
        answer_from(maker._pipeline.unet, staying)
        with shelf.watched() as route:
            images(maker)
        return {Slot(now.layer, expert) for now in route for expert in now.needed}

    second = {slot for slot in shelf.sizes if slot.expert == 1}
    assert asked_for(second) == second
    assert {slot.expert for slot in asked_for(shelf.sizes)} == {0, 1, 2}
    assert all(layer.among is not None for layer in shelved_layers(maker._pipeline.unet))


def test_a_mixture_in_memory_draws_by_all(tiny_spec: EnsembleSpec) -> None:
    with pytest.raises(QualityError, match="only a mixture under a memory budget draws by a part of its experts"):
        ImageMaker(tiny_spec, replace(CONFIG, lossy=True, memory_budget=None))


def test_captions_to_learn_from_are_of_many_languages_and_always_the_same() -> None:
    captions, chosen = shipped_captions(), some_captions(8)
    assert chosen == some_captions(8) and len(set(chosen)) == 8
    rows, columns = zip(*[(captions == text).to_numpy().nonzero() for text in chosen], strict=True)
    assert all(len(own) for own in rows)
    assert len({int(own[0]) for own in columns}) > 4


@pytest.mark.usefixtures("profiled_by_one")
def test_a_lossy_run_goes_on_with_its_budget_alone(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    def run(out: str, budget: int, *, lossy: bool) -> None:
        run_audit(
            default_prompts(tiny_spec, n_concepts=2),
            tiny_spec,
            tmp_path / out,
            scoring=ScoringConfig(n_noise=1, device="cpu", check_pairs=0),
            images=replace(CONFIG, n_images=4, num_inference_steps=1, lossy=lossy, memory_budget=budget),
        )

    less, more = budget_for(tiny_spec, 0.6), budget_for(tiny_spec, 0.9)
    for out, lossy in (("exact", False), ("lossy", True)):
        run(out, less, lossy=lossy)
        images = json.loads((tmp_path / out / "manifest.json").read_text())["images"]
        assert (images["lossy"], images["memory_budget"]) == (lossy, less)
    run("exact", more, lossy=False)
    with pytest.raises(StoreError, match="holds a run with other images"):
        run("lossy", more, lossy=True)
    assert "drawn by <bdi>mixture</bdi>, by the experts that fit" in (tmp_path / "lossy" / "report.html").read_text()


def test_without_a_budget_nothing_is_left_out(tmp_path: Path) -> None:
    told = invoke("run", "--lossy-mixture", "--out", str(tmp_path / "run"))
    assert told.returncode == 2
    assert "--lossy-mixture draws by what fits into a memory budget: give --memory-budget, too" in told.stderr
