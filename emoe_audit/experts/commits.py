"""Which commits of the hub's repositories lie in the local cache: asked of every run, so without torch."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download

from emoe_audit.experts.folders import is_on_disk
from emoe_audit.types import EnsembleSpec


def fetched_commits(spec: EnsembleSpec) -> dict[str, str]:
    """The commit of every source that came from the hub, by hub id, as it lies in the local cache.

    Raises `LocalEntryNotFoundError` of huggingface_hub where one was not fetched yet.
    """
    sources = {(own.source, own.revision) for own in (spec.base, *spec.experts) if not is_on_disk(own.source)}
    return {
        source: Path(snapshot_download(source, revision=revision, local_files_only=True)).name
        for source, revision in sorted(sources, key=str)
    }
