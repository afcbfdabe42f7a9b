"""The errors a user can cause or meet. Only the command line turns one into an exit code.

Each message says what is wrong, where (file, line, column) and what to do about it.
"""


class AuditError(Exception):
    """Base of every error that `emoe_audit` raises on purpose."""


class PromptTableError(AuditError):
    """A prompt table cannot be read or checked."""


class EnsembleError(AuditError):
    """An ensemble, an expert or a checkpoint cannot be found, read or assembled."""


class StoreError(AuditError):
    """A run folder cannot be read, or holds another run than the one asked for."""


class QualityError(AuditError):
    """A judge cannot be loaded, or an image cannot be made or judged."""


class MissingPackageError(AuditError):
    """An optional package is needed; the message names the command that installs it."""


class WriteError(AuditError):
    """A file cannot be written: no room, no permission, or something in its way."""
