"""What the README says is what there is."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch

from emoe_audit.decisions.gate import read_policy
from emoe_audit.prompts.read import read_prompts
from emoe_audit.types import EnsembleSpec, ImageConfig, ScoringConfig

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
TREE = README.split("## Source tree")[1].split("```")[1]

MODULES = [p for part in ("emoe_audit", "app") for p in (ROOT / part).rglob("*.py") if p.name != "__init__.py"]


def example(kind: str, holding: str) -> str:
    """The block of code of this kind that holds these words."""
    return next(block for block in re.findall(rf"```{kind}\n(.*?)```", README, re.DOTALL) if holding in block)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_has_a_line_in_the_tree(module: Path) -> None:
    assert re.search(rf"^ +(\w+/)?{re.escape(module.name)} +\S", TREE, re.MULTILINE)


def test_every_file_in_the_tree_exists() -> None:
    named = set(re.findall(r"^ +(?:\w+/)?(\w+\.py) ", TREE, re.MULTILINE))
    assert named == {module.name for module in MODULES}


def test_the_python_example_runs_as_it_is_written(
    tiny_spec: EnsembleSpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import emoe_audit.audit as module
    import emoe_audit.experts.spec as spec

    shutil.copytree(Path(tiny_spec.base.source).parent, tmp_path / "embedded" / "emoji-a")
    monkeypatch.setattr(spec, "EMBEDDED", tmp_path / "embedded")
    monkeypatch.setattr(module, "ScoringConfig", lambda: ScoringConfig(n_noise=1, device="cpu"))
    monkeypatch.setattr(module, "ImageConfig", lambda: ImageConfig(n_images=4, num_inference_steps=1, device="cpu"))
    monkeypatch.chdir(tmp_path)
    exec(example("python", "run_audit("), {})
    assert Path(capsys.readouterr().out.strip()).is_file()


def test_the_example_of_a_score_gives_one_number_a_prompt() -> None:
    from emoe_audit.scoring import disagreement

    exec(example("python", "register_score"), {})
    found = disagreement.SCORES.pop("my_score")(torch.randn(3, 5, 4, 2, 2))
    assert found.shape == (5,)


def test_the_example_of_a_policy_is_one(tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(example("yaml", "rules:"))
    assert [rule.measure for rule in read_policy(tmp_path / "policy.yaml").rules] == ["clip_cosine_source"]


def test_the_example_of_prompts_has_no_fault(tmp_path: Path) -> None:
    (tmp_path / "prompts.csv").write_text(example("csv", "source_id,language"))
    table = read_prompts(tmp_path / "prompts.csv")
    assert len(table.frame) == 3
    assert table.row_errors == ()
