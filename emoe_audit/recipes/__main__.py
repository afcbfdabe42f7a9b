"""Make an ensemble from a plan: `python -m emoe_audit.recipes --plan PLAN --out DIR`; stopped, it goes on."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import pandas as pd
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor

from emoe_audit.errors import AuditError, told
from emoe_audit.experts.spec import load_spec
from emoe_audit.recipes import contrastive, evaluate, package, unet, vae
from emoe_audit.recipes.card import write_card
from emoe_audit.recipes.drawings import STYLES
from emoe_audit.recipes.plan import Plan
from emoe_audit.recipes.sampling import Drawn, Sampler
from emoe_audit.recipes.tokenizer import load_tokenizer, train_tokenizer
from emoe_audit.recipes.world import build_world


def make_ensemble(plan_file: Path, out: Path, cache: Path, device: torch.device, sibling: Path | None = None) -> None:
    """Everything from the sources to the packaged folder `out`.

    `cache/<kinds of concepts>` keeps what every plan with these kinds shares (world, tokenizer, judge, VAE), a folder
    in it with the plan's name the rest. Tokenizer, judge and VAE are those of the finished ensemble `sibling` where one
    is given: a tokenizer trained again may break ties otherwise, so the judge keeps the one that it learned with. What
    an embedded sibling has byte for byte is not written again.
    """
    plan, lender = Plan.read(plan_file), None if sibling is None else load_spec(sibling)
    shared = cache / "-".join(plan.kinds)
    world = build_world(shared / "world", cache / "npm", plan.kinds)
    if lender is not None and not (shared / "tokenizer").exists():
        shutil.copytree(
            package.judge_folder(lender), shared / "tokenizer", ignore=shutil.ignore_patterns("open_clip_*")
        )
    tokenizer = train_tokenizer(world.captions, shared / "tokenizer")
    examples = contrastive.Examples(world, tokenizer, tuple(STYLES), device)
    if lender is None:
        judge, judged = contrastive.train_judge(examples, shared), examples
        autoencoder = vae.train_vae(examples, judge, shared)
    else:
        lent = package.judge_folder(lender)
        judge, autoencoder = package.read_judge(lent, device), package.read_vae(lender, device)
        judged = contrastive.Examples(world, load_tokenizer(lent), tuple(STYLES), device)
    trained = train_plan(plan, examples, autoencoder, tokenizer, shared / plan.name)

    out.mkdir(parents=True, exist_ok=True)
    shutil.copy(plan_file, out / "plan.yaml")
    package.write_captions(out / "captions.json", world)
    tokens = package.token_table(tokenizer, world.captions)
    coverage = package.coverage_table(plan, trained.drawn, world.concepts, tokens)
    package.write_base(out / "base", shared / "tokenizer", trained.text_encoder.text, autoencoder, trained.base)
    for style, delta in trained.deltas.items():
        package.write_expert(out / "experts" / style, delta)
    figures = measure(out, judge, judged, coverage, trained.text_encoder, examples)
    if lender is None:
        package.write_judge(out / "judge", shared / "tokenizer", judge)
    else:
        shutil.copytree(package.judge_folder(lender), out / "judge", dirs_exist_ok=True)
    coverage.to_csv(out / "coverage.csv", index=False, float_format="%.6g")
    (out / "metrics.json").write_text(json.dumps(figures, indent=2) + "\n")
    references = {} if lender is None else package.keep_once(out, lender)
    write_card(out, plan, coverage, figures, references)
    package.write_spec(out / "ensemble.yaml", plan, list(trained.deltas), **references)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What depends on the plan."""

    text_encoder: contrastive.TextEncoderTrainer
    base: UNet2DConditionModel
    deltas: dict[str, dict[str, Tensor]]
    """The weights of each expert that differ from the base's."""
    drawn: Drawn
    """The captions that were drawn in all stages together."""


def train_plan(
    plan: Plan, examples: contrastive.Examples, autoencoder: AutoencoderKL, tokenizer: Any, work: Path
) -> Trained:
    """Text encoder, base and experts, on captions drawn from the plan."""
    sampler = Sampler(world=examples.world, plan=plan, styles=examples.styles, seed=plan.seed)
    encoder = contrastive.train_text_encoder(examples, sampler, work)
    drawn = sampler.count("text encoder", contrastive.TEXT_ENCODER_STEPS, contrastive.TEXT_ENCODER_BATCH)
    drawn = drawn + sampler.count("base", plan.base_steps, unet.BATCH)
    empty = tokenizer("", padding="max_length", return_tensors="pt").input_ids.to(examples.device)
    states = unet.caption_states(encoder.text, examples)
    with torch.no_grad():
        empty_state = encoder.text(input_ids=empty).last_hidden_state

    def denoising(own: contrastive.Examples) -> unet.Denoising:
        latents = vae.encode_drawings(autoencoder, own) * autoencoder.config.scaling_factor
        return unet.Denoising(own, latents, states, empty_state)

    base = unet.train_base(denoising(examples), sampler, plan.base_steps, work)
    deltas = {}
    for style in examples.styles:
        own = Sampler(world=examples.world, plan=plan, styles=(style,), seed=plan.seed)
        drawings = contrastive.Examples(examples.world, tokenizer, (style,), examples.device)
        deltas[style] = unet.train_expert(denoising(drawings), base, own, style, plan.expert_steps, work)
        drawn = drawn + own.count(f"expert {style}", plan.expert_steps, unet.BATCH)
    return Trained(text_encoder=encoder, base=base, deltas=deltas, drawn=drawn)


def measure(
    out: Path,
    judge: open_clip.CLIP,
    judged: contrastive.Examples,
    coverage: pd.DataFrame,
    encoder: contrastive.TextEncoderTrainer,
    examples: contrastive.Examples,
) -> dict[str, float]:
    """The model card's figures; per-language ones become columns of the coverage table.

    The judge reads the examples `judged`, the text encoder the same ones as its own tokenizer cuts them.
    """
    encode_image, encode_text = judge.encode_image, judge.encode_text
    audited = evaluate.retrieval_by_language(encoder.encode_image, encoder.float().encode_text, examples)
    recalled = evaluate.retrieval_by_language(encode_image, encode_text, judged)
    drawn, _ = evaluate.image_top10_by_language(out / "base", encode_image, encode_text, judged)
    for column, values in (("text_recall_at_10", audited), ("judge_recall_at_10", recalled), ("image_top10", drawn)):
        coverage[column] = coverage["group"].map(values)
    size = sum(file.stat().st_size for file in out.rglob("*.safetensors"))
    return {
        "judge_top1_on_drawings": evaluate.drawing_top1(encode_image, encode_text, judged),
        "judge_recall_at_10_mean": float(recalled.mean()),
        "image_top10_best_language": float(drawn[coverage["group"].iloc[0]]),
        "weights_mb_without_judge": size / 1e6,
    }


def main() -> None:
    """Parse the arguments and make the ensemble."""
    parser = argparse.ArgumentParser(prog="python -m emoe_audit.recipes", description=__doc__)
    parser.add_argument("--plan", type=Path, required=True, help="coverage plan (YAML)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished ensemble")
    parser.add_argument("--cache", type=Path, default=Path("build/recipes"), help="what is reused and resumed")
    parser.add_argument("--sibling", type=Path, help="finished ensemble to take tokenizer, judge and VAE of")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()
    try:
        make_ensemble(args.plan, args.out, args.cache, torch.device(args.device), args.sibling)
    except (AuditError, OSError, MemoryError) as error:
        parser.exit(2, f"Error: {told(error)}\n")


if __name__ == "__main__":
    main()
