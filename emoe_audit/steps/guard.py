"""Which languages the judge of a run reads, and how that is known: what it says of others is not shown.

A judge that does not find the picture of a caption cannot say whether an image shows it: its cosine with the prompt
would be taken for a weakness of the model. Where it does not read a language, quality is judged by the source caption.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pandas as pd

from emoe_audit.errors import StoreError
from emoe_audit.experts.judges import READS, is_half_of, shares_text_encoder
from emoe_audit.experts.public_readers import is_published, published_recall
from emoe_audit.prompts.columns import listed
from emoe_audit.quality.candidates import source_language
from emoe_audit.runs.manifest import published
from emoe_audit.runs.store import RunStore
from emoe_audit.runs.views import GUARD
from emoe_audit.steps.readers import reader_name

log = logging.getLogger(__name__)
ENOUGH_CAPTIONS = 8
"""Captions with a real image, from which these say whether a language is read."""
PUTS_FIRST = 0.75
"""Share of other captions that a judge has to put behind the right one of a real image: midway from chance to all."""
MEASURED = """
    SELECT language, avg(1 - (reference_rank - 1) / (2 * chance_rank - 2)) AS reading,
           count(DISTINCT source_id) AS n_captions
    FROM real_images JOIN prompts USING (prompt_id) WHERE chance_rank > 1 AND reference_rank IS NOT NULL
    GROUP BY language HAVING count(DISTINCT source_id) >= ?
"""
LANGUAGES = "SELECT DISTINCT language FROM prompts ORDER BY language"


def guard_judge(store: RunStore) -> None:
    """Write `judge_reading`, a row per language; nothing for a run that judges no image.

    `reading` is the share of other captions that the judge puts behind that of a real image of the run where there are
    enough of these (`basis` "reference images"), else its published recall at 10 ("published"), else not known.
    """
    plan = store.plan()
    if not plan.images.n_images or plan.ensemble.judge is None:
        return
    spoken = store.query(LANGUAGES)["language"].to_list()
    source = _source_language(store, spoken)
    languages = sorted({*spoken, source})
    table = pd.DataFrame({"language": languages, "basis": "unknown", "reading": float("nan"), "n_captions": 0.0})
    table = table.set_index("language")
    judge = plan.ensemble.judge
    if is_published(judge):
        recall = published_recall(judge, languages)
        table.loc[recall.index, "reading"], table.loc[recall.index, "basis"] = recall, "published"
    if store.has_analysis("real_images"):
        own = store.query(MEASURED, [ENOUGH_CAPTIONS]).set_index("language")
        own = own[own.index.isin(languages)]
        table.loc[own.index, ["reading", "n_captions"]] = own
        table.loc[own.index, "basis"] = "reference images"
    least = table["basis"].map({"published": READS, "reference images": PUTS_FIRST})
    table["reads"] = (table["reading"] >= least).astype("boolean").where(table["reading"].notna(), None)
    table["judge"] = str(published(plan).ensemble.judge)
    table["is_source"], table["shares_encoder"] = table.index == source, _shares(store, judge)
    unread = table.index[(table["reads"] == False).fillna(False)]  # noqa: E712 - what is not known is neither
    if len(unread):
        log.warning(
            "%s: the judge %s does not read %s, so its cosines there are not shown", store.path, judge, listed(unread)
        )
    store.write_analysis(GUARD, table.reset_index())


def _source_language(store: RunStore, spoken: Sequence[str]) -> str:
    """As the prompts call it: source captions may be those of `en-US`."""
    is_given = "source_prompt" in store.columns()
    own = source_language(store.batches("SELECT prompt, language, source_prompt FROM prompts") if is_given else ())
    return own if own in spoken else next((tag for tag in spoken if tag.startswith(f"{own}-")), own)


def _shares(store: RunStore, judge: str) -> bool:
    """Whether the judge reads with the text encoder that is audited, by name or by its weights."""
    reader = reader_name(store, exact=True)
    if reader is not None and is_half_of(judge, reader):
        return True
    try:
        return shares_text_encoder(store.sources().ensemble)
    except StoreError:  # of a received run nothing is loaded
        return False
