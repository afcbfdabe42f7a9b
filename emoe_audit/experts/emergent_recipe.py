"""An emergent ensemble is made of one checkpoint: an `ensemble.yaml` and a file of clusters, no weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import Tensor

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.checkpoint import read_base
from emoe_audit.experts.clustering import find_clusters, most_clusters, write_clusters
from emoe_audit.experts.emergent import check_text
from emoe_audit.experts.paths import read_path
from emoe_audit.experts.spec import SPEC_FILE, is_name, load_spec, save_spec
from emoe_audit.experts.spec_reader import HUB_ID
from emoe_audit.readers.paths import named_path
from emoe_audit.types import EmergentSpec, EnsembleSpec, ExpertSpec, SplitParts

CLUSTERS_FILE = "clusters.safetensors"
KEPT_SHARE = 4
"""One expert in four is kept unless another number is given."""


def make_emergent_ensemble(
    checkpoint: str,
    folder: Path,
    *,
    expert: str | None = None,
    revision: str | None = None,
    n_members: int = 4,
    n_clusters: int | None = None,
    top_k: int | None = None,
    seed: int = 0,
    what: SplitParts = "unet",
    judge: str | None = None,
) -> EnsembleSpec:
    """Write an emergent ensemble of one checkpoint to `folder`; `load_spec(folder)` reads it again.

    Args:
        checkpoint: An ensemble by name, folder or YAML file, whose base or expert is taken, with judge, captions and
            training coverage; else a pipeline's folder, a single file or a hub id.
        folder: Gets `ensemble.yaml` and the clusters; no weights.
        expert: Of that ensemble; None is its base.
        revision: Of a hub id.
        n_members: Experts of the ensemble.
        n_clusters: Experts of a layer; None is `most_clusters`.
        top_k: Of these that a token keeps; None is a quarter.
        seed: Of the clusters' first centres and of the members' biases.
        what: `unet`, or `unet+text` for text members too.
        judge: The open_clip model that measures images: a folder, or a name as `EnsembleSpec.judge` has it. None is the
            one of the ensemble that was named, if any; without a judge a run can score but not draw.

    Raises:
        EnsembleError: the checkpoint cannot be read or split so.
    """
    origin = _origin(checkpoint, expert, revision)
    tensors = _split_tensors(origin, what)
    n_clusters = n_clusters or most_clusters(tensors)
    own = EmergentSpec(
        clusters=str(folder.absolute() / CLUSTERS_FILE),
        n_clusters=n_clusters,
        top_k=top_k or max(1, n_clusters // KEPT_SHARE),
        seed=seed,
        what=what,
    )
    _check_members(checkpoint, n_members, own)
    clusters = find_clusters(tensors, n_clusters, seed=seed)
    folder.mkdir(parents=True, exist_ok=True)
    write_clusters(clusters, tensors, Path(own.clusters))
    members = tuple(dataclasses.replace(origin.experts[0], name=f"member-{index}") for index in range(n_members))
    judge = origin.judge if judge is None else _absolute_if_here(judge)
    save_spec(dataclasses.replace(origin, experts=members, emergent=own, judge=judge), folder)
    return load_spec(folder)


def _split_tensors(origin: EnsembleSpec, what: SplitParts) -> dict[str, Tensor]:
    """The weights of the one checkpoint among which clusters are found."""
    base = read_base(origin.base)
    path, texts = read_path(origin, origin.experts[0], base.unet), base.read_texts()
    check_text(origin.name, texts, what == "unet+text")
    return path.tensors | (texts[0].tensors if what == "unet+text" else {})


def _check_members(checkpoint: str, n_members: int, own: EmergentSpec) -> None:
    if own.top_k > own.n_clusters or n_members < 2:
        raise EnsembleError(
            f"{checkpoint}: {n_members} members keep {own.top_k} of {own.n_clusters}; "
            f"needed are two members or more, and at most {own.n_clusters} kept"
        )


def _absolute_if_here(judge: str) -> str:
    """A folder by its whole path, since the spec is read from another folder; a name as it is."""
    folder = named_path(judge, EnsembleError)
    return str(folder.absolute()) if folder.is_dir() else judge


def _origin(checkpoint: str, expert: str | None, revision: str | None) -> EnsembleSpec:
    """An ensemble of the one checkpoint, and what a run and a verification need besides."""
    path = named_path(checkpoint, EnsembleError)
    if is_name(checkpoint) or (path / SPEC_FILE).is_file() or path.suffix in (".yaml", ".yml"):
        spec = load_spec(checkpoint)
        own = next((own for own in spec.experts if own.name == expert), spec.base)
        if expert is not None and own.name != expert:
            raise EnsembleError(
                f"{spec.name} has no expert {expert!r}; it has {', '.join(own.name for own in spec.experts)}"
            )
        name = f"{spec.name}-{expert or 'base'}-emergent"
        one = dataclasses.replace(spec, name=name, experts=(own,), top_k=None, mixture=None, emergent=None)
        return one if expert else dataclasses.replace(one, assembly="independent", split=0)
    if expert is not None:
        raise EnsembleError(f"{checkpoint}: --expert is for ensembles, and this is a checkpoint")
    if not path.exists() and not HUB_ID.fullmatch(checkpoint):
        raise EnsembleError(f"{checkpoint}: no such folder or file, not an ensemble, and not a hub id (org/name)")
    source = str(path.absolute()) if path.exists() else checkpoint
    own = ExpertSpec(name="base", source=source, revision=revision)
    return EnsembleSpec(name=f"{path.stem}-emergent", base=own, experts=(own,))
