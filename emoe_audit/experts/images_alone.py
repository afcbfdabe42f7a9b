"""A model of which images alone are known, and who judges these. Nothing here imports torch."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.judges import MULTILINGUAL
from emoe_audit.experts.spec import is_name, load_spec
from emoe_audit.experts.spec_reader import LOCAL_JUDGE
from emoe_audit.types import EnsembleSpec, ExpertSpec

BROUGHT = ExpertSpec(name="brought", source="")
"""In the place of the base, which is not known."""


def images_alone(name: str, judge: str | None = None) -> EnsembleSpec:
    """A model by its name; its images are judged by `judge`, see `judged_by`, else by one that reads many languages.

    Where the judge is an ensemble's, that one's captions are what source captions are ranked among, so that images of
    both are judged alike.

    Raises:
        EnsembleError: there is no such judge.
    """
    spec = judged_by(EnsembleSpec(name=name, base=BROUGHT, experts=(), judge=MULTILINGUAL), judge)
    return replace(spec, captions=load_spec(judge).captions) if judge is not None and is_name(judge) else spec


def judged_by(spec: EnsembleSpec, judge: str | None) -> EnsembleSpec:
    """An ensemble with another judge.

    Args:
        spec: The ensemble.
        judge: Its form as in the YAML of an ensemble, a folder, or the name of an ensemble whose judge it is; None for
            the one that the ensemble names.

    Raises:
        EnsembleError: that ensemble names none, or there is no such folder.
    """
    if judge is None:
        return spec
    if is_name(judge):
        own = load_spec(judge).judge
        if own is None:
            raise EnsembleError(f"--judge {judge}: this ensemble names no judge")
        return replace(spec, judge=own)
    folder = Path(judge.removeprefix(LOCAL_JUDGE))
    if folder.is_dir():
        return replace(spec, judge=LOCAL_JUDGE + os.path.abspath(folder))
    if judge.startswith(LOCAL_JUDGE) or "/" not in judge:
        raise EnsembleError(
            f"--judge {judge}: no such folder or ensemble; give a folder, the name of an ensemble, hf-hub:ORG/NAME or "
            f"MODEL/PRETRAINED as in {MULTILINGUAL}"
        )
    return replace(spec, judge=judge)
