"""A share of a run's prompts, for one of several processes: each writes into a folder of its own inside the run.

A share holds the prompts whose keys leave its number when they are divided, so it is the same on every machine. What is
made of it lies in `shares/2-of-3/`, a run folder with a record and a lock of its own, until the run takes it in.
Beside them lies what the workers of a cluster make, `shares/crew-<16 digits>/worker-<number>/`, see
`emoe_audit.cluster`.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from emoe_audit.errors import AuditError, StoreError

SHARES = "shares"
MOST = 999_999
FOLDER = re.compile(r"\d{1,6}-of-\d{1,6}")
KEY = re.compile(r"[0-9a-f]{32}")
CREW = re.compile(r"crew-[0-9a-f]{16}")
WORKER = re.compile(r"worker-\d{1,9}")


@dataclass(frozen=True, kw_only=True)
class Share:
    """One of several, counted from 1."""

    number: int
    of: int

    def __post_init__(self) -> None:
        """Raise `AuditError` where there is no such share."""
        if not 1 <= self.number <= self.of <= MOST:
            raise AuditError(f"share {self.number} of {self.of}: there are the shares 1 to {self.of}, {MOST:,} at most")

    def __str__(self) -> str:
        """As it is given on the command line."""
        return f"{self.number}/{self.of}"

    def holds(self, key: str) -> bool:
        """Whether a prompt with this key belongs to it; `pending` asks the same of the database.

        Raises:
            StoreError: it is no key.
        """
        if not KEY.fullmatch(key):
            raise StoreError(f"{key!r:.60} is no key of a prompt")
        return int(key[:8], 16) % self.of == self.number - 1

    def folder(self, run: Path) -> Path:
        """Where what is made of it lies. Raises `StoreError` where a link or a file is in its place."""
        return checked_folder(place_of_shares(run) / f"{self.number}-of-{self.of}")


def place_of_shares(run: Path) -> Path:
    """Where the folders of shares are. Raises `StoreError` where a link or a file is in its place."""
    return checked_folder(run / SHARES)


def share_folders(run: Path) -> list[Path]:
    """The folders of all shares that a run has not taken in yet. Raises `StoreError` for a link or a file."""
    place = place_of_shares(run)
    names = sorted(os.listdir(place)) if place.exists() else []
    return [checked_folder(place / name) for name in names if FOLDER.fullmatch(name)]


def new_crew(run: Path) -> Path:
    """Where the workers of one process will write: a folder that is not there yet."""
    return place_of_shares(run) / f"crew-{secrets.token_hex(8)}"


def crews(run: Path) -> list[Path]:
    """The folders of all crews. Raises `StoreError` for a link or a file."""
    place = place_of_shares(run)
    names = sorted(os.listdir(place)) if place.exists() else []
    return [checked_folder(place / name) for name in names if CREW.fullmatch(name)]


def worker_folder(crew: Path, name: str) -> Path:
    """Where a worker's own files lie. Raises `StoreError` for what is no name of one, a link or a file."""
    if not WORKER.fullmatch(name):
        raise StoreError(f"{name!r:.60} is no name of a worker")
    return checked_folder(crew / name)


def checked_folder(path: Path) -> Path:
    """A folder that is one or is not there: no link, wherever it leads. Raises `StoreError`."""
    if os.path.lexists(path) and not stat.S_ISDIR(path.lstat().st_mode):
        raise StoreError(f"{path}: a link or a file, where a folder of the run belongs; take it away")
    return path
