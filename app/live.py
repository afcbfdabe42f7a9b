"""The ensemble of a run, loaded once for all who look at it, to score and draw what somebody types."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import data
import pandas as pd
import streamlit as st
from PIL.Image import Image

from emoe_audit.analysis.readings import FEATURES, NOISES, Readings
from emoe_audit.analysis.translations import RELIABILITY, TRANSLATION_SCORE, Readers
from emoe_audit.line.turn import taking_turns
from emoe_audit.prompts.tags import TagError, check_language
from emoe_audit.runs.readings import fit_readers
from emoe_audit.runs.store import RunStore
from emoe_audit.types import EnsembleSpec, ImageConfig, Prompt, ScoringConfig

MAX_LINES, MAX_CHARACTERS = 40, 2000
MAX_IMAGES = 8
ONE_AT_A_TIME = threading.Lock()
"""Sessions share the experts."""


@dataclass(frozen=True, kw_only=True)
class Typed:
    """What somebody typed: a caption in some languages, and the lines that are none."""

    prompts: tuple[Prompt, ...]
    faults: tuple[str, ...]


def read_lines(text: str) -> Typed:
    """One prompt a line, `language: prompt`; a line without a language is of an unknown one."""
    prompts, faults = [], []
    for number, line in enumerate(text.splitlines()[:MAX_LINES], start=1):
        tag, colon, rest = line.partition(":")
        prompt = (rest if colon else line).strip()[:MAX_CHARACTERS].replace("\0", "")
        try:
            language = check_language(tag.strip()) if colon else "und"
        except TagError as error:
            faults.append(f"line {number}: {error}")
            continue
        if prompt:
            prompts.append(Prompt(prompt_id=str(number), prompt=prompt, language=language, source_id="typed"))
    return Typed(prompts=tuple(prompts), faults=tuple(faults))


def score(run: Path, prompts: Sequence[Prompt]) -> pd.DataFrame:
    """The scores of the prompts, the translation score and its reliability where they are there in enough languages."""
    plan = RunStore.open(run).sources()
    with ONE_AT_A_TIME, taking_turns("try", str(run)):
        scored = _engine(plan.ensemble, plan.scoring).score(prompts)
    rows = scored.assign(language=[prompt.language for prompt in prompts], source_id="typed")
    judged = _readers(str(run), data.stamp(run)).judge(Readings.of(rows))
    kept = [name for name in rows if name not in ("reading", "source_id", FEATURES) and not name.endswith(NOISES)]
    named = rows[kept].assign(prompt=[prompt.prompt for prompt in prompts])
    return named.assign(**{name: judged[name].to_numpy() for name in (TRANSLATION_SCORE, RELIABILITY)})


def missing(run: Path, prompts: Sequence[Prompt]) -> list[str]:
    """The languages by which these prompts could be judged best, of those that they are not in."""
    known = _readers(str(run), data.stamp(run)).calibration
    return known.missing([prompt.language for prompt in prompts])


def draw(run: Path, prompts: Sequence[Prompt]) -> list[Image]:
    """An image of each of the first prompts. Raises `QualityError` where the base cannot draw."""
    plan = RunStore.open(run).sources()
    with ONE_AT_A_TIME, taking_turns("try", str(run)):
        drawn: list[Image] = _maker(plan.ensemble, plan.images).make(prompts[:MAX_IMAGES])
    return drawn


@st.cache_resource(max_entries=1, show_spinner="Loading the experts")
def _engine(spec: EnsembleSpec, scoring: ScoringConfig):  # type: ignore[no-untyped-def]
    from emoe_audit.scoring.loading import load_engine
    from emoe_audit.steps.checks import find_languages

    engine = load_engine(spec, scoring)
    if scoring.check_pairs:
        find_languages(engine)
    return engine


@st.cache_resource(max_entries=1, show_spinner="Loading what draws")
def _maker(spec: EnsembleSpec, images: ImageConfig):  # type: ignore[no-untyped-def]
    from emoe_audit.quality.images import ImageMaker

    return ImageMaker(spec, images)


@st.cache_resource(max_entries=4, show_spinner="Reading how the languages of this run agree")
def _readers(run: str, changed: str) -> Readers:
    return fit_readers(RunStore.open(run))
