"""Values of options that are more than a word."""

from __future__ import annotations

import click
import pytest

from emoe_audit.cli.kinds import ByteCount, Margin


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


@pytest.mark.parametrize("text", ["clip_cosine=0.02", "relative_disagreement=1e-3"])
def test_a_margin_is_a_measure_and_a_number(text: str) -> None:
    measure, _, number = text.partition("=")
    assert Margin("clip_cosine=0.02").convert(text, None, None) == (measure, float(number))


@pytest.mark.parametrize(
    "text", ["clip_cosine", "clip_cosine=0", "clip_cosine=-1", "clip_cosine=nan", "=1", "clip=0.1"]
)
def test_what_is_no_margin_is_refused_with_what_would_be(text: str) -> None:
    with pytest.raises(click.BadParameter, match="clip_cosine"):
        Margin("clip_cosine=0.02").convert(text, None, None)
