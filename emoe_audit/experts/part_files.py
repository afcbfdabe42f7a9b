"""The files of one part of a checkpoint, before diffusers or transformers reads them: nothing in them is obeyed.

What both libraries would do at the word of a folder is fetch a kernel, a base model or another file of weights, run
Python that lies beside them, and read pickled weights where an index names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.sources import read_json, weight_files

CONFIG = "config.json"
ADAPTER = "adapter_config.json"
BUILT_IN = (None, "eager", "sdpa")
"""Kinds of attention that come with torch; any other name is one of a package, or of a kernel on the hub."""
KERNELS = ("attn_implementation", "_attn_implementation", "experts_implementation", "_experts_implementation")
REFUSED = {
    "auto_map": "it names code that would be run",
    "quantization_config": "it gives the weights to another package to unpack; save them unpacked, in float16",
    "transformers_weights": "it names another file of weights",
    "fusion_config": "it rewrites the model",
    "distributed_config": "it spreads the model over processes",
}
"""Keys of a configuration, and why they are refused."""


def check_part(folder: Path, stem: str | None) -> None:
    """Look through the folder of a model, or of a tokenizer or the like, which has no weights (`stem` None).

    Raises:
        EnsembleError: there is no such folder, it holds code or an adapter, its configuration asks for more than a
            model, or its weights are not safetensors; the message says which file and why.
    """
    if not folder.is_dir():
        raise EnsembleError(f"{folder}: no such folder")
    code = sorted(folder.glob("*.py"))
    if code:
        raise EnsembleError(f"{code[0]}: code is not run, and a part of a checkpoint needs none; remove it")
    if (folder / ADAPTER).exists():
        raise EnsembleError(
            f"{folder / ADAPTER}: an adapter can name a model that is fetched; merge it into the weights, and remove it"
        )
    if stem is not None:
        check_config(read_json(folder / CONFIG), str(folder / CONFIG))
        weight_files(folder, stem)


def check_config(config: Mapping[str, Any], where: str) -> None:
    """Raise `EnsembleError` for a key, inside of others too, at which a library fetches, runs or reads something."""
    for key, value in _entries(config):
        if key in KERNELS and value not in BUILT_IN:
            raise EnsembleError(
                f"{where}: {key} is {value!r}, a kernel that would be fetched and run; leave it out, or write 'sdpa'"
            )
        if key in REFUSED and value is not None:
            raise EnsembleError(f"{where}: {key} is refused: {REFUSED[key]}")


def _entries(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    waiting = [config]
    while waiting:
        for key, value in waiting.pop().items():
            yield key, value
            if isinstance(value, dict):
                waiting.append(value)
