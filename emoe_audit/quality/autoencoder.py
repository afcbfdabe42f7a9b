"""The autoencoder that an ensemble draws with: the base's, or the one that its `vae` names in the place of that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from diffusers import AutoencoderKL
from huggingface_hub import snapshot_download

from emoe_audit.errors import QualityError
from emoe_audit.experts.part_files import check_part
from emoe_audit.experts.single_file import family_folder
from emoe_audit.experts.sources import UNET_STEM, HubFiles, asking_the_hub
from emoe_audit.types import EnsembleSpec

PART = "vae"
WEIGHTS = f"{UNET_STEM}.safetensors"


def load_autoencoder(spec: EnsembleSpec) -> AutoencoderKL:
    """In the number type of its file, on the CPU; only safetensors are read.

    A single file, in diffusers' layout or the original one, is read with the configuration of the base's own, or of
    the base's family where that is a single file, too.

    Raises:
        QualityError: there is none where the ensemble says.
    """
    try:
        if spec.vae is None:
            return _from_folder_or_hub(spec.base.source, PART, spec.base.revision)
        if Path(spec.vae).is_file():
            whose = Path(spec.base.source)
            config = str(family_folder(whose)) if whose.is_file() else spec.base.source
            base = {"config": config, "subfolder": PART, "revision": spec.base.revision}
            return AutoencoderKL.from_single_file(_safe(spec.vae), local_files_only=whose.exists(), **base)
        return _from_folder_or_hub(spec.vae)
    except QualityError:
        raise
    except Exception as error:  # it is built from the values of its configuration as they come
        raise QualityError(f"{spec.vae or spec.base.source}: no autoencoder that can be read: {error}") from error


def with_autoencoder(base: Mapping[Path, Path], vae: str | None) -> dict[Path, Path]:
    """The files of a pipeline by their place in it, with those of `vae` where the base's own would be.

    A single file takes the place of the weights alone. Of a hub id no file is known.
    """
    if vae is None:
        return dict(base)
    own = {place: file for place, file in base.items() if place.parts[:1] == (PART,)}
    others = {place: file for place, file in base.items() if place not in own}
    if not Path(vae).is_file():
        return others | {PART / place: file for place, file in files_of(Path(vae)).items()}
    settings = {place: file for place, file in own.items() if place.suffix == ".json"}
    return others | settings | {Path(PART, WEIGHTS): Path(vae)}


def files_of(folder: Path) -> dict[Path, Path]:
    """Every file under a folder, by its place there; none where there is no such folder."""
    return {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()} if folder.is_dir() else {}


def _from_folder_or_hub(source: str, inside: str = "", revision: str | None = None) -> AutoencoderKL:
    folder = Path(source)
    if not folder.is_dir():
        place = f"{inside}/" if inside else ""
        wanted = [f"{place}config.json", *HubFiles.weights((f"{place}{UNET_STEM}",), "")]
        with asking_the_hub(source):
            folder = Path(snapshot_download(source, revision=revision, allow_patterns=wanted))
    check_part(folder / inside, UNET_STEM)
    return AutoencoderKL.from_pretrained(folder / inside, use_safetensors=True, local_files_only=True)


def _safe(file: str) -> str:
    if Path(file).suffix != ".safetensors":
        raise QualityError(f"{file}: only safetensors are read; pickled weights can run code when they are read")
    return file
