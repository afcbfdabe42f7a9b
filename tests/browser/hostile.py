"""Texts that try to run, to lead away, to turn a page around or to break a reader, as a prompt table and as its check.

Each that would run sets `window.hacked`, asks `attacker.example` or opens a dialog: what a browser did not do is seen.
"""

from __future__ import annotations

import csv
import io

TEXTS = (
    "</script><script>window.hacked = 1; alert(1)</script>",
    '"><img src="https://attacker.example/x.png" onerror="window.hacked = 1">',
    "<svg/onload=window.hacked=1><style>body { display: none }</style>",
    "<iframe srcdoc='<script>parent.hacked = 1</script>'></iframe>",
    "![image](https://attacker.example/x.png) [link](javascript:window.hacked=1) **bold** $x^2$ :red[red]",
    "<a href='https://attacker.example'>win</a> {{ 7 * 7 }} {% raw %} ${7*7} %(x)s {0}",
    "=1+1",
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "\u202ereversed \u2066isolated \u200f\u2069 right-to-left",
    "line\nbreak\ttab \u2028 separator \x07 bell \x1b[31m",
)
"""Ten captions; the last columns of their table are as hostile."""
TOO_LONG = "x" * 100_000
NUL = "before\0after"
LANGUAGES = ("en", "de", "fr", "fi")
COLUMN = "![x](https://attacker.example/x.png) <img src=x onerror=window.hacked=1>"
"""A column whose groups are compared."""
FIELDS = ("prompt_id", "source_id", "prompt", "language", "region", COLUMN)


def hostile_csv() -> bytes:
    """All texts in all languages as a prompt table, and two rows that are no prompts: one too long, one with a NUL."""
    rows = [
        (f"{text[:20]}-{tag}", text[:30], f"{text} {tag}", tag, ("FR", "DE")[place % 2], TEXTS[place % 2])
        for place, text in enumerate(TEXTS)
        for tag in LANGUAGES
    ]
    rows += [("long", "long", TOO_LONG, "en", "FR", ""), ("nul", "nul", NUL, "en", "FR", "")]
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(FIELDS)
    writer.writerows(rows)
    return file.getvalue().encode()


def line_of(prompt_id: str) -> int:
    """The line of the table, as an editor counts them, on which a row starts."""
    before, _ = hostile_csv().split(f"\n{prompt_id},".encode())
    return before.count(b"\n") + 2
