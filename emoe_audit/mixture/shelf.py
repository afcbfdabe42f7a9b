"""The expert layers of a UNet lie in files, and in memory as far as a budget goes.

What is used is copied from the file into memory of its own, which is given back when it leaves, and the pages of the
file are let go of, so that what the process holds of the experts is what `Places` counts.
"""

from __future__ import annotations

import copy
import mmap
import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.gates import GatedLayer
from emoe_audit.experts.mapped import MappedFiles
from emoe_audit.experts.models import assign_tensors, empty_unet
from emoe_audit.experts.residency import TensorMover
from emoe_audit.experts.sources import DELTA_FILE, UNetWeights, read_tensors, some
from emoe_audit.experts.writing import writing
from emoe_audit.mixture.places import Asked, Keeper, Places, Slot
from emoe_audit.readers.paths import user_cache

DTYPE = torch.float32
"""In which images are drawn."""
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
CACHE = "experts"
"""Where in the user's cache lies what was computed of experts as they were read."""


class Shelf:
    """Lends the experts of a UNet's layers, which come in turn, pass after pass."""

    def __init__(self, layers: Mapping[str, nn.Module], paths: Iterable[UNetWeights], device: torch.device) -> None:
        """Look at what is in the files.

        Args:
            layers: Each expert layer without weights, in the order of a pass.
            paths: The whole UNet of each expert, read when it is its turn.
            device: Where they are run.
        """
        self.names = list(layers)
        """The layers in the order of a pass."""
        self._place = {layer: place for place, layer in enumerate(self.names)}
        self._empty, self._device = list(layers.values()), device
        self.stored: dict[Slot, dict[str, Tensor]] = {}
        """What is in files."""
        for expert, path in enumerate(paths):
            for place, own in enumerate(self._in_files(path)):
                self.stored[Slot(place, expert)] = own
            del path
        self._files = MappedFiles()
        self.lying: dict[Slot, nn.Module] = {}
        """What is in memory."""
        self._task, self._drawing, self._step, self._last = "", -1, 0, -1
        self.places: Places | None = None
        """Under what budget; None where all lies there that is asked for."""
        self._seen: list[Asked] | None = None
        self.n_experts = 1 + max(slot.expert for slot in self.stored)
        self.sizes = {slot: 4 * sum(own.numel() for own in tensors.values()) for slot, tensors in self.stored.items()}

    def keep(self, budget: int, keeper: Keeper) -> None:
        """Begin anew with so many bytes. Raises `ValueError` where the largest layer takes more."""
        self.lying.clear()
        self.places = Places(self.sizes, budget, keeper)

    def hold(self, slots: Collection[Slot]) -> None:
        """Have these in memory from now on, and no other is asked for."""
        self.lying.clear()
        self.places = None
        self.lying |= {slot: self._read(slot) for slot in slots}

    @contextmanager
    def watched(self) -> Iterator[list[Asked]]:
        """Within, all that is asked for is noted."""
        self._seen = []
        try:
            yield self._seen
        finally:
            self._seen = None

    @property
    def n_bytes(self) -> int:
        """What lies in memory."""
        return sum(self.sizes[slot] for slot in self.lying)

    def begin(self, task: str) -> None:
        """A drawing begins."""
        self._task, self._drawing, self._step, self._last = task, self._drawing + 1, 0, -1

    def enter(self, layer: str, needed: Sequence[int]) -> None:
        """A layer is entered, and needs some experts."""
        place = self._place[layer]
        self._step, self._last = self._step + (place <= self._last), place
        now = Asked(drawing=self._drawing, task=self._task, step=self._step, layer=place, needed=frozenset(needed))
        if self._seen is not None:
            self._seen.append(now)
        if self.places is not None:
            self.places.enter(now)

    def lend(self, layer: str, expert: int) -> nn.Module:
        """An expert's layer, for as long as it is held; another is asked for when it was let go of."""
        slot = Slot(self._place[layer], expert)
        if self.places is None:
            return self.lying[slot]
        answer = self.places.ask(slot)
        for other in answer.leaving:
            del self.lying[other]
        module = self.lying.get(slot) or self._read(slot)
        if answer.stays:
            self.lying[slot] = module
        return module

    def _read(self, slot: Slot) -> nn.Module:
        module = copy.deepcopy(self._empty[slot.layer])
        module.load_state_dict({key: self._copied(own) for key, own in self.stored[slot].items()}, assign=True)
        return module

    def _copied(self, stored: Tensor) -> Tensor:
        if self._device.type == "cpu":
            memory = torch.frombuffer(mmap.mmap(-1, 4 * stored.numel(), flags=PRIVATE), dtype=DTYPE).view(stored.shape)
            copied = memory.copy_(stored)
        else:
            copied = stored.to(self._device, DTYPE)
        self._files.release(stored)
        return copied

    def _in_files(self, path: UNetWeights) -> list[dict[str, Tensor]]:
        """The tensors of each layer; what was computed as it was read, such as a LoRA's, is put into a file now."""
        own = {layer: _weights(path, layer, empty) for layer, empty in zip(self.names, self._empty, strict=True)}
        files = MappedFiles()
        computed = {
            f"{layer}.{key}": tensor
            for layer, tensors in own.items()
            for key, tensor in tensors.items()
            if not files.holds(tensor)
        }
        if computed:
            try:
                cache = user_cache() / CACHE
            except RuntimeError as error:
                raise EnsembleError("there is no home folder to keep experts in; set XDG_CACHE_HOME") from error
            with writing(cache):
                cache.mkdir(parents=True, exist_ok=True)
                folder = Path(tempfile.mkdtemp(dir=cache))
                weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
                save_file({key: tensor.contiguous() for key, tensor in computed.items()}, folder / DELTA_FILE)
            computed = read_tensors([folder / DELTA_FILE], lambda _: True)
        return [
            {key: computed.get(f"{layer}.{key}", w) for key, w in tensors.items()} for layer, tensors in own.items()
        ]


