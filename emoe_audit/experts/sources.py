"""Where weights come from: folders and hub ids in, configurations and tensors out.

Only safetensors are read, and for a score only the part of a UNet that it passes through: the up blocks (511 M of the
860 M parameters of Stable Diffusion 1.5) are not loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from safetensors import SafetensorError, safe_open
from torch import Tensor

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.folders import is_here, names_in, unet_folder
from emoe_audit.experts.spec_reader import HUB_ID
from emoe_audit.readers.documents import read_json_object
from emoe_audit.readers.limits import CONFIGURATION
from emoe_audit.readers.paths import unbroken
from emoe_audit.readers.text import shown
from emoe_audit.types import ExpertSpec

UNET_STEM = "diffusion_pytorch_model"
TEXT_ENCODER_STEM = "model"
DELTA_STEM, LORA_STEM, ADAPTER_STEM = "unet_delta", "pytorch_lora_weights", "adapter_model"
DELTA_FILE = f"{DELTA_STEM}.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
SCORED_PARTS = ("conv_in", "time_embedding", "add_embedding", "down_blocks", "mid_block")
UNSCORED_PARTS = ("up_blocks", "conv_norm_out", "conv_out")
PICKLE_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
HOW_TO_CONVERT = (
    "pickled weights can run code when they are read, so they are refused; convert them on a machine you trust: "
    "StableDiffusionPipeline.from_pretrained(FOLDER).save_pretrained(NEW_FOLDER, safe_serialization=True), "
    "or StableDiffusionPipeline.from_single_file(FILE) for a single .ckpt"
)


@dataclass(frozen=True, kw_only=True)
class HubFiles:
    """Which files of a repository are fetched."""

    texts: tuple[str, ...]
    """Patterns of configurations and tokenizers."""
    components: tuple[tuple[str, ...], ...]
    """Each lies at one of several stems, whole or sharded; half precision is fetched where full is not there."""

    @staticmethod
    def weights(stems: tuple[str, ...], infix: str) -> list[str]:
        """Patterns of one component's weights; `infix` is `.fp16` for half precision."""
        endings = (
            f"{infix}.safetensors",
            f"{infix}.safetensors.index.json",
            f".safetensors.index{infix}.json",
            f"{infix}-[0-9]*-of-[0-9]*.safetensors",
        )
        return [stem + ending for stem in stems for ending in endings]


BASE_FILES = HubFiles(
    texts=("model_index.json", "tokenizer/*", "tokenizer_2/*", "*/config.json", "scheduler/scheduler_config.json"),
    components=(
        (f"unet/{UNET_STEM}",),
        (f"text_encoder/{TEXT_ENCODER_STEM}",),
        (f"text_encoder_2/{TEXT_ENCODER_STEM}",),
    ),
)
EXPERT_FILES = HubFiles(
    texts=("model_index.json", "config.json", "unet/config.json", ADAPTER_CONFIG),
    components=((f"unet/{UNET_STEM}", UNET_STEM, DELTA_STEM, LORA_STEM, ADAPTER_STEM),),
)


@dataclass(frozen=True, kw_only=True)
class UNetWeights:
    """One UNet as read from disk, whole or as far as a score needs it, in the types that it is stored in."""

    where: str
    """Folder or hub id, for messages."""
    config: dict[str, Any]
    tensors: dict[str, Tensor]


def is_scored(key: str) -> bool:
    """Whether a score passes through this weight of a UNet."""
    return key.partition(".")[0] in SCORED_PARTS


def is_any(_key: str) -> bool:
    """Whether an image passes through it: through all."""
    return True


def is_whole(tensors: Iterable[str]) -> bool:
    """Whether these weights of a UNet draw, too."""
    return any(key.startswith("up_blocks.") for key in tensors)


def fetch_base(spec: ExpertSpec) -> Path:
    """A single file, or the folder of a whole pipeline: `unet/`, `text_encoder/`, `tokenizer/`, `scheduler/`.

    SDXL has `text_encoder_2/` and `tokenizer_2/` too.

    A hub id is downloaded; of its repository only these parts come, in full precision where it is there, else in half.
    Raises `EnsembleError`.
    """
    return _fetch(spec, BASE_FILES)


def fetch_expert(spec: ExpertSpec) -> Path:
    """A single file, or the folder of an expert: a pipeline, a UNet alone, a LoRA, or what differs from the base.

    Raises `EnsembleError`.
    """
    return _fetch(spec, EXPERT_FILES)


def read_unet(
    folder: Path, *, base: UNetWeights | None = None, wanted: Callable[[str], bool] = is_scored
) -> UNetWeights:
    """The wanted keys of a UNet, from a pipeline folder, a UNet folder or a delta over `base`.

    Tensors that a delta leaves as they are stay the same objects as the base's.
    Raises `EnsembleError` where the folder holds no UNet, holds keys of another model, or is a delta without a base.
    """
    if is_here(folder / DELTA_FILE):
        if base is None:
            raise EnsembleError(f"{folder}: {DELTA_FILE} holds only what differs from a base, so it cannot be the base")
        delta = _read_known([folder / DELTA_FILE], wanted)
        unknown = sorted(delta.keys() - base.tensors.keys())
        if unknown:
            raise EnsembleError(f"{folder / DELTA_FILE}: keys that the base does not have: {some(unknown)}")
        return UNetWeights(where=str(folder), config=base.config, tensors={**base.tensors, **delta})
    unet = unet_folder(folder)
    if not is_here(unet / "config.json"):
        raise EnsembleError(
            f"{folder}: no UNet here; expected unet/config.json, config.json, {DELTA_FILE} or a LoRA in safetensors; "
            f"found: {_listing(folder)}"
        )
    tensors = _read_known(weight_files(unet, UNET_STEM), wanted)
    return UNetWeights(where=str(unet), config=read_json(unet / "config.json"), tensors=tensors)


