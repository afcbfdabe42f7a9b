"""Whatever a received model holds: it is refused with a message, or answers with probabilities. Nothing dies of it."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emoe_audit.abstain.abstainer import Abstainer
from emoe_audit.abstain.files import load_abstainer, save_abstainer
from emoe_audit.errors import AuditError
from tests.abstain.made import made_features
from tests.hostile.jail import outcomes

pytestmark = pytest.mark.slow

NUMBERS = (0, 1, -1, 2, 30, 31, 32, -31, -32, 127, -128, 2**15 - 1, -(2**15), 2**62, 1e-320, 1e5, 1e38, 1e308, -1e308)
NO_NUMBERS = (np.nan, np.inf, -np.inf)
MODULES = ("emoe_audit.abstain.student", "safetensors.numpy", "scipy.special")
VALUES: tuple[Any, ...] = (
    None,
    True,
    -1,
    10**30,
    1.5,
    "",
    "x" * 300,
    [],
    {},
    ["en", 3],
    {"a": {"b": []}},
    [[]] * 9,
    "../tensors",
)


def answer(folder: str) -> str:
    """Load a model and ask it."""
    try:
        decided = load_abstainer(Path(folder)).decide(made_features(seed=5))
    except AuditError as error:
        return f"refused: {error}"
    fine = np.isfinite(decided["p_good"]).all() and decided["p_good"].between(0, 1).all()
    return "answers" if fine else f"wrong: p_good is {decided['p_good'].to_list()[:5]}"


@pytest.fixture(scope="module")
def honest(abstainer: Abstainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("honest")
    save_abstainer(abstainer, folder)
    return folder


def copies(honest: Path, tmp_path: Path, n: int) -> list[Path]:
    return [Path(shutil.copytree(honest, tmp_path / f"{place:03d}")) for place in range(n)]


def write_tensors(folder: Path, content: bytes) -> None:
    """In place of the model's, with the digest that makes them its own."""
    (folder / "tensors.safetensors").write_bytes(content)
    model = json.loads((folder / "model.json").read_text())
    model["tensors_sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "model.json").write_text(json.dumps(model))


def check_outcomes(folders: list[Path], least_refused: float) -> None:
    found = outcomes(answer, list(map(str, folders)), MODULES)
    assert len(found) == len(folders)
    wrong = {folder.name: said for folder, said in zip(folders, found, strict=True) if not said.startswith(("r", "a"))}
    assert not wrong
    assert sum(said.startswith("refused: ") for said in found) >= least_refused * len(found)


def with_other_numbers(own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A few numbers of an array replaced by others."""
    changed = own.copy()
    pool = NUMBERS if own.dtype.kind != "f" or rng.random() < 0.6 else NO_NUMBERS
    for place in rng.integers(0, own.size, int(rng.integers(1, 4))):
        with np.errstate(all="ignore"):
            changed.flat[place] = np.array(pool[rng.integers(len(pool))]).astype(own.dtype)
    return changed


def of_another_form(own: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An array cut, mixed, turned, or of another type."""
    axis = int(rng.integers(own.ndim))
    mixed = rng.permutation(own.ravel()).reshape(own.shape)
    forms = [np.delete(own, 0, axis), mixed, np.moveaxis(own, axis, 0), own.astype(np.int32), own[None], own[:0]]
    return np.ascontiguousarray(forms[rng.integers(len(forms))])


def test_altered_arrays(honest: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save

    tensors = load_file(honest / "tensors.safetensors")
    rng = np.random.default_rng(0)
    folders = copies(honest, tmp_path, 10 * len(tensors))
    for place, folder in enumerate(folders):
        name = sorted(tensors)[place % len(tensors)]
        alter = with_other_numbers if place % 3 else of_another_form
        write_tensors(folder, save({**tensors, name: alter(tensors[name], rng)}))
    check_outcomes(folders, 0.3)


def test_altered_descriptions(honest: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    text = (honest / "model.json").read_text()
    folders = copies(honest, tmp_path, 80)
    for place, folder in enumerate(folders):
        model = json.loads(text)
        part = model["limits"] if place % 4 == 1 else model["limits"]["seen"] if place % 4 == 2 else model
        key = sorted(part)[rng.integers(len(part))]
        if place % 5 == 0:
            del part[key]
        else:
            part[key] = VALUES[rng.integers(len(VALUES))]
        altered = json.dumps(model)
        if place % 4 == 3:
            at = int(rng.integers(len(text)))
            altered = text[:at] + chr(int(rng.integers(1, 1000))) + text[at + int(rng.integers(3)) :]
        (folder / "model.json").write_text(altered, encoding="utf-8")
    check_outcomes(folders, 0.5)


def test_altered_headers_of_the_tensors(honest: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    content = (honest / "tensors.safetensors").read_bytes()
    size = int.from_bytes(content[:8], "little")
    folders = copies(honest, tmp_path, 60)
    for place, folder in enumerate(folders):
        head, body = content[8 : 8 + size], content[8 + size :]
        length = size
        if place % 3 == 0:
            length = [0, 1, size - 1, size + 1, 2**31, 2**63, 2**64 - 1][int(rng.integers(7))]
        elif place % 3 == 1:
            numbers = list(re.finditer(rb"\d+", head))
            found = numbers[rng.integers(len(numbers))]
            other = str(NUMBERS[rng.integers(len(NUMBERS) - 5)]).encode()
            head = head[: found.start()] + other + head[found.end() :]
            length = len(head)
        else:
            at = int(rng.integers(size))
            head = head[:at] + bytes([int(rng.integers(256))]) + head[at + 1 :]
        write_tensors(folder, length.to_bytes(8, "little") + head + body)
    check_outcomes(folders, 0.5)


def test_a_tensor_of_a_billion_directions_and_no_numbers_costs_nothing(honest: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save

    [folder] = copies(honest, tmp_path, 1)
    tensors = load_file(honest / "tensors.safetensors")
    empty = {"projection.weights": np.zeros((0, 10**9)), "projection.mean": np.zeros(0)}
    write_tensors(folder, save({**tensors, **empty}))
    assert outcomes(answer, [str(folder)])[0].startswith("refused: ")


def lightgbms_answer(text: str) -> str:
    """The same of a model as LightGBM writes and reads it."""
    from lightgbm import Booster
    from lightgbm.basic import LightGBMError

    try:
        given = np.asarray(Booster(model_str=text).predict(np.zeros((3, 6)), num_threads=1))
    except (LightGBMError, ValueError) as error:
        return f"refused: {error}"
    return "answers" if np.isfinite(given).all() else "wrong"


def test_what_lightgbm_itself_does_with_an_altered_text() -> None:
    """The reason for all of this: of its own form, altered in the same ways, processes die."""
    from lightgbm import Dataset, train

    from emoe_audit.abstain.labellers import PARAMETERS

    rng = np.random.default_rng(3)
    z = rng.normal(size=(200, 6))
    text = train(PARAMETERS, Dataset(z, label=(z[:, 0] > 0) * 1.0, params=PARAMETERS), 3).model_to_string()
    rows = "(?:left_child|right_child|split_feature|num_leaves|leaf_value)="
    numbers = [found for line in re.finditer(f"^{rows}.*$", text, re.M) for found in _numbers(text, line.span())]
    altered = []
    for _ in range(40):
        start, end = numbers[rng.integers(len(numbers))]
        altered.append(text[:start] + str(NUMBERS[rng.integers(14)]) + text[end:])
    assert any(said.startswith("died") for said in outcomes(lightgbms_answer, altered, ("lightgbm",), seconds=5))


def _numbers(text: str, span: tuple[int, int]) -> list[Any]:
    return [found.span() for found in re.compile(r"-?\d+(?:\.\d+)?").finditer(text, *span)]
