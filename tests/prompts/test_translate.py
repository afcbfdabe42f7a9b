"""Machine translation with a real Marian model of random weights: against transformers one caption at a time."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file
from transformers import MarianMTModel, MarianTokenizer

from emoe_audit.errors import AuditError, MissingPackageError
from emoe_audit.prompts.shipped import shipped_captions
from emoe_audit.prompts.table import PromptTable, check_rows
from emoe_audit.prompts.translate import Translator, models_by_target, translate
from tests.prompts.marian import MAX_TOKENS, make_marian

TARGETS = (">>fra<<", ">>pt_br<<")


@pytest.fixture(scope="module")
def marian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_marian(tmp_path_factory.mktemp("marian") / "en-fi")


@pytest.fixture(scope="module")
def multilingual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_marian(tmp_path_factory.mktemp("marian") / "en-romance", targets=TARGETS)


def table(*rows: dict[str, str]) -> PromptTable:
    return check_rows(((line, dict(row)) for line, row in enumerate(rows, start=2)), "prompts.csv")


def captions(n: int) -> PromptTable:
    texts = shipped_captions()["en"].head(n)
    return table(*({"prompt_id": str(key), "prompt": text, "language": "en"} for key, text in texts.items()))


def one_by_one(folder: Path, texts: list[str]) -> list[str]:
    """What transformers' own model and tokenizer give, one text at a time."""
    tokenizer, model = MarianTokenizer.from_pretrained(folder), MarianMTModel.from_pretrained(folder)
    found = [model.generate(**tokenizer(text, return_tensors="pt"), num_beams=4, do_sample=False) for text in texts]
    return [tokenizer.decode(ids[0], skip_special_tokens=True).strip() for ids in found]


def test_translations_are_those_of_transformers_one_by_one(marian: Path) -> None:
    source = captions(12)
    translated = translate(source, ["fi"], models={"fi": str(marian)}, device="cpu", batch_size=5).frame
    new = translated[translated["language"] == "fi"]
    expected = one_by_one(marian, source.frame["prompt"].tolist())
    assert new["prompt"].tolist() == expected
    assert len(set(expected)) > 6, "the model says something of its own to each"


def test_every_row_says_that_a_machine_made_it_and_which(marian: Path) -> None:
    source = table({"prompt_id": "1", "source_id": "dog", "prompt": "dog face", "language": "en", "region": "GB"})
    frame = translate(source, ["fi", "de"], models={"": str(marian)}, device="cpu").frame
    assert frame["prompt_id"].tolist() == ["1", "dog-fi", "dog-de"]
    assert frame["translation_source"].fillna("").tolist() == ["", f"machine: {marian}", f"machine: {marian}"]
    assert set(frame["parallel"]) == {"translation"}
    assert set(frame["source_prompt"]) == {"dog face"}
    assert set(frame["region"]) == {"GB"}


def test_a_caption_is_translated_from_english_and_only_where_it_is_lacking(marian: Path) -> None:
    rows = [("dog", "de", "Hundegesicht"), ("dog", "en", "dog face"), ("cat", "en", "cat"), ("cat", "fi", "kissa")]
    source = table(*({"source_id": s, "language": tag, "prompt": text} for s, tag, text in rows))
    frame = translate(source, ["fi"], models={"fi": str(marian)}, device="cpu").frame
    finnish = frame[frame["language"] == "fi"].set_index("source_id")["prompt"]
    assert finnish.to_dict() == {"cat": "kissa", "dog": one_by_one(marian, ["dog face"])[0]}


def test_the_same_captions_give_the_same_translations_whatever_the_batch(marian: Path) -> None:
    frames = [
        translate(captions(9), ["fi"], models={"fi": str(marian)}, device="cpu", batch_size=size).frame
        for size in (1, 4, 9)
    ]
    pd.testing.assert_frame_equal(frames[0], frames[1])
    pd.testing.assert_frame_equal(frames[0], frames[2])


