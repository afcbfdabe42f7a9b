"""How long work takes is learned from work that was done, and nothing odd is believed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from emoe_audit.line.speeds import MOST, Watched, keep_speeds, key_of, known_speeds
from emoe_audit.line.tickets import line_folder
from emoe_audit.types import EnsembleSpec, ExpertSpec, ImageConfig, ScoringConfig

SPEC = EnsembleSpec(name="a", base=ExpertSpec(name="base", source="x"), experts=())


@pytest.fixture(autouse=True)
def own_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


class Clocked(SimpleNamespace):
    """A turn whose work is counted by hand."""

    worked = 0.0

    def seconds_worked(self) -> float:
        return self.worked

    def expect(self, seconds: float | None) -> None:
        self.said = seconds


def test_what_is_left_is_known_by_the_speed_of_what_was_done_and_at_first_by_that_of_before() -> None:
    work, turn = Watched("key", {"scoring": 100, "images": 10}), Clocked(said=None)
    assert work.seconds is None
    told = work.of(turn)  # type: ignore[arg-type]
    told("scoring", 20, 100)
    turn.worked = 6.0
    told("scoring", 50, 100)
    assert turn.said is None, "of images nothing is known"
    told("checking", 3, 9)
    told("images", 0, 10)
    turn.worked = 16.0
    told("images", 5, 10)
    assert turn.said == pytest.approx(50 * 0.2 + 5 * 2)
    work.keep()
    assert known_speeds("key") == pytest.approx({"scoring": 0.2, "images": 2.0})
    assert Watched("key", {"scoring": 10, "images": 0}).seconds == pytest.approx(2)
    assert Watched("another", {"scoring": 10}).seconds is None
    assert Watched("another", {"scoring": 0, "images": 0}).seconds == 0


def test_a_speed_holds_for_what_it_depends_on() -> None:
    scoring, images = ScoringConfig(), ImageConfig()
    known = key_of(SPEC, scoring, images)
    same = [replace(images, n_images=1), replace(images, batch_size=3), replace(images, seed=4)]
    assert {key_of(SPEC, scoring, own) for own in same} == {known}
    assert key_of(SPEC, replace(scoring, check_pairs=0, batch_size=9), images) == known
    others = [(replace(scoring, n_noise=9), images), (scoring, replace(images, num_inference_steps=9))]
    assert known not in {key_of(SPEC, *own) for own in others}
    assert key_of(replace(SPEC, top_k=1), scoring, images) != known


ODD = ("1e300", "-1", "true", '"1"', "null")


@pytest.mark.parametrize("said", ["", "[]", "{", '{"key": 3}', *(f'{{"key": {{"scoring": {own}}}}}' for own in ODD)])
def test_what_is_odd_is_not_known_and_is_written_over(said: str) -> None:
    line_folder().mkdir(parents=True)
    (line_folder() / "speeds.json").write_text(said)
    assert known_speeds("key") == {}
    keep_speeds("key", {"scoring": 0.5})
    assert known_speeds("key") == {"scoring": 0.5}


def test_the_latest_are_kept_and_where_nothing_can_be_written_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(MOST + 5):
        keep_speeds(str(number), {"images": 1.0})
    keep_speeds("5", {"scoring": 2.0})
    kept: Any = json.loads((line_folder() / "speeds.json").read_text())
    assert len(kept) == MOST and list(kept)[-1] == "5" and kept["5"] == {"images": 1.0, "scoring": 2.0}
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/none")
    keep_speeds("key", {"scoring": 0.5})
    assert known_speeds("key") == {}
