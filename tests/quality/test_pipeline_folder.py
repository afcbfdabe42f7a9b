"""A base that somebody hands over is drawn with only as far as it is Stable Diffusion in safetensors.

Where it is cheap, diffusers or transformers is first shown to do what is refused here.
"""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file
from transformers import CLIPTextModel

from emoe_audit.errors import AuditError, MissingPackageError, QualityError
from emoe_audit.experts.spec import load_spec
from emoe_audit.quality.pipeline_folder import INDEX
from emoe_audit.quality.pipelines import load_pipeline
from tests.quality.safety_checker import NEVER, write_safety_checker

EVIL = """
from pathlib import Path
from diffusers import DDIMScheduler, StableDiffusionPipeline
Path({mark!r}).write_text("ran")
"""


@pytest.fixture
def base(tiny_copy: Path) -> Path:
    write_safety_checker(tiny_copy / "base", NEVER)
    return tiny_copy / "base"


def load(base: Path) -> Any:
    return load_pipeline(load_spec(base.parent), None, "flag")


def refusal(base: Path) -> str:
    with pytest.raises(AuditError) as refused:
        load(base)
    return str(refused.value)


def loaded_by_diffusers(base: Path, **options: Any) -> None:
    """As somebody would load it who trusts diffusers; whatever becomes of it."""
    with warnings.catch_warnings(action="ignore"), suppress(Exception):
        DiffusionPipeline.from_pretrained(str(base), use_safetensors=True, **options)


def change(file: Path, **fields: Any) -> None:
    content = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    file.write_text(json.dumps(content | fields), encoding="utf-8")


def pickle_weights(part: Path, stem: str) -> Path:
    """Pickled weights in place of the safetensors."""
    safe = part / f"{stem}.safetensors"
    pickled = part / ("pytorch_model.bin" if stem == "model" else f"{stem}.bin")
    torch.save(load_file(safe), pickled)
    safe.unlink()
    return pickled


@pytest.fixture
def unpickled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that torch is asked to unpickle."""
    files: list[str] = []
    own = torch.load

    def record(file: Any, *arguments: Any, **options: Any) -> Any:
        files.append(Path(str(file)).name)
        return own(file, *arguments, **options)

    monkeypatch.setattr(torch, "load", record)
    return files


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What Python beside the weights leaves when it is run."""
    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path / "mark"


def test_an_honest_base_is_loaded_with_its_checker(base: Path) -> None:
    assert load(base).safety_checker is not None


@pytest.mark.parametrize(
    ("part", "stem"),
    [
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
        ("safety_checker", "model"),
    ],
)
def test_pickled_weights_of_any_part_are_refused_and_the_message_says_how_to_convert_them(
    base: Path, part: str, stem: str, unpickled: list[str]
) -> None:
    pickled = pickle_weights(base / part, stem)
    message = refusal(base)
    assert f"{base / part}: no {stem}.safetensors; only {pickled.name}: pickled weights can run code" in message
    assert "save_pretrained(NEW_FOLDER, safe_serialization=True)" in message
    assert unpickled == []
    DiffusionPipeline.from_pretrained(str(base))
    assert set(unpickled) == {pickled.name}


def test_an_index_of_shards_cannot_name_a_pickled_one(base: Path, unpickled: list[str]) -> None:
    pickled = pickle_weights(base / "vae", "diffusion_pytorch_model")
    weights = dict.fromkeys(torch.load(pickled), pickled.name)
    index = base / "vae" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weights}))
    unpickled.clear()
    assert "weight_map names diffusion_pytorch_model.bin, which is no safetensors file next to it" in refusal(base)
    assert unpickled == []
    loaded_by_diffusers(base)
    assert pickled.name in unpickled


def test_a_pipeline_inside_a_pipeline_would_be_loaded_with_pickled_weights(base: Path, unpickled: list[str]) -> None:
    shutil.copytree(base, base.parent / "inner")
    pickled = pickle_weights(base.parent / "inner" / "vae", "diffusion_pytorch_model")
    shutil.rmtree(base / "unet")
    (base.parent / "inner").rename(base / "unet")
    change(base / INDEX, unet=["diffusers", "StableDiffusionPipeline"])
    assert "unet is 'StableDiffusionPipeline' of diffusers, and only UNet2DConditionModel of diffusers" in refusal(base)
    assert unpickled == []
    loaded_by_diffusers(base)
    assert set(unpickled) == {pickled.name}


def test_weights_cannot_be_named_by_the_configuration(base: Path, unpickled: list[str]) -> None:
    torch.save(load_file(base / "text_encoder" / "model.safetensors"), base / "text_encoder" / "adapter_model.bin")
    change(base / "text_encoder" / "config.json", transformers_weights="adapter_model.bin")
    assert "config.json: transformers_weights is refused: it names another file of weights" in refusal(base)
    assert unpickled == []
    loaded_by_diffusers(base)
    assert set(unpickled) == {"adapter_model.bin"}


