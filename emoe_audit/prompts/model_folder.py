"""Where the files of a language model are: a folder, or what is fetched of a hub id."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emoe_audit.errors import AuditError

ONLY_HERE: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""How a folder is loaded: nothing is fetched for it, and no code in it is run."""
WEIGHTS = "model*.safetensors"


def model_folder(model: str, files: Sequence[str], way_out: str) -> Path:
    """Where the files of a model are; those of a hub id are fetched.

    Args:
        model: A folder, a hub id or `ID@REVISION`.
        files: Patterns of what is fetched.
        way_out: What to do where its weights are not safetensors; `{model}` stands for the hub id.

    Raises:
        AuditError: there is no such folder or repository, or it holds no safetensors.
    """
    folder, (name, _, revision) = Path(model), model.partition("@")
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        from emoe_audit.experts.sources import asking_the_hub
        from emoe_audit.experts.spec_reader import HUB_ID

        if not HUB_ID.fullmatch(name):
            raise AuditError(f"{model}: no such folder, and not a hub id (org/name)")
        with asking_the_hub(model):
            folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=list(files)))
    if not any(folder.glob(WEIGHTS)):
        raise AuditError(f"{model}: holds no model.safetensors; {way_out.format(model=name)}")
    return folder
