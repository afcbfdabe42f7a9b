"""Text files: UTF-8 of a bounded size, with a message for every way in which one cannot be read."""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from pathlib import Path
from typing import BinaryIO

from emoe_audit.errors import AuditError
from emoe_audit.readers.limits import CELL, DOCUMENT, Limit
from emoe_audit.readers.paths import unbroken

NO_TEXT = re.compile("[\0\ud800-\udfff]")


def read_text(path: Path, error: type[AuditError], *, at_most: Limit = DOCUMENT) -> str:
    """A file of UTF-8, with or without a byte order mark.

    Raises:
        error: there is no such file, it is a link to nothing, cannot be read, is too large, or is not UTF-8; with the
            line that is not.
    """
    try:
        with _opened(unbroken(path, error)) as file:
            size = os.fstat(file.fileno()).st_size
            at_most.check(size, path, error)
            content = file.read(size)
    except (OSError, ValueError) as fault:
        raise error(f"{path}: cannot be read: {getattr(fault, 'strerror', None) or fault}") from fault
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = content[: fault.start].count(b"\n") + 1
        raise error(f"{path}:{line}: not UTF-8 ({fault.reason}); save it as UTF-8") from fault


def _opened(path: Path) -> BinaryIO:
    """A plain file. Raises `OSError` for what is none: a pipe would be waited for, and a device never ends."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115 - the caller's
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "a pipe or a device, no file")
    return file


def is_text(value: str) -> bool:
    """Whether a text can be stored: no NUL, and no half of a surrogate pair."""
    return NO_TEXT.search(value) is None


def shown(name: str, longest: int = 1000) -> str:
    """A name that others gave, for a message: of bounded length, and nothing in it that a terminal obeys."""
    short = name if len(name) <= longest else f"{name[:longest]}..."
    return short if short.isprintable() else repr(short)


class Lines:
    """The lines of a file of UTF-8, each bounded by `CELL`, so that a file without line breaks is not read whole.

    `line` is the number of the last one that was given. To be used as a context, which closes the file.
    """

    def __init__(self, path: Path, error: type[AuditError]) -> None:
        """Open the file. Raises `error`, as every line does, with file and line."""
        self._path, self._error, self._longest, self.line = path, error, CELL.value, 0
        try:
            self._file = io.TextIOWrapper(_opened(unbroken(path, error)), encoding="utf-8-sig", newline="")
        except (OSError, ValueError) as fault:
            raise error(f"{path}: cannot be read: {getattr(fault, 'strerror', None) or fault}") from fault

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        try:
            text = self._file.readline(self._longest + 1)
        except UnicodeDecodeError as fault:
            raise self._error(f"{self._where}: {self._guess()}; save it as UTF-8 ({fault.reason})") from fault
        except OSError as fault:
            raise self._error(f"{self._where}: cannot be read: {fault.strerror}") from fault
        if not text:
            raise StopIteration
        if len(text) > self._longest:
            raise self._error(
                f"{self._where}:{self._longest + 1}: the line is longer than {self._longest:,} characters; "
                f"set {CELL.variable} to take more"
            )
        self.line += 1
        return text

    @property
    def _where(self) -> str:
        """The line that is read next."""
        return f"{self._path}:{self.line + 1}"

    def _guess(self) -> str:
        with self._path.open("rb") as file:
            start = file.read(4096)
        if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return "not UTF-8 but UTF-16"
        if b"\0" in start:
            return "a binary file, not a table"
        return "not UTF-8"
