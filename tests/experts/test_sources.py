"""Files, folders and hub ids: what is read, what is fetched, what is refused."""

from __future__ import annotations

import fnmatch
import json
import shutil
import struct
from pathlib import Path

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from emoe_audit.errors import EnsembleError
from emoe_audit.experts import sources
from emoe_audit.experts.models import build_unet
from emoe_audit.experts.sources import fetch_base, fetch_expert, read_json, read_tensors, read_unet, some, weight_files
from emoe_audit.types import EnsembleSpec, ExpertSpec

WEIGHTS = "diffusion_pytorch_model.safetensors"
HUB = ExpertSpec(name="far", source="org/model")


def hub_of(remote: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let `remote` answer for the hub; what is downloaded lies in `target`."""

    def download(repo_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        for path in remote.rglob("*"):
            name = path.relative_to(remote).as_posix()
            if path.is_file() and any(fnmatch.fnmatch(name, pattern) for pattern in allow_patterns):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target / name)
        return str(target)

    target.mkdir()
    monkeypatch.setattr(sources, "snapshot_download", download)
    return target


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_up_blocks_are_not_read(tiny_spec: EnsembleSpec) -> None:
    stored = load_file(Path(tiny_spec.base.source) / "unet" / WEIGHTS)
    read = read_unet(Path(tiny_spec.base.source)).tensors
    assert set(read) == {key for key in stored if not key.startswith(("up_blocks", "conv_norm_out", "conv_out"))}
    assert all(torch.equal(read[key], stored[key]) for key in read)


def test_a_unet_folder_reads_like_the_pipeline_around_it(tiny_spec: EnsembleSpec) -> None:
    whole, alone = read_unet(Path(tiny_spec.base.source)), read_unet(Path(tiny_spec.base.source) / "unet")
    assert whole.config == alone.config
    assert all(torch.equal(whole.tensors[key], alone.tensors[key]) for key in whole.tensors)


def test_a_delta_replaces_what_it_holds_and_keeps_the_bases_own_tensors(tiny_spec: EnsembleSpec) -> None:
    base = read_unet(Path(tiny_spec.base.source))
    expert = Path(tiny_spec.experts[0].source)
    delta = load_file(expert / "unet_delta.safetensors")
    read = read_unet(expert, base=base).tensors
    for key, tensor in read.items():
        assert torch.equal(tensor, delta[key]) if key in delta else tensor is base.tensors[key]


def test_a_delta_cannot_stand_alone(tiny_spec: EnsembleSpec) -> None:
    with pytest.raises(EnsembleError, match="only what differs from a base"):
        read_unet(Path(tiny_spec.experts[0].source))


def test_a_delta_with_a_key_that_the_base_lacks_is_refused(tiny_spec: EnsembleSpec, tmp_path: Path) -> None:
    save_file({"down_blocks.9.odd": torch.zeros(1)}, tmp_path / "unet_delta.safetensors")
    with pytest.raises(
        EnsembleError, match=r"unet_delta.safetensors: keys that the base does not have: down_blocks.9.odd"
    ):
        read_unet(tmp_path, base=read_unet(Path(tiny_spec.base.source)))


def test_keys_of_another_kind_of_model_are_refused_by_name(tiny_copy: Path) -> None:
    path = tiny_copy / "base" / "unet" / WEIGHTS
    save_file(load_file(path) | {"class_embedding.weight": torch.zeros(1)}, path)
    with pytest.raises(EnsembleError, match=r"unexpected keys: class_embedding.weight"):
        read_unet(tiny_copy / "base")


def test_shards_read_like_one_file(tiny_copy: Path) -> None:
    whole = read_unet(tiny_copy / "base").tensors
    folder = tiny_copy / "base" / "unet"
    stored = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    halves = {"a-00001-of-00002.safetensors": list(stored)[::2], "a-00002-of-00002.safetensors": list(stored)[1::2]}
    for name, keys in halves.items():
        save_file({key: stored[key] for key in keys}, folder / name)
    weight_map = {key: name for name, keys in halves.items() for key in keys}
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    sharded = read_unet(tiny_copy / "base").tensors
    assert whole.keys() == sharded.keys()
    assert all(torch.equal(whole[key], sharded[key]) for key in whole)


def test_an_index_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "secret.safetensors")
    (tmp_path / "unet").mkdir()
    index = {"weight_map": {"a": "../secret.safetensors"}}
    (tmp_path / "unet" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(EnsembleError, match="no safetensors file next to it"):
        weight_files(tmp_path / "unet", "model")


def test_full_precision_is_read_before_half(tmp_path: Path) -> None:
    (tmp_path / "model.fp16.safetensors").touch()
    assert weight_files(tmp_path, "model") == [tmp_path / "model.fp16.safetensors"]
    (tmp_path / "model.safetensors").touch()
    assert weight_files(tmp_path, "model") == [tmp_path / "model.safetensors"]


def test_pickled_weights_are_refused_with_the_way_to_convert(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(EnsembleError, match=r"only pytorch_model.bin: .* convert .*safe_serialization=True"):
        weight_files(tmp_path, "model")


def test_a_checkpoint_file_as_source_is_refused_with_the_way_to_convert(tmp_path: Path) -> None:
    (tmp_path / "dream.ckpt").touch()
    with pytest.raises(EnsembleError, match="from_single_file"):
        fetch_expert(ExpertSpec(name="dream", source=str(tmp_path / "dream.ckpt")))


def test_a_folder_without_a_unet_says_what_was_expected_and_found(tmp_path: Path) -> None:
    (tmp_path / "README.md").touch()
    with pytest.raises(EnsembleError, match=r"no UNet here; expected unet/config.json.*found: README.md"):
        read_unet(tmp_path)


def test_a_torn_file_is_named(tiny_copy: Path) -> None:
    path = tiny_copy / "base" / "unet" / WEIGHTS
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(EnsembleError, match=rf"{WEIGHTS}: not a readable safetensors file"):
        read_unet(tiny_copy / "base")


def test_broken_json_is_named_with_line_and_column(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{\n "a": }')
    with pytest.raises(EnsembleError, match=r"config.json:2:7: not valid JSON"):
        read_json(path)


def test_unwanted_tensors_are_not_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "x.safetensors")
    assert list(read_tensors([tmp_path / "x.safetensors"], lambda key: key == "b")) == ["b"]


def test_some_counts_what_it_leaves_out() -> None:
    assert some(["a", "b", "c"], limit=2) == "a, b and 1 more"


def test_of_a_hub_base_only_the_scored_parts_are_fetched(
    tiny_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = tiny_copy / "base"
    for name in ("unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.bin", "sd.ckpt"):
        (remote / name).touch()
    target = hub_of(remote, tmp_path / "cache", monkeypatch)
    assert fetch_base(HUB) == target
    weights = {name for name in names(target) if not name.endswith((".json", ".txt"))}
    assert weights == {f"unet/{WEIGHTS}", "text_encoder/model.safetensors"}
    assert {"tokenizer/vocab.json", "scheduler/scheduler_config.json", "unet/config.json"} <= names(target)


def test_half_precision_is_fetched_where_the_hub_has_nothing_else(
    tiny_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = tiny_copy / "base"
    (remote / "unet" / WEIGHTS).rename(remote / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    target = hub_of(remote, tmp_path / "cache", monkeypatch)
    fetch_base(HUB)
    assert "unet/diffusion_pytorch_model.fp16.safetensors" in names(target)
    assert read_unet(target).tensors.keys() == read_unet(remote).tensors.keys()


@pytest.mark.parametrize("part", ["base", "base/unet", "experts/expert-0"])
def test_experts_come_from_the_hub_in_every_form(
    part: str, tiny_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = hub_of(tiny_copy / part, tmp_path / "cache", monkeypatch)
    base = read_unet(tiny_copy / "base")
    assert read_unet(fetch_expert(HUB), base=base).tensors.keys() == base.tensors.keys()
    assert not any("text_encoder" in name or "vae" in name for name in names(target))


def offline(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))


def test_a_cached_hub_model_is_read_offline(
    tiny_spec: EnsembleSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = tmp_path / "models--org--model"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    shutil.copytree(tiny_spec.base.source, repo / "snapshots" / commit)
    offline(monkeypatch, tmp_path)
    assert fetch_base(HUB) == repo / "snapshots" / commit


def test_a_hub_model_that_is_not_cached_says_offline_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offline(monkeypatch, tmp_path)
    with pytest.raises(
        EnsembleError, match=r"org/model@v1: not in the local cache .*HF_HUB_OFFLINE=0.*hf download org/model"
    ):
        fetch_base(ExpertSpec(name="far", source="org/model", revision="v1"))


def written(path: Path, head: bytes, body: bytes = bytes(64)) -> Path:
    """A safetensors file by hand: the length of the head, the head, the tensors' bytes."""
    path.write_bytes(struct.pack("<Q", len(head)) + head + body)
    return path


def entry(**changes: object) -> bytes:
    return json.dumps({"a": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 64]} | changes}).encode()


