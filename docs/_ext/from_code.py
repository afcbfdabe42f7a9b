"""The Sphinx directive `from-code`: a piece of a page that is made from the code each time the pages are built."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import house
import reference
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

MAKERS: dict[str, Callable[[], str]] = {
    "commands": reference.commands,
    "ensemble-keys": reference.ensemble_keys,
    "evidence-ladder": reference.evidence_ladder,
    "exit-codes": reference.exit_codes,
    "house": house.house,
    "policy-keys": reference.policy_keys,
    "prompt-columns": reference.prompt_columns,
    "python-names": reference.python_names,
    "report-json": reference.report_json,
    "run-tables": reference.run_tables,
    "limits": reference.limits,
}


class FromCode(SphinxDirective):  # type: ignore[misc]
    """Puts what a maker writes in the place of the directive."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The nodes of the maker's Markdown; the page is read anew by every build, as the code may have changed."""
        self.env.note_reread()
        return self.parse_text_to_nodes(MAKERS[self.arguments[0]](), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, Any]:
    """Called by Sphinx."""
    app.add_directive("from-code", FromCode)
    return {"parallel_read_safe": True}
