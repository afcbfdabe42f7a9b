"""A model as a folder: every array of it in `tensors.safetensors`, and `model.json`. Nothing in it is code.

`model.json` says format and version, and the SHA-256 of the other file, so a half-copied model is refused. Whoever made
the files, what they hold is checked before it is used: no model makes a prediction that is no probability.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emoe_audit.abstain.abstainer import Abstainer
from emoe_audit.abstain.decision import Limits
from emoe_audit.abstain.features import SCORES, TRANSLATION_SCORES
from emoe_audit.abstain.labellers import N_LEAVES, ROUNDS, Labellers
from emoe_audit.abstain.matching import Matching
from emoe_audit.abstain.projection import Projection
from emoe_audit.abstain.trees import Trees
from emoe_audit.errors import AuditError
from emoe_audit.readers.documents import read_json_object
from emoe_audit.readers.limits import MODEL as MODEL_BYTES
from emoe_audit.readers.pictures import inside
from emoe_audit.readers.typed import typed
from emoe_audit.runs.files import write_whole

if TYPE_CHECKING:
    from emoe_audit.abstain.student import Student

FORMAT, VERSION = "emoe-audit/abstain", 3
MODEL_FOLDER, MODEL, TENSORS = "abstain", "model.json", "tensors.safetensors"
PROJECTION, DIRECTIONS, TREES, STUDENT = "projection.", "labellers.directions", "labellers.trees.", "student."
FORM = {
    "projection.mean": ("float64", "feature"),
    "projection.weights": ("float64", "feature direction"),
    "labellers.directions": ("int64", "labeller seen"),
    "labellers.trees.children": ("int8", "labeller tree node side"),
    "labellers.trees.direction": ("int16", "labeller tree node"),
    "labellers.trees.threshold": ("float64", "labeller tree node"),
    "labellers.trees.nan_left": ("bool", "labeller tree node"),
    "labellers.trees.value": ("float64", "labeller tree leaf"),
    "student.shared.0.weight": ("float32", "hidden direction"),
    "student.shared.0.bias": ("float32", "hidden"),
    "student.shared.2.weight": ("float32", "hidden hidden"),
    "student.shared.2.bias": ("float32", "hidden"),
    "student.heads.weight": ("float32", "labeller hidden"),
    "student.heads.bias": ("float32", "labeller"),
}
"""Type of numbers and names of axes of every tensor; axes of one name are of one size."""
LARGEST_WEIGHT = 1e4
"""Of the student: far beyond any that is learned, and never infinite in a sum."""
Tensors = dict[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Description:
    """What `model.json` holds."""

    format: str
    version: int
    ensemble_hash: str
    scores: tuple[str, ...]
    languages: tuple[str, ...]
    limits: dict[str, Any]
    fitted_on: tuple[str, ...]
    tensors_sha256: str


def model_folder(run: Path) -> Path:
    """The place of a model in a run's folder. Raises `AuditError` where a link there leads out of the run."""
    inside(run, MODEL_FOLDER, AuditError)
    return run / MODEL_FOLDER


def save_abstainer(abstainer: Abstainer, folder: Path) -> None:
    """Write a model; what lies in the folder under the same names is replaced, and links are not followed.

    `model.json` is written last, so that a write that was cut off leaves nothing that loads.
    """
    content = _tensors(abstainer)
    model = {
        "format": FORMAT,
        "version": VERSION,
        "ensemble_hash": abstainer.ensemble_hash,
        "scores": abstainer.scores,
        "languages": abstainer.languages,
        "limits": abstainer.limits.to_json(),
        "fitted_on": sorted(abstainer.fitted_on),
        "tensors_sha256": hashlib.sha256(content).hexdigest(),
    }
    (folder / MODEL).unlink(missing_ok=True)
    write_whole(folder / TENSORS, content)
    write_whole(folder / MODEL, (json.dumps(model, indent=1, ensure_ascii=False) + "\n").encode())


def load_abstainer(folder: Path) -> Abstainer:
    """Read a model.

    Raises:
        AuditError: there is none, of another format or version, or what it holds is no model.
    """
    if not (folder / MODEL).is_file():
        raise AuditError(f"{folder}: no model here (no {MODEL}); make one with `emoe-audit abstain fit RUN`")
    try:
        model = _description(folder)
        return Abstainer(
            matching=_matching(_read_tensors(folder, model.tensors_sha256), str(folder / TENSORS)),
            scores=model.scores,
            languages=model.languages,
            fitted_on=frozenset(model.fitted_on),
            limits=Limits.from_json(model.limits, f"{folder / MODEL}: limits"),
            ensemble_hash=model.ensemble_hash,
        )
    except AuditError as error:
        raise AuditError(f"{error}; fit the model again") from error


