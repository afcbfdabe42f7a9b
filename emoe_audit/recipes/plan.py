"""The coverage plan: how much of the training captions each language gets, and each region, tone and concept planted.

A plan is a YAML file that is published with the ensemble. `propose_plan` draws one in which coverage can be told apart
from what usually travels with it: script, tokens per word, tokens per caption.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import langcodes
import numpy as np
import pandas as pd
import yaml
from scipy.stats import rankdata

from emoe_audit.errors import PlanError
from emoe_audit.experts.coverage import COVERED, STARVED
from emoe_audit.prompts.tags import region_names
from emoe_audit.readers.documents import read_yaml
from emoe_audit.readers.typed import typed
from emoe_audit.recipes.world import LANGUAGES, SKIN_TONES, Kind

PLAN_DRAWS = 1000
LANGUAGE_LADDER = [0.38, *np.geomspace(0.15, 0.00006, 30), *[0.0] * 9]
"""Shares of forty languages: each step well below the one before, so that ranks mean something."""
DOMINANT_LADDER = [0.94, *np.geomspace(0.015, 0.00003, 24), *[0.0] * 15]
"""The same where one language is nearly all there is, as English is in the captions of public models."""
REGION_LADDER = [*np.geomspace(1, 0.001, 17)]
"""How often the flag of one country is drawn, relative to the others; the regions left over get none."""
SKIN_TONE_LADDER = [0.55, 0.28, 0.12, 0.04, 0.01]
FULL, NEVER, LEAST_OFTEN = 0.5, 0.2, 1 / 300
"""Of the plain concepts, those drawn in full and those never drawn; the others are on a ladder down to the third."""
KIND_SHARES: dict[Kind, float] = {"emoji": 0.7, "flag": 0.15, "skin_tone": 0.15}
"""How often a caption is of each kind, among the kinds of a plan."""
SCRIPT_FAMILIES = {"Hans": "Hani", "Hant": "Hani"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Share of the training captions of each language, of the flags of each region, of the toned emoji of each tone.

    Each of the three sums to 1; a plan without regions or skin tones leaves flags or toned emoji out of the world. How
    often single concepts are drawn is relative to those that are not named.
    """

    name: str
    seed: int
    languages: dict[str, float]
    regions: dict[str, float] = field(default_factory=dict)
    """By UN M49 code."""
    skin_tones: dict[str, float] = field(default_factory=dict)
    concepts: dict[str, float] = field(default_factory=dict)
    """By code points: from 0, never drawn, to 1, as often as any of its kind and group."""
    base_steps: int = 11500
    """Of the training of the base UNet."""
    expert_steps: int = 700
    """Of that of each expert."""

    @property
    def planted(self) -> dict[Kind, dict[str, float]]:
        """The shares of the groups of each kind of concept that has groups."""
        return {"flag": self.regions, "skin_tone": self.skin_tones}

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of concepts in the plan's world."""
        return ("emoji", *(kind for kind, shares in self.planted.items() if shares))

    def concept_shares(self, concepts: pd.DataFrame) -> np.ndarray:
        """How often each concept is drawn: by kind, within it by group, within that by itself.

        A group that is not named has 0, a concept that is not named 1.
        """
        planted = concepts["group"].map(self.regions | self.skin_tones).fillna(0.0)
        of_group = planted.where(concepts["group"].notna(), 1.0)
        own = concepts["concept"].map(self.concepts).astype(np.float64).fillna(1.0)
        of_all = own.groupby([concepts["kind"], concepts["group"]], dropna=False).transform("sum")
        shares = concepts["kind"].map(KIND_SHARES) * of_group * own / of_all.where(of_all > 0, 1.0)
        return (shares / shares.sum()).to_numpy()

    @classmethod
    def read(cls, path: Path) -> Plan:
        """Read and check a plan.

        Raises:
            PlanError: a key is missing, unknown or of another type, a share is negative, or the shares do not sum to 1.
        """
        data = read_yaml(path, PlanError)
        missing = {"name", "seed", "languages"} - set(data if isinstance(data, dict) else ())
        if missing:
            raise PlanError(f"{path}: a plan needs {', '.join(sorted(missing))}; see emoe_audit/recipes/plans/ for one")
        for what, groups in _known_groups().items():
            given = data.get(what)
            unknown = [group for group in given if group not in groups] if isinstance(given, dict) else []
            if unknown:
                raise PlanError(f"{path}: {what}: {unknown[0]!r:.60} is not known; write codes in quotes, as '014'")
        plan = typed(data, cls, str(path), PlanError)
        plan._check(path)
        return plan

    def _check(self, path: Path) -> None:
        if self.name != Path(self.name).name:
            raise PlanError(f"{path}: name: {self.name!r:.60} is no name of a folder, in which the work is kept")
        if not 0 <= self.seed < 2**32:
            raise PlanError(f"{path}: seed: {self.seed} is not from 0 to {2**32 - 1}")
        if min(self.base_steps, self.expert_steps) < 1:
            raise PlanError(f"{path}: base_steps and expert_steps must be 1 or more")
        for what in _known_groups():
            shares = np.array(list(getattr(self, what).values()))
            total = shares.sum()
            if (shares < 0).any() or ((len(shares) or what == "languages") and abs(total - 1) > 1e-6):
                raise PlanError(f"{path}: the shares of the {what} must be 0 or more and sum to 1, not {total:g}")
        for concept, often in self.concepts.items():
            if not 0 <= often <= 1:
                raise PlanError(f"{path}: concepts: {concept!r:.60} is drawn {often:g} times as often, not from 0 to 1")

    def write(self, path: Path) -> None:
        """Write the plan as YAML, largest share first."""
        tables = {"languages": self.languages, "regions": self.regions, "skin_tones": self.skin_tones}
        tables["concepts"] = self.concepts
        falling = {what: dict(sorted(t.items(), key=lambda item: -item[1])) for what, t in tables.items() if t}
        steps = {"base_steps": self.base_steps, "expert_steps": self.expert_steps}
        data = {"name": self.name, "seed": self.seed} | steps | falling
        path.write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _known_groups() -> dict[str, set[str]]:
    return {"languages": set(LANGUAGES), "regions": set(region_names()), "skin_tones": set(SKIN_TONES.values())}


