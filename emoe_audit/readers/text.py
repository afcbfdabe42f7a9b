"""Text files: UTF-8 of a bounded size, with a message for every way in which one cannot be read."""

from __future__ import annotations

from pathlib import Path

from emoe_audit.errors import AuditError
from emoe_audit.readers.limits import DOCUMENT, Limit


def read_text(path: Path, error: type[AuditError], *, at_most: Limit = DOCUMENT) -> str:
    """A file of UTF-8, with or without a byte order mark.

    Raises:
        error: there is no such file, it cannot be read, is too large, or is not UTF-8; with the line that is not.
    """
    try:
        with path.open("rb") as file:
            content = file.read(at_most.value + 1)
            size = path.stat().st_size
    except (OSError, ValueError) as fault:
        raise error(f"{path}: cannot be read: {getattr(fault, 'strerror', None) or fault}") from fault
    at_most.check(max(size, len(content)), path, error)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content[: fault.start].count(b"\n") + 1
        raise error(f"{path}:{line}: not UTF-8 ({fault.reason}); save it as UTF-8") from fault


def is_text(value: str) -> bool:
    """Whether a text can be stored: no NUL, and no half of a surrogate pair."""
    return "\0" not in value and not any(0xD800 <= ord(character) <= 0xDFFF for character in value)
