"""One CLIP tokenizer for every plan, trained on an even sample of all languages.

A BPE trained on the skewed captions would break starved languages into more pieces, and coverage could then be read
off the token count. The vocabulary holds all 256 byte symbols and their 256 word-final forms, so no text maps to the
unknown token (which in CLIP is end-of-text); the two special tokens come last, so pooling at the largest id finds the
end.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import CLIPTokenizer

VOCAB_SIZE = 8192
MAX_LENGTH = 32
START, END = "<|startoftext|>", "<|endoftext|>"
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def train_tokenizer(captions: pd.DataFrame, folder: Path) -> CLIPTokenizer:
    """Train on every caption of `captions` `[concept, language]` and save to `folder` as published checkpoints do."""
    if not (folder / "merges.txt").exists():
        merges = _learn_merges(_even_sample(captions))
        folder.mkdir(parents=True, exist_ok=True)
        _write_clip_files(merges, folder)
    return load_tokenizer(folder)


def load_tokenizer(folder: Path) -> CLIPTokenizer:
    """Read `vocab.json` and `merges.txt`."""
    return CLIPTokenizer(
        vocab=str(folder / "vocab.json"), merges=str(folder / "merges.txt"), model_max_length=MAX_LENGTH
    )


def _even_sample(captions: pd.DataFrame) -> list[str]:
    """The same number of characters of each language, whole captions."""
    sizes = captions.map(len).sum()
    budget = int(sizes.min())
    rng = np.random.default_rng(0)
    texts: list[str] = []
    for language in captions:
        shuffled = captions[language].to_numpy()[rng.permutation(len(captions))]
        texts.extend(shuffled[np.cumsum([len(t) for t in shuffled]) <= budget])
    return texts


def _learn_merges(texts: list[str]) -> list[str]:
    tokenizer = Tokenizer(BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = BpeTrainer(
        vocab_size=VOCAB_SIZE,
        end_of_word_suffix="</w>",
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [" ".join(pair) for pair in merges]


def _write_clip_files(merges: list[str], folder: Path) -> None:
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = symbols + [f"{s}</w>" for s in symbols]
    kept = merges[: VOCAB_SIZE - len(pieces) - 2]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces + [m.replace(" ", "") for m in kept]))}
    vocab |= {START: len(vocab), END: len(vocab) + 1}
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(kept) + "\n", encoding="utf-8")
    (folder / "special_tokens_map.json").write_text(
        json.dumps({"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END})
    )
    (folder / "tokenizer_config.json").write_text(
        json.dumps(
            {
                "tokenizer_class": "CLIPTokenizer",
                "model_max_length": MAX_LENGTH,
                "bos_token": START,
                "eos_token": END,
                "pad_token": END,
                "unk_token": END,
                "do_lower_case": True,
            },
            indent=2,
        )
    )