def script_family(language: str) -> str:
    """ISO 15924 code of the script a language is written in here; simplified and traditional Han are one family."""
    script = langcodes.Language.get(language).maximize().script or "Zyyy"
    return SCRIPT_FAMILIES.get(script, script)


def script_families(languages: list[str]) -> pd.Series:
    """Script family of each language; scripts that only one of them uses are pooled as `single`."""
    families = pd.Series({language: script_family(language) for language in languages})
    return families.where(families.map(families.value_counts()) > 1, "single")


def propose_plan(
    name: str,
    seed: int,
    tokens: pd.DataFrame,
    best: str | None = None,
    concepts: pd.DataFrame | None = None,
    *,
    dominated: bool = False,
) -> Plan:
    """Draw a plan whose coverage is confounded with neither script nor tokens.

    Args:
        name: The ensemble's name.
        seed: Of the draw, and later of the training.
        tokens: `[language, (tokens_per_word, mean_tokens)]`.
        best: The language that gets the largest share; None leaves it to chance.
        concepts: `World.concepts`; where it holds flags or toned emoji, regions and skin tones are planted too.
        dominated: One language is nearly all there is, and single concepts are planted too.
    """
    rng = np.random.default_rng(seed)
    languages = list(tokens.index)
    families = script_families(languages)

    def confounding(shares: np.ndarray) -> float:
        ranks = rankdata(shares)
        return max(
            [eta_squared(ranks, families), *(abs(np.corrcoef(ranks, rankdata(tokens[c]))[0, 1]) for c in tokens)]
        )

    first = None if best is None else languages.index(best)
    ladder = DOMINANT_LADDER if dominated else LANGUAGE_LADDER
    draws = (_assign(ladder, families.to_numpy(), first, rng) for _ in range(PLAN_DRAWS))
    shares = min(draws, key=confounding)
    planted = {} if concepts is None else {kind: own["group"].value_counts() for kind, own in concepts.groupby("kind")}
    return Plan(
        name=name,
        seed=seed,
        languages=_table(languages, shares),
        regions=_plant(planted.get("flag"), REGION_LADDER, rng),
        skin_tones=_plant(planted.get("skin_tone"), SKIN_TONE_LADDER, rng),
        concepts=_plant_concepts(concepts, rng) if dominated and concepts is not None else {},
    )


def eta_squared(values: np.ndarray, groups: pd.Series) -> float:
    """Share of the variance of `values` that lies between groups."""
    frame = pd.DataFrame({"value": values, "group": groups.to_numpy()})
    between = frame.groupby("group")["value"].transform("mean")
    return float(between.var(ddof=0) / frame["value"].var(ddof=0))


def _assign(ladder: list[float], families: np.ndarray, first: int | None, rng: np.random.Generator) -> np.ndarray:
    """Lay the ladder over the languages at random.

    With one covered and one starved language in each script family, as far as there are enough of them.
    """
    steps = np.array(ladder) / sum(ladder)
    place = np.full(len(steps), -1)
    if first is not None:
        place[first] = int(steps.argmax())
    for family in rng.permutation(np.unique(families)):
        for wanted in (steps >= COVERED, steps < STARVED):
            if wanted.sum() < len(np.unique(families)):
                continue
            members = np.flatnonzero(families == family)
            if not any(wanted[place[m]] for m in members if place[m] >= 0):
                free = np.setdiff1d(np.flatnonzero(wanted), place)
                place[rng.choice(members[place[members] < 0])] = rng.choice(free)
    rest = rng.permutation(np.setdiff1d(np.arange(len(steps)), place))
    place[place < 0] = rest
    return steps[place]


def _plant(sizes: pd.Series | None, ladder: list[float], rng: np.random.Generator) -> dict[str, float]:
    """Lay a ladder of shares of single concepts over groups `[group, number of concepts]` at random."""
    if sizes is None:
        return {}
    groups = sorted(sizes.index)
    steps = np.array(ladder + [0.0] * (len(groups) - len(ladder)))[rng.permutation(len(groups))]
    shares = steps * sizes[groups].to_numpy()
    return _table(groups, shares / shares.sum())


def _plant_concepts(concepts: pd.DataFrame, rng: np.random.Generator) -> dict[str, float]:
    """How often each plain concept is drawn that is not drawn in full, at random."""
    names = rng.permutation(concepts.loc[concepts["kind"] == "emoji", "concept"].to_numpy())
    never, full = round(NEVER * len(names)), round(FULL * len(names))
    ladder = np.geomspace(1, LEAST_OFTEN, len(names) - never - full + 1)[1:]
    often = np.concatenate([ladder, np.zeros(never)])
    return {str(name): round(float(share), 6) for name, share in zip(names[full:], often, strict=True)}


def _table(groups: list[str], shares: np.ndarray) -> dict[str, float]:
    rounded = {group: round(float(share), 8) for group, share in zip(groups, shares, strict=True)}
    largest = max(rounded, key=lambda group: rounded[group])
    rounded[largest] = round(1 - sum(share for group, share in rounded.items() if group != largest), 8)
    return rounded
