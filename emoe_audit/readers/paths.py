"""Paths that others wrote: told where the system can have no such name, and where a link leads to nothing."""

from __future__ import annotations

import os
from pathlib import Path

from emoe_audit.errors import AuditError

SHOWN = 120
"""Characters of a name in a message."""


def user_cache() -> Path:
    """Where this user's caches of the package lie. Raises `RuntimeError` where there is no home."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emoe-audit"


def user_state() -> Path:
    """Where it is noted what this user has started. Raises `RuntimeError` where there is no home."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "emoe-audit"


def named_path(name: str, error: type[AuditError], *, beside: Path = Path(), where: str = "") -> Path:
    """The path that a text names, whether there is anything or not: `~` expanded, a relative one beside a folder.

    Raises:
        error: with `where`, the place of the text, for a name that no file can have, the home of nobody, a link that
            leads to nothing, and a folder that may not be looked into.
    """
    at = f"{where}: " if where else ""
    if "\0" in name:
        raise error(f"{at}{name[:SHOWN]!r} holds a NUL, which no path does")
    try:
        return unbroken(beside / Path(name).expanduser(), error)
    except (error, RuntimeError) as fault:
        raise error(f"{at}{name[:SHOWN]!r}: {fault}") from fault


def unbroken(path: Path, error: type[AuditError]) -> Path:
    """The same path, of which can be asked what it is. Raises `error` for a link that leads to nothing."""
    try:
        if path.exists() or not path.is_symlink():
            return path
        target = os.readlink(path)
    except (OSError, ValueError) as fault:
        raise error(f"{str(path)[:SHOWN]}: cannot be read: {getattr(fault, 'strerror', None) or fault}") from fault
    raise error(f"{path}: broken link to {target}; where it was copied from, copy what it leads to as well (cp -rL)")
