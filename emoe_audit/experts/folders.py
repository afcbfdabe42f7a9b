"""What lies in a checkpoint's folder; a link that leads to nothing is told, and never taken for no file at all."""

from __future__ import annotations

from pathlib import Path

from emoe_audit.errors import EnsembleError
from emoe_audit.readers.paths import unbroken


def is_on_disk(source: str) -> bool:
    """Whether a source is a file or folder here, not on the hub. Raises `EnsembleError` for a link to nothing."""
    return unbroken(Path(source), EnsembleError).exists()


def is_here(file: Path) -> bool:
    """Whether there is such a file. Raises `EnsembleError` for a link to nothing."""
    return unbroken(file, EnsembleError).is_file()


def unet_folder(folder: Path) -> Path:
    """Where a checkpoint's folder has its UNet, if any. Raises `EnsembleError` for a link to nothing."""
    unet = unbroken(folder / "unet", EnsembleError)
    return unet if unet.is_dir() else folder


def names_in(folder: Path) -> list[str]:
    """Sorted. Raises `EnsembleError` for a folder that cannot be looked into."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise EnsembleError(f"{folder}: cannot be read: {error.strerror}") from error
