"""SegMoE's YAML in, and what it says when something is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from emoe_audit.errors import EnsembleError
from emoe_audit.experts.segmoe_recipe import (
    SegmoeRecipe,
    is_segmoe_folder,
    read_segmoe_yaml,
    segmoe_folder_spec,
)
from emoe_audit.types import EnsembleSpec, ExpertSpec, GatePrompts

GOOD = """\
base_model: base
num_experts: 3
moe_layers: all
num_experts_per_tok: 2
type: sd
experts:
  - source_model: org/anime-1.0
    positive_prompt: "anime, 1girl"
    negative_prompt: "lowres"
  - source_model: experts/photo
    positive_prompt: "photo"
    negative_prompt: ""
    loras:
      - source_model: org/detail
        positive_prompt: "detailed"
      - source_model: org/light
        negative_prompt: "dark"
  - source_model: other/anime-1.0
    positive_prompt: "night"
    negative_prompt: "day"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for name in ("base", "experts/photo"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "mixture.yaml").write_text(GOOD)
    return tmp_path / "mixture.yaml"


def test_a_recipe_becomes_a_shared_trunk(path: Path) -> None:
    assert read_segmoe_yaml(path) == SegmoeRecipe(
        spec=EnsembleSpec(
            name="mixture",
            base=ExpertSpec(name="base", source=str(path.parent / "base")),
            experts=(
                ExpertSpec(name="anime-1.0", source="org/anime-1.0"),
                ExpertSpec(
                    name="photo", source=str(path.parent / "experts" / "photo"), loras=("org/detail", "org/light")
                ),
                ExpertSpec(name="anime-1.0-2", source="other/anime-1.0"),
            ),
            assembly="shared_trunk",
            moe_layers="all",
        ),
        type="sd",
        top_k=2,
        init="hidden",
        prompts=(
            GatePrompts(positive="anime, 1girl", negative="lowres"),
            GatePrompts(positive="photo detailed", negative="dark"),
            GatePrompts(positive="night", negative="day"),
        ),
    )


def test_what_is_left_out_is_as_in_segmoe(path: Path) -> None:
    path.write_text(GOOD.replace("num_experts: 3\nmoe_layers: all\nnum_experts_per_tok: 2\ntype: sd\n", ""))
    recipe = read_segmoe_yaml(path)
    assert (recipe.spec.moe_layers, recipe.top_k, recipe.type, recipe.init) == ("attn", 1, "sdxl", "hidden")


def test_names_are_unique_even_where_a_numbered_one_is_taken(path: Path) -> None:
    path.write_text(GOOD.replace("experts/photo", "org/anime-1.0-2"))
    assert [expert.name for expert in read_segmoe_yaml(path).spec.experts] == [
        "anime-1.0",
        "anime-1.0-2",
        "anime-1.0-3",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("num_experts: 3", "num_experts: 4", r"mixture.yaml:2:14: num_experts is not the number .* listed, 3"),
        ("num_experts_per_tok: 2", "num_experts_per_tok: 4", "mixture.yaml:4:22: expected 1 to 3"),
        ("num_experts_per_tok: 2", "num_experts_per_tok: 0", "mixture.yaml:4:22: expected 1 to 3"),
        ("num_experts_per_tok: 2", "num_experts_per_tok: two", "mixture.yaml:4:22: 'two' is not a number"),
        ("moe_layers: all", "moe_layers: att", "mixture.yaml:3:13: 'att' is not one of .* nearest is 'attn'"),
        ("type: sd", "type: sd3", "mixture.yaml:5:7: 'sd3' is not one of sd, sdxl"),
        ("type: sd", "typ: sd", "mixture.yaml:5:1: unknown key 'typ'; the nearest is 'type'"),
        ('    positive_prompt: "photo"\n', "", "mixture.yaml:10:5: key 'positive_prompt' is missing"),
        ("experts/photo", "experts/foto", "mixture.yaml:10:19: no folder .*; the nearest is 'photo'"),
        ("org/light", "light", "mixture.yaml:16:23: no folder .*, and not a hub id"),
        ("org/anime-1.0", "https://civitai.com/api/download/models/1", "mixture.yaml:7:19: addresses are not"),
    ],
)
def test_a_fault_is_named_with_its_place(path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(EnsembleError, match=message):
        read_segmoe_yaml(path)


@pytest.mark.parametrize("experts", ["[]", "{}", "some"])
def test_a_recipe_needs_a_list_of_experts(path: Path, experts: str) -> None:
    path.write_text(f"base_model: base\nexperts: {experts}\n")
    with pytest.raises(EnsembleError, match=r"mixture\.yaml:2:10: expected a list"):
        read_segmoe_yaml(path)


def test_a_recipe_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnsembleError, match=r"none\.yaml: no such file"):
        read_segmoe_yaml(tmp_path / "none.yaml")


def test_reading_a_recipe_imports_no_torch() -> None:
    code = "import sys, emoe_audit.experts.segmoe_recipe; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"moe_layers": "al"}, "segmoe_config: moe_layers: input should be 'attn', 'ff' or 'all', found 'al'"),
        ({"moe_layers": 5}, "segmoe_config: moe_layers: input should be"),
        ({"num_experts": 65}, "segmoe_config: num_experts: input should be less than or equal to 64"),
        ({"num_experts": "two"}, "segmoe_config: num_experts: input should be a valid integer, found 'two'"),
        ({"type": "sd3"}, "segmoe_config: type: input should be 'sd' or 'sdxl', found 'sd3'"),
    ],
)
def test_a_folder_whose_words_make_no_sense_is_told_before_its_weights_are_read(
    tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    segmoe: dict[str, object] = {"num_experts": 2, "num_experts_per_tok": 1, "moe_layers": "attn"}
    blocks = {"down_idx_start": 0, "down_idx_end": 2, "up_idx_start": 1, "up_idx_end": 3}
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text(json.dumps({"segmoe_config": segmoe | blocks | changes}))
    with pytest.raises(EnsembleError, match=rf"unet/config.json: {told}"):
        segmoe_folder_spec(tmp_path)


def test_a_folder_whose_configuration_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "config.json").write_text('{"segmoe_config": ' + "[" * 100_000)
    with pytest.raises(EnsembleError, match=r"config.json: nested more than 64 levels deep"):
        is_segmoe_folder(tmp_path)
