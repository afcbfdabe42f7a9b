"""Which public text encoder it is, known by its bytes or by its design alone, and what is published of it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from emoe_audit.experts import public_readers
from emoe_audit.experts.ensemble import load_ensemble
from emoe_audit.experts.public_readers import (
    DESIGNS,
    FILES,
    VIT_BIG_G,
    VIT_H,
    VIT_L,
    PublicReader,
    published_recall,
    recognise,
)
from emoe_audit.experts.single_file import CONFIGS
from emoe_audit.experts.sources import read_json
from emoe_audit.experts.text_encoders import read_text_encoders
from emoe_audit.runs.tables import PUBLIC_READERS
from emoe_audit.types import EnsembleSpec


def design_of(config: dict[str, object]) -> tuple[object, ...]:
    keys = ("hidden_size", "num_hidden_layers", "num_attention_heads", "hidden_act", "vocab_size")
    return tuple(config[key] for key in keys)


@pytest.mark.parametrize(
    ("family", "part", "name"),
    [
        ("sd1", "text_encoder", VIT_L),
        ("sd2-512", "text_encoder", VIT_H),
        ("sd2-768", "text_encoder", VIT_H),
        ("sdxl", "text_encoder", VIT_L),
        ("sdxl", "text_encoder_2", VIT_BIG_G),
    ],
)
def test_the_designs_are_those_of_the_published_configurations(family: str, part: str, name: str) -> None:
    assert DESIGNS[design_of(read_json(CONFIGS / family / part / "config.json"))] == name  # type: ignore[index]


def test_an_encoder_of_another_design_is_none(tiny_spec: EnsembleSpec) -> None:
    assert load_ensemble(tiny_spec, device="cpu").public_reader is None


def test_the_same_bytes_are_the_encoder_and_others_are_of_its_design(
    tiny_spec: EnsembleSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(tiny_spec.base.source)
    texts = read_text_encoders(folder)
    design = design_of(read_json(folder / "text_encoder" / "config.json"))
    monkeypatch.setattr(public_readers, "DESIGNS", {design: VIT_L})
    assert recognise(texts) == PublicReader(name=VIT_L, exact=False)
    digest = hashlib.sha256((folder / "text_encoder" / "model.safetensors").read_bytes()).hexdigest()
    monkeypatch.setattr(public_readers, "FILES", {digest: VIT_H})
    assert recognise(texts) == PublicReader(name=VIT_H, exact=True)


def test_every_name_has_its_readings_and_is_one_that_a_run_may_keep() -> None:
    named = {*DESIGNS.values(), *FILES.values()}
    assert named == {*PUBLIC_READERS} == {*public_readers.PUBLIC_READERS}
    assert named <= {*pd.read_csv(public_readers.RECALL).columns[1:]}


@pytest.mark.parametrize(
    ("tag", "recall"),
    [
        ("en", 0.8514),
        ("de", 0.6558),
        ("pt-BR", 0.5933),
        ("zh", 0.065),
        ("zh-Hans", 0.065),
        ("nb", 0.2269),
        ("no", 0.2269),
        ("tl", 0.1528),
        ("qu", 0.0556),
    ],
)
def test_a_language_has_the_figure_of_the_published_table(tag: str, recall: float) -> None:
    """As it stands in open_clip's table of multilingual retrieval, under `ViT-H-14/laion2b_s32b_b79k`."""
    assert published_recall(VIT_H, [tag])[tag] == recall


@pytest.mark.parametrize("tag", ["und", "zh-Hant", "cy", "x-klingon"])
def test_what_was_not_measured_has_no_figure(tag: str) -> None:
    assert published_recall(VIT_H, [tag]).empty
