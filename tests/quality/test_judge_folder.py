"""A judge that somebody hands over: open_clip alone would run it and fetch for it, and here it is refused."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import transformers
from safetensors.torch import load_file

from emoe_audit.errors import QualityError
from emoe_audit.experts.spec import load_spec
from emoe_audit.quality.clip_score import ClipJudge
from emoe_audit.quality.judge_folder import CONFIG, KEYS, TOKENIZER_CONFIG, read_judge_config
from emoe_audit.types import EnsembleSpec

EVIL = """
from pathlib import Path
from transformers import CLIPTokenizer
Path({mark!r}).write_text("ran")
class Evil(CLIPTokenizer):
    pass
"""


@pytest.fixture
def folder(tiny_copy: Path) -> Path:
    return tiny_copy / "judge"


SECTIONS = {
    "model_cfg": ("model_cfg",),
    "vision_cfg": ("model_cfg", "vision_cfg"),
    "text_cfg": ("model_cfg", "text_cfg"),
    "multimodal_cfg": ("model_cfg", "multimodal_cfg"),
    "tokenizer_kwargs": ("model_cfg", "text_cfg", "tokenizer_kwargs"),
}


def change(file: Path, *place: str, **fields: Any) -> None:
    """Set keys of a JSON file, in the section at this place."""
    content = json.loads(file.read_text(encoding="utf-8"))
    section = content
    for name in place:
        section = section.setdefault(name, {})
    section.update(fields)
    file.write_text(json.dumps(content), encoding="utf-8")


def drop(file: Path, key: str) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    del content[key]
    file.write_text(json.dumps(content), encoding="utf-8")


def change_judge(folder: Path, section: str, **fields: Any) -> None:
    change(folder / CONFIG, *SECTIONS[section], **fields)


def loaded_by_open_clip(folder: Path) -> None:
    """As somebody would load it who trusts open_clip; whatever becomes of it."""
    with warnings.catch_warnings(action="ignore"), suppress(Exception):
        open_clip.create_model_and_transforms(f"local-dir:{folder}")
        open_clip.get_tokenizer(f"local-dir:{folder}")


def features(folder: Path) -> np.ndarray:
    return ClipJudge(f"local-dir:{folder}", device="cpu").text_features(["a dog", "猫"])


@pytest.fixture
def python_beside(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Python in the folder that a tokenizer's `auto_map` names; it leaves a mark when it is run."""
    mark, modules = tmp_path / "mark", tmp_path / "modules"
    (folder / "evil.py").write_text(EVIL.format(mark=str(mark)))
    change(folder / TOKENIZER_CONFIG, auto_map={"AutoTokenizer": [None, "evil.Evil"]}, tokenizer_class="Evil")
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(modules))
    monkeypatch.setattr(sys, "path", [*sys.path])
    return mark


def test_python_beside_the_weights_is_run_by_open_clip_and_not_here(folder: Path, python_beside: Path) -> None:
    change_judge(folder, "tokenizer_kwargs", trust_remote_code=True)
    with pytest.raises(QualityError, match=r"tokenizer_kwargs\.trust_remote_code is refused: it would run Python that"):
        ClipJudge(f"local-dir:{folder}")
    assert not python_beside.exists()
    loaded_by_open_clip(folder)
    assert python_beside.read_text() == "ran"


def test_a_tokenizer_of_a_class_beside_it_is_refused_without_a_question(folder: Path, python_beside: Path) -> None:
    with pytest.raises(QualityError, match=r"tokenizer_config\.json: auto_map is refused: it names Python that would"):
        ClipJudge(f"local-dir:{folder}")
    drop(folder / TOKENIZER_CONFIG, "auto_map")
    with pytest.raises(QualityError, match=r"tokenizer_class is 'Evil', and only BertTokenizer, CLIPTokenizer"):
        ClipJudge(f"local-dir:{folder}")
    assert not python_beside.exists()


def test_a_configuration_beside_the_tokenizer_is_not_asked_for_its_class(folder: Path, python_beside: Path) -> None:
    drop(folder / TOKENIZER_CONFIG, "auto_map")
    change(folder / TOKENIZER_CONFIG, tokenizer_class="CLIPTokenizer")
    asked = {"model_type": "own", "auto_map": {"AutoConfig": "evil.Evil", "AutoTokenizer": [None, "evil.Evil"]}}
    (folder / "config.json").write_text(json.dumps(asked))
    assert features(folder).shape == (2, 16)
    assert not python_beside.exists()