def test_a_file_by_hand_is_read(tmp_path: Path) -> None:
    assert read_tensors([written(tmp_path / "x.safetensors", entry())], lambda key: True)["a"].shape == (4, 4)


@pytest.mark.parametrize(
    "head",
    [
        entry(data_offsets=[0, 32]),
        entry(data_offsets=[0, 2**40]),
        entry(data_offsets=[64, 0]),
        entry(data_offsets=[-64, 0]),
        entry(data_offsets=[32, 96]),
        entry(data_offsets=[0]),
        entry(data_offsets="all"),
        entry(shape=[4, 2**62]),
        entry(shape=[2**33, 2**33]),
        entry(shape=[-4, -4]),
        entry(shape=[4.0, 4]),
        entry(shape="4x4"),
        entry(dtype="F64"),
        entry(dtype="F33"),
        entry(dtype="F4"),
        entry(dtype="F6_E2M3"),
        entry(dtype=None),
        b'{"a": 5}',
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"__metadata__": {"a": 5}}',
        b'{"__metadata__": []}',
        b'{"a\xff": {}}',
        b"",
    ],
    ids=lambda head: head[:60].decode("latin-1"),
)
def test_a_header_that_lies_is_told(tmp_path: Path, head: bytes) -> None:
    with pytest.raises(EnsembleError, match=r"x\.safetensors: not a readable safetensors file"):
        read_tensors([written(tmp_path / "x.safetensors", head)], lambda key: True)


