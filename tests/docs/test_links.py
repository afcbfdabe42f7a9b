"""No link of what users read leads nowhere. Addresses on the network are looked at, not visited."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

import emoe_audit
from tests.docs.texts import BESIDE, DOCS, PAGES, README, ROOT, anchors, links

MADE = {DOCS / "reference" / "python.md": {name.lower() for name in emoe_audit.__all__}}
"""Anchors of headings that are made when the pages are built."""


@pytest.mark.parametrize("page", (*PAGES, *BESIDE), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert [link for link in links(page) if not leads_somewhere(page, link)] == []


@pytest.mark.parametrize(
    ("link", "leads"),
    [
        ("CONTRIBUTING.md", True),
        ("CONTRIBUTING.md#rooms-and-floors", True),
        ("CONTRIBUTING.md#no-such-heading", False),
        ("#is-the-audit-right", True),
        ("#is-the-audit-wrong", False),
        ("docs/no-such-page.md", False),
        ("https://arxiv.org/abs/2505.13273", True),
        ("https://", False),
        ("ftp//somewhere", False),
    ],
)
def test_a_dead_link_is_found(link: str, leads: bool) -> None:
    assert leads_somewhere(README, link) is leads


def leads_somewhere(page: Path, link: str) -> bool:
    """Whether a link's file and heading are there; of an address on the network, whether it is one."""
    parts = urlsplit(link)
    if parts.scheme:
        return parts.scheme in ("http", "https") and "." in parts.netloc
    target = (page.parent / parts.path).resolve() if parts.path else page
    if not target.exists():
        return False
    return not parts.fragment or parts.fragment in anchors(target) | MADE.get(target, set())
