"""How often the check calls a score valid that knows nothing: encoders of random weights, and scores that rest on them.

The captions are those that ship, in forty languages; tokens are CLIP's own. An encoder is a small CLIP text model of
random weights. From each come the translation score and two scores of single texts, the disagreement of four random
experts and its relative form; beside these stand a hash of the text and a constant.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
import pandas as pd
import pytest
from open_clip.tokenizer import SimpleTokenizer

from emoe_audit.analysis.calibration import Calibration
from emoe_audit.analysis.familiarity import UNFAMILIARITY, Familiarity
from emoe_audit.analysis.readings import Readings
from emoe_audit.prompts.shipped import shipped_captions
from emoe_audit.validity.alone import check_alone
from emoe_audit.validity.check import draw
from emoe_audit.validity.evidence import compare
from emoe_audit.validity.outcome import ScoreCheck
from emoe_audit.validity.probes import Pair, make_pairs
from emoe_audit.validity.translated import check_translations
from tests.benchmarks.random_reader import SMALL, RandomReader
from tests.benchmarks.record import merge_record

N_ENCODERS = 60
WIDTH = SMALL["hidden_size"]
PARTS = 4
"""Sets of captions and pairs, so that placebos do not all share one."""


def scores_of_texts(reader: RandomReader, pairs: list[Pair]) -> dict[str, ScoreCheck]:
    """Scores that see one text: by experts that are random maps of the reading, by the text's hash, and none."""
    texts = list(dict.fromkeys(text for pair in pairs for text in pair.texts))
    experts = np.random.default_rng(reader.seed).normal(size=(4, WIDTH, WIDTH)) / np.sqrt(WIDTH)
    features = np.tanh(np.einsum("td,edf->etf", reader.read(texts), experts))
    disagreement = features.var(axis=0, ddof=1).mean(axis=1)
    values = {
        "disagreement": disagreement,
        "relative_disagreement": disagreement / (features**2).mean(axis=(0, 2)),
        "hash": np.array([zlib.crc32(f"{reader.seed} {text}".encode()) for text in texts], dtype=np.float64),
        "constant": np.ones(len(texts)),
    }
    by_text = pd.DataFrame(values, index=texts)
    return {
        name: ScoreCheck(
            name=name,
            probes=compare(pairs, *(own[[pair.texts[half] for pair in pairs]].to_numpy() for half in range(3))),
        )
        for name, own in by_text.items()
    }


def translation_score(reader: RandomReader, captions: pd.DataFrame, pairs: list[Pair]) -> ScoreCheck:
    """With all languages believed alike: the calibration's own refusal of random encoders is not what is tested."""
    long = captions.melt(ignore_index=False, var_name="language", value_name="text")
    fitted = Calibration.fit(
        Readings(
            vectors=reader.read(long["text"].to_list()),
            languages=long["language"].to_list(),
            sources=long.index.to_list(),
        )
    )
    fitted.__dict__["weights"] = np.full(len(fitted.languages), 1 / len(fitted.languages))
    return ScoreCheck(name="translation", probes=check_translations(reader, fitted, captions, pairs))  # type: ignore[arg-type]


def one_language_score(reader: RandomReader, captions: pd.DataFrame, language: str) -> ScoreCheck:
    """The score for prompts in one language."""
    known = Familiarity.fit(reader.states(captions[language].to_list()), [language] * len(captions))
    return ScoreCheck(name=UNFAMILIARITY, probes=check_alone(reader, known, captions))  # type: ignore[arg-type]


def measure(n_encoders: int, first_seed: int = 0) -> list[dict[str, Any]]:
    """A row per kind of placebo, with how many of them hold, and how many are turned."""
    tokenizer, shipped = SimpleTokenizer(), shipped_captions()
    signs: list[tuple[str, str]] = []
    for part in range(PARTS):
        seeds = range(first_seed + part, first_seed + n_encoders, PARTS)
        readers = [RandomReader(seed=seed, tokenizer=tokenizer, sizes=SMALL) for seed in seeds]
        known = Calibration(languages=tuple(shipped), means=np.empty(0), cosines=np.empty(0), alike=1.0)
        captions = draw(shipped, known, seed=part)
        words = {name: {word for text in shipped[name] for word in text.casefold().split()} for name in captions}
        pairs = make_pairs(captions, words, readers[0].count, n_per_language=3, seed=part)
        for reader in readers:
            alone = one_language_score(reader, shipped, list(shipped)[reader.seed % len(shipped.columns)])
            found = scores_of_texts(reader, pairs) | {"translation": translation_score(reader, captions, pairs)}
            found[UNFAMILIARITY] = alone
            signs += [(name, own.sign) for name, own in found.items()]
    table = pd.DataFrame(signs, columns=["placebo", "sign"])
    return [
        {"placebo": str(name), "n": len(own)} | {sign: int((own == sign).sum()) for sign in ("holds", "turned")}
        for name, own in table.groupby("placebo")["sign"]
    ]


@pytest.mark.benchmark
@pytest.mark.timeout(0)
def test_placebos_do_not_hold() -> None:
    rows = measure(N_ENCODERS)
    rate = sum(row["holds"] for row in rows) / sum(row["n"] for row in rows)
    merge_record("statistics", "check placebo", {"placebo_hold_rate": rate}, rows)
    assert sum(row["n"] for row in rows if row["placebo"] != "constant") >= 200
    assert rate <= 0.05
    assert all(row["holds"] / row["n"] <= 0.1 for row in rows)