def test_progress_counts_captions(marian: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    translate(
        captions(5),
        ["fi"],
        models={"fi": str(marian)},
        device="cpu",
        batch_size=2,
        progress=lambda *now: seen.append(now),
    )
    assert seen == [("translating to fi", done, 5) for done in (0, 2, 4, 5)]


def test_a_caption_that_the_model_would_cut_is_left_out_and_said(marian: Path) -> None:
    source = table(
        {"prompt_id": "long", "prompt": "hourglass " * MAX_TOKENS, "language": "en"},
        {"prompt_id": "short", "prompt": "hourglass", "language": "en"},
    )
    translated = translate(source, ["fi"], models={"fi": str(marian)}, device="cpu")
    assert translated.frame["prompt_id"].tolist() == ["long", "short", "short-fi"]
    (error,) = translated.row_errors
    assert error.message == f"machine: {marian}: long is left out: it is too long for the model"


@pytest.mark.parametrize(("target", "code"), [("fr", ">>fra<<"), ("pt-BR", ">>pt_br<<")])
def test_a_model_of_several_targets_is_told_which(multilingual: Path, target: str, code: str) -> None:
    translator = Translator(str(multilingual), target, device="cpu")
    assert translator.translate(["dog face"]) == one_by_one(multilingual, [f"{code} dog face"])


def test_a_target_that_the_model_does_not_know_is_refused(multilingual: Path) -> None:
    with pytest.raises(
        AuditError, match=r"does not translate to fi \(Finnish\), but to fra, pt_br; name another model"
    ):
        Translator(str(multilingual), "fi", device="cpu")


def test_pickled_weights_are_refused_with_the_way_out(marian: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(marian, tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(AuditError, match=r"holds no model.safetensors; only safetensors are read.*save_pretrained"):
        Translator(str(folder), "fi", device="cpu")


@pytest.mark.parametrize(("file", "key", "value"), [
    ("config.json", "encoder_ffn_dim", "nan"),
    ("tokenizer_config.json", "added_tokens_decoder", []),
    ("tokenizer_config.json", "model_max_length", "many"),
])  # fmt: skip
def test_a_value_of_another_type_is_no_traceback(
    marian: Path, tmp_path: Path, file: str, key: str, value: object
) -> None:
    folder = shutil.copytree(marian, tmp_path / "broken")
    (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | {key: value}))
    with pytest.raises(AuditError, match=r"broken: not a Marian model that can be read"):
        Translator(str(folder), "fi", device="cpu")


@pytest.mark.parametrize("broken", ["config.json", "vocab.json", "source.spm", "model.safetensors"])
def test_a_folder_that_is_broken_is_no_traceback(marian: Path, tmp_path: Path, broken: str) -> None:
    folder = shutil.copytree(marian, tmp_path / "broken")
    (folder / broken).write_bytes(b"{")
    with pytest.raises(AuditError, match=r"broken: not a Marian model that can be read"):
        Translator(str(folder), "fi", device="cpu")


def test_a_model_that_asks_for_a_kernel_or_for_pickled_shards_is_refused(marian: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(marian, tmp_path / "asking"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"attn_implementation": "org/kernel"}))
    with pytest.raises(AuditError, match="attn_implementation is 'org/kernel', a kernel that would be fetched and run"):
        Translator(str(folder), "fi", device="cpu")
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").rename(folder / "model.bin")
    index = {"metadata": {}, "weight_map": {"model.shared.weight": "model.bin"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "model-00001-of-00001.safetensors").write_bytes(b"")
    with pytest.raises(AuditError, match=r"weight_map names model\.bin, which is no safetensors file"):
        Translator(str(folder), "fi", device="cpu")


def test_weights_that_are_missing_are_not_made_up(marian: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(marian, tmp_path / "torn")
    weights = load_file(folder / "model.safetensors")
    lost = next(key for key in weights if key.endswith("fc1.weight"))
    save_file({key: weight for key, weight in weights.items() if key != lost}, folder / "model.safetensors")
    with pytest.raises(AuditError, match=rf"torn: weights are missing, as {lost}; fetch or convert it again"):
        Translator(str(folder), "fi", device="cpu")


def test_the_default_model_is_fetched_by_source_and_target_without_pickle(
    marian: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None, list[str]]] = []

    def fetch(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision, allow_patterns))
        return str(marian)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    frame = translate(captions(1), ["fi"], device="cpu").frame
    translate(captions(1), ["de"], models={"de": "a/b@abc"}, device="cpu")
    assert frame["translation_source"].iloc[1] == "machine: Helsinki-NLP/opus-mt-en-fi"
    assert [own[:2] for own in asked] == [("Helsinki-NLP/opus-mt-en-fi", None), ("a/b", "abc")]
    assert not [pattern for _, _, patterns in asked for pattern in patterns if pattern.endswith((".bin", "*"))]


@pytest.mark.parametrize(
    ("to", "models", "message"),
    [
        (["finnish!"], {}, "'finnish!' is not a BCP-47 language tag"),
        (["fi"], {"de": "a/b"}, "a model is named for 'de', but nothing is translated to it; add it to --to"),
        (["fi"], {"fi": "/nowhere/model"}, "/nowhere/model: no such folder, and not a hub id"),
    ],
)
def test_wrong_use_is_said(to: list[str], models: dict[str, str], message: str) -> None:
    with pytest.raises(AuditError, match=message):
        translate(captions(1), to, models=models, device="cpu")


def test_a_prompt_without_a_language_cannot_be_translated(marian: Path) -> None:
    with pytest.raises(AuditError, match="prompt row-2 has no language; add a column 'language'"):
        translate(table({"prompt": "dog"}), ["fi"], models={"fi": str(marian)}, device="cpu")


def test_models_are_named_for_one_language_or_for_all() -> None:
    assert models_by_target(["fi=a/b", "c/d"]) == {"fi": "a/b", "": "c/d"}
    assert models_by_target(["/data/x=y/model"]) == {"": "/data/x=y/model"}
    with pytest.raises(AuditError, match="two models are named for fi; write fi=MODEL"):
        models_by_target(["fi=a/b", "fi=c/d"])
    with pytest.raises(AuditError, match="two models are named for all languages"):
        models_by_target(["a/b", "c/d"])


def test_a_missing_package_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sacremoses" else found(name))
    with pytest.raises(MissingPackageError, match=r"needs sacremoses; install it: pip install 'emoe-audit\[translat"):
        translate(captions(1), ["fi"])


def test_importing_it_loads_neither_torch_nor_transformers() -> None:
    heavy = "{'torch', 'transformers', 'sentencepiece'}"
    check = f"import sys, emoe_audit.prompts.translate; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True)
