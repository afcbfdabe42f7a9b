"""Quality that was measured elsewhere becomes part of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from emoe_audit.quality.imported import KEY, read_quality
from emoe_audit.runs.store import RunStore
from emoe_audit.runs.views import RATINGS
from emoe_audit.types import RowError


def take_ratings(
    store: RunStore, file: Path, columns: Sequence[str], lower_is_better: Sequence[str] = ()
) -> tuple[RowError, ...]:
    """Write the table `ratings`, in place of what was there; returns the rows that were left out.

    Of a column in which less is better the sign is changed, so that more is better in all.

    Raises:
        QualityError: the file is no such table, or a column cannot be taken under its name.
    """
    prompts = store.query("SELECT prompt_id FROM prompts")[KEY]
    own = {name for rated in store.ratings() for name in (rated, f"n_{rated}")}
    taken = set(store.columns()) - own
    read = read_quality(file, columns, prompt_ids=set(prompts), taken=taken, lower_is_better=lower_is_better)
    better = {column: read.as_quality(column).to_numpy() for column in columns}
    store.write_analysis(RATINGS, read.frame.assign(**better))
    return read.row_errors