@pytest.mark.parametrize(
    ("section", "key", "value", "asked"),
    [
        ("text_cfg", "hf_model_name", "org/text", "open_clip.hf_model.AutoConfig.from_pretrained"),
        ("vision_cfg", "timm_model_name", "hf-hub:org/image", "open_clip.timm_model.timm.create_model"),
        ("tokenizer_kwargs", "bpe_path", "/elsewhere.gz", "open_clip.tokenizer.gzip.open"),
    ],
)
def test_what_open_clip_would_fetch_or_read_elsewhere_is_refused(
    folder: Path, section: str, key: str, value: str, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def ask(name: str, *_: object, **__: object) -> None:
        seen.append(name)
        raise OSError

    if key == "bpe_path":
        change_judge(folder, "text_cfg", hf_tokenizer_name=None)
    change_judge(folder, section, **{key: value})
    monkeypatch.setattr(asked, ask)
    with pytest.raises(QualityError, match=rf"{section}\.{key} is .*give the judge as MODEL/FILE\.safetensors"):
        ClipJudge(f"local-dir:{folder}")
    assert seen == []
    loaded_by_open_clip(folder)
    assert value in seen


@pytest.mark.parametrize(
    ("section", "key"),
    [
        *(("model_cfg", "cache_dir"), ("vision_cfg", "timm_model_pretrained"), ("text_cfg", "hf_model_pretrained")),
        *(("text_cfg", "bpe_path"), ("tokenizer_kwargs", "tokenizer_type"), ("tokenizer_kwargs", "vocab_file")),
        *(("tokenizer_kwargs", "subfolder"), ("tokenizer_kwargs", "gguf_file"), ("multimodal_cfg", "hf_model_name")),
    ],
)
def test_only_known_keys_are_honoured_and_the_message_names_the_other(folder: Path, section: str, key: str) -> None:
    change_judge(folder, section, **{key: True})
    with pytest.raises(QualityError, match=rf"{CONFIG}: {section}\.{key} is"):
        read_judge_config(folder)


@pytest.mark.parametrize("value", [{"approximate": "tanh", "inplace": True}, ["tanh"]])
def test_what_a_section_holds_is_looked_through_too(folder: Path, value: object) -> None:
    change_judge(folder, "vision_cfg", act_kwargs=value)
    with pytest.raises(QualityError, match=r"act_kwargs(\.inplace is no key| is no section)"):
        read_judge_config(folder)


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"model_cfg": 3}', '{"model_cfg": {}}', "{", '{"model_cfg": {"vision_cfg": 1}}']
)
def test_a_configuration_that_is_none_is_a_message(folder: Path, content: str) -> None:
    (folder / CONFIG).write_text(content)
    with pytest.raises(QualityError, match=CONFIG):
        ClipJudge(f"local-dir:{folder}")


@pytest.mark.parametrize("fields", [{"width": "wide"}, {"head_width": 0}, {"layers": -1}, {"image_size": None}])
def test_a_model_that_cannot_be_built_is_a_message(folder: Path, fields: dict[str, Any]) -> None:
    change_judge(folder, "vision_cfg", **fields)
    with pytest.raises(QualityError, match="cannot be loaded"):
        ClipJudge(f"local-dir:{folder}")


