"""The model card of a packaged ensemble."""

from pathlib import Path


def write_card(out, plan, coverage, figures):
    pass
