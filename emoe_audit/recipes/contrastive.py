"""Two contrastive models: the judge (open_clip, even coverage) and the audited text encoder (CLIP, skewed coverage).

The text encoder learns as CLIP does (arXiv 2103.00020): captions against drawings of the same batch, those of one
concept being all positives. The judge has every caption to learn evenly, so every concept is a negative at every
step: its image tower learns against one learned vector a concept (proxies, arXiv 1703.07464, thrown away afterwards),
then its text tower learns against the locked image tower (LiT, arXiv 2111.07991), then its image tower the other way
round.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel

from emoe_audit.recipes.sampling import Batch, Sampler
from emoe_audit.recipes.tokenizer import MAX_LENGTH, VOCAB_SIZE
from emoe_audit.recipes.training import bfloat16_where_fast, train
from emoe_audit.recipes.world import World

JUDGE_IMAGE_STEPS, JUDGE_IMAGE_BATCH = 1000, 128
JUDGE_TEXT_STEPS, JUDGE_TEXT_BATCH = 3500, 384
TEXT_ENCODER_STEPS, TEXT_ENCODER_BATCH = 2200, 192
LENGTH_CHUNKS = 4
JUDGE_MODEL: dict[str, Any] = {
    "embed_dim": 192,
    "vision_cfg": {"image_size": 64, "layers": [1, 2, 2, 1], "width": 24},
    "text_cfg": {
        "context_length": MAX_LENGTH,
        "vocab_size": VOCAB_SIZE,
        "width": 160,
        "heads": 5,
        "layers": 4,
        "hf_tokenizer_name": "judge",
    },
}
MAX_LOGIT_SCALE = 100.0


class Examples:
    """The world on a device: drawings as pixels in [-1, 1], captions as token ids."""

    def __init__(self, world: World, tokenizer: Any, styles: tuple[str, ...], device: torch.device) -> None:
        self.world, self.styles, self.device = world, styles, device
        ids = tokenizer(
            world.captions.to_numpy().T.reshape(-1).tolist(),
            padding="max_length",
            truncation=True,
            max_length=MAX_LENGTH,
        )["input_ids"]
        self.ids = torch.tensor(ids, device=device).view(len(world.captions.columns), len(world.captions), MAX_LENGTH)
        self.pixels = torch.cat([torch.from_numpy(world.drawings[style]) for style in styles]).to(device)
        offsets = np.cumsum([0] + [len(world.drawings[style]) for style in styles])[:-1]
        self.place = np.stack(
            [world.drawn[s] + o * (world.drawn[s] >= 0) for s, o in zip(styles, offsets, strict=True)]
        )

    def tokens(self, batch: Batch) -> Tensor:
        """int64 `[n, 32]`."""
        return self.ids[torch.from_numpy(batch.languages), torch.from_numpy(batch.concepts)]

    def concepts(self, batch: Batch) -> Tensor:
        """int64 `[n]`."""
        return torch.from_numpy(batch.concepts).to(self.device)

    def places(self, batch: Batch) -> Tensor:
        """Row of each example's drawing in `pixels`."""
        return torch.from_numpy(self.place[batch.styles, batch.concepts]).to(self.device)

    def images(self, places: Tensor) -> Tensor:
        """float32 `[n, 3, 64, 64]` in [-1, 1]."""
        return self.pixels[places].permute(0, 3, 1, 2).float() / 127.5 - 1


