"""Wrong translations are named by an encoder in the true format of a sentence encoder, and right ones are not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from emoe_audit.cli.main import cli
from emoe_audit.errors import AuditError
from emoe_audit.prompts.sentence_encoder import SentenceEncoder
from emoe_audit.prompts.translation_check import translation_faults
from tests.prompts.bert import READ, UNREAD, captions, make_bert


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bert(tmp_path_factory.mktemp("bert") / "model")


@pytest.fixture(scope="module")
def encoder(bert: Path) -> SentenceEncoder:
    return SentenceEncoder(str(bert), device="cpu")


def swapped(frame: pd.DataFrame, *languages: str) -> pd.DataFrame:
    """In each of some languages the captions 3, 7 and 11 say what the next of them says."""
    frame = frame.set_index("prompt_id")
    for language in languages:
        names = [f"{language}{n}" for n in (3, 7, 11)]
        frame.loc[names, "prompt"] = frame.loc[[*names[1:], names[0]], "prompt"].to_numpy()
    return frame.reset_index()


def test_vectors_are_those_of_transformers_one_text_at_a_time(bert: Path, encoder: SentenceEncoder) -> None:
    texts = ["a enword1", "deword2 deword3 deword4", "a enword1"]
    tokenizer, network = AutoTokenizer.from_pretrained(bert), AutoModel.from_pretrained(bert).eval()
    for text, vector in zip(texts, encoder.encode(texts), strict=True):
        with torch.no_grad():
            mean = network(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(dim=0).numpy()
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), rtol=1e-4, atol=1e-6)


def test_the_first_token_is_taken_where_the_folder_says_so(tmp_path: Path) -> None:
    folder = make_bert(tmp_path / "first", pooling="pooling_mode_cls_token")
    tokenizer, network = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        first = network(**tokenizer("a fiword5", return_tensors="pt")).last_hidden_state[0, 0].numpy()
    found = SentenceEncoder(str(folder), device="cpu").encode(["a fiword5"])[0]
    np.testing.assert_allclose(found, first / np.linalg.norm(first), rtol=1e-4, atol=1e-6)


def test_right_translations_are_not_doubted(encoder: SentenceEncoder) -> None:
    found = translation_faults(captions(), encoder.encode)
    assert found.rows.empty
    assert found.not_judged == (UNREAD,)


def test_swapped_translations_are_named_with_the_caption_that_they_are_of(encoder: SentenceEncoder) -> None:
    found = translation_faults(swapped(captions(), "fi", UNREAD), encoder.encode)
    assert found.rows.to_dict("records") == [
        {"prompt_id": f"fi{n}", "language": "fi", "source_id": f"c{n}", "read_as": f"c{other}"}
        for n, other in ((3, 7), (7, 11), (11, 3))
    ]


def test_captions_in_two_languages_are_not_judged(encoder: SentenceEncoder) -> None:
    frame = captions()
    found = translation_faults(frame[frame["language"].isin(READ[:2])], encoder.encode)
    assert found.rows.empty and found.not_judged == READ[:2]


def test_the_command_names_them(bert: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swapped(captions(), "fi").to_csv(tmp_path / "prompts.csv", index=False)
    words = ["prompts", "check", str(tmp_path / "prompts.csv"), "--encoder", str(bert), "--quiet", "--json"]
    cli.main(words, standalone_mode=False)
    said = capsys.readouterr()
    assert json.loads(said.out)["translation_warnings"] == 3
    assert "warning: fi3 (fi): reads as a translation of c7, not of c3" in said.err


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", {"model_type": "llama"}, "is a 'llama'; encoders of sentences that are read are bert"),
        (
            "modules.json",
            [{"type": "sentence_transformers.models.Dense"}],
            "has a part 'sentence_transformers.models.D",
        ),
        ("modules.json", {"type": "x"}, "modules.json: expected a list"),
        ("modules.json", ["x"], "has a part ''"),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "asks for pooling_mode_max_tokens; the mean"),
        ("tokenizer_config.json", {"model_max_length": "many"}, "not an encoder of sentences that can be read"),
    ],
)
def test_an_encoder_of_another_kind_is_refused(
    bert: Path, tmp_path: Path, file: str, content: object, message: str
) -> None:
    folder = shutil.copytree(bert, tmp_path / "other")
    (folder / file).write_text(json.dumps(content))
    with pytest.raises(AuditError, match=message):
        SentenceEncoder(str(folder), device="cpu")


def test_weights_that_are_no_safetensors_are_refused(bert: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(bert, tmp_path / "pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(AuditError, match=r"holds no model\.safetensors; only safetensors are read, never pickle"):
        SentenceEncoder(str(folder), device="cpu")