def _weights(path: UNetWeights, layer: str, empty: nn.Module) -> dict[str, Tensor]:
    """Of one layer, by its own keys. Raises `EnsembleError` for those that do not fit."""
    found = {}
    for key, expected in empty.state_dict().items():
        tensor = path.tensors.get(f"{layer}.{key}")
        if tensor is None or tensor.shape != expected.shape or not tensor.is_floating_point():
            told = "is missing" if tensor is None else f"is {tensor.dtype} of shape {list(tensor.shape)}"
            raise EnsembleError(f"{path.where}: {layer}.{key} {told}, expected numbers of shape {list(expected.shape)}")
        found[key] = tensor
    return found


class ShelvedLayer(GatedLayer):
    """A layer whose experts lie on a shelf."""

    def __init__(self, name: str, width: int, top_k: int, halves: int, shelf: Shelf) -> None:
        super().__init__([], torch.zeros(shelf.n_experts, width), top_k, halves)
        self.name, self.shelf = name, shelf
        self.alone: int | None = None
        """The one expert that is run, whatever the gate says."""

    def forward(self, hidden: Tensor) -> Tensor:
        """The mixture, or what one expert makes of it alone."""
        if self.alone is None:
            return super().forward(hidden)
        self.enter([self.alone])
        return self.run(self.alone, hidden)

    def enter(self, needed: Sequence[int]) -> None:
        """Say which are needed."""
        self.shelf.enter(self.name, needed)

    def run(self, place: int, hidden: Tensor) -> Tensor:
        """What an expert makes of it, which is let go of then."""
        made: Tensor = self.shelf.lend(self.name, place)(hidden)
        return made


def shelved_unet(
    trunk: UNetWeights,
    paths: Iterable[UNetWeights],
    layers: Collection[str],
    top_k: int,
    halves: int,
    device: torch.device,
) -> tuple[UNet2DConditionModel, Shelf]:
    """A UNet whose expert layers lie in files, and their shelf, on which nothing lies yet; its gates are 0.

    All but these layers is the trunk's. Raises `EnsembleError` where it does not fit.
    """
    unet = empty_unet(trunk.config, trunk.where, whole=True)
    unknown = sorted(set(layers) - {name for name, _ in unet.named_modules()})
    if unknown:
        raise EnsembleError(f"{trunk.where}: gates of layers that the UNet does not have: {some(unknown)}")
    theirs = tuple(f"{layer}." for layer in layers)
    empty = {name: own.requires_grad_(False).eval() for name, own in unet.named_modules() if name in layers}
    shelf = Shelf(empty, (_sharing(path, trunk, theirs) for path in paths), device)
    for layer in layers:
        unet.set_submodule(layer, nn.Identity())
    own = {key: tensor for key, tensor in trunk.tensors.items() if not key.startswith(theirs)}
    assign_tensors(unet, TensorMover(device, DTYPE).move(own), trunk.where)
    for layer, module in empty.items():
        width = next(module.parameters()).shape[-1]
        unet.set_submodule(layer, ShelvedLayer(layer, width, top_k, halves, shelf))
    return unet.requires_grad_(False).eval(), shelf


def _sharing(path: UNetWeights, trunk: UNetWeights, theirs: tuple[str, ...]) -> UNetWeights:
    """A path. Raises `EnsembleError` where it differs from the trunk in more than the experts' layers."""
    differing = [
        key for key, own in path.tensors.items() if not key.startswith(theirs) and own is not trunk.tensors.get(key)
    ]
    if differing:
        raise EnsembleError(
            f"{path.where}: differs from the trunk in weights that have no gate: {some(sorted(differing))}; only the "
            "expert layers of a shared trunk can be mixed"
        )
    return path


def shelved_layers(unet: nn.Module) -> list[ShelvedLayer]:
    """Those of a UNet, in the order of a pass; none where all experts are in memory."""
    return [layer for layer in unet.modules() if isinstance(layer, ShelvedLayer)]


def shelf_of(unet: nn.Module) -> Shelf | None:
    """Where the experts of a UNet lie; None where all are in memory."""
    layers = shelved_layers(unet)
    return layers[0].shelf if layers else None
