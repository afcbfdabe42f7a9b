"""What users read, taken apart as a Markdown reader does it: blocks of code, code within lines, links, headings."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = (README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md")))
"""Those whose examples are run."""
BESIDE = (ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", ROOT / "prompts" / "README.md", ROOT / "reports" / "README.md")
"""Others, whose links have to lead somewhere too."""


@dataclass(frozen=True)
class Block:
    """A block of code."""

    page: Path
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(kind: str) -> list[Block]:
    """The blocks of one kind on all pages."""
    fences = [(page, token) for page in PAGES for token in _tokens(page) if token.type == "fence"]
    found = [Block(page, (token.map or [0])[0] + 1, token.info, token.content) for page, token in fences]
    return [block for block in found if block.kind == kind]


def block(page: Path, kind: str, holding: str) -> str:
    """The text of a page's one block of this kind that holds these words."""
    (found,) = [b.text for b in blocks(kind) if b.page == page and holding in b.text]
    return found


def kinds() -> set[str]:
    """The kinds of all blocks of code; directives, which make no example, left out."""
    infos = {token.info for page in PAGES for token in _tokens(page) if token.type == "fence"}
    return {info for info in infos if not info.startswith("{")}


def code_in_lines(page: Path) -> list[str]:
    """Code within the lines of a page."""
    return [token.content for token in _inline(page) if token.type == "code_inline"]


def links(page: Path) -> list[str]:
    """Where the links and pictures of a page lead to, in order."""
    return [str(token.attrs[key]) for token in _inline(page) for key in ("href", "src") if key in token.attrs]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub and MyST make them."""
    tokens = _tokens(page)
    titles = [after.content for head, after in itertools.pairwise(tokens) if head.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def _inline(page: Path) -> Iterator[Token]:
    for token in _tokens(page):
        yield from token.children or ()


@cache
def _tokens(page: Path) -> list[Token]:
    return MarkdownIt().enable("table").parse(page.read_text(encoding="utf-8"))
