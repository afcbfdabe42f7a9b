"""What a run says of itself, and whose word is taken for it: its plan, its manifest, and where its parts are loaded."""

from __future__ import annotations

from dataclasses import replace

from emoe_audit.errors import StoreError
from emoe_audit.readers.documents import read_json
from emoe_audit.runs.ledger import MANIFEST, PLAN
from emoe_audit.runs.manifest import manifest_from
from emoe_audit.runs.own import check_own, is_own, remember
from emoe_audit.runs.query import RunReader
from emoe_audit.types import EnsembleSpec, RunManifest


class PlannedRun(RunReader):
    """One run folder with what was asked, and what was made."""

    _named: RunManifest | None = None
    """What the caller says is to be loaded, in the place of what the plan names."""

    def plan(self) -> RunManifest:
        """What was asked."""
        return self._read_manifest(PLAN)

    def sources(self) -> RunManifest:
        """The plan, to be loaded from: what a user named in `open` or `load_from`, else what stands there.

        Raises:
            StoreError: nobody has named anything, and the run was not started here; see `own`.
        """
        plan = self.plan()
        if self._named is None:
            check_own(self.path / PLAN, plan)
            return plan
        images = plan.images if is_own(self.path / PLAN) else self._named.images
        if self._named.images.brought is not None:  # a folder may have moved since
            images = replace(images, brought=self._named.images.brought)
        return replace(plan, ensemble=self._named.ensemble, images=images)

    def load_from(self, ensemble: EnsembleSpec) -> None:
        """Load the parts of this ensemble wherever the plan would have others loaded."""
        images = replace(self.plan().images, reference_images=None, brought=None)
        self._named = replace(self.plan(), ensemble=ensemble, images=images)

    def trust(self) -> None:
        """Stand behind what the plan names, from now on."""
        remember(self.path / PLAN)
        self._named = self.plan()

    def manifest(self) -> RunManifest | None:
        """What was made; None while the run is unfinished."""
        return self._read_manifest(MANIFEST) if self.is_complete else None

    @property
    def is_started(self) -> bool:
        """Whether there is a run."""
        return self.file(PLAN) is not None

    @property
    def is_complete(self) -> bool:
        """Whether the run is finished."""
        return self.file(MANIFEST) is not None

    def _read_manifest(self, name: str) -> RunManifest:
        file = self.file(name)
        if file is None:
            raise StoreError(f"{self.path}: no run here (no {name})")
        return manifest_from(read_json(file, StoreError), str(file))
