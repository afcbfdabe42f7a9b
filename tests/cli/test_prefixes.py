"""`ensemble elastic`, and the options of `run` that ask a part of an ensemble: what is asked, refused and said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from emoe_audit.elastic.choose import own_manifest
from emoe_audit.experts.spec import load_spec
from emoe_audit.runs.store import RunStore
from tests.processes import invoke

pytestmark = pytest.mark.slow

FAST = ("--n-images", "0", "--check-pairs", "0", "--device", "cpu", "--concepts", "3")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An ensemble whose manifest is in the user's cache, as it was told."""
    place = str(tmp_path_factory.mktemp("ensembles") / "tiny")
    assert invoke("ensemble", "tiny", place).returncode == 0
    made = invoke("ensemble", "elastic", place, "--captions", "3", "--n-noise", "2", "--device", "cpu", "--json")
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout) == json.loads(own_manifest(load_spec(place)).read_text())
    return place


def test_a_run_asks_as_little_as_is_faithful_enough_and_the_report_says_so(folder: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    done = invoke("run", "--ensemble", folder, "--out", str(out), "--fidelity", "disagreement=0.3", *FAST)
    assert done.returncode == 0, done.stderr
    said = next(line for line in done.stderr.splitlines() if line.startswith("asking "))
    scoring = RunStore.open(out).plan().scoring
    assert scoring.prefix is not None and scoring.experts is not None
    assert f"asking {len(scoring.experts)} experts x {scoring.n_noise} noise" in said
    assert scoring.prefix.asked == "--fidelity disagreement=0.3" and scoring.prefix.score == "disagreement"
    report = json.loads((out / "report.json").read_text())
    assert any(limit.startswith("A part of the ensemble was asked") for limit in report["limits"])
    assert "of 3 experts under" in (out / "report.html").read_text()
    grown = invoke("run", "--ensemble", folder, "--out", str(out), "--n-noise", "3", *FAST)
    assert grown.returncode == 0, grown.stderr
    assert RunStore.open(out).plan().scoring.prefix is None


def test_the_text_encoder_alone_makes_a_whole_report(folder: str, tmp_path: Path) -> None:
    done = invoke("run", "--ensemble", folder, "--out", str(tmp_path / "run"), "--n-noise", "0", *FAST)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "run" / "report.html").read_text()
    assert "The text encoder alone" in page and "No expert was asked" in page


def test_a_budget_of_time_or_memory_takes_the_largest_part_that_fits(folder: str, tmp_path: Path) -> None:
    ample = invoke("run", "--ensemble", folder, "--out", str(tmp_path / "a"), "--time-budget", "2h", *FAST)
    assert ample.returncode == 0 and "asking 3 experts x 2 noises, 100% of the work" in ample.stderr
    short = invoke("run", "--ensemble", folder, "--out", str(tmp_path / "b"), "--time-budget", "0.001s", *FAST)
    assert short.returncode == 2 and "even the text encoder alone takes more than the budget" in short.stderr
    again = invoke("run", "--ensemble", folder, "--out", str(tmp_path / "a"), "--time-budget", "2h", *FAST)
    assert again.returncode == 0 and "asking" not in again.stderr, "a run goes on with the part that it began with"
    roomy = ("--elastic", "--memory-budget", "1GiB")
    held = invoke("run", "--ensemble", folder, "--out", str(tmp_path / "c"), *roomy, *FAST)
    assert held.returncode == 0 and "asking 3 experts x 2 noises" in held.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--fidelity", "1.5"], "'1.5' is no fidelity; write it like 0.95 or disagreement=0.95"),
        (["--fidelity", "nan"], "is no fidelity"),
        (["--fidelity", "beauty=0.5"], "no score 'beauty'; there are translation_disagreement"),
        (["--time-budget", "soon"], "'soon' is no time; write it like 45s"),
        (["--elastic"], "--elastic asks what a memory budget holds: give --memory-budget, too"),
        (["--elastic", "--memory-budget", "1KiB"], "even the text encoder alone takes more than the budget"),
        (["--fidelity", "0.9", "--n-noise", "2"], "leave out --n-noise"),
        (["--time-budget", "1h", "--ray", "auto"], "leave out --ray and --shard"),
        (["--fidelity", "disagreement=0.9", "--both-halves"], "with another both_halves than is asked for"),
    ],
)
def test_what_cannot_be_asked_is_one_sentence(folder: str, tmp_path: Path, words: list[str], expected: str) -> None:
    done = invoke("run", "--ensemble", folder, "--out", str(tmp_path / "run"), *words, *FAST)
    assert done.returncode == 2 and expected in done.stderr
    assert not (tmp_path / "run").exists()


def test_a_table_without_translations_has_to_name_the_score(tmp_path: Path) -> None:
    (tmp_path / "english.csv").write_text("prompt,language\n" + "".join(f"a dog {n},en\n" for n in range(9)))
    words = ("run", str(tmp_path / "english.csv"), "--ensemble", "emoji-a", "--out", str(tmp_path / "run"), *FAST)
    done = invoke(*words, "--fidelity", "0.9")
    assert done.returncode == 2 and "takes captions in 3 languages; this table has none" in done.stderr
    named = invoke(*words, "--fidelity", "disagreement=0.3")
    assert named.returncode == 0 and "its disagreement ranks other prompts as that of the whole does" in named.stderr


def test_an_ensemble_without_a_manifest_says_what_makes_one(tmp_path: Path) -> None:
    place = str(tmp_path / "tiny")
    assert invoke("ensemble", "tiny", place, "--seed", "1").returncode == 0
    done = invoke("run", "--ensemble", place, "--out", str(tmp_path / "run"), "--fidelity", "0.9", *FAST)
    assert done.returncode == 2
    assert "what a part of it is worth is not known; `emoe-audit ensemble elastic tiny` measures it" in done.stderr
