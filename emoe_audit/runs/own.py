"""Whose word stands behind what a plan names: the plans that were written here are known by their content.

A plan says what is loaded: checkpoints, a judge, folders and tables. In a run that was received that would be somebody
else's choice, so it is followed only where a user has made it. The SHA-256 of every `plan.json` that a user's command
wrote here, or that a user trusted, names an empty file in `$XDG_STATE_HOME/emoe-audit/runs`, by default under
`~/.local/state`. A run may be moved; a changed plan is another one.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from emoe_audit.embedded.distributions import installed_folders
from emoe_audit.errors import StoreError
from emoe_audit.readers.paths import user_state
from emoe_audit.types import RunManifest

EMBEDDED = Path(__file__).parents[1] / "embedded"
LOCAL = "local-dir:"
SHOWN = 8
"""Sources that a message names."""


def remember(plan: Path) -> None:
    """Note that a user stands behind this `plan.json`; where nothing can be written, it is asked again."""
    with contextlib.suppress(OSError, RuntimeError):
        note = _note(plan)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.touch()


def is_own(plan: Path) -> bool:
    """Whether a user of this machine stands behind this `plan.json`."""
    try:
        return _note(plan).exists()
    except (OSError, RuntimeError):  # there may be no home
        return False


def named_sources(plan: RunManifest) -> list[tuple[str, str]]:
    """What a plan would have loaded: what it is, and where from."""
    spec = plan.ensemble
    members = (spec.base, *spec.experts)
    named = [
        ("base", spec.base.source),
        *((own.name, own.source) for own in spec.experts),
        *((f"LoRA of {own.name}", lora) for own in members for lora in own.loras),
        ("vae", spec.vae),
        ("judge", spec.judge),
        ("captions", spec.captions),
        ("training_coverage", spec.training_coverage),
        ("clusters", None if spec.emergent is None else spec.emergent.clusters),
        ("reference_images", plan.images.reference_images),
        ("images", plan.images.brought),
    ]
    return [(what, source) for what, source in named if source]


def check_own(file: Path, plan: RunManifest) -> None:
    """Raise `StoreError` for a plan of somebody else that names anything outside of the embedded ensembles."""
    if is_own(file):
        return
    foreign = [f"{what}: {source[:100]}" for what, source in named_sources(plan) if not _is_embedded(source)]
    if foreign:
        more = f" and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else ""
        raise StoreError(
            f"{file.parent}: was not started here, and what it names is loaded only at your word: give --trust-run to "
            "`emoe-audit quality`, once, if you trust it, or --ensemble with your own copy. "
            f"It names {'; '.join(foreign[:SHOWN])}{more}"
        )


def _is_embedded(source: str) -> bool:
    try:
        place = Path(source.removeprefix(LOCAL)).resolve()
        return any(place.is_relative_to(own.resolve()) for own in (EMBEDDED, *installed_folders().values()))
    except (OSError, ValueError, RuntimeError):
        return False


def _note(plan: Path) -> Path:
    with plan.open("rb") as file:
        return user_state() / "runs" / hashlib.file_digest(file, "sha256").hexdigest()
