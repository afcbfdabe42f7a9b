"""The manifest of an order: what every prefix is made of, costs and is worth; read, written and told."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from emoe_audit.errors import AuditError
from emoe_audit.experts.residency import gib
from emoe_audit.readers.documents import read_json
from emoe_audit.readers.typed import typed
from emoe_audit.runs.files import write_whole


@dataclass(frozen=True, kw_only=True)
class Rho:
    """A rank correlation with its 95% interval; null where it has none."""

    rho: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Fidelity:
    """What one score of a prefix is worth, measured on prompts that the order was not chosen on."""

    fidelity: Rho
    """Spearman with the same score of the whole, over prompts; for other captions and languages."""
    within_language: Rho
    """Mean over languages of the same within each, for other languages."""
    by_language: Rho
    """The same over the means of languages."""
    by_lot: float | None
    """Mean over orders drawn by lot of the same at the same cost; null where nothing was to be chosen."""
    coverage: Rho | None
    """Spearman of the means of languages with their training coverage; null where that is not known."""


@dataclass(frozen=True, kw_only=True)
class Prefix:
    """The beginning of an order: an ensemble of its own."""

    experts: tuple[str, ...]
    """In the order of the ensemble; none for the text encoder alone."""
    n_noise: int
    gflop: float
    """Billions of floating-point operations for a prompt."""
    cost: float
    """The same as a share of that of the whole."""
    seconds: float
    """For a prompt, on the machine that measured."""
    n_bytes: int
    """Of the weights that are used."""
    weights_hash: str
    """SHA-256 over these."""
    default_score: str | None
    """What the validity check says ranks prompts on it; null where no score holds."""
    signs: Mapping[str, str]
    """What the check says of each score."""
    scores: Mapping[str, Fidelity]

    @property
    def name(self) -> str:
        """For people."""
        noises = "noise" if self.n_noise == 1 else "noises"
        return f"{len(self.experts)} experts x {self.n_noise} {noises}" if self.n_noise else "text encoder alone"


@dataclass(frozen=True, kw_only=True)
class Elastic:
    """An ensemble in order."""

    ensemble: str
    ensemble_hash: str
    """Of the whole."""
    score: str
    """The one that ranks prompts on the whole, by whose fidelity a prefix is chosen unless another is named."""
    order_hash: str
    """SHA-256 of the order."""
    n_captions: int
    """Captions that fidelity was measured on, each in every language; the order was chosen on as many others."""
    n_languages: int
    seed: int
    """Of captions, noises and orders drawn by lot."""
    dtype: str
    num_inference_steps: int
    both_halves: bool
    prefixes: tuple[Prefix, ...]
    """From the text encoder alone to the whole."""

    def reaching(self, fidelity: float, score: str | None = None, *, within_language: bool = False) -> Prefix:
        """The smallest prefix that is faithful enough at the lower end of its interval, and all larger ones with it.

        Args:
            fidelity: From above 0 to 1.
            score: Whose; by default that of the score that ranks.
            within_language: Whether prompts of one language are to be ranked, among which there is less to be told.

        Raises:
            AuditError: there is no such score.
        """
        name = score or self.score
        if name not in self.prefixes[-1].scores:
            raise AuditError(f"{self.ensemble}: no score {name!r:.60}; there are {', '.join(self.prefixes[-1].scores)}")
        large = [
            *itertools.takewhile(lambda own: _low(own, name, within_language) >= fidelity, reversed(self.prefixes))
        ]
        return large[-1] if large else self.prefixes[-1]

    def largest(self, fitting: Sequence[Prefix]) -> Prefix:
        """The largest of some prefixes, at least one."""
        return max(fitting, key=self.prefixes.index)

    def write(self, file: Path) -> None:
        """As JSON. Raises `WriteError`."""
        write_whole(file, (json.dumps(asdict(self), indent=2) + "\n").encode())

    def to_text(self) -> str:
        """For a terminal."""
        scores = list(self.prefixes[-1].scores)
        head = f"{'prefix':26}{'cost':>7}{'GFLOP':>9}{'weights':>11}{'default score':>28}"
        lines = [head + "".join(f"{name:>34}" for name in scores)]
        for own in self.prefixes:
            row = f"{own.name:26}{own.cost:7.1%}{own.gflop:9.3g}{gib(own.n_bytes):>11}{own.default_score or 'none':>28}"
            lines.append(row + "".join(f"{_told(own.scores.get(name)):>34}" for name in scores))
        order = f"order: {', '.join(self.prefixes[1].experts)}; then {_steps(self.prefixes[1:])}"
        measured = (
            f"fidelity: Spearman with the score of the whole over {self.n_captions} other captions in "
            f"{self.n_languages} languages, with its 95% interval; behind it that of orders drawn by lot"
        )
        return "\n".join([*(line.rstrip() for line in lines), "", order, measured])


def order_hash(experts: Sequence[Sequence[str]], n_noises: Sequence[int]) -> str:
    """SHA-256 of an order, from the experts and the noises of each prefix."""
    return hashlib.sha256(json.dumps([list(map(list, experts)), list(n_noises)]).encode()).hexdigest()


def read_elastic(file: Path) -> Elastic:
    """A manifest. Raises `AuditError` for what is none."""
    found = typed(read_json(file, AuditError), Elastic, str(file), AuditError)
    if len(found.prefixes) < 2 or found.score not in found.prefixes[-1].scores:
        raise AuditError(f"{file}: no order of an ensemble: it has too few prefixes, or not the score that ranks")
    return found


def _low(prefix: Prefix, score: str, within_language: bool) -> float:
    found = prefix.scores.get(score)
    low = None if found is None else (found.within_language if within_language else found.fidelity).low
    return -1.0 if low is None else low


def _told(own: Fidelity | None) -> str:
    if own is None or own.fidelity.rho is None:
        return "-"
    rho = own.fidelity
    ends = "" if rho.low is None or rho.high is None else f" ({rho.low:.3f} to {rho.high:.3f})"
    return f"{rho.rho:.3f}{ends}" + ("" if own.by_lot is None else f" lot {own.by_lot:.3f}")


def _steps(prefixes: Sequence[Prefix]) -> str:
    """What each prefix has that the one before has not."""
    steps = []
    for before, own in itertools.pairwise(prefixes):
        new = [name for name in own.experts if name not in before.experts]
        steps.append(new[0] if new else f"noise {own.n_noise}")
    return ", ".join(steps) or "nothing"
