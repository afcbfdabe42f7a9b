"""Checkpoints and judges, at the size of the tiny ensemble, in every form that an ensemble can name."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.hostile import alter
from tests.hostile.readers import Fault, Reader, alter_of, copied

UNREAD = ("vae", "safety_checker", "feature_extractor")
"""Parts of a base that are for drawing alone."""
WEIGHTS = "diffusion_pytorch_model.safetensors"
DRAWN_WITH = ("model_index.json", "vae/config.json", f"vae/{WEIGHTS}")
N_CLUSTERS = 16


def checkpoint_readers(kept: Path) -> Iterator[Reader]:
    """A base, what draws with it, experts in each form, members of one checkpoint, and a judge."""
    folder = kept / "tiny"
    if not folder.exists():
        make_ensemble(folder)
    yield from _bases(folder)
    yield from _judges(folder)
    yield from _experts(folder)
    yield from _segmoe(folder)
    yield from _members(folder)
    yield from _single_files(folder)


def make_ensemble(folder: Path) -> None:
    """Write the tiny ensemble, and beside it a LoRA, a SegMoE folder, clusters and single files of it."""
    import torch
    from safetensors.torch import load_file, save_file

    from emoe_audit.experts.emergent_recipe import make_emergent_ensemble
    from emoe_audit.experts.tiny import make_tiny_ensemble
    from tests.experts.original import make_checkpoint, small_configs
    from tests.naive_segmoe import write_by_hand

    spec = make_tiny_ensemble(folder)
    base = load_file(next((Path(spec.base.source) / "unet").glob("*.safetensors")))
    key = next(name for name in base if name.endswith("attn2.to_q.weight") and "down_blocks" in name)
    stem, (height, width) = key.removesuffix(".weight"), base[key].shape
    down, up = torch.ones(2, width), torch.ones(height, 2)
    own = f"lora_unet_{stem.replace('.', '_')}"
    save_file(
        {f"{own}.lora_down.weight": down, f"{own}.lora_up.weight": up, f"{own}.alpha": torch.tensor(1.0)},
        folder / "lora.safetensors",
    )
    (folder / "peft").mkdir()
    peft = {f"base_model.model.{stem}.lora_A.weight": down, f"base_model.model.{stem}.lora_B.weight": up}
    save_file(peft, folder / "peft" / "adapter_model.safetensors")
    about = json.dumps({"peft_type": "LORA", "lora_alpha": 1.0, "use_dora": False})
    (folder / "peft" / "adapter_config.json").write_text(about, encoding="utf-8")
    write_by_hand(spec, folder / "segmoe")
    make_emergent_ensemble(str(folder), folder / "emergent", n_members=3, n_clusters=N_CLUSTERS, top_k=4, what="unet")
    small_configs(folder / "configs")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for family in ("sd1", "sd2-768"):
            make_checkpoint(family, folder / "configs", folder)


def _bases(folder: Path) -> Iterator[Reader]:
    from emoe_audit.experts.checkpoint import read_base
    from emoe_audit.quality.pipelines import load_pipeline
    from emoe_audit.types import EnsembleSpec, ExpertSpec

    def base_of(at: Path) -> Any:
        base = read_base(ExpertSpec(name="base", source=str(at / "base")))
        base.read_texts()
        return base

    def drawn_with(at: Path) -> Any:
        base = ExpertSpec(name="base", source=str(at / "base"))
        return load_pipeline(EnsembleSpec(name="tiny", base=base, experts=(base,), judge="judge"), None)

    reader = partial(Reader, make=_copied_part(folder, "base"), weight=2)
    for file in sorted(own.relative_to(folder) for own in (folder / "base").rglob("*") if own.is_file()):
        if file.parts[1] not in UNREAD:
            yield reader(name=str(file), file=str(file), alter=alter_of(file), read=base_of)
    for name in DRAWN_WITH:
        yield reader(name=f"pipeline/{name}", file=f"base/{name}", alter=alter_of(name), read=drawn_with, weight=2)
    yield reader(
        name="texts of an expert",
        file="base/text_encoder/model.safetensors",
        alter=alter.alter_tensors,
        read=partial(_warnings, folder),
        fault=partial(fault_of_warnings, folder / "base" / "text_encoder" / "model.safetensors"),
    )


def _warnings(folder: Path, at: Path) -> list[str]:
    """What is said of an expert that is a whole checkpoint with a text encoder of its own."""
    from emoe_audit.experts.checkpoint import read_base
    from emoe_audit.experts.own_texts import warn_of_own_texts
    from emoe_audit.types import EnsembleSpec, ExpertSpec

    base, expert = (ExpertSpec(name=own.name, source=str(own / "base")) for own in (folder, at))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        warn_of_own_texts(EnsembleSpec(name="own", base=base, experts=(expert,)), read_base(base).read_texts)
    return [str(own.message) for own in told]


def fault_of_warnings(honest: Path, told: list[str], file: Path) -> Fault:
    """Something is said where a number is another one, and nothing where none is."""
    from safetensors.torch import load_file

    ours, theirs = load_file(honest), load_file(file)
    same = all(ours[key].equal(theirs[key]) for key in ours)
    return None if same is not bool(told) else f"the numbers are {'the same' if same else 'others'}, and it says {told}"


def _judges(folder: Path) -> Iterator[Reader]:
    from emoe_audit.quality.clip_score import ClipJudge

    def judge_of(at: Path) -> Any:
        return ClipJudge(f"local-dir:{at / 'judge'}", device="cpu").text_features(["a dog"])

    for file in sorted(own.relative_to(folder) for own in (folder / "judge").rglob("*") if own.is_file()):
        make = _copied_part(folder, "judge")
        yield Reader(name=str(file), make=make, file=str(file), alter=alter_of(file), read=judge_of, weight=2)


def _experts(folder: Path) -> Iterator[Reader]:
    from emoe_audit.experts.checkpoint import read_base, read_expert
    from emoe_audit.experts.models import build_unet
    from emoe_audit.types import ExpertSpec

    def expert_of(at: Path, source: str) -> Any:
        own = read_base(ExpertSpec(name="base", source=str(folder / "base"))).unet
        read = read_expert(ExpertSpec(name="own", source=str(at / source)), own)
        build_unet(read.config, read.tensors, read.where)
        return [read]

    delta, weights = "experts/expert-0/unet_delta.safetensors", "peft/adapter_model.safetensors"
    copies = partial(fault_of_copies, base=folder / "base" / "unet" / WEIGHTS)
    for name, source, file, way, fault in (
        ("expert", "experts/expert-0", delta, alter.alter_safetensors, copies),
        ("expert's numbers", "experts/expert-0", delta, alter.alter_tensors, copies),
        ("lora", "lora.safetensors", "lora.safetensors", alter.alter_safetensors, fault_of_numbers),
        ("lora's numbers", "lora.safetensors", "lora.safetensors", alter.alter_tensors, fault_of_numbers),
        ("peft", "peft", weights, alter.alter_safetensors, fault_of_numbers),
        ("peft's alpha", "peft", "peft/adapter_config.json", alter.alter_json, fault_of_numbers),
    ):
        yield Reader(
            name=name,
            make=_copied_part(folder, source),
            file=file,
            alter=way,
            read=partial(expert_of, source=source),
            weight=2,
            fault=fault,
        )


def fault_of_numbers(unets: Any, _file: Path) -> Fault:
    """What a LoRA makes of the base are finite numbers."""
    wrong = [key for own in unets for key, tensor in own.tensors.items() if not tensor.isfinite().all()]
    return f"{wrong[0]} is not finite" if wrong else None


def fault_of_copies(unets: Any, file: Path, base: Path | None = None) -> Fault:
    """Every weight is one that the file holds, to the bit, or one of the base."""
    from safetensors.torch import load_file

    files = [file if file.suffix == ".safetensors" else file.with_name(WEIGHTS), *([base] if base else [])]
    known = {_bits(tensor) for own in files for tensor in load_file(own).values()}
    wrong = [key for own in unets for key, tensor in own.tensors.items() if _bits(tensor) not in known]
    return f"{wrong[0]} is none of the file" if wrong else None


def _bits(tensor: Any) -> bytes:
    import torch

    return bytes(tensor.contiguous().flatten().view(torch.uint8).numpy())


def _segmoe(folder: Path) -> Iterator[Reader]:
    from emoe_audit.experts.models import build_unet
    from emoe_audit.experts.segmoe import read_segmoe_gates, read_segmoe_unets
    from emoe_audit.experts.segmoe_recipe import segmoe_folder_spec

    def mixture_of(at: Path) -> Any:
        spec, unets = segmoe_folder_spec(at / "segmoe"), read_segmoe_unets(at / "segmoe")
        assert len(read_segmoe_gates(at / "segmoe")) > 0 and len(unets) == len(spec.experts)
        for own in unets:
            build_unet(own.config, own.tensors, own.where)
        return unets

    weights = f"segmoe/unet/{WEIGHTS}"
    for file, way in (
        ("segmoe/unet/config.json", alter.alter_json),
        (weights, alter.alter_safetensors),
        (weights, alter.alter_tensors),
    ):
        yield Reader(
            name=f"{file} ({way.__name__})",
            make=_copied_part(folder, "segmoe/unet"),
            file=file,
            alter=way,
            read=mixture_of,
            weight=2,
            fault=fault_of_copies,
        )


def _members(folder: Path) -> Iterator[Reader]:
    from emoe_audit.experts.checkpoint import read_base
    from emoe_audit.experts.emergent import read_members
    from emoe_audit.experts.spec import load_spec
    from emoe_audit.types import ExpertSpec

    def make(scratch: Path) -> None:
        for name in ("base", "judge"):
            (scratch / name).mkdir()
        _copied_part(folder, "emergent")(scratch)

    def members_of(at: Path) -> Any:
        spec, source = load_spec(str(at / "emergent")), str(folder / "base")  # whatever it names, nothing is fetched
        base = ExpertSpec(name="base", source=source)
        experts = tuple(replace(own, source=source, loras=()) for own in spec.experts)
        return read_members(replace(spec, base=base, experts=experts), read_base(base))[0]

    clusters = "emergent/clusters.safetensors"
    for name, file, way in (
        ("emergent.yaml", "emergent/ensemble.yaml", alter.alter_yaml),
        ("clusters", clusters, alter.alter_safetensors),
        ("rows of clusters", clusters, alter.alter_tensors),
    ):
        yield Reader(
            name=name,
            make=make,
            file=file,
            alter=way,
            read=members_of,
            weight=2,
            fault=fault_of_members,
        )


def fault_of_members(members: Any, file: Path) -> Fault:
    """Members keep some of the clusters of the file, which hold every row of a layer once."""
    from safetensors.torch import load_file

    stored = load_file(file.parent / "clusters.safetensors")
    for layer, rows in members.clusters.items():
        if sorted(rows.flatten().tolist()) != list(range(rows.numel())) or rows.tolist() != stored[layer].tolist():
            return f"{layer}: not every row once, or not those of the file"
        if not 1 <= members.top_k <= len(rows):
            return f"{members.top_k} of {len(rows)} are kept"
    return None


def _single_files(folder: Path) -> Iterator[Reader]:
    from emoe_audit.experts import single_file
    from emoe_audit.experts.checkpoint import read_base
    from emoe_audit.experts.models import build_unet
    from emoe_audit.experts.text_encoders import build_text_encoder
    from emoe_audit.types import ExpertSpec

    def checkpoint_of(at: Path, name: str) -> Any:
        with patch.object(single_file, "CONFIGS", folder / "configs"):
            base = read_base(ExpertSpec(name="base", source=str(at / name)))
            for text in base.read_texts():
                build_text_encoder(text, text.tensors)
        build_unet(base.unet.config, base.unet.tensors, base.unet.where)
        return [base.unet]

    for name in ("sd1.safetensors", "sd2-768.safetensors"):
        for way in (alter.alter_safetensors, alter.alter_tensors):
            yield Reader(
                name=f"{name} ({way.__name__})",
                make=_copied_part(folder, name),
                file=name,
                alter=way,
                read=partial(checkpoint_of, name=name),
                weight=2,
                fault=fault_of_copies,
            )


def _copied_part(folder: Path, part: str) -> Callable[[Path], None]:
    """An honest folder that is a copy of one part of another, at the same place."""

    def make(scratch: Path) -> None:
        if (folder / part).is_file():
            (scratch / part).write_bytes((folder / part).read_bytes())
        else:
            copied(folder / part)(scratch / part)

    return make
