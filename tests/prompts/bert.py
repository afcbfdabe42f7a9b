"""A small multilingual sentence encoder, in a folder as sentence-transformers writes it: meanings are planted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

READ, UNREAD = ("de", "en", "fi", "ja"), "xx"
N_CAPTIONS, WIDTH = 40, 32


def word(language: str, caption: int) -> str:
    """How a language says a caption."""
    return f"{language}word{caption}"


def captions() -> pd.DataFrame:
    """A table in which every caption stands in every language."""
    rows = [(f"{lang}{n}", f"c{n}", lang, f"a {word(lang, n)}") for n in range(N_CAPTIONS) for lang in (*READ, UNREAD)]
    return pd.DataFrame(rows, columns=["prompt_id", "source_id", "language", "prompt"])


def make_bert(folder: Path, *, pooling: str = "pooling_mode_mean_tokens") -> Path:
    """Words of one caption are near each other in the languages `READ`, and anywhere in `UNREAD`."""
    folder.mkdir(parents=True)
    words = [word(lang, n) for lang in (*READ, UNREAD) for n in range(N_CAPTIONS)]
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    BertTokenizerFast(str(folder / "vocab.txt"), model_max_length=16).save_pretrained(folder)
    rng = np.random.default_rng(0)
    meant, heard = rng.normal(size=(N_CAPTIONS, WIDTH)), rng.normal(size=(len(READ) + 1, WIDTH))
    noise = rng.normal(size=(len(READ) + 1, N_CAPTIONS, WIDTH))
    planted = np.concatenate([meant + 0.3 * noise[:-1] + heard[:-1, None], noise[-1:] + heard[-1]])
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    torch.manual_seed(0)
    network = BertModel(BertConfig(vocab_size=len(vocabulary), max_position_embeddings=16, **sizes))
    with torch.no_grad():
        for parameter in (*network.encoder.parameters(), *network.embeddings.position_embeddings.parameters()):
            parameter.mul_(0.1)
        network.embeddings.word_embeddings.weight[6:] = torch.from_numpy(planted.reshape(-1, WIDTH)).float()
    network.save_pretrained(folder)
    parts = [("", "models.Transformer"), ("1_Pooling", "models.Pooling"), ("2_Normalize", "models.Normalize")]
    listed = [{"path": path, "type": f"sentence_transformers.{kind}"} for path, kind in parts]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    ways = dict.fromkeys(("pooling_mode_mean_tokens", "pooling_mode_cls_token", "pooling_mode_max_tokens"), False)
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": WIDTH, **ways, pooling: True})
    )
    return folder
