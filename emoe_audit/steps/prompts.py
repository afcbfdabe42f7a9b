"""The first step: the prompts are stored with their keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from emoe_audit.prompts.table import PromptTable
from emoe_audit.runs.manifest import keyed_by, prompt_key
from emoe_audit.runs.store import RunStore
from emoe_audit.types import RunManifest


def take_prompts(store: RunStore, prompts: PromptTable) -> None:
    """Write the prompts with their keys, and the rows that could not be read."""
    store.write_prompts(_Keyed(prompts, store.plan()))
    store.clear_errors()
    store.record_error(*prompts.row_errors)


@dataclass(frozen=True)
class _Keyed:
    """The parts of a table with their keys in a run, as often as they are asked for."""

    prompts: PromptTable
    plan: RunManifest

    def __iter__(self) -> Iterator[pd.DataFrame]:
        by = keyed_by(self.plan)
        for part in self.prompts.parts:
            own = ["prompt", "language"] if self.plan.images.brought is None else ["prompt", "language", "prompt_id"]
            rows = part[own].itertuples(index=False)
            keys = [prompt_key(row[0], row[1], *by, *row[2:]) for row in rows]
            yield part.assign(key=keys)