def weight_files(folder: Path, stem: str) -> list[Path]:
    """The safetensors files of one component: whole or sharded, full precision before half.

    Raises `EnsembleError`; where there are only pickled weights it says how to convert them.
    """
    for infix in ("", ".fp16"):
        whole = folder / f"{stem}{infix}.safetensors"
        if is_here(whole):
            return [whole]
        for index in (f"{stem}{infix}.safetensors.index.json", f"{stem}.safetensors.index{infix}.json"):
            if is_here(folder / index):
                return _shards(folder / index)
    pickled = [name for name in names_in(folder) if name.endswith(PICKLE_SUFFIXES)]
    reason = f"only {some(pickled)}: {HOW_TO_CONVERT}" if pickled else f"found: {_listing(folder)}"
    raise EnsembleError(f"{folder}: no {stem}.safetensors; {reason}")


def read_tensors(files: list[Path], wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    """The wanted tensors of some safetensors files; others are not read from disk.

    Raises `EnsembleError` for a file that is torn or is no safetensors file.
    """
    tensors: dict[str, Tensor] = {}
    for path in files:
        with opened(path) as file:
            tensors |= {key: file.get_tensor(key) for key in file.keys() if wanted(key)}  # noqa: SIM118
    return tensors


@contextmanager
def opened(path: Path) -> Iterator[safe_open]:
    """A safetensors file, of which what is not asked for is not read. Raises `EnsembleError` for one that is torn."""
    try:
        with safe_open(unbroken(path, EnsembleError), framework="pt") as file:
            yield file
    except (SafetensorError, OSError) as error:
        raise EnsembleError(
            f"{path}: not a readable safetensors file ({error}); "
            "was the download cut short, or is it a git-lfs pointer?"
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object of a checkpoint. Raises `EnsembleError` with file, line and column."""
    return read_json_object(path, EnsembleError, at_most=CONFIGURATION)


def some(names: list[str], limit: int = 5) -> str:
    """The first names of a list, and how many more there are."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(map(shown, names[:limit])) + more


def _read_known(files: list[Path], wanted: Callable[[str], bool]) -> dict[str, Tensor]:
    """The wanted tensors; a key of no known part means another kind of model, and is refused."""
    foreign: list[str] = []

    def is_wanted(key: str) -> bool:
        if key.partition(".")[0] not in SCORED_PARTS + UNSCORED_PARTS:
            foreign.append(key)
        return wanted(key)

    tensors = read_tensors(files, is_wanted)
    if foreign:
        raise EnsembleError(f"{files[0]}: unexpected keys: {some(sorted(foreign))}")
    return tensors


def _shards(index: Path) -> list[Path]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise EnsembleError(f"{index}: expected a weight_map of keys to files")
    names = sorted({str(name) for name in weight_map.values()})
    for name in names:
        path = index.parent / name
        if Path(name).name != name or path.suffix != ".safetensors" or not is_here(path):
            raise EnsembleError(f"{index}: weight_map names {shown(name)}, which is no safetensors file next to it")
    return [index.parent / name for name in names]


def _fetch(spec: ExpertSpec, files: HubFiles) -> Path:
    folder = unbroken(Path(spec.source), EnsembleError)
    if folder.is_dir() or (folder.is_file() and folder.suffix == ".safetensors"):
        return folder
    if folder.is_file():
        detail = HOW_TO_CONVERT if folder.suffix in PICKLE_SUFFIXES else "only folders and .safetensors files are read"
        raise EnsembleError(f"{folder}: {detail}")
    if not HUB_ID.fullmatch(spec.source):
        raise EnsembleError(f"{spec.source}: no such folder, and not a hub id (org/name)")
    return _download(spec, files)


def _download(spec: ExpertSpec, files: HubFiles) -> Path:
    texts = list(files.texts)
    root = _snapshot(spec, texts + [pattern for stems in files.components for pattern in files.weights(stems, "")])
    lacking = [own for own in files.components if not any(any(root.glob(f"{stem}*.safetensors")) for stem in own)]
    if lacking:
        _snapshot(spec, texts + [pattern for stems in lacking for pattern in files.weights(stems, ".fp16")])
    return root


def _snapshot(spec: ExpertSpec, patterns: list[str]) -> Path:
    with asking_the_hub(f"{spec.source}@{spec.revision}" if spec.revision else spec.source):
        return Path(snapshot_download(spec.source, revision=spec.revision, allow_patterns=patterns))


@contextmanager
def asking_the_hub(at: str) -> Iterator[None]:
    """Turn what the hub answers to a request about `at` into an `EnsembleError` that says what to do."""
    try:
        yield
    except GatedRepoError as error:
        raise EnsembleError(f"{at}: gated; accept its terms on the hub and set HF_TOKEN") from error
    except RepositoryNotFoundError as error:
        raise EnsembleError(f"{at}: no such repository on the hub, or private: check the name, set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise EnsembleError(f"{at}: the repository has no such revision") from error
    except (EntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise EnsembleError(
            f"{at}: not in the local cache and the hub cannot be asked: {_first_line(error)}; go online "
            f"(HF_HUB_OFFLINE=0) or copy it into the cache (HF_HOME) with: hf download {at.partition('@')[0]}"
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]


def _listing(folder: Path) -> str:
    return some(names_in(folder), limit=8) or "nothing"
