"""What the kernel says of this process."""

from __future__ import annotations

import re
from pathlib import Path


def status_bytes(field: str) -> int:
    """`VmRSS`, what is resident now, or `VmHWM`, the most that ever was; `RssFile`, of files that are mapped."""
    text = Path("/proc/self/status").read_text(encoding="utf-8")
    found = re.search(rf"^{field}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found, f"the kernel does not tell {field}"
    return int(found[1]) * 1024
