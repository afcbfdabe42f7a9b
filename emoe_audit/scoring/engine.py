"""The scoring engine: prompts in, one row of scores per prompt out. No image is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor

from emoe_audit.analysis.familiarity import UNFAMILIARITY
from emoe_audit.analysis.languages import Languages
from emoe_audit.analysis.readings import read_once
from emoe_audit.errors import EnsembleError
from emoe_audit.experts.devices import is_out_of_memory, resolve_dtype
from emoe_audit.experts.ensemble import Ensemble
from emoe_audit.progress import Progress, silent, working_time
from emoe_audit.scoring.batch_size import batch_sizes
from emoe_audit.scoring.begun import Begun
from emoe_audit.scoring.columns import as_numbers, score_columns
from emoe_audit.scoring.conditioning import TEXTS, TextStates, count_tokens, encode_prompts
from emoe_audit.scoring.disagreement import SCORES, Score, feature_power
from emoe_audit.scoring.expert_path import PathStart, mid_block_features, prompt_free_start
from emoe_audit.scoring.first_step import draw_noise, first_step
from emoe_audit.scoring.gated_paths import gated_paths
from emoe_audit.scoring.sketch import BUCKETS, sketch
from emoe_audit.types import Prompt, ScoringConfig

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """What was measured of some texts."""

    values: np.ndarray
    """`[measure, noise, text]`."""
    readings: np.ndarray
    """Sketches of the text states, `[text, bucket]`."""
    features: np.ndarray
    """Sketches of the features, averaged over experts and noises, `[text, bucket]`; 0 where no noise was asked."""
    states: np.ndarray
    """Before the last norm, `[text, state]`."""


class ScoringEngine:
    """Scores prompts by the disagreement of an ensemble's experts (Berry et al., arXiv 2505.13273).

    One noise for all experts and prompts, the first denoising step, the features after the mid-block; averaged over
    `config.n_noise` noises. The conditional half alone is scored; with `config.both_halves` a score is the mean of
    the score of that half and of the unconditional one (the empty prompt), which is the same for every prompt. Under
    no noise the text encoder alone reads the prompts, and what the experts would say of them is NaN.
    """

    def __init__(self, ensemble: Ensemble, config: ScoringConfig, measures: Mapping[str, Score] | None = None) -> None:
        """Measure features by `measures`, by default every registered score and their power.

        Raises `EnsembleError` for settings that do not fit the ensemble, or its memory budget.
        """
        if config.n_noise and len(ensemble.experts) < 2:
            raise EnsembleError(f"{ensemble.spec.name}: has {len(ensemble.experts)} expert; a score needs at least two")
        if ensemble.dtype != resolve_dtype(config.dtype):
            raise EnsembleError(
                f"{ensemble.spec.name}: loaded in {ensemble.dtype}, the scores ask for {config.dtype}; "
                f"load it with dtype={config.dtype!r}"
            )
        if config.both_halves and len(ensemble.text_encoders) == 2:
            raise EnsembleError(f"{ensemble.spec.name}: SDXL has no empty prompt's half; leave both_halves out")
        if config.n_noise < 0 or (config.batch_size is not None and config.batch_size < 1):
            raise EnsembleError(
                f"n_noise={config.n_noise}, batch_size={config.batch_size}: must be at least 0, and at least 1"
            )
        self.ensemble = ensemble
        self.config = config
        self.languages: Languages | None = None
        """What is known of them; until it is, no prompt has `unfamiliarity`."""
        if ensemble.spec.top_k is not None and config.n_noise:
            self.ensemble = dataclasses.replace(ensemble, unets=self._gated(ensemble.spec.top_k))
        self._measures = dict({**SCORES, "feature_power": feature_power} if measures is None else measures)
        self._batch = batch_sizes(ensemble, config)

    @property
    def ensemble_hash(self) -> str:
        """SHA-256 over what takes part in a score."""
        return self.ensemble.ensemble_hash

    @property
    def batch_size(self) -> int:
        """Prompts that pass an expert at once."""
        return self._batch.size

    def score(self, prompts: Sequence[Prompt], begun: Begun | None = None) -> pd.DataFrame:
        """One row per prompt, in order; equal texts are computed once.

        Columns: `prompt_id`; for every registered score its mean over the noises and, as `..._noise_sd`, the sample
        standard deviation over them (NaN for one noise); `feature_power`, `n_noise`, `n_tokens`, `tokens_per_word`,
        `truncated`; `reading`, how the ensemble reads the prompt (`emoe_audit.scoring.sketch`), its parts in a row;
        `unfamiliarity`, see `emoe_audit.analysis.familiarity`; and what a further noise is added to: `features`, the
        second part of the reading in float32, and `..._noises`, each measure under each noise, `[noise]` in float32.
        Scores have no unit. A score that overflowed `config.dtype` is NaN.

        Args:
            prompts: What is scored.
            begun: What the first noises gave of each of them, which are not asked again.
        """
        first: dict[str, int] = {}
        for row, prompt in enumerate(prompts):
            first.setdefault(prompt.prompt, row)
        place = {text: index for index, text in enumerate(first)}
        scores, states = self._scores(list(first), self._usable(begun, [*first.values()]))
        where = [place[prompt.prompt] for prompt in prompts]
        rows = pd.DataFrame({**scores, **self._counts(list(place))}).iloc[where].reset_index(drop=True)
        rows.insert(0, "prompt_id", [prompt.prompt_id for prompt in prompts])
        if self.languages is None:
            return rows.assign(**{UNFAMILIARITY: np.nan})
        languages = [str(prompt.language) for prompt in prompts]
        return rows.assign(**{UNFAMILIARITY: self.languages.familiarity.judge(states[where], languages)})

    def _usable(self, begun: Begun | None, rows: Sequence[int]) -> Begun | None:
        """What was begun of some rows, where that is the first part of what is measured here."""
        if begun is None or begun.n_noise > self.config.n_noise or not begun.noises.keys() >= self._measures.keys():
            return None
        return begun.take(rows)

    def have(self, work: Callable[[ScoringEngine, T, Progress], R], of: T, progress: Progress = silent) -> R:
        """What some work on this engine finds; an engine that is elsewhere has it done there."""
        return work(self, of, progress)

    def text_states(self, texts: Sequence[str]) -> TextStates:
        """What the experts are given of each text."""
        own = self.ensemble
        encode = partial(encode_prompts, texts, clip_skip=own.spec.clip_skip)
        states = encode(own.text_encoders)
        if not own.own_texts:
            return states
        read = {place: encode(encoders) for place, encoders in own.own_texts.items()}
        return states.with_own([read.get(place, states) for place in range(len(own.experts))])

    def read_texts(self, texts: Sequence[str], progress: Progress = silent) -> Float[np.ndarray, "text bucket"]:
        """The first part of the readings, for which no expert is asked; equal texts are read once."""
        return self.read_with_states(texts, progress)[0]

    def read_with_states(
        self, texts: Sequence[str], progress: Progress = silent
    ) -> tuple[Float[np.ndarray, "text bucket"], Float[np.ndarray, "text state"]]:
        """The same, and beside it the state of each text before the last norm."""

        def read(part: list[str]) -> np.ndarray:
            states = self.text_states(part)
            both: np.ndarray = torch.cat([sketch(states.summary), states.unnormed.float()], dim=1).cpu().numpy()
            return both

        found = read_once(texts, read, TEXTS, progress)
        return found[:, :BUCKETS], found[:, BUCKETS:]

    def features(self, states: TextStates, noise_index: int) -> Float[Tensor, "expert batch channel height width"]:
        """The mid-block of every expert after the first step from one noise."""
        starts, unets = self.starts[noise_index], self.ensemble.unets
        return torch.stack([mid_block_features(unets[i], start, states.of(i)) for i, start in enumerate(starts)])

    def _counts(self, texts: list[str]) -> dict[str, np.ndarray]:
        counts = count_tokens(texts, self.ensemble.tokenizer, self.ensemble.max_length)
        return {
            "n_tokens": np.array([count.n_tokens for count in counts], dtype=np.int64),
            "tokens_per_word": np.array([count.tokens_per_word for count in counts], dtype=np.float64),
            "truncated": np.array([count.truncated for count in counts], dtype=bool),
        }

    def _scores(self, texts: list[str], begun: Begun | None) -> tuple[dict[str, Any], np.ndarray]:
        """The columns of some texts, and their states before the last norm."""
        names, n_begun = list(self._measures), 0 if begun is None else begun.n_noise
        n_further = max(0, self.config.n_noise - n_begun)
        measured = self._measured_in_chunks(texts, n_begun)
        values = np.concatenate([np.empty((len(names), n_further, 0)), *(own.values for own in measured)], axis=2)
        features = np.concatenate([np.empty((0, BUCKETS), np.float32), *(own.features for own in measured)])
        if self.config.both_halves and n_further:
            values = (values + self._unconditional[:, n_begun:]) / 2
        if begun is not None:
            values, features = begun.with_values(names, values), begun.with_features(features, n_further)
        readings = np.concatenate([np.empty((0, BUCKETS), np.float32), *(own.readings for own in measured)])
        states = np.concatenate([own.states for own in measured] or [np.empty((0, 0))])
        return score_columns(names, values, readings, features), states

    def _measured_in_chunks(self, texts: Sequence[str], n_begun: int) -> list[_Measured]:
        _ = self.starts  # not to be timed as part of the first chunk
        found, done = [], 0
        while done < len(texts):
            chunk = texts[done : done + self._batch.chunk]
            measured = self._measure_if_memory_lasts(chunk, n_begun)
            if measured is not None:
                found.append(measured)
                done += len(chunk)
        return found

    def _measure_if_memory_lasts(self, texts: Sequence[str], n_begun: int) -> _Measured | None:
        """None where it did not; what a failed attempt held is free again after it."""
        started = working_time()
        try:
            measured = self._measure(texts, n_begun)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            self._batch.ran_out_of_memory(len(texts), self.ensemble.spec.name)
            return None
        self._batch.took(len(texts), working_time() - started)
        return measured

    def _measure(self, texts: Sequence[str], n_begun: int = 0) -> _Measured:
        """Of some texts, under the noises that follow the first `n_begun`."""
        states = self.text_states(texts)
        batches = states.split(self.batch_size)
        starts = self.starts[n_begun:]
        features: list[list[list[Tensor]]] = [[[] for _ in batches] for _ in starts]
        for expert in range(len(self.ensemble.experts) if starts else 0):
            unet = self.ensemble.unets[expert]
            for of_noise, paths in zip(features, starts, strict=True):
                for of_batch, batch in zip(of_noise, batches, strict=True):
                    of_batch.append(mid_block_features(unet, paths[expert], batch.of(expert)))
            del unet  # where experts are streamed, this one goes before the next one comes
        values = [torch.cat([self._measured(torch.stack(own)) for own in of_noise], dim=1) for of_noise in features]
        means = [_mean_features([of_noise[batch] for of_noise in features]) for batch in range(len(batches)) if starts]
        return _Measured(
            values=as_numbers(values, (len(self._measures), 0, len(texts))),
            readings=sketch(states.summary).cpu().numpy(),
            features=sketch(torch.cat(means)).cpu().numpy() if means else np.zeros((len(texts), BUCKETS), np.float32),
            states=states.unnormed.float().cpu().numpy(),
        )

    def _measured(self, features: Tensor) -> Float[Tensor, "measure batch"]:
        return torch.stack([measure(features) for measure in self._measures.values()])

    def _gated(self, top_k: int) -> list[UNet2DConditionModel]:
        own = self.ensemble
        if own.own_texts:
            raise EnsembleError(f"{own.spec.name}: gated paths take one text encoder; leave out `text_encoders: own`")
        if own.residency != "all":
            raise EnsembleError(f"{own.spec.name}: gated paths need all experts in memory; leave out the memory budget")
        empty = self.text_states([""])
        return gated_paths(
            own.unets,
            own.spec.moe_layers,
            top_k,
            lambda unet: mid_block_features(unet, prompt_free_start(unet, *self._steps[0]), empty),
            split=own.spec.split,
        )

    @cached_property
    def _steps(self) -> list[tuple[Tensor, Tensor]]:
        """Latent and timestep of the first step from every noise."""
        own = self.ensemble
        noises = [draw_noise(self.config.seed, index, own.latent_shape) for index in range(self.config.n_noise)]
        steps = [first_step(own.scheduler, noise, self.config.num_inference_steps) for noise in noises]
        return [(latent.to(own.device, own.dtype), timestep.to(own.device)) for latent, timestep in steps]

    @cached_property
    def starts(self) -> list[list[PathStart]]:
        """The prompt-free start of every path, `[noise][expert]`."""
        own = self.ensemble
        by_expert = [_starts(own.unets[expert], self._steps) for expert in range(len(own.experts))]
        return [list(of_noise) for of_noise in zip(*by_expert, strict=True)]

    @cached_property
    def _unconditional(self) -> np.ndarray:
        return self._measure([""]).values


def _mean_features(of_noises: list[list[Tensor]]) -> Float[Tensor, "batch element"]:
    """The mean over noises and experts, from the features of one batch, `[noise][expert]`."""
    return torch.stack([torch.stack(own).float().mean(dim=0) for own in of_noises]).mean(dim=0).flatten(1)


def _starts(unet: UNet2DConditionModel, steps: list[tuple[Tensor, Tensor]]) -> list[PathStart]:
    return [prompt_free_start(unet, latent, timestep) for latent, timestep in steps]
