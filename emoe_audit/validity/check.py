"""The check: does a score rise on what cannot be read, beyond a placebo, and are the experts comparable at all?

It needs no knowledge of the training set. Every score is held against texts of words that do not exist, with other real
captions as their placebo. The scores of the experts are asked of few texts; those of text alone (`translated`, `alone`)
go through the text encoder alone, for many. A score whose sign does not hold here is not to be trusted on
the ensemble, whatever it did elsewhere.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from emoe_audit.analysis.calibration import Calibration
from emoe_audit.analysis.familiarity import UNFAMILIARITY
from emoe_audit.analysis.languages import Languages
from emoe_audit.analysis.translations import TRANSLATION_SCORE
from emoe_audit.errors import EnsembleError
from emoe_audit.progress import Progress, chunks, silent
from emoe_audit.scoring.anywhere import AnyEngine
from emoe_audit.scoring.engine import ScoringEngine
from emoe_audit.types import Prompt
from emoe_audit.validity.alone import check_alone
from emoe_audit.validity.evidence import ProbeResult, compare
from emoe_audit.validity.outcome import Check, ScoreCheck
from emoe_audit.validity.probes import MOST_TEXTS, Pair, make_pairs, within
from emoe_audit.validity.reader import TextReader
from emoe_audit.validity.signs import oriented_scores
from emoe_audit.validity.translated import check_translations

ALIGNED = 40
"""Texts that show whether the experts are comparable."""
MOST_LANGUAGES, MOST_CAPTIONS = 40, 40
"""That the text encoder reads."""
CHUNK = 128


@dataclass(frozen=True, kw_only=True)
class Probes:
    """What an ensemble is asked, and what its text encoder alone says of that."""

    pairs: tuple[Pair, ...]
    of_texts: Mapping[str, tuple[ProbeResult, ...]]
    """The probes of the scores that no expert is asked for, by score."""


def check(
    engine: AnyEngine,
    captions: pd.DataFrame,
    languages: Languages,
    *,
    n_per_language: int = 3,
    progress: Progress = silent,
) -> Check:
    """Score the pairs and compare their texts.

    Args:
        engine: Of the ensemble.
        captions: Real captions to make the pairs from, a column per language.
        languages: What is known of them.
        n_per_language: Pairs of each probe in each language, at most; fewer where `MOST_TEXTS` would be passed.
        progress: Called with stage, done, total.

    Raises:
        EnsembleError: the captions yield no pair.
    """
    probes = probe(engine, captions, languages, n_per_language=n_per_language, progress=progress)
    return check_probes(engine, probes, progress)


def probe(
    engine: AnyEngine,
    captions: pd.DataFrame,
    languages: Languages,
    *,
    n_per_language: int = 3,
    progress: Progress = silent,
) -> Probes:
    """Make the pairs, and ask the text encoder; see `check`, of which this is the part without experts."""
    reader = TextReader(engine=engine, progress=progress)
    drawn = draw(captions, languages.calibration)
    words = {name: {word for text in captions[name] for word in str(text).casefold().split()} for name in drawn}
    made = make_pairs(drawn, words, reader.count, n_per_language=n_per_language)
    pairs = within(made, MOST_TEXTS - ALIGNED)
    if not pairs:
        raise EnsembleError(
            f"{engine.ensemble.spec.name}: no pair of real and strange prompts could be matched; give more captions"
        )
    of_texts = {
        TRANSLATION_SCORE: check_translations(reader, languages.calibration, drawn, pairs),
        UNFAMILIARITY: check_alone(reader, languages.familiarity, captions),
    }
    return Probes(pairs=tuple(pairs), of_texts=of_texts)


def check_probes(engine: AnyEngine, probes: Probes, progress: Progress = silent) -> Check:
    """What the probes say of every score of an engine: of those of its experts, where it asks any."""
    own, pairs, of_texts = engine.ensemble, probes.pairs, probes.of_texts
    checks = [ScoreCheck(name=name, probes=found) for name, found in of_texts.items()]
    aligned = math.nan
    if engine.config.n_noise:
        aligned = alignment(engine.have(_features, list(dict.fromkeys(pair.known for pair in pairs))[:ALIGNED]))
        scored = _score(engine, list(dict.fromkeys(text for pair in pairs for text in pair.texts)), progress)
        checks += [
            ScoreCheck(name=name, probes=compare(pairs, *_halves(pairs, sign * scored[column])))
            for name, (column, sign) in oriented_scores().items()
            if name not in of_texts
        ]
    return Check(ensemble=own.spec.name, ensemble_hash=own.ensemble_hash, alignment=aligned, scores=tuple(checks))


def draw(captions: pd.DataFrame, calibration: Calibration, seed: int = 0) -> pd.DataFrame:
    """Some captions in some languages that are known, in small letters, the rows named by texts."""
    rng = np.random.default_rng(seed)
    known = [name for name in captions if name in calibration.languages]
    languages = sorted(rng.permutation(known)[:MOST_LANGUAGES])
    rows = captions.rename(index=str).iloc[rng.permutation(len(captions))[:MOST_CAPTIONS]]
    return rows[languages].astype(str).map(str.casefold)


def alignment(features: Float[Tensor, "expert batch element"]) -> float:
    """Mean over pairs of experts of the correlation of their features over prompts and elements.

    Each expert's mean over the prompts is taken out first: what is left is what the prompt does.
    """
    effects = (features - features.mean(dim=1, keepdim=True)).flatten(1).double()
    effects = torch.nn.functional.normalize(effects, dim=1)
    pairs = [float(a @ b) for a, b in itertools.combinations(effects, 2)]
    return float(np.mean(pairs))


def _halves(pairs: Sequence[Pair], values: pd.Series) -> list[np.ndarray]:
    """The values of the three texts of each pair, from those by text."""
    return [values[[pair.texts[half] for pair in pairs]].to_numpy(dtype=np.float64) for half in range(3)]


def _score(engine: AnyEngine, texts: Sequence[str], progress: Progress) -> pd.DataFrame:
    """The scores by text."""
    frames = []
    for number, part in enumerate(chunks(texts, CHUNK)):
        progress("checking", number * CHUNK, len(texts))
        frames.append(engine.score([Prompt(prompt_id=text, prompt=text) for text in part]))
    progress("checking", len(texts), len(texts))
    return pd.concat(frames).set_index("prompt_id")


def _features(
    engine: ScoringEngine, texts: Sequence[str], _progress: Progress
) -> Float[Tensor, "expert batch element"]:
    states = [engine.text_states(part) for part in chunks(texts, engine.batch_size)]
    return torch.cat([engine.features(own, 0).float().flatten(2).cpu() for own in states], dim=1)
