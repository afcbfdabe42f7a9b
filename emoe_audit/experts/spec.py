"""`EnsembleSpec` by name, from disk and to disk. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from emoe_audit.embedded.distributions import APART, how_to_install, installed_folders
from emoe_audit.errors import EnsembleError
from emoe_audit.experts.segmoe_recipe import is_segmoe_folder, read_segmoe_yaml, segmoe_folder_spec
from emoe_audit.experts.spec_reader import LOCAL_JUDGE, PART_OF, SpecReader, nearest
from emoe_audit.readers.paths import named_path, unbroken
from emoe_audit.types import EmergentSpec, EnsembleSpec, ExpertSpec, MixtureSpec

SPEC_FILE = "ensemble.yaml"
EMBEDDED = Path(__file__).parents[1] / "embedded"
NAMED = Path(__file__).parents[1] / "ensembles"


def embedded_folders() -> dict[str, Path]:
    """The folder of every embedded ensemble by name, sorted: in the package, or installed beside it."""
    own = {path.parent.name: path.parent for path in EMBEDDED.glob(f"*/{SPEC_FILE}")}
    return dict(sorted((installed_folders() | own).items()))


def embedded_names() -> list[str]:
    """Names of the embedded ensembles that are here, sorted."""
    return list(embedded_folders())


def named_ensembles() -> dict[str, Path]:
    """The YAML of every ensemble that has a name here: the embedded ones, then those of public checkpoints."""
    embedded = {name: folder / SPEC_FILE for name, folder in embedded_folders().items()}
    return embedded | {path.stem: path for path in sorted(NAMED.glob("*.yaml"))}


def embedded_reference(path: Path) -> str | None:
    """How an `ensemble.yaml` names this place wherever the package is installed; None outside embedded ensembles."""
    for name, folder in embedded_folders().items():
        if path.resolve().is_relative_to(folder.resolve()):
            return f"{PART_OF}{name}/{path.resolve().relative_to(folder.resolve()).as_posix()}"
    return None


def is_name(text: str) -> bool:
    """Whether `load_spec` takes this for a name, be the ensemble here or only known."""
    return text in APART or text in named_ensembles()


def load_spec(name_or_path: str | Path) -> EnsembleSpec:
    """Read an ensemble by name, by folder holding `ensemble.yaml`, or by YAML file.

    A folder that SegMoE saved and a SegMoE recipe (YAML with `base_model`) are read too.

    A name wins over a folder of the same name (write `./name` for the folder). Sources that are folders
    come back as absolute paths, taken relative to the YAML file; hub ids come back as they are. A judge that is a
    folder comes back as `local-dir:ABSOLUTE`.

    Raises `EnsembleError` naming file, line and column, and the nearest valid value, or what installs the ensemble.
    """
    named, embedded = named_ensembles(), embedded_folders()
    if str(name_or_path) in named:
        return SpecReader(named[str(name_or_path)], embedded).spec()
    if str(name_or_path) in APART:
        raise EnsembleError(how_to_install(str(name_or_path)))
    path = named_path(str(name_or_path), EnsembleError)
    inside = unbroken(path / SPEC_FILE, EnsembleError)
    if path.is_dir() and not inside.is_file() and is_segmoe_folder(path):
        return segmoe_folder_spec(path)
    if path.is_dir():
        path = inside
    if not path.is_file():
        raise EnsembleError(_not_found(str(name_or_path), path))
    reader = SpecReader(path, embedded)
    return read_segmoe_yaml(path).ensemble if reader.has("base_model") else reader.spec()


def save_spec(spec: EnsembleSpec, folder: Path) -> Path:
    """Write `folder/ensemble.yaml` so that `load_spec(folder)` gives `spec` again, and return its path.

    Paths inside `folder` are written relative to it, so that the folder can be moved as a whole.
    """
    entry = {
        "name": spec.name,
        "base": _expert_entry(spec.base, folder),
        "assembly": spec.assembly,
        "moe_layers": spec.moe_layers,
        "split": spec.split,
        "top_k": spec.top_k,
        "experts": [_expert_entry(expert, folder) for expert in spec.experts],
        "mixture": _mixture_entry(spec.mixture),
        "vae": _relative(spec.vae, folder),
        "judge": _relative(spec.judge.removeprefix(LOCAL_JUDGE), folder) if spec.judge else None,
        "captions": _relative(spec.captions, folder),
        "text_encoders": None if spec.text_encoders == "base" else spec.text_encoders,
        "clip_skip": spec.clip_skip,
        "training_coverage": _relative(spec.training_coverage, folder),
        "emergent": _emergent_entry(spec.emergent, folder),
    }
    path = folder / SPEC_FILE
    text = yaml.safe_dump({key: value for key, value in entry.items() if value}, sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")
    return path


def _not_found(name: str, path: Path) -> str:
    return f"{name}: no ensemble of this name and no file {path}{nearest(name, named_ensembles())}"


def _expert_entry(expert: ExpertSpec, folder: Path) -> dict[str, Any]:
    entry = {
        "name": expert.name,
        "source": _relative(expert.source, folder),
        "revision": expert.revision,
        "loras": [_relative(lora, folder) for lora in expert.loras] or None,
        "segmoe_expert": expert.segmoe_expert,
    }
    return {key: value for key, value in entry.items() if value is not None}


def _emergent_entry(emergent: EmergentSpec | None, folder: Path) -> dict[str, Any] | None:
    if emergent is None:
        return None
    return asdict(emergent) | {"clusters": _relative(emergent.clusters, folder)}


def _mixture_entry(mixture: MixtureSpec | None) -> dict[str, Any] | None:
    if mixture is None:
        return None
    prompts = [asdict(own) for own in mixture.prompts]
    return {"top_k": mixture.top_k} | ({"prompts": prompts} if prompts else {})


def _relative(path: str | None, folder: Path) -> str | None:
    """`path` relative to `folder` where it lies inside, else `path` as it is (a hub id, a path elsewhere)."""
    if path and Path(path).is_absolute() and Path(path).is_relative_to(folder.absolute()):
        return Path(path).relative_to(folder.absolute()).as_posix()
    return path
