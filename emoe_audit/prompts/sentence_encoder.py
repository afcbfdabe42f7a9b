"""A multilingual sentence encoder: texts of all its languages in one space, through transformers.

Such encoders (multilingual E5, the multilingual ones of sentence-transformers) are a plain encoder and a way to make
one vector of its tokens' states: the state of the first token, or the mean over all. A folder of sentence-transformers
says which in `1_Pooling/config.json`; where nothing is said it is the mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from emoe_audit.analysis.readings import read_once
from emoe_audit.errors import AuditError
from emoe_audit.progress import Progress, silent
from emoe_audit.prompts.model_folder import ONLY_HERE, WEIGHTS, model_folder
from emoe_audit.readers.documents import read_json, read_json_object

KINDS = ("bert", "distilbert", "mpnet", "xlm-roberta")
"""What such encoders are, as `model_type` of their configuration."""
FILES = ("*.json", "1_Pooling/*.json", "*.model", "*.txt", WEIGHTS)
"""Of a repository on the hub."""
MODULES, POOLING = "modules.json", Path("1_Pooling", "config.json")
READ = ("Transformer", "Pooling", "Normalize")
"""Parts of a folder of sentence-transformers that are read, by the ends of their types."""
BATCH_SIZE, LONGEST = 64, 512
WAY_OUT = "only safetensors are read, never pickle; take a revision of {model} that has them"


class SentenceEncoder:
    """One encoder."""

    def __init__(self, model: str, *, device: str = "auto") -> None:
        """Load an encoder.

        Args:
            model: A folder, a hub id or `ID@REVISION`.
            device: `auto`, `cpu`, `cuda` or `mps`.

        Raises:
            AuditError: the model cannot be found or read, or is no encoder of sentences.
        """
        from transformers import AutoModel, AutoTokenizer
        from transformers.utils import logging

        from emoe_audit.experts.devices import resolve_device
        from emoe_audit.experts.part_files import check_part
        from emoe_audit.experts.sources import TEXT_ENCODER_STEM

        self.model = model
        folder = model_folder(model, FILES, WAY_OUT)
        logging.disable_progress_bar()
        self._device = resolve_device(device)
        check_part(folder, TEXT_ENCODER_STEM)
        kind = read_json_object(folder / "config.json", AuditError).get("model_type")
        if kind not in KINDS:
            raise AuditError(f"{model}: is a {kind!r:.40}; encoders of sentences that are read are {', '.join(KINDS)}")
        self._takes_first = _takes_first(folder, model)
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, **ONLY_HERE)
            network, info = AutoModel.from_pretrained(
                folder, use_safetensors=True, output_loading_info=True, **ONLY_HERE
            )
            self._longest = min(LONGEST, int(self._tokenizer.model_max_length))
        except Exception as error:  # transformers and tokenizers raise what they like for a broken file
            raise AuditError(f"{model}: not an encoder of sentences that can be read: {error}") from error
        missing = [key for key in info["missing_keys"] if not key.startswith("pooler.")]
        if missing:
            raise AuditError(f"{model}: weights are missing, as {min(missing)}; fetch or convert it again")
        self._network = network.to(self._device).eval()

    def encode(self, texts: Sequence[str], progress: Progress = silent) -> np.ndarray:
        """The vectors at length 1, `[text, state]`; equal texts are read once, long ones are cut."""
        return read_once(texts, self._of, BATCH_SIZE, progress)

    def _of(self, texts: list[str]) -> np.ndarray:
        import torch
        from torch.nn.functional import normalize

        batch = self._tokenizer(texts, padding=True, truncation=True, max_length=self._longest, return_tensors="pt").to(
            self._device
        )
        with torch.inference_mode():
            states = self._network(**batch).last_hidden_state.float()
        shown = batch["attention_mask"][:, :, None].float()
        pooled = states[:, 0] if self._takes_first else (states * shown).sum(dim=1) / shown.sum(dim=1)
        vectors: np.ndarray = normalize(pooled, dim=1).cpu().numpy()
        return vectors


def _takes_first(folder: Path, model: str) -> bool:
    """Whether a text's vector is the state of its first token. Raises `AuditError` where it is made in another way."""
    if (folder / MODULES).is_file():
        parts = read_json(folder / MODULES, AuditError)
        if not isinstance(parts, list):
            raise AuditError(f"{folder / MODULES}: expected a list of parts")
        types = [str(part.get("type")) if isinstance(part, dict) else "" for part in parts]
        other = next((own for own in types if own.rpartition(".")[2] not in READ), None)
        if other is not None:
            raise AuditError(f"{model}: has a part {other!r:.60}; an encoder and a mean of its tokens are read")
    if not (folder / POOLING).is_file():
        return False
    pooling = read_json_object(folder / POOLING, AuditError)
    ways = {name for name, on in pooling.items() if name.startswith("pooling_mode") and on is True}
    if ways not in ({"pooling_mode_cls_token"}, {"pooling_mode_mean_tokens"}):
        raise AuditError(
            f"{folder / POOLING}: asks for {', '.join(sorted(ways)) or 'nothing'}; the mean over tokens or "
            "the first token is read"
        )
    return ways == {"pooling_mode_cls_token"}
