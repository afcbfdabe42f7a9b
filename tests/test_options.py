"""Values of options that are more than a word."""

from __future__ import annotations

import click
import pytest

from emoe_audit.options import ByteCount


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [("3GiB", 3 << 30), ("800 MiB", 800 << 20), ("2.5GB", 2_500_000_000), ("1kb", 1000), ("4096", 4096)],
)
def test_a_size_is_read_in_decimal_and_binary_units(text: str, n_bytes: int) -> None:
    assert ByteCount().convert(text, None, None) == n_bytes


@pytest.mark.parametrize("text", ["much", "3 Gibi", "-1GB", "", "1e9"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write it like 3GiB"):
        ByteCount().convert(text, None, None)
