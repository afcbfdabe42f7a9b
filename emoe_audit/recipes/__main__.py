"""Make an ensemble from a plan: `python -m emoe_audit.recipes --plan PLAN --out DIR`; stopped, it goes on."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from emoe_audit.recipes import contrastive, evaluate, package, unet, vae
from emoe_audit.recipes.card import write_card
from emoe_audit.recipes.drawings import STYLES
from emoe_audit.recipes.plan import Plan
from emoe_audit.recipes.sampling import Sampler
from emoe_audit.recipes.tokenizer import load_tokenizer, train_tokenizer
from emoe_audit.recipes.world import build_world


def make_ensemble(plan_file: Path, out: Path, cache: Path, device: torch.device) -> None:
    """Everything from the sources to the packaged folder `out`.

    `cache` keeps what does not depend on the plan (world, tokenizer, judge, VAE); `cache/<plan name>` keeps the rest.
    """
    plan = Plan.read(plan_file)
    work, styles = cache / plan.name, tuple(STYLES)
    world = build_world(cache)
    tokenizer_folder = cache / "tokenizer"
    train_tokenizer(world.captions, tokenizer_folder)
    examples = contrastive.Examples(world, load_tokenizer(tokenizer_folder), styles, device)
    judge = contrastive.train_judge(examples, cache)
    autoencoder = vae.train_vae(examples, judge, cache)

    sampler = Sampler(world=world, plan=plan, styles=styles, seed=plan.seed)
    encoder = contrastive.train_text_encoder(examples, sampler, work)
    latents = vae.encode_drawings(autoencoder, examples) * autoencoder.config.scaling_factor
    empty = load_tokenizer(tokenizer_folder)("", padding="max_length", return_tensors="pt").input_ids.to(device)
    denoising = unet.Denoising(examples, latents, encoder.text, empty)
    base = unet.train_base(denoising, sampler, work)
    deltas = {}
    for style in styles:
        own = Sampler(world=world, plan=plan, styles=(style,), seed=plan.seed)
        style_examples = contrastive.Examples(world, load_tokenizer(tokenizer_folder), (style,), device)
        style_latents = vae.encode_drawings(autoencoder, style_examples) * autoencoder.config.scaling_factor
        style_denoising = unet.Denoising(style_examples, style_latents, encoder.text, empty)
        deltas[style] = unet.train_expert(style_denoising, base, own, style, work)

    audited = evaluate.retrieval_by_language(encoder.encode_image, encoder.encode_text, examples)
    counts = sampler.count("text encoder", contrastive.TEXT_ENCODER_STEPS, contrastive.TEXT_ENCODER_BATCH)
    counts += sampler.count("base", unet.BASE_STEPS, unet.BATCH)
    for style in styles:
        own = Sampler(world=world, plan=plan, styles=(style,), seed=plan.seed)
        counts += own.count(f"expert {style}", unet.EXPERT_STEPS, unet.BATCH)

    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(plan_file, out / "plan.yaml")
    package.write_captions(out / "captions.json", world)
    coverage = package.coverage_table(plan, counts, package.token_table(tokenizer_folder, world.captions))
    package.write_base(out / "base", tokenizer_folder, encoder.text, autoencoder, base)
    for style, delta in deltas.items():
        package.write_expert(out / "experts" / style, delta)
    figures = measure(out, judge, examples, coverage, audited)
    package.write_judge(out / "judge", tokenizer_folder, judge)
    coverage.to_csv(out / "coverage.csv", index=False, float_format="%.6g")
    (out / "metrics.json").write_text(json.dumps(figures, indent=2) + "\n")
    write_card(out, plan, coverage, figures)
    package.write_spec(out / "ensemble.yaml", plan, styles)


def measure(
    out: Path, judge: torch.nn.Module, examples: contrastive.Examples, coverage: pd.DataFrame, audited: pd.Series
) -> dict[str, float]:
    """The model card's figures; per-language ones become columns of the coverage table."""

    def encode_image(images: Tensor) -> Tensor:
        return judge.encode_image(images)  # type: ignore[operator]

    def encode_text(ids: Tensor) -> Tensor:
        return judge.encode_text(ids)  # type: ignore[operator]

    judged = evaluate.retrieval_by_language(encode_image, encode_text, examples)
    drawn, _ = evaluate.image_top10_by_language(out / "base", encode_image, encode_text, examples)
    for column, values in (("text_recall_at_10", audited), ("judge_recall_at_10", judged), ("image_top10", drawn)):
        coverage[column] = coverage["language"].map(values)
    size = sum(file.stat().st_size for file in out.rglob("*.safetensors"))
    return {
        "judge_top1_on_drawings": evaluate.drawing_top1(encode_image, encode_text, examples),
        "judge_recall_at_10_mean": float(judged.mean()),
        "image_top10_best_language": float(drawn[coverage["language"].iloc[0]]),
        "weights_mb_without_judge": size / 1e6,
    }


def main() -> None:
    """Parse the arguments and make the ensemble."""
    parser = argparse.ArgumentParser(prog="python -m emoe_audit.recipes", description=__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="coverage plan (YAML)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished ensemble")
    parser.add_argument("--cache", type=Path, default=Path("build/recipes"), help="what is reused and resumed")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    make_ensemble(args.plan, args.out, args.cache, torch.device(args.device))


if __name__ == "__main__":
    main()
