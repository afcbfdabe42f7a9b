"""What makes two runs the same: keys of rows, hashes of settings, and the manifest as JSON."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import asdict, fields, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from emoe_audit.embedded.distributions import installed_folders
from emoe_audit.errors import StoreError
from emoe_audit.readers.documents import read_json
from emoe_audit.readers.typed import typed
from emoe_audit.runs.files import own_file
from emoe_audit.runs.ledger import PLAN
from emoe_audit.runs.place import check_place
from emoe_audit.types import Dtype, ImageConfig, RunManifest, ScoringConfig

RUNS_ON = (
    *("batch_size", "device", "check_pairs", "check", "memory_budget", "reference_images", "brought"),
    *("experts", "prefix"),
)
"""Settings that change no row of a run: how it is computed, whether its scores are tested, what hashes say anyway."""
GROWS = ("n_noise",)
"""Settings by which a run grows: its rows stay those of the same prompts."""


def settings_hash(config: ScoringConfig) -> str:
    """SHA-256 of the settings that change a score."""
    return _digest(_settings(config))


def prompt_key(prompt: str, language: str, base_hash: str, settings: str, *own: str) -> str:
    """The key of a row: 32 hexadecimal digits of SHA-256 over what stays the same of its score while a run grows.

    `own` is what tells rows of the same text apart: their ids, where each has images of its own.
    """
    return _digest([prompt, language, base_hash, settings, *own])[:32]


def keyed_by(plan: RunManifest) -> tuple[str, str]:
    """The last two arguments of `prompt_key` in a run; one that cannot grow rests on all that its scores depend on."""
    if plan.base_hash:
        return plan.base_hash, _digest(_kept_settings(plan.scoring))
    return plan.ensemble_hash, settings_hash(plan.scoring)


def is_smaller(old: RunManifest, new: RunManifest) -> bool:
    """Whether a run can grow into another: the same but for noises and experts, of which the other has more."""
    hashes = [(own.base_hash, own.prompts_hash, own.quality_hash, own.candidates_hash) for own in (old, new)]
    settings = [(_kept_settings(own.scoring), _settings(own.images)) for own in (old, new)]
    if not new.base_hash or hashes[0] != hashes[1] or settings[0] != settings[1]:
        return False
    (experts, noises), (more, n_noise) = ((Counter(run.expert_hashes), run.scoring.n_noise) for run in (old, new))
    return (noises < n_noise and experts == more) or (noises <= n_noise and experts < more)


def is_same(old: RunManifest, new: RunManifest) -> bool:
    """Whether both make the same rows; device and batch size may differ."""
    return not _different(old, new)


def check_same(old: RunManifest, new: RunManifest, path: Path) -> None:
    """Raise `StoreError` naming what differs unless both make the same rows."""
    different = _different(old, new)
    if different:
        raise StoreError(f"{path}: holds a run with other {', '.join(different)}; choose another --out, or remove it")


def _different(old: RunManifest, new: RunManifest) -> list[str]:
    names = [own.ensemble_hash or own.ensemble.name for own in (old, new)]
    pairs = {
        "ensemble" if new.is_scored else "model": (names[0], names[1]),
        "prompts": (old.prompts_hash, new.prompts_hash),
        "scoring": (_settings(old.scoring), _settings(new.scoring)),
        "images": (_settings(old.images), _settings(new.images)),
        "drawing model or judge": (old.quality_hash, new.quality_hash),
        "captions that the judge chooses among": (old.candidates_hash, new.candidates_hash),
    }
    return [name for name, (before, now) in pairs.items() if before != now]


def _kept_settings(config: ScoringConfig) -> dict[str, Any]:
    return {name: own for name, own in _settings(config).items() if name not in GROWS}


def _settings(config: ScoringConfig | ImageConfig) -> dict[str, Any]:
    found = {field.name: getattr(config, field.name) for field in fields(config) if field.name not in RUNS_ON}
    return found | ({"memory_budget": config.memory_budget} if found.get("lossy") else {})


def manifest_from(data: Any, where: str) -> RunManifest:
    """A manifest from its JSON object. Raises `StoreError` with `where` and the field that is wrong."""
    manifest = typed(data, RunManifest, where, StoreError)
    try:
        datetime.fromisoformat(manifest.created or "2026-01-01")
    except ValueError as error:
        raise StoreError(f"{where}: created: {manifest.created!r:.60} is no time: {error}") from error
    return manifest


def plan_text(manifest: RunManifest) -> bytes:
    """A plan as it is stored."""
    return json.dumps(asdict(manifest), ensure_ascii=False, indent=2).encode(errors="replace")


def published(manifest: RunManifest) -> RunManifest:
    """The manifest for other eyes: what comes with a package is named by its place there, not on this machine.

    It goes into the report, which is a file of the run itself: of the hash over these it says nothing.
    """
    text = json.dumps(asdict(manifest))
    for package in (Path(__file__).parents[1], *installed_folders().values()):
        text = text.replace(json.dumps(str(package))[1:-1] + "/", f"{package.name}/")
    return replace(manifest_from(json.loads(text), "manifest"), files_sha256=None)


def _digest(value: Any) -> str:
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    ).hexdigest()


def stored_dtype(path: Path | str) -> Dtype | None:
    """The number type of the run in a folder; None where there is none.

    Raises:
        StoreError: the run cannot be read, or none can be made there, see `check_place`.
    """
    file = own_file(Path(path), PLAN)
    if file is None:
        check_place(Path(path))
        return None
    dtype = manifest_from(read_json(file, StoreError), str(file)).scoring.dtype
    return None if dtype == "auto" else dtype