@pytest.mark.parametrize("file", ["unet/diffusers.py", "None.py"])
def test_python_beside_the_weights_is_not_run(base: Path, file: str, mark: Path) -> None:
    (base / file).write_text(EVIL.format(mark=str(mark)))
    assert f"{base / file}: code is not run" in refusal(base)
    assert not mark.exists()
    loaded_by_diffusers(base, trust_remote_code=True)
    assert mark.read_text() == "ran"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"unet": ["evil", "Model"]}, "unet comes from ['evil', 'Model'], and parts are taken from diffusers"),
        ({"unet": ["os.path", "join"]}, "unet comes from ['os.path', 'join']"),
        ({"own": ["evil", "Model"]}, "own comes from ['evil', 'Model']"),
        ({"unet": ["diffusers"]}, "unet comes from ['diffusers']"),
        ({"unet": [["diffusers"], {}]}, "unet comes from [['diffusers'], {}]"),
        ({"own": ["diffusers", "UNet2DConditionModel"]}, "own: Stable Diffusion has no such part; it has unet, vae"),
        ({"tokenizer": ["transformers", "AutoTokenizer"]}, "tokenizer is 'AutoTokenizer' of transformers"),
        ({"text_encoder": ["transformers", "AutoModel"]}, "text_encoder is 'AutoModel' of transformers"),
        ({"text_encoder": ["transformers", []]}, "text_encoder is [] of transformers"),
        ({"vae": ["diffusers", "OnnxRuntimeModel"]}, "vae is 'OnnxRuntimeModel' of diffusers"),
        ({"scheduler": ["diffusers", "UNet2DConditionModel"]}, "scheduler is 'UNet2DConditionModel', which is no"),
        ({"scheduler": ["transformers", "DDIMScheduler"]}, "and only a scheduler of diffusers is loaded"),
        ({"safety_checker": ["transformers", "CLIPModel"]}, "only StableDiffusionSafetyChecker of stable_diffusion"),
        ({"feature_extractor": ["transformers", "AutoImageProcessor"]}, "is 'AutoImageProcessor' of transformers"),
        ({"_class_name": ["pipeline", "Mine"]}, "['pipeline', 'Mine'] is not drawn with, only StableDiffusionPipeline"),
        ({"_class_name": "StableDiffusionInpaintPipeline"}, "'StableDiffusionInpaintPipeline' is not drawn with"),
        ({"_class_name": None}, "None is not drawn with"),
    ],
    ids=str,
)
def test_a_part_is_of_a_known_class_of_a_known_library(base: Path, fields: dict[str, Any], message: str) -> None:
    change(base / INDEX, **fields)
    said = refusal(base)
    assert INDEX in said
    assert message in said
    assert said.endswith("give --n-images 0 to score only")


def test_a_scheduler_that_needs_a_package_names_it_before_anything_is_drawn(base: Path) -> None:
    change(base / INDEX, scheduler=["diffusers", "DPMSolverSDEScheduler"])
    with pytest.raises(
        MissingPackageError, match=r"'DPMSolverSDEScheduler', which needs torchsde: pip install torchsde"
    ):
        load(base)


def test_a_kernel_on_the_hub_is_not_fetched(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    monkeypatch.setattr(
        "transformers.modeling_utils.lazy_import_flash_attention", lambda name, *_, **__: fetched.append(name)
    )
    change(base / "text_encoder" / "config.json", attn_implementation="org/kernel")
    assert "attn_implementation is 'org/kernel', a kernel that would be fetched and run" in refusal(base)
    assert fetched == []
    with suppress(Exception):
        CLIPTextModel.from_pretrained(base / "text_encoder")
    assert fetched[:1] == ["org/kernel"]


@pytest.mark.parametrize(
    ("file", "fields", "message"),
    [
        ("unet/config.json", {"quantization_config": {"quant_method": "gguf"}}, "quantization_config is refused"),
        (
            "vae/config.json",
            {"quantization_config": {"quant_method": "bitsandbytes"}},
            "quantization_config is refused",
        ),
        (
            "safety_checker/config.json",
            {"vision_config": {"attn_implementation": "a/b"}},
            "attn_implementation is 'a/b'",
        ),
        ("text_encoder/config.json", {"auto_map": {"AutoModel": "evil.Evil"}}, "auto_map is refused: it names code"),
        ("text_encoder/adapter_config.json", {"base_model_name_or_path": "org/other"}, "an adapter can name a model"),
        ("text_encoder/config.json", {"experts_implementation": "kernels"}, "experts_implementation is 'kernels'"),
    ],
)
def test_a_configuration_asks_for_nothing_beyond_its_model(
    base: Path, file: str, fields: dict[str, Any], message: str
) -> None:
    change(base / file, **fields)
    said = refusal(base)
    assert file in said
    assert message in said


def test_another_autoencoder_is_held_to_the_same(base: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(base / "vae", tmp_path / "mine"))
    pickle_weights(own, "diffusion_pytorch_model")
    named = replace(load_spec(base.parent), vae=str(own))
    with pytest.raises(QualityError, match=r"mine: no diffusion_pytorch_model\.safetensors; only .*\.bin: pickled"):
        load_pipeline(named, None)


def test_a_base_on_the_hub_is_looked_through_as_a_folder_is(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def fetch(source: str, **options: Any) -> str:
        asked.append({"source": source} | options)
        return str(base)

    monkeypatch.setattr(DiffusionPipeline, "download", fetch)
    spec = load_spec(base.parent)
    named = replace(spec, base=replace(spec.base, source="org/base", revision="abc"))
    assert load_pipeline(named, None).unet is not None
    expected = {"source": "org/base", "revision": "abc", "use_safetensors": True, "trust_remote_code": False}
    assert asked[0].items() >= expected.items()
    (base / "unet" / "diffusers.py").write_text("")
    with pytest.raises(QualityError, match=r"diffusers\.py: code is not run"):
        load_pipeline(named, None)