def augment(images: Tensor) -> Tensor:
    """Shift, scale, blur, tint and noise at random, so that the judge also reads generated images."""
    n, device = len(images), images.device
    theta = torch.zeros(n, 2, 3, device=device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 + 0.15 * (2 * torch.rand(n, device=device) - 1)
    theta[:, :, 2] = 0.15 * (2 * torch.rand(n, 2, device=device) - 1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    moved = F.grid_sample(images - 1, grid, align_corners=False) + 1
    blurred = F.avg_pool2d(moved, 5, stride=1, padding=2, count_include_pad=False)
    sharpness = torch.rand(n, 1, 1, 1, device=device)
    moved = torch.where(sharpness < 0.5, torch.lerp(blurred, moved, 2 * sharpness), moved)
    tint = 1 + 0.1 * torch.randn(n, 3, 1, 1, device=device)
    return (moved * tint + 0.08 * torch.rand(n, 1, 1, 1, device=device) * torch.randn_like(moved)).clamp(-1, 1)


def encode_by_length(encode: Callable[[Tensor], Tensor], ids: Tensor) -> Tensor:
    """Encode captions `[n, 32]` in chunks of like length, each cut to its longest caption; `[n, d]` in order.

    Under a causal mask what follows the end of a text changes nothing before it, so this only saves time.
    """
    lengths = (ids == VOCAB_SIZE - 1).int().argmax(dim=1) + 1
    order = lengths.argsort()
    chunks = [encode(ids[rows, : int(lengths[rows].max())]) for rows in order.chunk(LENGTH_CHUNKS)]
    return torch.cat(chunks)[order.argsort()]


def contrastive_loss(image: Tensor, text: Tensor, concepts: Tensor, log_scale: Tensor) -> Tensor:
    """Symmetric cross-entropy between images and texts `[n, d]`; same concept = positive."""
    logits = _scale(log_scale) * F.normalize(image.float(), dim=-1) @ F.normalize(text.float(), dim=-1).T
    positives = (concepts[:, None] == concepts[None, :]).float()
    target = positives / positives.sum(dim=1, keepdim=True)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


def concept_loss(features: Tensor, targets: Tensor, concepts: Tensor, log_scale: Tensor) -> Tensor:
    """Cross-entropy of features `[n, d]` against vectors `[concept, d]`, plus the cosine distance to their own."""
    cosines = F.normalize(features.float(), dim=-1) @ F.normalize(targets, dim=-1).T
    distance = 1 - cosines.gather(1, concepts[:, None]).mean()
    return F.cross_entropy(_scale(log_scale) * cosines, concepts) + distance


def _scale(log_scale: Tensor) -> Tensor:
    return log_scale.exp().clamp(max=MAX_LOGIT_SCALE)


class JudgeImageTrainer(nn.Module):
    """The judge's image tower and the vectors it learns against; only `visual` is kept."""

    def __init__(self, visual: nn.Module, vectors: nn.Parameter) -> None:
        super().__init__()
        self.visual, self.vectors = visual, vectors
        self.log_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))


def train_judge(examples: Examples, folder: Path) -> open_clip.CLIP:
    """An open_clip model trained on every language and concept evenly, in three stages.

    Images against learned vectors, captions against the locked image tower, images against the locked text tower: the
    last brings drawings as near to captions as captions are to drawings.
    """
    torch.manual_seed(0)
    judge = open_clip.CLIP(**JUDGE_MODEL).to(examples.device)
    proxies = nn.Parameter(torch.randn(len(examples.world.concepts), JUDGE_MODEL["embed_dim"], device=examples.device))
    _train_judge_images("judge-image", judge.visual, proxies, examples, folder)
    judge.visual.requires_grad_(False)
    _train_judge_captions(judge, examples, folder)
    judge.visual.requires_grad_(True)
    captions = nn.Parameter(caption_means(judge, examples), requires_grad=False)
    _train_judge_images("judge-image-again", judge.visual, captions, examples, folder)
    return judge.eval()


def _train_judge_images(name: str, visual: nn.Module, vectors: nn.Parameter, examples: Examples, folder: Path) -> None:
    model = JudgeImageTrainer(visual, vectors).to(examples.device)
    sampler = Sampler(world=examples.world, plan=None, styles=examples.styles)

    def loss(step: int) -> Tensor:
        batch = sampler.draw(name, step, JUDGE_IMAGE_BATCH)
        with bfloat16_where_fast(examples.device):
            features = visual(augment(examples.images(examples.places(batch))))
        return concept_loss(features, model.vectors, examples.concepts(batch), model.log_scale)

    train(name, model, loss, steps=JUDGE_IMAGE_STEPS, learning_rate=1e-3, folder=folder, weight_decay=0.05)