def test_a_length_of_the_header_that_lies_is_told(tmp_path: Path) -> None:
    for length in (0, 1, 10**6, 10**9, 2**63, 2**64 - 1):
        (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", length) + entry())
        with pytest.raises(EnsembleError, match=r"x\.safetensors: not a readable safetensors file"):
            read_tensors([tmp_path / "x.safetensors"], lambda key: True)


def test_weights_that_are_no_floating_point_numbers_are_told_by_key(tiny_copy: Path) -> None:
    path = tiny_copy / "base" / "unet" / WEIGHTS
    save_file(load_file(path) | {"conv_in.bias": torch.ones(8, dtype=torch.int32)}, path)
    unet = read_unet(tiny_copy / "base")
    with pytest.raises(EnsembleError, match=r"conv_in.bias holds torch.int32, expected floating-point numbers"):
        build_unet(unet.config, unet.tensors, unet.where)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"[" * 100_000, "nested more than 64 levels deep"),
        (b'{"a": NaN}', "NaN is no finite number"),
        (b'{"a": "\xfc"}', "config.json:1: not UTF-8"),
        (b'{"a": 1, "a": 2}', "key 'a' is given twice"),
        (b"[]", "expected a JSON object"),
        (b" " * 5_000_000, "bytes of a checkpoint's JSON, at most 4,194,304 are taken"),
    ],
)
def test_a_configuration_that_is_none_is_told(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(EnsembleError, match=told):
        read_json(tmp_path / "config.json")


@pytest.mark.parametrize("name", ["x" * 300 + ".safetensors", "a\0.safetensors", "~root.safetensors", 5, ["a"], None])
def test_an_index_names_files_that_can_be(tmp_path: Path, name: object) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(EnsembleError, match=r"no safetensors file next to it|File name too long|holds a NUL"):
        weight_files(tmp_path, "model")


@pytest.mark.parametrize("source", ["x" * 300, "a\0b", "~nobody-of-this-name/x"])
def test_a_source_that_no_file_can_be_called_is_told(source: str) -> None:
    spec = ExpertSpec(name="x", source=source)
    with pytest.raises(EnsembleError, match=r"File name too long|not a hub id"):
        fetch_expert(spec)


def test_a_name_that_a_terminal_would_obey_is_shown_as_text() -> None:
    assert some(["\x1b[2Jgone", "a\nb"]) == "'\\x1b[2Jgone', 'a\\nb'"
    assert len(some(["x" * 10**6])) < 1100
