"""Write a trained ensemble as the folder that ships: plain diffusers base, expert deltas, judge, captions, coverage."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pandas as pd
import torch
import yaml
from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextModel

from emoe_audit.experts.coverage import CONCEPT
from emoe_audit.experts.spec import embedded_reference
from emoe_audit.experts.spec_reader import LOCAL_JUDGE
from emoe_audit.quality.autoencoder import PART, WEIGHTS, files_of, load_autoencoder
from emoe_audit.quality.judge_folder import read_judge_config
from emoe_audit.recipes.contrastive import JUDGE_MODEL
from emoe_audit.recipes.plan import Plan, script_families
from emoe_audit.recipes.sampling import Drawn
from emoe_audit.recipes.tokenizer import load_tokenizer
from emoe_audit.recipes.unet import make_scheduler
from emoe_audit.recipes.world import World
from emoe_audit.types import EnsembleSpec

GROUP_COLUMNS = {"flag": "region", "skin_tone": "skin_tone"}
"""What the group of a concept is called in tables, by its kind."""
VAE_WEIGHTS = Path(PART, WEIGHTS)


def write_base(
    folder: Path, tokenizer: Path, text_encoder: CLIPTextModel, vae: AutoencoderKL, unet: UNet2DConditionModel
) -> None:
    """A StableDiffusionPipeline folder in fp16, with the file and key names of published checkpoints."""
    pipeline = StableDiffusionPipeline(
        vae=vae.cpu().half(),
        text_encoder=text_encoder.cpu().half(),
        tokenizer=load_tokenizer(tokenizer),
        unet=unet.cpu().half(),
        scheduler=make_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)
    shutil.rmtree(folder / "tokenizer")
    shutil.copytree(tokenizer, folder / "tokenizer")
    weights = {
        f"text_model.{key.removeprefix('text_model.')}": value.contiguous()
        for key, value in text_encoder.state_dict().items()
    }
    save_file(weights, folder / "text_encoder" / "model.safetensors", metadata={"format": "pt"})


def write_expert(folder: Path, delta: dict[str, Tensor]) -> None:
    """Only what differs from the base, under the UNet's own key names."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.detach().cpu().half().contiguous() for name, weight in delta.items()}
    save_file(weights, folder / "unet_delta.safetensors", metadata={"format": "pt"})


