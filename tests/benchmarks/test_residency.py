"""What a mixture costs under a budget: what of its experts is in memory when it is asked for, and what images lose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from emoe_audit.experts.spec import load_spec
from emoe_audit.mixture.forecasts import Foreseen, LastStep
from emoe_audit.mixture.places import Asked, Keeper, Slot
from emoe_audit.mixture.profile import answer_from, residents
from emoe_audit.mixture.shelf import Shelf, shelf_of
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.quality.clip_score import ClipJudge
from emoe_audit.quality.images import ImageMaker
from emoe_audit.types import MIXTURE, EnsembleSpec, ImageConfig, Prompt
from tests.benchmarks.record import merge_record
from tests.benchmarks.sd15 import all_cores, true_size_folder
from tests.mixture.keepers import Clairvoyant, Frequency, LastDrawing, LeastRecentlyUsed, Shuffled, replay

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(0)]
WORLDS = ("emoji-a", "emoji-b")
N_PROMPTS = 24
SHARES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
ENOUGH = 1 << 40
DRAWN = ImageConfig(expert=MIXTURE, device="cpu", memory_budget=ENOUGH)
N_RANDOM = 3


class Learned:
    """The published form: of what the last drawing needed, a model names what the next one will need.

    A ridge regression takes the place of XLNet. It learns from the first drawings, and is asked again at every one.
    """

    def __init__(self, route: Sequence[Asked], sizes: dict[Slot, int], n_drawings: int) -> None:
        self._slots = {slot: place for place, slot in enumerate(sorted(sizes))}
        vectors = [self._vector([now for now in route if now.drawing == own]) for own in range(n_drawings)]
        x, y = np.column_stack([np.ones(n_drawings - 1), vectors[:-1]]), np.array(vectors[1:])
        self._weights = x.T @ np.linalg.solve(x @ x.T + np.eye(len(x)), y)
        self._drawing, self._seen, self._foreseen = -1, list[Asked](), np.full(len(self._slots), 0.5)

    def _vector(self, asked: Sequence[Asked]) -> np.ndarray:
        """How often each slot was needed."""
        found, turns = np.zeros(len(self._slots)), 1 + max(now.step for now in asked)
        for now in asked:
            for expert in now.needed:
                found[self._slots[Slot(now.layer, expert)]] += 1 / turns
        return found

    def seen(self, now: Asked) -> None:
        if now.drawing != self._drawing:
            if self._seen:
                self._foreseen = np.clip(np.append(1, self._vector(self._seen)) @ self._weights, 0, 1)
            self._drawing, self._seen = now.drawing, []
        self._seen.append(now)

    def chance(self, _now: Asked, slot: Slot) -> float:
        return float(self._foreseen[self._slots[slot]])


def keepers(route: Sequence[Asked], sizes: dict[Slot, int], learned_from: int) -> dict[str, Callable[[], Keeper]]:
    n_layers, n_experts = (1 + max(own) for own in zip(*sizes, strict=True))
    return {
        "lru": LeastRecentlyUsed,
        "last step": lambda: Foreseen(LastStep(), sizes),
        "last drawing": lambda: Foreseen(LastDrawing(), sizes),
        "last drawing, asked every 8": lambda: Foreseen(LastDrawing(8), sizes),
        "frequency by task": lambda: Foreseen(Frequency(), sizes),
        "learned": lambda: Foreseen(Learned(route, sizes, learned_from), sizes),
        "shuffled": lambda: Foreseen(Shuffled(LastStep(), n_layers, n_experts), sizes),
    }


def some_prompts(spec: EnsembleSpec) -> list[Prompt]:
    frame = default_prompts(spec).frame
    chosen = frame.iloc[np.random.default_rng(1).permutation(len(frame))[:N_PROMPTS]]
    rows = zip(chosen["prompt"], chosen["language"], chosen["source_id"], strict=True)
    return [Prompt(prompt_id="", prompt=text, language=tag, source_id=own) for text, tag, own in rows]


def shelf_in(maker: ImageMaker) -> Shelf:
    shelf = shelf_of(maker._pipeline.unet)
    assert shelf is not None
    return shelf


def other_bytes(maker: ImageMaker) -> int:
    modules = [own for own in maker._pipeline.components.values() if isinstance(own, torch.nn.Module)]
    return sum(own.nbytes for part in modules for own in chain(part.parameters(), part.buffers()))


def test_what_is_needed_next_is_known_from_the_last_step() -> None:
    rows: list[dict[str, Any]] = []
    over_lru, rates = [], []
    with all_cores():
        for world in WORLDS:
            spec = load_spec(world)
            maker = ImageMaker(spec, DRAWN)
            shelf, prompts = shelf_in(maker), some_prompts(spec)
            with shelf.watched() as route:
                for prompt in prompts:
                    maker.make([prompt])
            first, half = route[0].drawing, N_PROMPTS // 2
            route = [replace(now, drawing=now.drawing - first) for now in route]
            later = [now for now in route if now.drawing >= half]
            asked_bytes = sum(shelf.sizes[Slot(now.layer, own)] for now in later for own in now.needed)
            with shelf.watched() as together:
                maker.make(prompts)
            for share in SHARES:
                budget = int(share * sum(shelf.sizes.values()))
                for name, keeper in (("lru", LeastRecentlyUsed()), ("last step", Foreseen(LastStep(), shelf.sizes))):
                    at_once = replay(together, shelf.sizes, budget, keeper)
                    rows.append({"world": world, "budget": share, "keeper": f"{name}, {N_PROMPTS} at once"})
                    rows[-1] |= {"hit_rate": at_once.hit_rate}
                ways = keepers(route, shelf.sizes, half)
                found = {name: replay(later, shelf.sizes, budget, make()) for name, make in ways.items()}
                found["clairvoyant"] = replay(later, shelf.sizes, budget, Clairvoyant(later))
                rows += [
                    {"world": world, "budget": share, "keeper": name, "hit_rate": own.hit_rate}
                    | {"bytes_kept": 1 - own.bytes_read / asked_bytes}
                    for name, own in found.items()
                ]
                over_lru.append(found["last step"].hit_rate - found["lru"].hit_rate)
                if share == 0.4:
                    rates.append([found[name].hit_rate for name in ("last step", "lru", "shuffled", "clairvoyant")])
    names = ("hit_rate", "hit_rate_lru", "hit_rate_shuffled", "hit_rate_belady")
    figures = dict(zip(names, np.mean(rates, axis=0).tolist(), strict=True)) | {"hit_rate_over_lru": min(over_lru)}
    merge_record("residency", "routes", figures, rows)
    assert figures["hit_rate_over_lru"] >= 0


def test_what_images_lose_to_experts_that_are_not_there() -> None:
    rows: list[dict[str, Any]] = []
    with all_cores():
        for world in WORLDS:
            spec = load_spec(world)
            prompts, judge = some_prompts(spec), ClipJudge(str(spec.judge), device="cpu")
            whole = ImageMaker(spec, replace(DRAWN, memory_budget=None)).make(prompts)
            features = judge.image_features(whole)

            def likeness(images: Sequence[Any], features: np.ndarray = features, judge: ClipJudge = judge) -> float:
                return float((judge.image_features(list(images)) * features).sum(axis=1).mean())

            by_base = likeness(ImageMaker(spec, replace(DRAWN, expert=None, memory_budget=None)).make(prompts))
            rows.append({"world": world, "drawn_by": "base", "share": None, "cosine": by_base})
            others, total = other_bytes(maker := ImageMaker(spec, DRAWN)), sum(shelf_in(maker).sizes.values())
            exact = ImageMaker(spec, replace(DRAWN, memory_budget=others + int(0.4 * total))).make(prompts)
            same = [ours.tobytes() == theirs.tobytes() for ours, theirs in zip(exact, whole, strict=True)]
            rows.append(
                {"world": world, "drawn_by": "exact", "share": 0.4, "cosine": likeness(exact), "same": all(same)}
            )
            for share in (0.4, 0.6, 0.8):
                budget = others + int(share * total)
                lossy = ImageMaker(spec, replace(DRAWN, lossy=True, memory_budget=budget))
                found = likeness(lossy.make(prompts))
                rows.append({"world": world, "drawn_by": "needed", "share": share, "cosine": found})
                for seed in range(N_RANDOM):
                    shelf, rng = shelf_in(lossy), np.random.default_rng(seed)
                    staying = residents({slot: rng.random() for slot in shelf.sizes}, shelf.sizes, budget - others)
                    shelf.hold(staying)
                    answer_from(lossy._pipeline.unet, staying)
                    by_lot = likeness(lossy.make(prompts))
                    rows.append({"world": world, "drawn_by": "by lot", "share": share, "cosine": by_lot})

    def mean(who: str, share: float | None) -> float:
        return float(np.mean([own["cosine"] for own in rows if (own["drawn_by"], own["share"]) == (who, share)]))

    figures = {
        "lossy_cosine": mean("needed", 0.6),
        "lossy_cosine_40": mean("needed", 0.4),
        "lossy_cosine_random": mean("by lot", 0.6),
        "lossy_cosine_base": mean("base", None),
        "exact_equal": float(all(own["same"] for own in rows if own["drawn_by"] == "exact")),
    }
    merge_record("residency", "images", figures, rows)
    assert figures["exact_equal"] == 1
    assert figures["lossy_cosine"] > max(figures["lossy_cosine_random"], figures["lossy_cosine_base"])


def at_true_size(share: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.benchmarks.shelved", str(true_size_folder()), share]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"budget_share": share, **found}


def test_at_true_size_a_budget_holds_and_costs_little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(os.cpu_count() or 1))
    whole, least, some = (at_true_size(share) for share in ("all", "0.05", "0.4"))
    held = some["rss"] - least["rss"] + least["bytes"]
    figures = {
        "exact_slowdown": some["seconds"] / whole["seconds"],
        "budget_rss_ratio": held / some["budget"],
        "expert_gb": some["total"] / 1e9,
    }
    merge_record("residency", "true size", figures, [whole, least, some])
    assert whole["noise"] == least["noise"] == some["noise"]
    assert 0.8 <= figures["budget_rss_ratio"] <= 1.1
    assert max(own["file_growth"] for own in (least, some)) < 0.05 * some["budget"]
    assert figures["exact_slowdown"] <= 1.3
