"""Published readings, held against stub encoders that read as is published, in another order, and all alike."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from emoe_audit.analysis.readings import unit
from emoe_audit.cli.main import cli
from emoe_audit.errors import EnsembleError
from emoe_audit.experts import public_readers
from emoe_audit.experts.public_readers import RECALL, VIT_H, VIT_L, PublicReader, recognise
from emoe_audit.experts.text_encoders import read_text_encoders
from emoe_audit.prompts.shipped import shipped_captions
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.scoring.loading import load_engine
from emoe_audit.steps.published import PublishedReadings, compare_published
from emoe_audit.types import EnsembleSpec, ScoringConfig

WIDTH = 64
SCORING = ScoringConfig(n_noise=1, device="cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def engine(tiny_spec: EnsembleSpec) -> ScoringEngine:
    engine = load_engine(tiny_spec, SCORING)
    engine.ensemble = dataclasses.replace(engine.ensemble, public_reader=PublicReader(name=VIT_L, exact=True))
    return engine


def reading(recall: pd.Series) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """An encoder that reads what a caption means the more clearly, the higher the recall of its language."""
    rng, table = np.random.default_rng(0), shipped_captions()
    meant = {caption: unit(rng.normal(size=WIDTH)) for caption in table.index}
    vectors = {}
    for language in table.columns:
        clear = recall.get(language, recall.min())
        for caption, text in table[language].items():
            vectors[text] = clear * meant[caption] + (1 - clear) * unit(rng.normal(size=WIDTH))
    return lambda texts, _: (np.stack([vectors[text] for text in texts]).astype(np.float32),) * 2


def published() -> pd.Series:
    return pd.read_csv(RECALL, index_col="language")[VIT_L]


def compared(engine: ScoringEngine, recall: pd.Series, monkeypatch: pytest.MonkeyPatch) -> PublishedReadings:
    monkeypatch.setattr(engine, "read_with_states", reading(recall))
    return compare_published(engine)


def test_an_encoder_that_reads_as_is_published_follows_it(
    engine: ScoringEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = compared(engine, published(), monkeypatch)
    assert found.n_languages > 20
    assert found.rho.value < -0.9 and found.rho.side == found.given_tokens.side == "below"


def test_one_that_reads_in_another_order_does_not(engine: ScoringEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    true = published()
    orders = (np.random.default_rng(seed).permutation(len(true)) for seed in range(99))
    order = next(own for own in orders if abs(spearmanr(true, true.iloc[own]).statistic) < 0.02)
    scrambled = pd.Series(true.to_numpy()[order], true.index)
    assert compared(engine, scrambled, monkeypatch).rho.side == "unclear"


def test_one_that_reads_every_text_alike_has_no_number(engine: ScoringEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "read_with_states", lambda texts, _: (np.ones((len(texts), WIDTH), np.float32),) * 2)
    found = compare_published(engine)
    assert found.n_languages == 0 and found.to_json()["rho"] is None
    assert found.to_text().endswith("gives no language a number on this ensemble")


def test_an_encoder_that_is_no_public_one_says_what_to_write(tiny_spec: EnsembleSpec) -> None:
    with pytest.raises(EnsembleError, match=r"tiny: its text encoder is none .* `published: ViT-L-14/openai`"):
        compare_published(load_engine(tiny_spec, SCORING))


def test_the_yaml_may_say_which_it_is(tiny_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (tiny_copy / "ensemble.yaml").open("a") as spec:
        spec.write(f"published: {VIT_H}\n")
    words = ["ensemble", "check", str(tiny_copy), "--published", "--pairs", "1", "--n-noise", "1", "--device", "cpu"]
    cli.main([*words, "--quiet", "--json"], standalone_mode=False)
    told = json.loads(capsys.readouterr().out)
    assert told["default_score"] is None
    assert told["published"]["name"] == VIT_H and told["published"]["exact"] is False


def test_a_yaml_that_says_another_than_the_bytes_are_is_refused(
    tiny_spec: EnsembleSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = read_text_encoders(Path(tiny_spec.base.source))
    monkeypatch.setattr(public_readers, "_digest", lambda _where: next(iter(public_readers.FILES)))
    with pytest.raises(EnsembleError, match="is ViT-L-14/openai, byte for byte, and not ViT-H-14"):
        recognise(texts, VIT_H)
    assert recognise(texts, VIT_L) == PublicReader(name=VIT_L, exact=True)
