"""One works at a time, gives way within a layer, and whoever dies leaves the line."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from emoe_audit.errors import AuditError
from emoe_audit.line.tickets import LATEST, TICKET, line, line_folder, place_in_line
from emoe_audit.line.turn import between_modules, taking_turns, with_turns
from emoe_audit.progress import silent
from emoe_audit.types import EnsembleSpec
from tests.processes import command_line, invoke, running, wait_for_lines


@pytest.fixture(autouse=True)
def own_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield
    assert line() == {}, "everybody has left"


def until(is_so: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def audit(state: str, log: Path, name: str, steps: int) -> None:
    """Work in steps that are noted with their moments."""
    os.environ["XDG_STATE_HOME"] = state
    with taking_turns("audit", name) as turn, log.open("a", encoding="utf-8") as file:
        for _ in range(steps):
            begun = time.monotonic()
            time.sleep(0.01)
            print(name, begun, time.monotonic(), file=file, flush=True)
            turn.give_way()


def hold(state: str) -> None:
    os.environ["XDG_STATE_HOME"] = state
    with taking_turns("try", "held"):
        print("held", flush=True)
        time.sleep(600)


def steps_in(log: Path) -> list[tuple[str, float, float]]:
    lines = [own.split() for own in log.read_text(encoding="utf-8").splitlines()] if log.exists() else []
    return [(name, float(begun), float(ended)) for name, begun, ended in lines]


def test_tickets_are_known_while_they_are_held_in_the_order_in_which_they_were_taken() -> None:
    with place_in_line("audit", "first", seconds=3.0), place_in_line("try", "second", deadline=9.0) as place:
        assert [(own.kind, own.what, own.seconds, own.deadline) for own in line().values()] == [
            ("audit", "first", 3.0, None),
            ("try", "second", None, 9.0),
        ]
        place.say(seconds=1.5, state="paused")
        assert list(line().values())[1] == place.ticket
        assert (place.ticket.seconds, place.ticket.state) == (1.5, "paused")
    assert list(line_folder().iterdir()) == []


def test_what_is_no_ticket_is_passed_over_and_left_where_somebody_holds_it() -> None:
    with place_in_line("audit", "run") as place:
        beside = line_folder() / f"{place.name}.json"
        for said in ("", "[1]", '{"kind": "boss"}', '{"kind": "try", "what": 1, "joined": 0}'):
            beside.write_text(said)
            assert line() == {}
        place.say()
        (line_folder() / f"0{TICKET}").write_text("held by nobody")
        (line_folder() / f"1{TICKET}").mkdir()
        assert list(line()) == [place.name]
    for file in line_folder().glob("*"):
        file.rmdir()


def test_one_works_at_a_time_and_all_come_to_an_end(tmp_path: Path) -> None:
    log, state = tmp_path / "log", os.environ["XDG_STATE_HOME"]
    with ExitStack() as stack:
        audits = [stack.enter_context(running(audit, state, log, name, 40)) for name in "abc"]
        for process, _, err in audits:
            process.join()
            assert process.exitcode == 0, err.read_text()
    steps = steps_in(log)
    assert len(steps) == 120
    assert all(ended <= begun for (_, _, ended), (_, begun, _) in pairwise(sorted(steps, key=lambda own: own[1])))
    changes = sum(before[0] != after[0] for before, after in pairwise(steps))
    assert changes == 2, "without deadlines one after the other"


def test_an_audit_gives_way_to_a_person_and_goes_on(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(audit, os.environ["XDG_STATE_HOME"], log, "a", 100_000):
        wait_for_lines(log, 5)
        with taking_turns("try", "typed"):
            assert [own.state for own in line().values()] == ["paused", "works"]
            before = len(steps_in(log))
            time.sleep(0.3)
            assert len(steps_in(log)) == before
        wait_for_lines(log, before + 5)


def deaf(state: str) -> None:
    """An audit that never gives way."""
    os.environ["XDG_STATE_HOME"] = state
    with taking_turns("audit", "deaf"):
        print("works", flush=True)
        time.sleep(600)


def test_a_person_waits_for_one_that_does_not_give_way_so_long_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emoe_audit.line.turn.PATIENCE", 0.5)
    with running(deaf, os.environ["XDG_STATE_HOME"]) as (_, out, _):
        wait_for_lines(out, 1)
        begun = time.monotonic()
        with taking_turns("try", "typed"):
            assert time.monotonic() - begun >= 0.5
            assert [own.state for own in line().values()] == ["works", "works"]


def test_a_person_who_was_killed_is_waited_for_no_longer(tmp_path: Path) -> None:
    log, state = tmp_path / "log", os.environ["XDG_STATE_HOME"]
    with running(hold, state) as (person, out, _):
        wait_for_lines(out, 1)
        with running(audit, state, log, "a", 5) as (process, _, err):
            until(lambda: len(line()) == 2)
            time.sleep(0.2)
            assert steps_in(log) == []
            person.kill()
            process.join()
            assert process.exitcode == 0, err.read_text()
    assert len(steps_in(log)) == 5


def test_an_audit_that_was_killed_lets_the_next_one_work(tmp_path: Path) -> None:
    log, state = tmp_path / "log", os.environ["XDG_STATE_HOME"]
    with running(audit, state, log, "a", 100_000) as (first, _, _):
        wait_for_lines(log, 3)
        with running(audit, state, log, "b", 5) as (second, _, err):
            until(lambda: len(line()) == 2)
            first.kill()
            second.join()
            assert second.exitcode == 0, err.read_text()
    assert [name for name, _, _ in steps_in(log)].count("b") == 5


def test_way_is_given_between_two_modules_and_when_something_is_done(tmp_path: Path) -> None:
    import torch

    given: list[str] = []
    with taking_turns("audit", "run") as turn, pytest.MonkeyPatch.context() as patch:
        patch.setattr(turn, "give_way", lambda: given.append("way"))
        network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU())
        with between_modules(turn):
            network(torch.zeros(1, 2))
        network(torch.zeros(1, 2))
        assert len(given) == 3, "before the whole and before each of its modules, and no more afterwards"
        told: list[tuple[str, int, int]] = []
        with_turns(turn, silent, lambda *step: told.append(step))("images", 3, 9)
        assert (told, len(given)) == ([("images", 3, 9)], 4)


def test_what_was_waited_is_not_counted_as_work() -> None:
    with taking_turns("audit", "run") as turn, running(hold, os.environ["XDG_STATE_HOME"]) as (person, out, _):
        until(turn._wanted.is_set)
        begun, worked = time.monotonic(), turn.seconds_worked()
        killer = threading.Timer(1.0, person.kill)
        killer.start()
        turn.give_way()
        killer.join()
        assert out.read_text() == "held\n"
        assert turn.seconds_worked() - worked <= time.monotonic() - begun - 0.5


def test_a_line_that_cannot_be_seen_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def unseen() -> dict[str, Any]:
        raise OSError("too many open files")

    with taking_turns("audit", "run") as turn:
        monkeypatch.setattr("emoe_audit.line.turn.line", unseen)
        turn._wanted.set()
        turn.give_way()
        turn.expect(1e300)
        assert (turn._place.ticket.state, turn._place.ticket.seconds) == ("works", LATEST)


def test_a_ticket_that_was_found_before_it_was_locked_is_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    taken, removed = fcntl.flock, list[Path]()

    def late(lock: Any, kind: int) -> None:
        if kind == fcntl.LOCK_EX and not removed:
            removed.extend(line_folder().glob(f"*{TICKET}"))
            assert line() == {}, "who looks takes it for one that was left"
        taken(lock, kind)

    monkeypatch.setattr("emoe_audit.line.tickets.fcntl.flock", late)
    with place_in_line("audit", "run") as place:
        assert len(removed) == 1 and removed[0].stem != place.name
        assert list(line()) == [place.name]


def test_where_no_ticket_can_be_written_it_is_said_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with monkeypatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
        said = r"line/.*: cannot stand in line there: .*; set XDG_STATE_HOME"
        with pytest.raises(AuditError, match=said), place_in_line("try", "run"):
            pass


def test_the_command_shows_who_works_and_who_waits() -> None:
    state = os.environ["XDG_STATE_HOME"]
    assert invoke("queue", XDG_STATE_HOME=state).stdout == "nobody is in line\n"
    with place_in_line("audit", "/runs/a", seconds=60.0) as works, place_in_line("images", "/runs/<b>\n"):
        works.say(state="works")
        first, second = invoke("queue", XDG_STATE_HOME=state).stdout.splitlines()
        assert re.fullmatch(r"0: works, audit of '/runs/a', end \d\d:\d\d, in 60 s", first)
        assert re.fullmatch(r"1: waits, images of '/runs/<b>\\n', start \d\d:\d\d, in 60 s, end not known yet", second)
        rows = json.loads(invoke("queue", "--json", XDG_STATE_HOME=state).stdout)["line"]
        told = [(row["place"], row["state"], row["what"]) for row in rows]
        assert told == [(0, "works", "/runs/a"), (1, "waits", "/runs/<b>\n")]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--deadline", "2h"), "--deadline is for work that waits in line: give --queued, too"),
        (("--queued", "--deadline", "soon"), "'soon' is no time; write it like 45s, 20min, 1.5h or 2d"),
        (("--queued", "--dry-run"), "--queued is for the work of one process: leave out --ray, --shard and --dry-run"),
        (("--queued", "--ray", "auto"), "--queued is for the work of one process: leave out --ray, --shard and"),
    ],
)
def test_what_waits_is_the_work_of_one_process_and_has_a_deadline_that_is_a_time(
    words: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    done = invoke("run", "--n-images", "0", "--concepts", "1", "--out", str(tmp_path / "run"), *words)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_a_command_waits_for_its_turn_and_knows_the_next_time_how_long_it_takes(
    tiny_spec: EnsembleSpec, tmp_path: Path
) -> None:
    state, folder = {"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]}, str(Path(tiny_spec.base.source).parent)
    fast = ("--concepts", "2", "--n-noise", "1", "--check-pairs", "0", "--n-images", "0", "--device", "cpu")
    words = ("score", "--ensemble", folder, "--queued", *fast, "--out")
    with running(command_line, (*words, str(tmp_path / "first")), state) as (process, _, err):
        with taking_turns("audit", "before"):
            until(lambda: len(line()) == 2 and "waiting for a turn: 1 before" in err.read_text())
            mine = list(line().values())[1]
            assert (mine.kind, mine.what, mine.seconds) == ("scores", str(tmp_path / "first"), None)
            assert not (tmp_path / "first" / "scores").exists()
        process.join()
        assert process.exitcode == 0, err.read_text()
    second = (*words, str(tmp_path / "second"), "--deadline", "1h")
    with taking_turns("audit", "before"), running(command_line, second, state):
        until(lambda: len(line()) == 2)
        mine = list(line().values())[1]
    assert mine.seconds is not None and 0 < mine.seconds < 60
    assert mine.deadline is not None and abs(mine.deadline - mine.joined - 3600) < 60


def test_one_that_is_interrupted_while_it_waits_leaves_the_line(tmp_path: Path) -> None:
    state = {"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]}
    words = ("run", "--queued", "--concepts", "1", "--n-images", "0", "--out", str(tmp_path / "run"))
    with taking_turns("audit", "before"), running(command_line, words, state) as (process, _, err):
        until(lambda: len(line()) == 2)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGINT)
        process.join()
        assert process.exitcode == 130, err.read_text()
        assert len(line()) == 1
