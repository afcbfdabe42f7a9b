"""The errors a user can cause or meet. Only the command line turns one into an exit code.

Each message says what is wrong, where (file, line, column) and what to do about it.
"""

LONGEST = 3000
"""Characters of a message; of a longer one the middle is left out."""


class AuditError(Exception):
    """Base of every error that `emoe_audit` raises on purpose."""

    def __str__(self) -> str:
        text = super().__str__()
        return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} ... {text[-LONGEST // 2 :]}"


class PromptTableError(AuditError):
    """A prompt table cannot be read or checked."""


class EnsembleError(AuditError):
    """An ensemble, an expert or a checkpoint cannot be found, read or assembled."""


class StoreError(AuditError):
    """A run folder cannot be read, or holds another run than the one asked for."""


class PlanError(AuditError):
    """A plan of an ensemble's training cannot be read or followed."""


class QualityError(AuditError):
    """A judge cannot be loaded, or an image cannot be made or judged."""


class MissingPackageError(AuditError):
    """An optional package is needed; the message names the command that installs it."""


class WriteError(AuditError):
    """A file cannot be written: no room, no permission, or something in its way."""


def told(error: Exception) -> str:
    """One sentence about an error: an `AuditError`'s own, or which file the system refused and why."""
    if isinstance(error, MemoryError):
        return "memory ran out; give it less at once (--batch-size, --memory-budget), or more memory"
    if not isinstance(error, OSError):
        return str(error)
    files = [f"{str(file)[:200]}: " for file in (error.filename, error.filename2) if file is not None]
    return f"{''.join(files)}{error.strerror or error or type(error).__name__}"
