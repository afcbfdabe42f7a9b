"""What the hub says of an ensemble before anything is fetched: commit, licence and size of every source."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass

from huggingface_hub import HfApi
from huggingface_hub.errors import LocalEntryNotFoundError
from huggingface_hub.hf_api import ModelInfo

from emoe_audit.experts.commits import fetched_commits
from emoe_audit.experts.folders import is_on_disk
from emoe_audit.experts.residency import gib
from emoe_audit.experts.sources import BASE_FILES, EXPERT_FILES, HubFiles, asking_the_hub
from emoe_audit.types import EnsembleSpec, ExpertSpec

UNKNOWN = "not stated"


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """One repository of an ensemble."""

    source: str
    commit: str
    """The commit that the revision names now."""
    licence: str
    n_bytes: int
    """Of the files that a score needs."""


def hub_sources(spec: EnsembleSpec) -> tuple[HubSource, ...]:
    """Ask the hub about every source that is not on this disk, each once. Raises `EnsembleError`."""
    wanted: dict[tuple[str, str | None], list[HubFiles]] = {}
    whole = [(expert, BASE_FILES) for expert in spec.experts] if spec.text_encoders == "own" else []
    for own, files in [(spec.base, BASE_FILES), *((expert, EXPERT_FILES) for expert in _experts(spec)), *whole]:
        if not is_on_disk(own.source):
            wanted.setdefault((own.source, own.revision), []).append(files)
    return tuple(_ask(source, revision, files) for (source, revision), files in wanted.items())


def fetch_notice(spec: EnsembleSpec) -> str:
    """What would be fetched from the hub, in words; empty where everything is on this disk. Raises `EnsembleError`."""
    try:
        fetched_commits(spec)
        return ""
    except LocalEntryNotFoundError:
        return "; ".join(
            f"{own.source} at commit {own.commit[:12]}, {gib(own.n_bytes)}, licence {own.licence}"
            for own in hub_sources(spec)
        )


def _experts(spec: EnsembleSpec) -> Iterable[ExpertSpec]:
    for expert in spec.experts:
        yield expert
        yield from (ExpertSpec(name=lora, source=lora) for lora in expert.loras)


def _ask(source: str, revision: str | None, files: list[HubFiles]) -> HubSource:
    with asking_the_hub(f"{source}@{revision}" if revision else source):
        info = HfApi().model_info(source, revision=revision, files_metadata=True)
    sizes = {sibling.rfilename: sibling.size or 0 for sibling in info.siblings or ()}
    chosen = {name for own in files for name in _chosen(own, list(sizes))}
    return HubSource(
        source=source, commit=info.sha or "", licence=_licence(info), n_bytes=sum(sizes[name] for name in chosen)
    )


def _chosen(files: HubFiles, names: list[str]) -> set[str]:
    """The files of a repository that are fetched; see `HubFiles`."""
    chosen = {name for name in names if _matches(name, files.texts)}
    for stems in files.components:
        for infix in ("", ".fp16"):
            found = {name for name in names if _matches(name, files.weights(stems, infix))}
            chosen |= found
            if found:
                break
    return chosen


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns)


def _licence(info: ModelInfo) -> str:
    stated = info.card_data.get("license") if info.card_data else None
    return str(
        stated or next((t.removeprefix("license:") for t in info.tags or () if t.startswith("license:")), UNKNOWN)
    )
