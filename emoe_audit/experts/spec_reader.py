"""The YAML of an ensemble, node by node: every complaint carries file, line and column."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import NoReturn, cast, get_args

import yaml

from emoe_audit.embedded.distributions import APART, how_to_install
from emoe_audit.errors import EnsembleError
from emoe_audit.experts.public_readers import PUBLIC_READERS
from emoe_audit.readers.documents import compose_yaml
from emoe_audit.readers.paths import named_path, unbroken
from emoe_audit.readers.text import is_text
from emoe_audit.types import (
    MIXTURE,
    Assembly,
    EmergentSpec,
    EnsembleSpec,
    ExpertSpec,
    GatePrompts,
    MixtureSpec,
    MoeLayers,
    SplitParts,
    TextEncoders,
)

SPEC_KEYS = (
    "name",
    "base",
    "experts",
    "assembly",
    "moe_layers",
    "split",
    "top_k",
    "mixture",
    "vae",
    "judge",
    "captions",
    "training_coverage",
    "text_encoders",
    "clip_skip",
    "published",
    "emergent",
)
EXPERT_KEYS = ("name", "source", "revision", "loras", "segmoe_expert")
MIXTURE_KEYS, PROMPT_KEYS = ("top_k", "prompts"), ("positive", "negative")
EMERGENT_KEYS = ("clusters", "n_clusters", "top_k", "seed", "what")
LOCAL_JUDGE = "local-dir:"
PART_OF = "embedded:"
"""`embedded:NAME/PATH` is what an embedded ensemble holds at that place, wherever it is installed."""
LONGEST = 4096
"""Characters of a text: what a path may have."""
LISTED = 20
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class SpecReader:
    """Turns the nodes of one file into an `EnsembleSpec`; `embedded` says what folder `embedded:NAME` is."""

    def __init__(self, path: Path, embedded: Mapping[str, Path]) -> None:
        self.embedded = embedded
        self.path = path.absolute()
        self.folder = self.path.parent

    def spec(self) -> EnsembleSpec:
        """The whole file. Raises `EnsembleError`."""
        root = self._root
        nodes = self._mapping(root, SPEC_KEYS, required=("name", "base", "experts"))
        experts = self._experts(nodes["experts"])
        return EnsembleSpec(
            name=self._text(nodes["name"]),
            base=self._expert(nodes["base"], default_name="base"),
            experts=experts,
            assembly=cast(Assembly, self._choice(nodes.get("assembly"), get_args(Assembly), "independent")),
            moe_layers=cast(MoeLayers, self._choice(nodes.get("moe_layers"), get_args(MoeLayers), "all")),
            split=self._number(nodes.get("split"), 0),
            top_k=self._number(nodes["top_k"], 0) if "top_k" in nodes else None,
            mixture=self._mixture(nodes["mixture"], len(experts)) if "mixture" in nodes else None,
            vae=self._source(nodes["vae"]) if "vae" in nodes else None,
            judge=self._judge(nodes.get("judge")),
            captions=self._file(nodes.get("captions")),
            training_coverage=self._file(nodes.get("training_coverage")),
            text_encoders=cast(TextEncoders, self._choice(nodes.get("text_encoders"), get_args(TextEncoders), "base")),
            clip_skip=(self._number(nodes["clip_skip"], 0) or None) if "clip_skip" in nodes else None,
            published=self._choice(nodes["published"], PUBLIC_READERS, "") if "published" in nodes else None,
            emergent=self._emergent(nodes["emergent"]) if "emergent" in nodes else None,
        )

    def has(self, key: str) -> bool:
        """Whether the file has this key at the top."""
        root = self._root
        return isinstance(root, yaml.MappingNode) and any(node.value == key for node, _ in root.value)

    @cached_property
    def _root(self) -> yaml.Node:
        root = compose_yaml(self.path, EnsembleError)
        if root is None:
            raise EnsembleError(f"{self.path}: empty; an ensemble needs name, base and experts")
        return root

    def _mapping(self, node: yaml.Node, keys: tuple[str, ...], required: tuple[str, ...]) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._fail(node, f"expected a mapping with the keys {', '.join(keys)}")
        found: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = self._text(key_node)
            if key not in keys:
                self._fail(key_node, f"unknown key {key!r}{nearest(key, keys)}")
            if key in found:
                self._fail(key_node, f"key {key!r} is given twice")
            found[key] = value
        for key in required:
            if key not in found:
                self._fail(node, f"key {key!r} is missing")
        return found

    def _experts(self, node: yaml.Node) -> tuple[ExpertSpec, ...]:
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self._fail(node, "expected a list of experts, each with the keys name and source")
        experts: dict[str, ExpertSpec] = {}
        for item in node.value:
            expert = self._expert(item)
            if expert.name in experts:
                self._fail(item, f"two experts are named {expert.name!r}")
            if expert.name == MIXTURE:
                self._fail(item, f"{MIXTURE!r} is what all experts are together; give this one another name")
            experts[expert.name] = expert
        return tuple(experts.values())

    def _expert(self, node: yaml.Node, default_name: str | None = None) -> ExpertSpec:
        required = ("source",) if default_name else ("name", "source")
        nodes = self._mapping(node, EXPERT_KEYS, required)
        source = self._source(nodes["source"])
        if "revision" in nodes and not HUB_ID.fullmatch(source):
            self._fail(nodes["revision"], f"revision is only for hub ids, and {source} is a folder")
        return ExpertSpec(
            name=self._text(nodes["name"]) if "name" in nodes else str(default_name),
            source=source,
            revision=self._text(nodes["revision"]) if "revision" in nodes else None,
            loras=tuple(self._source(item) for item in self._items(nodes.get("loras"))),
            segmoe_expert=self._number(nodes["segmoe_expert"], 0) if "segmoe_expert" in nodes else None,
        )

    def _mixture(self, node: yaml.Node, n_experts: int) -> MixtureSpec:
        nodes = self._mapping(node, MIXTURE_KEYS, required=())
        top_k, prompts = self._number(nodes.get("top_k"), MixtureSpec.top_k), self._items(nodes.get("prompts"))
        if not 1 <= top_k <= n_experts:
            self._fail(nodes.get("top_k", node), f"top_k is {top_k}, of {n_experts} experts")
        if prompts and len(prompts) != n_experts:
            self._fail(nodes["prompts"], f"{len(prompts)} prompts, expected one for each of {n_experts} experts")
        return MixtureSpec(top_k=top_k, prompts=tuple(map(self._gate_prompts, prompts)))

    def _gate_prompts(self, node: yaml.Node) -> GatePrompts:
        nodes = self._mapping(node, PROMPT_KEYS, required=())
        return GatePrompts(**{key: "" if own.value == "" else self._text(own) for key, own in nodes.items()})

    def _emergent(self, node: yaml.Node) -> EmergentSpec:
        nodes = self._mapping(node, EMERGENT_KEYS, required=("clusters", "n_clusters", "top_k"))
        return EmergentSpec(
            clusters=str(self._file(nodes["clusters"])),
            n_clusters=self._number(nodes["n_clusters"], 0),
            top_k=self._number(nodes["top_k"], 0),
            seed=self._number(nodes.get("seed"), 0),
            what=cast(SplitParts, self._choice(nodes.get("what"), get_args(SplitParts), "unet")),
        )

    def _items(self, node: yaml.Node | None) -> list[yaml.Node]:
        if node is None:
            return []
        if not isinstance(node, yaml.SequenceNode):
            self._fail(node, "expected a list")
        return list(node.value)

    def _number(self, node: yaml.Node | None, default: int) -> int:
        if node is None:
            return default
        text = self._text(node)
        if not text.isdecimal() or len(text) > 9:
            self._fail(node, f"{text[:20]!r} is not a number that is expected here")
        return int(text)

    def _source(self, node: yaml.Node) -> str:
        """An existing path next to the YAML file, else a hub id whose owner is not a folder next to it."""
        text = self._text(node)
        path = self._path(node, text)
        if path.exists():
            return os.path.normpath(path)
        if HUB_ID.fullmatch(text) and not path.parent.is_dir():
            return text
        self._fail(node, f"no folder {path}, and not a hub id (org/name){_nearest_path(path)}")

    def _judge(self, node: yaml.Node | None) -> str | None:
        if node is None:
            return None
        text = self._text(node)
        path = self._path(node, text.removeprefix(LOCAL_JUDGE))
        if path.is_dir():
            return LOCAL_JUDGE + os.path.normpath(path)
        if text.startswith((LOCAL_JUDGE, PART_OF)) or "/" not in text or path.parent.is_dir():
            self._fail(node, f"no folder {path} that holds the judge{_nearest_path(path)}")
        return text

    def _file(self, node: yaml.Node | None) -> str | None:
        if node is None:
            return None
        path = self._path(node, self._text(node))
        if not path.is_file():
            self._fail(node, f"no file {path}{_nearest_path(path)}")
        return os.path.normpath(path)

    def _path(self, node: yaml.Node, text: str) -> Path:
        """Next to the YAML file, or inside an embedded ensemble."""
        if not text.startswith(PART_OF):
            return named_path(text, EnsembleError, beside=self.folder, where=self._at(node))
        name, _, inside = text.removeprefix(PART_OF).partition("/")
        if name not in self.embedded:
            known = nearest(name, self.embedded)
            self._fail(node, how_to_install(name) if name in APART else f"no ensemble {name!r} is embedded{known}")
        if Path(inside).is_absolute() or ".." in Path(inside).parts:
            self._fail(node, f"{text} is not inside the ensemble {name}")
        return unbroken(self.embedded[name] / inside, EnsembleError)

    def _choice(self, node: yaml.Node | None, choices: tuple[str, ...], default: str) -> str:
        if node is None:
            return default
        value = self._text(node)
        if value not in choices:
            self._fail(node, f"{value!r} is not one of {', '.join(choices)}{nearest(value, choices)}")
        return value

    def _text(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value.strip():
            self._fail(node, "expected a text")
        if len(node.value) > LONGEST or not is_text(node.value):
            self._fail(node, f"expected a text of at most {LONGEST:,} characters, none of them NUL or half a surrogate")
        return str(node.value)

    def _at(self, node: yaml.Node) -> str:
        return f"{self.path}:{node.start_mark.line + 1}:{node.start_mark.column + 1}"

    def _fail(self, node: yaml.Node, message: str) -> NoReturn:
        raise EnsembleError(f"{self._at(node)}: {message}")


def nearest(value: str, choices: Iterable[str]) -> str:
    """`; the nearest is 'x'` for the choice most like `value`, the list of choices where none is, '' without any."""
    known = list(choices)
    close = difflib.get_close_matches(value, known, n=1, cutoff=0.5)
    if close:
        return f"; the nearest is {close[0]!r}"
    more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
    return f"; known: {', '.join(known[:LISTED])}{more}" if known else ""


def _nearest_path(path: Path) -> str:
    try:
        return nearest(path.name, sorted(child.name for child in path.parent.iterdir()))
    except OSError:  # not there, or not to be looked into
        return ""