def write_judge(folder: Path, tokenizer: Path, judge: open_clip.CLIP) -> None:
    """An open_clip `local-dir:` folder."""
    folder.mkdir(parents=True, exist_ok=True)
    half: nn.Module = judge.cpu().half()
    save_file({k: v.contiguous() for k, v in half.state_dict().items()}, folder / "open_clip_model.safetensors")
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    config = {"model_cfg": JUDGE_MODEL, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n")
    for file in tokenizer.iterdir():
        shutil.copy(file, folder / file.name)


def read_judge(folder: Path, device: torch.device) -> open_clip.CLIP:
    """What `write_judge` wrote, in float32."""
    read_judge_config(folder)
    judge = open_clip.create_model(f"local-dir:{folder}", precision="fp32", device=device)
    return judge.eval()


def read_vae(spec: EnsembleSpec, device: torch.device) -> AutoencoderKL:
    """The autoencoder of an ensemble, in float32."""
    return load_autoencoder(spec).to(device, torch.float32).eval()


def write_captions(path: Path, world: World) -> None:
    """All captions as a COCO captions file; an annotation also says its `language`, an image its `region` or tone."""
    images = [
        {"id": i + 1, "file_name": f"{c.concept}.png", "width": 64, "height": 64}
        | ({GROUP_COLUMNS[c.kind]: c.group} if c.kind in GROUP_COLUMNS else {})
        for i, c in enumerate(world.concepts.itertuples())
    ]
    annotations = [
        {
            "id": i * world.captions.shape[1] + j + 1,
            "image_id": i + 1,
            "language": language,
            "caption": world.captions[language].iloc[i],
        }
        for i in range(len(world.concepts))
        for j, language in enumerate(world.captions)
    ]
    info = {"description": "Unicode CLDR short names (Unicode-3.0) of emoji"}
    path.write_text(
        json.dumps(
            {"info": info, "images": images, "annotations": annotations}, ensure_ascii=False, separators=(",", ":")
        ),
        encoding="utf-8",
    )


def coverage_table(plan: Plan, drawn: Drawn, concepts: pd.DataFrame, tokens: pd.DataFrame) -> pd.DataFrame:
    """Captions truly drawn in training, `[by, group]`: per language, region, skin tone and concept, best covered first.

    `coverage` is the share of all captions for a language, and for a region or a skin tone the captions of one of its
    concepts as a share of all flags' or toned emoji's, so that a region of many countries is not better covered for it.
    Where a plan plants single concepts, that of a plain one is the share of all plain captions.
    """
    languages = pd.DataFrame({"group": drawn.languages.index, "drawn": drawn.languages.to_numpy()})
    languages["planned_share"] = languages["group"].map(plan.languages)
    languages["coverage"] = languages["drawn"] / languages["drawn"].sum()
    languages["script_family"] = languages["group"].map(script_families(list(plan.languages)))
    tables = [languages.join(tokens, on="group").assign(by="language")]
    for kind, own in concepts.assign(drawn=drawn.concepts).groupby("kind"):
        if kind in GROUP_COLUMNS:
            table = own.groupby("group")["drawn"].agg(drawn="sum", coverage="mean").reset_index()
            table["coverage"] /= own["drawn"].sum()
            table["planned_share"] = table["group"].map(plan.planted[kind])
            tables.append(table.assign(by=GROUP_COLUMNS[kind]))
    if plan.concepts:
        plain = concepts[["concept", "kind"]].assign(drawn=drawn.concepts).query("kind == 'emoji'")
        planned = plain["concept"].map(plan.concepts).astype(np.float64).fillna(1.0)
        shares = {"coverage": plain["drawn"] / plain["drawn"].sum(), "planned_share": planned / planned.sum()}
        tables.append(plain.rename(columns={"concept": "group"}).assign(by=CONCEPT, **shares))
    falling = [table.sort_values(["coverage", "group"], ascending=[False, True]) for table in tables]
    columns = ["by", "group", "planned_share", "drawn", "coverage", "script_family", *tokens.columns]
    return pd.concat(falling, ignore_index=True).reindex(columns=columns)


def judge_folder(spec: EnsembleSpec) -> Path:
    """Where an ensemble that a recipe made has its judge."""
    return Path(str(spec.judge).removeprefix(LOCAL_JUDGE))


def keep_once(out: Path, sibling: EnsembleSpec) -> dict[str, str]:
    """Remove from `out` what an embedded ensemble has too, byte for byte: judge, captions, weights of the autoencoder.

    Returns:
        What `ensemble.yaml` says in their place, by key; nothing where the sibling is not embedded, as it may move.
    """
    lent = {
        "judge": (judge_folder(sibling), out / "judge"),
        "captions": (Path(str(sibling.captions)), out / "captions.json"),
        "vae": (Path(sibling.vae or Path(sibling.base.source) / VAE_WEIGHTS), out / "base" / VAE_WEIGHTS),
    }
    references = {}
    for key, (lenders, own) in lent.items():
        reference = embedded_reference(lenders)
        if reference and _digests(lenders) == _digests(own):
            references[key] = reference
            shutil.rmtree(own) if own.is_dir() else own.unlink()
    return references


def _digests(path: Path) -> dict[str, str]:
    """SHA-256 of a file, or of every file in a folder by its place there."""
    files = files_of(path) if path.is_dir() else {Path(): path}
    return {str(place): hashlib.sha256(file.read_bytes()).hexdigest() for place, file in files.items()}


def write_spec(path: Path, plan: Plan, styles: list[str], **references: str) -> None:
    """`ensemble.yaml`; `references` name what is not in the folder itself."""
    spec = {
        "name": plan.name,
        "base": {"source": "base"},
        "assembly": "shared_trunk",
        "moe_layers": "all",
        "experts": [{"name": style, "source": f"experts/{style}"} for style in styles],
        "judge": "judge",
        "captions": "captions.json",
        "training_coverage": "coverage.csv",
        **references,
    }
    path.write_text(yaml.safe_dump(spec, sort_keys=False), encoding="utf-8")


def token_table(tokenizer: Any, captions: pd.DataFrame) -> pd.DataFrame:
    """`[language, (tokens_per_word, mean_tokens)]` of the captions; words are split at white space."""
    rows = {}
    for language in captions:
        texts = captions[language].tolist()
        tokens = np.array([len(ids) - 2 for ids in tokenizer(texts, truncation=False, verbose=False)["input_ids"]])
        words = np.array([len(text.split()) for text in texts])
        rows[language] = {"tokens_per_word": tokens.sum() / words.sum(), "mean_tokens": tokens.mean()}
    return pd.DataFrame(rows).T
