"""Folders from outside: runs, checkpoints, judges and models, of which one file is hostile at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from tests.hostile import alter
from tests.hostile.alter import Alter
from tests.hostile.readers import Fault, Reader, copied, fault_of_plan_json, right

HONEST_PROMPTS = 40
BY_ENDING: dict[str, Alter] = {
    ".json": alter.alter_json,
    ".jsonl": alter.alter_json_lines,
    ".parquet": alter.alter_parquet,
    ".png": alter.alter_bytes,
    ".safetensors": alter.alter_safetensors,
    ".txt": alter.alter_bytes,
}


def run_readers(kept: Path) -> Iterator[Reader]:
    """Every file of a received run, read as the report, the dashboard and the decisions read it."""
    from emoe_audit.report import collect
    from emoe_audit.runs.store import RunStore
    from tests.illustrated import illustrated_run, known_coverage

    run, finished = kept / "runs" / "run", kept / "finished" / "run"
    if not run.exists():
        illustrated_run(run, HONEST_PROMPTS, coverage=known_coverage(), complete=False)
        illustrated_run(finished, HONEST_PROMPTS, coverage=known_coverage())

    def look(folder: Path) -> Any:
        store = RunStore.open(folder / "run")
        store.manifest()
        store.errors()
        return store

    def report(folder: Path) -> Any:
        return collect(look(folder))

    def results(folder: Path) -> pd.DataFrame:
        return look(folder).query("SELECT * FROM results")

    for name in ("plan.json", "manifest.json", "errors.jsonl"):
        yield Reader(
            name=f"run/{name}",
            make=copied(finished.parent),
            file=f"run/{name}",
            alter=BY_ENDING[Path(name).suffix],
            read=look,
            weight=60,
            fault=fault_of_plan_json if name == "plan.json" else right,
        )
    make = copied(run.parent)
    files = sorted(file.relative_to(run.parent) for file in run.rglob("*") if file.suffix == ".parquet")
    for file in files:
        yield Reader(name=str(file), make=make, file=str(file), alter=alter.alter_parquet, read=report)
        if file.parts[1] != "analysis":
            yield Reader(
                name=f"{file} as rows",
                make=make,
                file=str(file),
                alter=alter.alter_parquet,
                read=results,
                weight=20,
                fault=fault_of_results,
            )
    image = min(file.relative_to(run.parent) for file in run.rglob("*.png"))
    yield Reader(name="run/image", make=make, file=str(image), alter=alter.alter_bytes, read=report, weight=2)


def fault_of_results(results: pd.DataFrame, file: Path) -> Fault:
    """No row is there twice: a join has not multiplied any."""
    prompts = file.parents[1] / "prompts"
    n = sum(len(pd.read_parquet(shard)) for shard in prompts.glob("*.parquet"))
    return None if len(results) <= n else f"{len(results)} rows of {n} prompts"


def picture_readers() -> Iterator[Reader]:
    """Images by themselves, in the formats that are read."""
    from emoe_audit.errors import QualityError
    from emoe_audit.readers.pictures import open_picture

    for ending in ("png", "jpg", "webp", "gif", "bmp", "tiff"):
        name = f"picture.{ending}"

        def make(folder: Path, name: str = name) -> None:
            pixels = np.random.default_rng(0).integers(0, 255, (24, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name)

        def read(folder: Path, name: str = name) -> Image.Image:
            return open_picture(folder, name, QualityError)

        yield Reader(
            name=name,
            make=make,
            file=name,
            alter=alter.alter_bytes,
            weight=10,
            read=read,
            fault=lambda image, _file: None if image.mode == "RGB" else "not RGB",
        )


def checkpoint_readers(kept: Path) -> Iterator[Reader]:
    """A base, an expert, a LoRA and a judge, at the size of the tiny ensemble."""
    import torch
    from safetensors.torch import load_file, save_file

    from emoe_audit.experts.checkpoint import read_base, read_expert
    from emoe_audit.experts.models import build_unet
    from emoe_audit.experts.tiny import make_tiny_ensemble
    from emoe_audit.quality.clip_score import ClipJudge
    from emoe_audit.types import ExpertSpec

    folder = kept / "tiny"
    if not folder.exists():
        spec = make_tiny_ensemble(folder)
        base = load_file(next((Path(spec.base.source) / "unet").glob("*.safetensors")))
        key = next(name for name in base if name.endswith("attn2.to_q.weight") and "down_blocks" in name)
        width = base[key].shape
        stem = "lora_unet_" + key.removesuffix(".weight").replace(".", "_")
        save_file(
            {
                f"{stem}.lora_down.weight": torch.ones(2, width[1]),
                f"{stem}.lora_up.weight": torch.ones(width[0], 2),
                f"{stem}.alpha": torch.tensor(1.0),
            },
            folder / "lora.safetensors",
        )

    def make(scratch: Path) -> None:
        copied(folder)(scratch / "tiny")

    def base_of(at: Path) -> Any:
        base = read_base(ExpertSpec(name="base", source=str(at / "tiny" / "base")))
        base.read_texts()
        return base

    def lora_of(at: Path) -> Any:
        own = read_base(ExpertSpec(name="base", source=str(folder / "base"))).unet
        read = read_expert(ExpertSpec(name="lora", source=str(at / "tiny" / "lora.safetensors")), own)
        build_unet(read.config, read.tensors, read.where)
        return read

    def judge_of(at: Path) -> Any:
        judge = ClipJudge(f"local-dir:{at / 'tiny' / 'judge'}", device="cpu")
        return judge.text_features(["a dog"])

    for file in sorted(own.relative_to(folder) for own in (folder / "base").rglob("*") if own.suffix in BY_ENDING):
        if file.parts[1] in ("vae", "safety_checker", "feature_extractor"):
            continue
        yield Reader(
            name=str(file), make=make, file=f"tiny/{file}", alter=BY_ENDING[file.suffix], read=base_of, weight=4
        )
    for file in sorted(own.relative_to(folder) for own in (folder / "judge").rglob("*") if own.suffix in BY_ENDING):
        yield Reader(
            name=str(file), make=make, file=f"tiny/{file}", alter=BY_ENDING[file.suffix], read=judge_of, weight=4
        )
    yield Reader(
        name="lora",
        make=make,
        file="tiny/lora.safetensors",
        alter=alter.alter_safetensors,
        read=lora_of,
        weight=8,
        fault=fault_of_tensors,
    )
    yield Reader(
        name="lora's numbers",
        make=make,
        file="tiny/lora.safetensors",
        alter=alter.alter_tensors,
        read=lora_of,
        weight=8,
        fault=fault_of_tensors,
    )


def fault_of_tensors(read: Any, _file: Path) -> Fault:
    """Weights are finite numbers."""
    wrong = [key for key, tensor in read.tensors.items() if not tensor.isfinite().all()]
    return f"{wrong[0]} is not finite" if wrong else None


def model_readers(kept: Path) -> Iterator[Reader]:
    """A model that abstains."""
    from emoe_audit.abstain.abstainer import Abstainer
    from emoe_audit.abstain.files import load_abstainer, save_abstainer
    from tests.abstain.made import made_features

    if not (kept / "model").exists():
        save_abstainer(Abstainer.fit(made_features(), n_labellers=8, ensemble_hash="e" * 64), kept / "model")

    def decide(folder: Path) -> Any:
        return load_abstainer(folder / "model").decide(made_features(seed=4))

    def fault(decided: pd.DataFrame, _file: Path) -> Fault:
        numbers = decided.select_dtypes("number").to_numpy(dtype=float)
        return None if np.isfinite(numbers).all() else "a decision rests on what is no number"

    def make(scratch: Path) -> None:
        copied(kept / "model")(scratch / "model")

    for file in sorted(own.relative_to(kept) for own in (kept / "model").rglob("*") if own.is_file()):
        yield Reader(
            name=str(file),
            make=make,
            file=str(file),
            alter=BY_ENDING[file.suffix],
            read=decide,
            weight=40,
            fault=fault,
            after=rehash,
        )


def rehash(folder: Path) -> None:
    """Give a model's other files the hashes that they have now, as somebody who alters a model would."""
    about = folder / "model" / "model.json"
    try:
        model = json.loads(about.read_text(encoding="utf-8"))
        model["tensors_sha256"] = hashlib.sha256((about.parent / "tensors.safetensors").read_bytes()).hexdigest()
        about.write_text(json.dumps(model), encoding="utf-8")
    except (ValueError, KeyError, TypeError, OSError, AttributeError):
        return