def _description(folder: Path) -> Description:
    file = inside(folder, MODEL, AuditError)
    values = read_json_object(file, AuditError)
    found = (values.get("format"), values.get("version"))
    if found != (FORMAT, VERSION):
        raise AuditError(f"{file}: format {found[0]!r:.40} {found[1]!r:.40}, this version reads {FORMAT} {VERSION}")
    model = typed(values, Description, str(file), AuditError)
    known = (*SCORES, *TRANSLATION_SCORES)
    if len(set(model.scores)) < len(model.scores) or not set(model.scores) <= set(known):
        raise AuditError(f"{file}: scores: expected some of {', '.join(known)}, each once")
    return model


def _tensors(abstainer: Abstainer) -> bytes:
    from safetensors.numpy import save

    matching = abstainer.matching
    student = {name: value.numpy() for name, value in matching.student.state_dict().items()}
    parts = {PROJECTION: vars(matching.projection), TREES: vars(matching.labellers.trees), STUDENT: student}
    tensors = {f"{prefix}{name}": own for prefix, part in parts.items() for name, own in part.items()}
    tensors[DIRECTIONS] = matching.labellers.directions
    return save({name: np.ascontiguousarray(own) for name, own in tensors.items()})


def _read_tensors(folder: Path, digest: str) -> Tensors:
    from safetensors.numpy import load

    file = inside(folder, TENSORS, AuditError)
    if not file.is_file():
        raise AuditError(f"{folder}: {TENSORS} is missing")
    MODEL_BYTES.check(file.stat().st_size, file, AuditError)
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise AuditError(f"{file}: not the file that was written with the model")
    try:
        return load(content)
    except Exception as error:  # what it raises for a broken file is not documented
        raise AuditError(f"{file}: not a readable safetensors file: {error}") from error


def _matching(tensors: Tensors, where: str) -> Matching:
    """The model of tensors whose names, types, sizes and numbers are those of a model."""
    from emoe_audit.abstain.student import WIDTH

    sizes = {"hidden": WIDTH, "tree": ROUNDS, "node": N_LEAVES - 1, "side": 2, "leaf": N_LEAVES}
    _check_form(tensors, sizes, where)
    parts = {own: _part(tensors, own) for own in (PROJECTION, TREES, STUDENT)}
    projection, trees, directions = Projection(**parts[PROJECTION]), Trees(**parts[TREES]), tensors[DIRECTIONS]
    if not ((directions >= 0) & (directions < projection.weights.shape[1])).all():
        raise AuditError(f"{where}: a labeller sees a direction that is not there")
    trees.check(directions.shape[1], where)
    if not all(np.isfinite(own).all() for own in parts[PROJECTION].values()):
        raise AuditError(f"{where}: a number of the projection is not finite")
    if not all((np.abs(own) <= LARGEST_WEIGHT).all() for own in parts[STUDENT].values()):
        raise AuditError(f"{where}: a weight of the student is no number that a network has")
    labellers = Labellers(directions=directions, trees=trees)
    return Matching(projection=projection, labellers=labellers, student=_student(parts[STUDENT]))


def _check_form(tensors: Tensors, sizes: dict[str, int], where: str) -> None:
    """Hold tensors against `FORM`; an axis that has no size yet gets that of the first tensor that has it."""
    if set(tensors) != set(FORM):
        raise AuditError(f"{where}: expected the tensors {', '.join(FORM)}")
    for name, (dtype, axes) in FORM.items():
        own, named = tensors[name], axes.split()
        fits = own.dtype.name == dtype and own.ndim == len(named) and own.size > 0
        if not fits or any(sizes.setdefault(axis, n) != n for axis, n in zip(named, own.shape, strict=True)):
            raise AuditError(f"{where}: {name} is {own.dtype} {own.shape}, which does not fit the others")


def _part(tensors: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(prefix): own for name, own in tensors.items() if name.startswith(prefix)}


def _student(weights: Tensors) -> Student:
    from torch import from_numpy

    from emoe_audit.abstain.student import Student

    student = Student(weights["shared.0.weight"].shape[1], len(weights["heads.bias"]))
    student.load_state_dict({name: from_numpy(own.copy()) for name, own in weights.items()})
    return student.eval()
