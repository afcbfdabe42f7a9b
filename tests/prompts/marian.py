"""A small Marian model of random weights, in a folder as Opus-MT's are."""

from __future__ import annotations

import json
from pathlib import Path

import sentencepiece
import torch
from transformers import MarianConfig, MarianMTModel, MarianTokenizer

from emoe_audit.prompts.shipped import shipped_captions

MAX_TOKENS = 24


def make_marian(folder: Path, *, targets: tuple[str, ...] = ()) -> Path:
    """A Marian model with a sentencepiece model trained on the captions that ship, as Opus-MT's folders are."""
    folder.mkdir()
    texts = shipped_captions()[["en", "de"]].stack().astype(str).tolist()
    for side in ("source", "target"):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_prefix=str(folder / side), vocab_size=200, minloglevel=2
        )
        (folder / f"{side}.model").rename(folder / f"{side}.spm")
        (folder / f"{side}.vocab").unlink()
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
    own = [pieces.id_to_piece(i) for i in range(3, pieces.get_piece_size())]
    words = ["</s>", "<unk>", *targets, *own, "<pad>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    tokenizer = MarianTokenizer(*(str(folder / name) for name in ("source.spm", "target.spm", "vocab.json")))
    tokenizer.save_pretrained(folder)
    _network(len(words)).save_pretrained(folder)
    return folder


def _network(n_words: int) -> MarianMTModel:
    torch.manual_seed(0)
    pad = n_words - 1
    sizes = {f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in (("layers", 1), ("ffn_dim", 32))}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    ids = {"pad_token_id": pad, "eos_token_id": 0, "decoder_start_token_id": pad, "forced_eos_token_id": 0}
    config = MarianConfig(
        vocab_size=n_words, d_model=16, max_position_embeddings=MAX_TOKENS, init_std=1.0, **sizes, **heads, **ids
    )
    model = MarianMTModel(config)
    model.generation_config.max_length = 12
    model.generation_config.bad_words_ids = [[pad]]
    return model
