"""Which file is a LoRA, and what is said of its alpha beside its weights.

A LoRA is a safetensors file, or lies in a folder: under the name that diffusers or PEFT gives it, or as the only LoRA
there under any name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.folders import is_here, names_in, unet_folder
from emoe_audit.experts.sources import (
    ADAPTER_CONFIG,
    ADAPTER_STEM,
    DELTA_FILE,
    LORA_STEM,
    opened,
    read_json,
    some,
)
from emoe_audit.readers.documents import parse_json
from emoe_audit.readers.typed import typed_fields

LORA_FILE, ADAPTER_FILE = f"{LORA_STEM}.safetensors", f"{ADAPTER_STEM}.safetensors"
LORA_KEY = re.compile(r"(?:^|[._])lora[._]")
PEFT_PREFIX = "base_model.model."
"""What PEFT puts before the keys of a model that it saves itself; it keeps alpha in a file beside them."""
ADAPTER_METADATA = "lora_adapter_metadata"
NOT_COMPUTED = ("use_rslora", "use_dora", "alpha_pattern")
OTHER_BASE = re.compile(r"pissa|olora|corda|loftq", re.IGNORECASE)
"""Ways to start a LoRA that change the base as well."""
HOW_TO_FUSE = "fuse the LoRA with diffusers (load_lora_weights, fuse_lora, save_pretrained) and name the saved folder"


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """PEFT's configuration of a LoRA, as far as the weights that it makes depend on it."""

    peft_type: Literal["LORA"] = "LORA"
    lora_alpha: float | None = None
    use_rslora: bool | None = None
    use_dora: bool | None = None
    alpha_pattern: dict[str, float] | None = None
    init_lora_weights: bool | str | None = None


def is_lora(path: Path) -> bool:
    """Whether `path` is a LoRA; see `lora_file`."""
    return lora_file(path) is not None


def lora_file(path: Path) -> Path | None:
    """The safetensors file of the LoRA that `path` is or holds; None for what is none, a UNet's folder among them.

    Raises `EnsembleError` for a safetensors file that cannot be read, and a folder of several LoRAs.
    """
    if not path.is_dir():
        return path if path.suffix == ".safetensors" and is_here(path) and _has_lora_keys(path) else None
    for name in (LORA_FILE, ADAPTER_FILE):
        if is_here(path / name):
            return path / name
    if is_here(path / DELTA_FILE) or is_here(unet_folder(path) / "config.json"):
        return None
    stored = [name for name in names_in(path) if name.endswith(".safetensors") and is_here(path / name)]
    found = [name for name in stored if _has_lora_keys(path / name)]
    if len(found) > 1:
        raise EnsembleError(f"{path}: several LoRAs: {some(found)}; name the file that is meant, as {path / found[0]}")
    return path / found[0] if found else None


def header(file: Path) -> tuple[list[str], dict[str, str]]:
    """The keys of a safetensors file, sorted, and its metadata. Raises `EnsembleError`."""
    with opened(file) as content:
        return sorted(content.keys()), content.metadata() or {}


def adapter_alpha(file: Path, keys: list[str], metadata: dict[str, str]) -> float | None:
    """The alpha of PEFT's configuration, which PEFT stores beside the file, and diffusers in its metadata.

    None where there is no such configuration. Raises `EnsembleError` for one that cannot be read, asks for what is not
    computed here, or is not beside a file that PEFT saved.
    """
    if file.name == ADAPTER_FILE or any(key.startswith(PEFT_PREFIX) for key in keys):
        where = str(file.parent / ADAPTER_CONFIG)
        if not is_here(file.parent / ADAPTER_CONFIG):
            raise EnsembleError(f"{file}: no {ADAPTER_CONFIG} beside it, in which PEFT keeps the alpha of a LoRA")
        adapter = _adapter(read_json(file.parent / ADAPTER_CONFIG), where)
        if adapter.lora_alpha is None:
            raise EnsembleError(f"{where}: lora_alpha is missing")
        return adapter.lora_alpha
    if ADAPTER_METADATA not in metadata:
        return None
    where = f"{file}: {ADAPTER_METADATA}"
    stored = parse_json(metadata[ADAPTER_METADATA], where, EnsembleError)
    if not isinstance(stored, dict):
        raise EnsembleError(f"{where}: expected a JSON object")
    return _adapter({key.removeprefix("unet."): value for key, value in stored.items()}, where).lora_alpha


def _has_lora_keys(file: Path) -> bool:
    return any(map(LORA_KEY.search, header(file)[0]))


def _adapter(config: dict[str, Any], where: str) -> Adapter:
    adapter = typed_fields(config, Adapter, where, EnsembleError)
    unknown = [name for name in NOT_COMPUTED if getattr(adapter, name)]
    if unknown:
        raise EnsembleError(f"{where} asks for {some(unknown)}, which is not computed here; {HOW_TO_FUSE}")
    start = adapter.init_lora_weights
    if isinstance(start, str) and OTHER_BASE.match(start):
        raise EnsembleError(f"{where}: init_lora_weights is {start!r:.60}, which changes the base too; {HOW_TO_FUSE}")
    return adapter
