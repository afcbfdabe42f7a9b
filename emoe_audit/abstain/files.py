"""A model as a folder: tensors (safetensors), trees (LightGBM's text), and `model.json`. Nothing in it is code.

`model.json` says format and version, and the SHA-256 of every other file, so a half-copied model is refused.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from emoe_audit.abstain.abstainer import Abstainer
from emoe_audit.abstain.decision import Limits
from emoe_audit.abstain.labellers import Labellers
from emoe_audit.abstain.matching import Matching
from emoe_audit.abstain.projection import Projection
from emoe_audit.errors import AuditError

FORMAT, VERSION = "emoe-audit/abstain", 1
MODEL, TENSORS, TREES = "model.json", "tensors.safetensors", "labellers"


def save_abstainer(abstainer: Abstainer, folder: Path) -> None:
    """Write a model; what lies in the folder under the same names is replaced.

    `model.json` is written last, so that a write that was cut off leaves nothing that loads.
    """
    (folder / MODEL).unlink(missing_ok=True)
    (folder / TREES).mkdir(parents=True, exist_ok=True)
    contents = {f"{TREES}/{place:04d}.txt": tree.encode() for place, tree in enumerate(_trees(abstainer))}
    contents[TENSORS] = _tensors(abstainer)
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    model = {
        "format": FORMAT,
        "version": VERSION,
        "ensemble_hash": abstainer.ensemble_hash,
        "scores": abstainer.scores,
        "languages": abstainer.languages,
        "limits": abstainer.limits.to_json(),
        "fitted_on": sorted(abstainer.fitted_on),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    (folder / MODEL).write_text(json.dumps(model, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load_abstainer(folder: Path) -> Abstainer:
    """Read a model.

    Raises:
        AuditError: there is none, of another format or version, or a file of it is missing or not the one written.
    """
    model = _read_model(folder)
    contents = {name: _checked(folder, name, digest) for name, digest in model["files"].items()}
    try:
        return _abstainer(model, contents)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise AuditError(f"{folder}: not a readable model: {error}; fit it again") from error


def _read_model(folder: Path) -> dict[str, Any]:
    file = folder / MODEL
    try:
        model = json.loads(file.read_text(encoding="utf-8"))
        found = (model["format"], model["version"])
        files = model["files"].items()
    except FileNotFoundError as error:
        raise AuditError(f"{folder}: no model here (no {MODEL}); make one with `emoe-audit abstain fit RUN`") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise AuditError(f"{file}: not a readable {MODEL}: {error}; fit it again") from error
    if found != (FORMAT, VERSION):
        raise AuditError(f"{file}: format {found[0]} {found[1]}, this version reads {FORMAT} {VERSION}; fit it again")
    wrong = [name for name, _ in files if Path(name).is_absolute() or ".." in Path(name).parts]
    if wrong:
        raise AuditError(f"{file}: names a file outside of its folder: {wrong[0]}")
    return dict(model)


def _checked(folder: Path, name: str, digest: str) -> bytes:
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise AuditError(f"{folder}: {name} cannot be read: {error}; fit the model again") from error
    if hashlib.sha256(content).hexdigest() != digest:
        raise AuditError(f"{folder / name}: not the file that was written with the model; fit it again")
    return content


def _trees(abstainer: Abstainer) -> list[str]:
    return [tree.model_to_string() for tree in abstainer.matching.labellers.trees]


def _tensors(abstainer: Abstainer) -> bytes:
    from safetensors.numpy import save

    own = abstainer.matching
    student = {f"student.{name}": value.numpy() for name, value in own.student.state_dict().items()}
    tensors = {
        "projection.mean": own.projection.mean,
        "projection.weights": own.projection.weights,
        "labellers.directions": own.labellers.directions,
    }
    return save({name: np.ascontiguousarray(value) for name, value in (tensors | student).items()})


def _abstainer(model: dict[str, Any], contents: dict[str, bytes]) -> Abstainer:
    return Abstainer(
        matching=_matching(contents),
        scores=tuple(model["scores"]),
        languages=tuple(model["languages"]),
        fitted_on=frozenset(model["fitted_on"]),
        limits=Limits.from_json(model["limits"]),
        ensemble_hash=model["ensemble_hash"],
    )


def _matching(contents: dict[str, bytes]) -> Matching:
    from lightgbm import Booster
    from safetensors.numpy import load
    from torch import from_numpy

    from emoe_audit.abstain.student import Student

    tensors = load(contents[TENSORS])
    names = sorted(name for name in contents if name.startswith(f"{TREES}/"))
    weights, directions = tensors["projection.weights"], tensors["labellers.directions"]
    student = Student(weights.shape[1], len(directions))
    state = {name.removeprefix("student."): own for name, own in tensors.items() if name.startswith("student.")}
    student.load_state_dict({name: from_numpy(own.copy()) for name, own in state.items()})
    return Matching(
        projection=Projection(mean=tensors["projection.mean"], weights=weights),
        labellers=Labellers(
            directions=directions, trees=tuple(Booster(model_str=contents[name].decode()) for name in names)
        ),
        student=student.eval(),
    )
