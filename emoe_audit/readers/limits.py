"""How much is taken from a file before it is refused: generous, and each can be raised by a variable.

The defaults admit ten million prompts. A bound is asked before the work, so that a small file cannot cost much.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from emoe_audit.errors import AuditError

PREFIX = "EMOE_AUDIT_MAX_"


@dataclass(frozen=True)
class Limit:
    """One bound: `EMOE_AUDIT_MAX_<NAME>` takes the place of the default."""

    name: str
    default: int
    what: str

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + self.name

    @property
    def value(self) -> int:
        """The bound that holds now. Raises `AuditError` where the variable is no whole number above 0."""
        text = os.environ.get(self.variable, str(self.default))
        if not text.isdecimal() or int(text) == 0:
            raise AuditError(f"{self.variable}: {text!r} is no whole number above 0")
        return int(text)

    def check(self, n: int, where: object, error: type[AuditError]) -> None:
        """Raise `error` where `n` is more than is taken."""
        if n > self.value:
            raise error(
                f"{where}: {n:,} {self.what}, at most {self.value:,} are taken; set {self.variable} to take more"
            )


ROWS = Limit("ROWS", 20_000_000, "rows")
COLUMNS = Limit("COLUMNS", 500, "columns")
CELL = Limit("CELL", 1_000_000, "characters in one cell or line")
CELLS = Limit("CELLS", 200_000_000, "cells of a table")
DOCUMENT = Limit("DOCUMENT", 64 * 1024**2, "bytes of JSON")
CONFIGURATION = Limit("CONFIGURATION", 4 * 1024**2, "bytes of a checkpoint's JSON")
YAML = Limit("YAML", 1024**2, "bytes of YAML")
"""Read by Python alone: as many take seconds, and some hundred megabytes."""
CAPTIONS = Limit("CAPTIONS", 2 * 1024**3, "bytes of captions")
FAULTS = Limit("FAULTS", 128 * 1024**2, "bytes of row errors")
MODEL = Limit("MODEL", 128 * 1024**2, "bytes of an abstaining model")
DEPTH = Limit("DEPTH", 64, "levels of nesting")
EXPANSION = Limit("EXPANSION", 200, "times the size of its file")
"""What a table may hold beyond `UNSUSPECTED`, by the size of its file: what is compressed further says one thing
again and again."""
UNSUSPECTED = 64 * 1024**2
"""Bytes that any table may hold, however small its file."""
