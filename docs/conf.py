"""How Sphinx builds these pages: `make docs`. Nothing is fetched while they are built."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "emoe_audit"
author = "the authors of emoe_audit"
copyright = "the authors of emoe_audit"
release = version = version_of("emoe-audit")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click", "from_code"]

html_theme = "furo"
html_title = f"emoe_audit {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_copyright = False
html_show_sphinx = False

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
default_role = "code"
add_module_names = False
toc_object_entries = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
exclude_patterns = ["_ext"]


def setup(app: Sphinx) -> None:
    """CSV has no lexer of its own, and needs none."""
    app.add_lexer("csv", TextLexer)
