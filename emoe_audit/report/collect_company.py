"""What a report says of the company of translations: prompts it cannot judge, and those read as another caption."""

from __future__ import annotations

from emoe_audit.analysis.translations import MIN_RELIABILITY
from emoe_audit.report.data import Company
from emoe_audit.report.labels import clip_text
from emoe_audit.runs.query import RunReader
from emoe_audit.runs.readings import missing_languages

EXAMPLES = 10
COUNTS = """
    SELECT count(*) FILTER (translation_reliability < ?) AS n_unjudged, count(read_as) AS n_read_as FROM results
"""
READ_AS = """
    SELECT prompt_id, source_id, read_as FROM results WHERE read_as IS NOT NULL
    ORDER BY language, source_id, prompt_id LIMIT ?
"""


def read_company(store: RunReader) -> Company:
    """Count them, and name some."""
    if not {"translation_reliability", "read_as"} <= set(store.columns()):
        return Company(n_unjudged=0, missing=(), n_read_as=0, read_as=())
    counts = store.query(COUNTS, [MIN_RELIABILITY]).iloc[0]
    rows = store.query(READ_AS, [EXAMPLES]).itertuples()
    return Company(
        n_unjudged=int(counts.n_unjudged),
        missing=tuple(missing_languages(store)) if counts.n_unjudged else (),
        n_read_as=int(counts.n_read_as),
        read_as=tuple(f"prompt {clip_text(row.prompt_id, 40)} as {clip_text(row.read_as, 40)}" for row in rows),
    )