def test_a_tokenizer_is_read_from_the_folder_whatever_hub_id_it_goes_by(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = features(folder)
    change_judge(folder, "text_cfg", hf_tokenizer_name="org/tokenizer")
    monkeypatch.setattr("huggingface_hub.hf_api.HfApi.model_info", lambda *_, **__: pytest.fail("asked the hub"))
    np.testing.assert_array_equal(features(folder), before)
    (folder / TOKENIZER_CONFIG).unlink()
    with pytest.raises(QualityError, match=r"no tokenizer_config\.json; hf_tokenizer_name says that the folder brings"):
        ClipJudge(f"local-dir:{folder}")


@pytest.mark.parametrize("name", ["tiny", "emoji-a"])
def test_an_honest_judge_reads_as_open_clip_has_it(name: str, tiny_spec: EnsembleSpec) -> None:
    judge = str((tiny_spec if name == "tiny" else load_spec(name)).judge)
    texts = ["dog", "猫", "a red apple"]
    model, _, _ = open_clip.create_model_and_transforms(judge)
    with torch.no_grad():
        expected = model.eval().encode_text(open_clip.get_tokenizer(judge)(texts), normalize=True)
    np.testing.assert_allclose(ClipJudge(judge, device="cpu").text_features(texts), expected.numpy(), atol=1e-6)


def test_every_key_of_open_clip_s_own_models_that_fetches_nothing_is_honoured() -> None:
    """But those of judges that ask transformers or timm."""
    for name in open_clip.list_models():
        config = open_clip.get_model_config(name)
        sections = {"model_cfg": config} | {key: config[key] for key in KEYS if key in config}
        for section, values in sections.items():
            unknown = {key for key in values if key not in KEYS[section] and not key.startswith(("hf_", "timm_"))}
            assert not unknown, (name, section)


Hub = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def on_the_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """Pretend that the folder is `hf-hub:org/judge`; gives the arguments with which its tokenizer is asked for."""

    def pretend(weights: Path) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []
        own = transformers.AutoTokenizer.from_pretrained

        def tokenizer(_: str, **arguments: Any) -> Any:
            calls.append(arguments)
            return own(folder)

        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        monkeypatch.setattr(open_clip.factory, "_get_hf_config", lambda *_, **__: json.loads(json.dumps(config)))
        monkeypatch.setattr(open_clip.factory, "download_pretrained_from_hf", lambda *_, **__: str(weights))
        monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", tokenizer)
        return calls

    return pretend


def test_a_judge_on_the_hub_is_loaded_without_its_code(folder: Path, on_the_hub: Hub) -> None:
    expected = features(folder)
    calls = on_the_hub(folder / "open_clip_model.safetensors")
    found = ClipJudge("hf-hub:org/judge", device="cpu").text_features(["a dog", "猫"])
    np.testing.assert_array_equal(found, expected)
    assert [call["trust_remote_code"] for call in calls] == [False]


def test_a_judge_on_the_hub_cannot_ask_for_its_code_or_for_pickled_weights(folder: Path, on_the_hub: Hub) -> None:
    pickled = folder / "open_clip_pytorch_model.bin"
    torch.save(load_file(folder / "open_clip_model.safetensors"), pickled)
    on_the_hub(pickled)
    with pytest.raises(QualityError, match=r"open_clip_pytorch_model\.bin: pickled weights can run code"):
        ClipJudge("hf-hub:org/judge")
    change_judge(folder, "tokenizer_kwargs", trust_remote_code=True)
    on_the_hub(folder / "open_clip_model.safetensors")
    with pytest.raises(QualityError, match=r"hf-hub:org/judge: tokenizer_kwargs\.trust_remote_code is refused"):
        ClipJudge("hf-hub:org/judge")


def test_a_text_encoder_that_a_judge_on_the_hub_names_is_not_loaded_where_it_needs_code(
    folder: Path, on_the_hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_judge(folder, "text_cfg", hf_model_name="org/text")
    on_the_hub(folder / "open_clip_model.safetensors")

    def config(name: str, *, trust_remote_code: bool) -> None:
        raise ValueError(f"{name} contains custom code, and trust_remote_code is {trust_remote_code}")

    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", config)
    with pytest.raises(QualityError, match="org/text contains custom code, and trust_remote_code is False"):
        ClipJudge("hf-hub:org/judge")


def test_a_tokenizer_of_more_pieces_than_the_text_encoder_knows_is_a_message(folder: Path) -> None:
    """Its ids would lie outside of the embedding, and end the first text that has one."""
    tokens = folder / "special_tokens_map.json"
    tokens.write_text(json.dumps(json.loads(tokens.read_text()) | {"pad_token": "<a new one>"}))
    with pytest.raises(QualityError, match=r"its tokenizer has [\d,]+ pieces, its text encoder knows [\d,]+"):
        ClipJudge(f"local-dir:{folder}", device="cpu")


@pytest.mark.parametrize(("file", "fields"), [("special_tokens_map.json", {"pad_token": None})])
def test_a_judge_that_is_built_and_cannot_judge_is_told_when_it_is_loaded(
    folder: Path, file: str, fields: dict[str, Any]
) -> None:
    for name in (file, "tokenizer_config.json"):
        (folder / name).write_text(json.dumps(json.loads((folder / name).read_text()) | fields))
    with pytest.raises(QualityError, match="cannot be loaded: "):
        ClipJudge(f"local-dir:{folder}", device="cpu")
