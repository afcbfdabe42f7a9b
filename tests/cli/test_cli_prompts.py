"""The commands about prompt tables: files in, a table out, exit codes, messages."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pandas as pd
import pytest

from emoe_audit.cli.main import cli
from emoe_audit.errors import AuditError
from emoe_audit.prompts.read import read_prompts
from emoe_audit.prompts.shipped import CAPTIONS, shipped_prompts
from tests.synthetic import synthetic_run


def run(*words: str) -> int:
    """The exit code of `emoe-audit prompts ...`; errors are raised."""
    return int(cli.main(["prompts", *words], standalone_mode=False) or 0)


def write(folder: Path, content: str, name: str) -> str:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return str(path)


def test_check_warns_of_tags_and_still_ends_well(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    captions = pd.read_csv(shipped_prompts() / CAPTIONS, dtype=str)
    captions[captions["language"] == "fi"].assign(language="de").to_csv(tmp_path / "swapped.csv", index=False)
    assert run("check", str(tmp_path / "swapped.csv"), "--json") == 0
    said = capsys.readouterr()
    assert json.loads(said.out) == {"prompts": 100, "left_out": 0, "language_warnings": 1}
    assert "warning: de (German): the prompts look like fi (Finnish); check the tag" in said.err


def test_check_tells_bad_rows_and_ends_with_code_4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write(tmp_path, "prompt,language\na dog,en\na cat,english\n", "a.csv")
    assert run("check", table) == 4
    said = capsys.readouterr()
    assert said.out == "prompts: 1\nleft_out: 1\nlanguage_warnings: 0\n"
    assert f"{table}:3: column language" in said.err


def test_regions_of_the_table_that_ships(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "places.csv"
    assert run("regions", "--countries", "DE, ke", "--out", str(out)) == 0
    frame = read_prompts(out).frame
    assert frame["region"].value_counts().to_dict() == {"DE": 8 * 12, "KE": 8 * 12}
    assert "Foto: ein Haus, Kenia" in set(frame["prompt"])
    assert capsys.readouterr().out == f"{out}\n"


def test_regions_of_a_table_of_ones_own_say_what_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = 'kind,name,en,tlh\ntemplate,t,"{noun}, {country}","{noun}, {country}"\nnoun,house,a house,juH\n'
    templates = write(tmp_path, content, "own.csv")
    assert run("regions", templates, "--countries", "DE", "--out", str(tmp_path / "out.csv")) == 4
    assert "no name of countries in Klingon" in capsys.readouterr().err


def test_join_writes_one_table(tmp_path: Path) -> None:
    table = write(tmp_path, "source_id,prompt,language\ndog,a dog,en\n", "en.csv")
    others = [
        write(tmp_path, f"source_id,{tag}\ndog,{word}\n", f"{tag}.csv")
        for tag, word in (("fi", "koira"), ("de", "Hund"))
    ]
    assert run("join", table, *others, "--out", str(tmp_path / "all.csv")) == 0
    assert read_prompts(tmp_path / "all.csv").frame["language"].tolist() == ["en", "fi", "de"]


def test_xm3600_writes_captions_joined_by_image(tmp_path: Path) -> None:
    line = {"image/key": "0a1", "en": {"caption": ["a dog", "dog walking"]}, "fi": {"caption": ["koira"]}}
    captions = write(tmp_path, json.dumps(line) + "\n", "captions.jsonl")
    assert run("xm3600", captions, "--out", str(tmp_path / "out.csv")) == 0
    frame = read_prompts(tmp_path / "out.csv").frame
    assert (frame["image_id"].nunique(), frame["source_id"].nunique(), set(frame["parallel"])) == (1, 3, {"image"})


def test_translate_hands_over_languages_and_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}

    def pretend(table: object, to: list[str], **options: object) -> object:
        asked.update(options, to=to)
        return table

    monkeypatch.setattr("emoe_audit.prompts.translate.translate", pretend)
    table = write(tmp_path, "prompt,language\na dog,en\n", "en.csv")
    words = [
        "translate",
        table,
        "--to",
        "fi,de",
        "--model",
        "fi=a/b",
        "--model",
        "c/d",
        "--out",
        str(tmp_path / "o.csv"),
    ]
    assert run(*words, "--batch-size", "8", "--quiet") == 0
    assert (asked["to"], asked["models"], asked["batch_size"]) == (["fi", "de"], {"fi": "a/b", "": "c/d"}, 8)


def test_plan_prints_lines_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pilot = str(synthetic_run(tmp_path / "run", 200).path)
    assert run("plan", pilot, "--gap", "0.02", "--reference", "en", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["prompts"] == plan["images"] == plan["captions"] * 10
    assert run("plan", pilot, "--gap", "0.02", "--reference", "en") == 0
    assert f"captions: {plan['captions']}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["regions", "--countries", ",", "--out", "x.csv"], "',' lists nothing; write it like fi,de"),
        (["regions", "--countries", "UK", "--out", "x.csv"], "United Kingdom is 'GB'"),
        (["join", "none.csv", "--out", "x.csv"], "none.csv: no such file"),
        (["xm3600", "none.jsonl", "--out", "x.csv"], "none.jsonl: cannot be read"),
        (["regions", "--countries", "DE", "--out", "no/such/folder.csv"], "no/such/folder.csv: cannot be written"),
        (["plan", "nowhere", "--gap", "0.1"], "nowhere: no run here"),
        (["plan", "nowhere", "--gap", "0"], "0.0 is not in the range x>0"),
    ],
)
def test_wrong_use_is_a_message(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises((AuditError, click.ClickException)) as caught:
        run(*words)
    told = caught.value.format_message() if isinstance(caught.value, click.ClickException) else str(caught.value)
    assert message in told
