"""SegMoE's YAML recipe (segmind/segmoe 0.0.4): which experts are mixed, and how. Nothing here imports torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, cast, get_args

import yaml
from pydantic import Field

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.spec_reader import SpecReader
from emoe_audit.readers.documents import read_json_object
from emoe_audit.readers.limits import CONFIGURATION
from emoe_audit.readers.paths import unbroken
from emoe_audit.readers.typed import typed_fields
from emoe_audit.types import MIXTURE, EnsembleSpec, ExpertSpec, GatePrompts, MixtureSpec, MoeLayers

ModelType = Literal["sd", "sdxl"]
MAX_EXPERTS = 64
UNET_CONFIG, CONFIG_KEY = Path("unet", "config.json"), "segmoe_config"
RECIPE_KEYS = (
    *("base_model", "num_experts", "moe_layers", "num_experts_per_tok", "type", "init", "experts"),
    *("vae", "judge", "captions"),
)
"""SegMoE's, and what an audit needs beside them."""
PART_KEYS = ("source_model", "positive_prompt", "negative_prompt")
Experts = Annotated[int, Field(ge=1, le=MAX_EXPERTS)]
Block = Annotated[int, Field(ge=0, le=MAX_EXPERTS)]


@dataclass(frozen=True, kw_only=True)
class SegmoeRecipe:
    """A SegMoE YAML file: an ensemble, and how its experts are mixed."""

    spec: EnsembleSpec
    type: ModelType
    top_k: int
    """Experts that are mixed in a layer (`num_experts_per_tok`)."""
    init: str
    """`hidden`: gates made from the prompts; all else: random gates."""
    prompts: tuple[GatePrompts, ...]
    """One per expert, the prompts of its LoRAs appended."""

    @property
    def ensemble(self) -> EnsembleSpec:
        """The ensemble with how it is mixed where it draws."""
        prompts = self.prompts if self.init == "hidden" else ()
        return replace(self.spec, mixture=MixtureSpec(top_k=self.top_k, prompts=prompts))


@dataclass(frozen=True, kw_only=True)
class SegmoeFields:
    """`segmoe_config` of a folder that SegMoE saved, as far as it is read; blocks are counted from 0."""

    num_experts: Experts
    num_experts_per_tok: Experts
    moe_layers: MoeLayers
    type: ModelType = "sdxl"
    down_idx_start: Block
    down_idx_end: Block
    up_idx_start: Block
    up_idx_end: Block


def is_segmoe_folder(folder: Path) -> bool:
    """Whether `folder` is a pipeline that SegMoE saved. Raises `EnsembleError` for one whose words make no sense."""
    return read_segmoe_fields(folder) is not None


def read_segmoe_fields(folder: Path) -> SegmoeFields | None:
    """What SegMoE says of the folder that it saved; None for any other folder.

    Raises `EnsembleError` for a configuration that cannot be read, and fields of another type or size.
    """
    path = unbroken(folder / UNET_CONFIG, EnsembleError)
    if not path.is_file():
        return None
    config = read_json_object(path, EnsembleError, at_most=CONFIGURATION).get(CONFIG_KEY)
    if not isinstance(config, dict):
        return None
    return typed_fields(config, SegmoeFields, f"{path}: {CONFIG_KEY}", EnsembleError)


def segmoe_folder_spec(folder: Path) -> EnsembleSpec:
    """The experts of a folder that SegMoE saved, as an ensemble. Raises `EnsembleError`."""
    segmoe = read_segmoe_fields(folder)
    if segmoe is None:
        raise EnsembleError(f"{folder / UNET_CONFIG}: no {CONFIG_KEY}, so this is no SegMoE folder")
    source = str(folder.absolute())
    return EnsembleSpec(
        name=folder.absolute().name,
        base=ExpertSpec(name="base", source=source),
        experts=tuple(
            ExpertSpec(name=f"expert-{index}", source=source, segmoe_expert=index)
            for index in range(segmoe.num_experts)
        ),
        assembly="shared_trunk",
        moe_layers=segmoe.moe_layers,
    )


def read_segmoe_yaml(path: Path) -> SegmoeRecipe:
    """Read a SegMoE recipe. Folders are taken relative to the file (SegMoE: to where it is run), hub ids stay.

    Raises `EnsembleError` naming file, line and column.
    """
    if not unbroken(path, EnsembleError).is_file():
        raise EnsembleError(f"{path}: no such file")
    return _RecipeReader(path, embedded={}).recipe()


class _RecipeReader(SpecReader):
    """Turns the YAML nodes of a SegMoE recipe into a `SegmoeRecipe`; defaults are SegMoE's."""

    def recipe(self) -> SegmoeRecipe:
        nodes = self._mapping(self._root, RECIPE_KEYS, required=("base_model", "experts"))
        parts = [self._mapping(node, (*PART_KEYS, "loras"), PART_KEYS) for node in self._items(nodes["experts"])]
        loras = [[self._mapping(node, PART_KEYS, PART_KEYS[:1]) for node in self._items(p.get("loras"))] for p in parts]
        if not parts:
            self._fail(nodes["experts"], f"expected a list of experts, each with the keys {', '.join(PART_KEYS)}")
        if self._number(nodes.get("num_experts"), len(parts)) != len(parts):
            self._fail(nodes["num_experts"], f"num_experts is not the number of experts listed, {len(parts)}")
        top_k = self._number(nodes.get("num_experts_per_tok"), 1)
        if not 1 <= top_k <= len(parts):
            self._fail(nodes["num_experts_per_tok"], f"expected 1 to {len(parts)}, as many as there are experts")
        sources = [self._source(part["source_model"]) for part in parts]
        added = [tuple(self._source(lora["source_model"]) for lora in own) for own in loras]
        experts = zip(_names(sources), sources, added, strict=True)
        return SegmoeRecipe(
            spec=EnsembleSpec(
                name=self.path.stem,
                base=ExpertSpec(name="base", source=self._source(nodes["base_model"])),
                experts=tuple(ExpertSpec(name=name, source=source, loras=own) for name, source, own in experts),
                assembly="shared_trunk",
                moe_layers=cast(MoeLayers, self._choice(nodes.get("moe_layers"), get_args(MoeLayers), "attn")),
                vae=self._source(nodes["vae"]) if "vae" in nodes else None,
                judge=self._judge(nodes.get("judge")),
                captions=self._file(nodes.get("captions")),
            ),
            type=cast(ModelType, self._choice(nodes.get("type"), get_args(ModelType), "sdxl")),
            top_k=top_k,
            init=self._text(nodes["init"]) if "init" in nodes else "hidden",
            prompts=tuple(self._prompts([part, *own]) for part, own in zip(parts, loras, strict=True)),
        )

    def _source(self, node: yaml.Node) -> str:
        if "://" in self._text(node):
            self._fail(node, "addresses are not downloaded; save the checkpoint as a diffusers folder and name that")
        return super()._source(node)

    def _prompts(self, parts: list[dict[str, yaml.Node]]) -> GatePrompts:
        positive, negative = (
            " ".join(self._text(part[key]) for part in parts if key in part and part[key].value)
            for key in PART_KEYS[1:]
        )
        return GatePrompts(positive=positive, negative=negative)


def _names(sources: Iterable[str]) -> list[str]:
    """The last part of every source; what is taken already, and the name of the mixture, is numbered from 2."""
    names: list[str] = []
    for source in sources:
        name = Path(source).name
        numbered = (f"{name}-{number}" for number in itertools.count(2))
        names.append(next(each for each in itertools.chain([name], numbered) if each not in (*names, MIXTURE)))
    return names
