"""The first step: the prompts are stored with their keys."""

from __future__ import annotations

from emoe_audit.prompts.table import PromptTable
from emoe_audit.runs.manifest import prompt_key, settings_hash
from emoe_audit.runs.store import RunStore


def take_prompts(store: RunStore, prompts: PromptTable) -> None:
    """Write the prompts with their keys, and the rows that could not be read."""
    plan = store.plan()
    settings = settings_hash(plan.scoring)
    pairs = zip(prompts.frame["prompt"], prompts.frame["language"], strict=True)
    keys = [prompt_key(prompt, language, plan.ensemble_hash, settings) for prompt, language in pairs]
    store.write_prompts(prompts.frame.assign(key=keys))
    store.clear_errors()
    store.record_error(*prompts.row_errors)
