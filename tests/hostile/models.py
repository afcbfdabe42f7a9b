"""Models: one that abstains, one that translates, and one that reads sentences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tests.hostile.readers import Fault, Reader, alter_of, copied

OF_A_TRANSLATOR = ("config.json", "source.spm", "tokenizer_config.json", "vocab.json", "model.safetensors")

OF_AN_ENCODER = (
    *("config.json", "modules.json", "1_Pooling/config.json", "tokenizer.json", "tokenizer_config.json"),
    "model.safetensors",
)


def model_readers(kept: Path) -> Iterator[Reader]:
    """Each file of their folders."""
    yield from _abstainers(kept / "abstainer")
    yield from _translators(kept / "translator")
    yield from _encoders(kept / "encoder")


def _abstainers(kept: Path) -> Iterator[Reader]:
    from emoe_audit.abstain.abstainer import Abstainer
    from emoe_audit.abstain.files import load_abstainer, save_abstainer
    from tests.abstain.made import made_features

    if not kept.exists():
        kept.mkdir(parents=True)
        save_abstainer(Abstainer.fit(made_features(), n_labellers=8, ensemble_hash="e" * 64), kept / "model")

    def decide(folder: Path) -> Any:
        return load_abstainer(folder / "model").decide(made_features(seed=4))

    for file in sorted(own.relative_to(kept) for own in kept.rglob("*") if own.is_file()):
        yield Reader(
            name=str(file),
            make=copied(kept),
            file=str(file),
            alter=alter_of(file),
            read=decide,
            weight=20,
            fault=fault_of_decisions,
            after=rehash,
        )


def fault_of_decisions(decided: pd.DataFrame, _file: Path) -> Fault:
    """Every decision rests on numbers."""
    numbers = decided.select_dtypes("number").to_numpy(dtype=float)
    return None if np.isfinite(numbers).all() else "a decision rests on what is no number"


def rehash(folder: Path) -> None:
    """Give a model's other files the hashes that they have now, as somebody who alters a model would."""
    about = folder / "model" / "model.json"
    try:
        model = json.loads(about.read_text(encoding="utf-8"))
        model["tensors_sha256"] = hashlib.sha256((about.parent / "tensors.safetensors").read_bytes()).hexdigest()
        about.write_text(json.dumps(model), encoding="utf-8")
    except (ValueError, KeyError, TypeError, OSError, AttributeError):
        return


def _translators(kept: Path) -> Iterator[Reader]:
    from emoe_audit.prompts.translate import Translator

    if not kept.exists():
        from tests.prompts.marian import make_marian

        kept.mkdir(parents=True)
        make_marian(kept / "model")

    def translated(folder: Path) -> list[str]:
        return Translator(str(folder / "model"), "fi", device="cpu").translate(["a dog"])

    for name in OF_A_TRANSLATOR:
        yield Reader(
            name=f"translator/{name}",
            make=copied(kept),
            file=f"model/{name}",
            alter=alter_of(name),
            read=translated,
            weight=2,
            fault=lambda texts, _file: None if [type(text) for text in texts] == [str] else "not a translation a text",
        )


def _encoders(kept: Path) -> Iterator[Reader]:
    from emoe_audit.prompts.sentence_encoder import SentenceEncoder

    if not kept.exists():
        from tests.prompts.bert import make_bert

        make_bert(kept / "model")

    def read(folder: Path) -> np.ndarray:
        return SentenceEncoder(str(folder / "model"), device="cpu").encode(["a enword3"])

    for name in OF_AN_ENCODER:
        yield Reader(
            name=f"encoder/{name}",
            make=copied(kept),
            file=f"model/{name}",
            alter=alter_of(Path(name).name),
            read=read,
            weight=2,
            fault=lambda vectors, _file: None if np.isfinite(vectors).all() else "a text is read as what is no number",
        )