def _train_judge_captions(judge: open_clip.CLIP, examples: Examples, folder: Path) -> None:
    prototypes = concept_prototypes(judge.visual, examples)
    sampler = Sampler(world=examples.world, plan=None, styles=examples.styles)

    def loss(step: int) -> Tensor:
        batch = sampler.draw("judge captions", step, JUDGE_TEXT_BATCH)
        features = encode_by_length(lambda ids: encode_short_text(judge, ids), examples.tokens(batch))
        return concept_loss(features, prototypes, examples.concepts(batch), judge.logit_scale)

    train("judge-text", judge, loss, steps=JUDGE_TEXT_STEPS, learning_rate=1e-3, folder=folder, weight_decay=0.05)


@torch.no_grad()
def caption_means(judge: open_clip.CLIP, examples: Examples) -> Tensor:
    """Mean over languages of the normalised features of a concept's captions, float32 `[concept, d]`."""
    total = torch.zeros(len(examples.world.concepts), JUDGE_MODEL["embed_dim"], device=examples.device)
    for ids in examples.ids:
        chunks = [encode_by_length(lambda part: encode_short_text(judge, part), chunk) for chunk in ids.split(512)]
        total += F.normalize(torch.cat(chunks).float(), dim=-1)
    return F.normalize(total, dim=-1)


@torch.no_grad()
def concept_prototypes(visual: nn.Module, examples: Examples) -> Tensor:
    """Mean of the normalised features of a concept's drawings, float32 `[concept, d]`."""
    visual.eval()
    chunks = [visual(examples.images(places)) for places in torch.arange(len(examples.pixels)).split(256)]
    features = F.normalize(torch.cat(chunks).float(), dim=-1)
    total = torch.zeros(len(examples.world.concepts), features.shape[1], device=features.device)
    for row in examples.place:
        drawn = np.flatnonzero(row >= 0)
        total[drawn] += features[row[drawn]]
    return F.normalize(total, dim=-1)


def encode_short_text(judge: open_clip.CLIP, ids: Tensor) -> Tensor:
    """`judge.encode_text` for ids `[n, at most 32]`, which open_clip wants padded."""
    n = ids.shape[1]
    states = judge.token_embedding(ids) + judge.positional_embedding[:n]
    states = judge.ln_final(judge.transformer(states, attn_mask=judge.attn_mask[:n, :n]))
    return states[torch.arange(len(ids)), ids.argmax(dim=1)] @ judge.text_projection


class TextEncoderTrainer(nn.Module):
    """The audited CLIP text encoder with the image tower it learns against; only `text` is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=VOCAB_SIZE,
                hidden_size=128,
                intermediate_size=512,
                num_hidden_layers=4,
                num_attention_heads=4,
                max_position_embeddings=MAX_LENGTH,
                projection_dim=128,
                bos_token_id=VOCAB_SIZE - 2,
                eos_token_id=VOCAB_SIZE - 1,
                pad_token_id=VOCAB_SIZE - 1,
            )
        )
        self.image = ModifiedResNet(layers=[1, 1, 1, 1], output_dim=128, heads=8, image_size=64, width=16)
        self.projection = nn.Linear(128, 128, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(np.log(1 / 0.07), dtype=torch.float32))

    def encode_text(self, ids: Tensor) -> Tensor:
        """`[n, 128]`, not normalised."""
        return self.projection(self.text(input_ids=ids).pooler_output)

    def encode_image(self, images: Tensor) -> Tensor:
        """`[n, 128]`, not normalised."""
        return self.image(images)


def train_text_encoder(examples: Examples, sampler: Sampler, folder: Path) -> TextEncoderTrainer:
    """Contrastive training on captions drawn from the plan: where a real model's blindness begins."""
    torch.manual_seed(sampler.seed)
    model = TextEncoderTrainer().to(examples.device)

    def loss(step: int) -> Tensor:
        batch = sampler.draw("text encoder", step, TEXT_ENCODER_BATCH)
        with bfloat16_where_fast(examples.device):
            image = model.encode_image(augment(examples.images(examples.places(batch))))
        text = encode_by_length(model.encode_text, examples.tokens(batch))
        return contrastive_loss(image, text, examples.concepts(batch), model.log_scale)

    train("text-encoder", model, loss, steps=TEXT_ENCODER_STEPS, learning_rate=1e-3, folder=folder, weight_decay=0.05)
    return model
