"""Prompt sets that people use, each as a made-up file of its published shape: what is read is what stands there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emoe_audit.errors import PromptTableError
from emoe_audit.prompts.coco import sample_coco
from emoe_audit.prompts.parallel import join_files
from emoe_audit.prompts.read import read_prompts
from tests.processes import invoke

PARTI = "Prompt\tCategory\tChallenge\tNote\na teapot\tArtifacts\tBasic\t\ntwo foxes\tAnimals\tQuantity\tfew\n"
DRAWBENCH = "Prompts,Category\nA red coloured car.,Colors\nOne cat and two dogs.,Counting\n"
OCCUPATIONS = {
    "en": "name,prompt\nbaker,a photo of the face of a baker\npilot,a photo of the face of a pilot\n",
    "de": "name,prompt\npilot,Ein Foto vom Gesicht eines Piloten.\nbaker,Ein Foto vom Gesicht eines Bäckers.\n",
    "ja": "name,prompt\nbaker,パン屋の顔写真\n",
}
LINES = {"en": "A man sleeps.\nTwo dogs run.\n", "de": "Ein Mann schläft.\nZwei Hunde rennen.\n"}


def files(folder: Path, contents: dict[str, str], suffix: str) -> list[tuple[str, Path]]:
    found = []
    for language, content in contents.items():
        path = folder / f"captions_{language}{suffix.format(language)}"
        path.write_text(content, encoding="utf-8")
        found.append((language, path))
    return found


def test_parti_prompts(tmp_path: Path) -> None:
    (tmp_path / "PartiPrompts.tsv").write_text(PARTI)
    frame = read_prompts(tmp_path / "PartiPrompts.tsv").frame
    assert frame["prompt"].tolist() == ["a teapot", "two foxes"]
    assert frame["Challenge"].tolist() == ["Basic", "Quantity"]


@pytest.mark.parametrize(("name", "content"), [("d.csv", DRAWBENCH), ("d.tsv", DRAWBENCH.replace(",", "\t"))])
def test_drawbench(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    table = read_prompts(tmp_path / name)
    assert table.frame["prompt"].tolist() == ["A red coloured car.", "One cat and two dogs."]
    assert table.frame["Category"].tolist() == ["Colors", "Counting"]
    assert table.warnings == ("column 'Prompts' is taken for 'prompt'",)


def test_occupations_in_one_table_a_language_are_joined_by_their_name(tmp_path: Path) -> None:
    frame = join_files(files(tmp_path, OCCUPATIONS, ".csv"), "name").frame
    found = {(row.source_id, row.language): row.prompt for row in frame.itertuples()}
    assert found == {
        ("baker", "en"): "a photo of the face of a baker",
        ("pilot", "en"): "a photo of the face of a pilot",
        ("pilot", "de"): "Ein Foto vom Gesicht eines Piloten.",
        ("baker", "de"): "Ein Foto vom Gesicht eines Bäckers.",
        ("baker", "ja"): "パン屋の顔写真",
    }
    assert set(frame["parallel"]) == {"translation"} and frame["prompt_id"].is_unique
    assert set(frame.loc[frame["source_id"] == "pilot", "source_prompt"]) == {"a photo of the face of a pilot"}


def test_texts_are_joined_line_by_line(tmp_path: Path) -> None:
    frame = join_files(files(tmp_path, LINES, ".{}")).frame
    pairs = frame.pivot(index="source_id", columns="language", values="prompt")
    assert pairs.loc["line-2"].to_dict() == {"en": "Two dogs run.", "de": "Zwei Hunde rennen."}


def test_karpathy_splits(tmp_path: Path) -> None:
    sentences = [
        {"tokens": ["a", "man"], "raw": "A man.", "imgid": 0, "sentid": 770337},
        {"raw": "Some man.", "sentid": 2},
    ]
    image = {"filepath": "val2014", "filename": "COCO_val2014_1.jpg", "imgid": 0, "split": "test", "cocoid": 391895}
    data = {"dataset": "coco", "images": [image | {"sentences": sentences, "sentids": [770337, 2]}, {"imgid": 1}, 7]}
    (tmp_path / "dataset_coco.json").write_text(json.dumps(data))
    table = read_prompts(tmp_path / "dataset_coco.json")
    assert table.frame["prompt"].tolist() == ["A man.", "Some man."]
    assert table.frame["image_id"].tolist() == ["391895"] * 2 and table.frame["split"].tolist() == ["test"] * 2
    assert table.frame["image_file"].tolist() == ["val2014/COCO_val2014_1.jpg"] * 2
    assert len(table.row_errors) == 2, "an image without sentences, and a number"
    assert sample_coco(tmp_path / "dataset_coco.json", language="en").frame["split"].tolist() == ["test"]


@pytest.mark.parametrize(
    ("contents", "suffix", "by", "expected"),
    [
        ({"en": "a\nb\n", "de": "a\n"}, ".txt", None, r"there are .*captions_en\.txt 2, .*captions_de\.txt 1 lines"),
        ({"en": "a\n"}, ".txt", None, "give two files or more"),
        (OCCUPATIONS, ".csv", None, r"captions_en\.csv: no column is named .*; give --by one of .*'name'"),
        (OCCUPATIONS, ".csv", "job", "no column 'job'; give --by one of"),
    ],
)
def test_what_cannot_be_joined_says_why(
    tmp_path: Path, contents: dict[str, str], suffix: str, by: str | None, expected: str
) -> None:
    with pytest.raises(PromptTableError, match=expected):
        join_files(files(tmp_path, contents, suffix), by)


def test_the_command_writes_a_table_that_can_be_read(tmp_path: Path) -> None:
    named = [f"{language}={path}" for language, path in files(tmp_path, OCCUPATIONS, ".csv")]
    done = invoke("prompts", "parallel", *named, "--by", "name", "--out", str(tmp_path / "all.csv"))
    assert done.returncode == 0, done.stderr
    assert len(read_prompts(tmp_path / "all.csv").frame) == 5
    wrong = invoke("prompts", "parallel", "german", "--out", str(tmp_path / "x.csv"))
    assert wrong.returncode == 2 and "'german' names no language; write it like de=train.de" in wrong.stderr
