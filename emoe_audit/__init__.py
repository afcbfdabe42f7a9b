"""Find where a text-to-image diffusion model is blind, before an image exists.

Importing this package loads neither torch nor streamlit; a name is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emoe_audit.audit import run_audit
    from emoe_audit.errors import AuditError
    from emoe_audit.experts.ensemble import load_ensemble
    from emoe_audit.experts.spec import embedded_names, load_spec
    from emoe_audit.experts.tiny import make_tiny_ensemble
    from emoe_audit.prompts.emoji import default_prompts
    from emoe_audit.prompts.read import read_prompts
    from emoe_audit.runs.store import RunStore
    from emoe_audit.scoring.disagreement import register_score
    from emoe_audit.scoring.engine import ScoringEngine
    from emoe_audit.steps.summary import RunResult
    from emoe_audit.types import AnalysisConfig, ClusterConfig, EnsembleSpec, ImageConfig, ScoringConfig

_HOMES = {
    "AnalysisConfig": "types",
    "AuditError": "errors",
    "ClusterConfig": "types",
    "EnsembleSpec": "types",
    "ImageConfig": "types",
    "RunResult": "steps.summary",
    "RunStore": "runs.store",
    "ScoringConfig": "types",
    "ScoringEngine": "scoring.engine",
    "run_audit": "audit",
    "default_prompts": "prompts.emoji",
    "embedded_names": "experts.spec",
    "load_ensemble": "experts.ensemble",
    "load_spec": "experts.spec",
    "make_tiny_ensemble": "experts.tiny",
    "read_prompts": "prompts.read",
    "register_score": "scoring.disagreement",
}

__all__ = [
    "AnalysisConfig",
    "AuditError",
    "ClusterConfig",
    "EnsembleSpec",
    "ImageConfig",
    "RunResult",
    "RunStore",
    "ScoringConfig",
    "ScoringEngine",
    "default_prompts",
    "embedded_names",
    "load_ensemble",
    "load_spec",
    "make_tiny_ensemble",
    "read_prompts",
    "register_score",
    "run_audit",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
