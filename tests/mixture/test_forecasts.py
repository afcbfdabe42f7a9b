"""What each forecast expects of a layer's next turn."""

from __future__ import annotations

from emoe_audit.mixture.forecasts import UNKNOWN, Foreseen, LastStep
from emoe_audit.mixture.places import Asked, Slot
from tests.mixture.keepers import Frequency, LastDrawing, Shuffled


def asked(needed: set[int], layer: int = 0, step: int = 0, drawing: int = 0, task: str = "en") -> Asked:
    return Asked(drawing=drawing, task=task, step=step, layer=layer, needed=frozenset(needed))


def test_the_last_step_is_expected_again() -> None:
    forecast, now = LastStep(), asked({0, 2})
    assert forecast.chance(now, Slot(0, 1)) == UNKNOWN
    forecast.seen(now)
    assert [forecast.chance(now, Slot(0, expert)) for expert in range(3)] == [1, 0, 1]


def test_the_last_drawing_is_expected_step_by_step() -> None:
    forecast = LastDrawing()
    for step, needed in enumerate(({0}, {1})):
        forecast.seen(asked(needed, step=step))
    now = asked({2}, drawing=1)
    forecast.seen(now)
    assert forecast.chance(now, Slot(0, 1)) == 1, "at the next step of the last drawing"
    assert forecast.chance(now, Slot(0, 0)) == 0
    last = asked({2}, step=1, drawing=1)
    assert forecast.chance(last, Slot(0, 0)) == 1, "behind the last step comes the first of another drawing"


def test_what_is_asked_again_every_second_drawing_stands_for_two() -> None:
    forecast = LastDrawing(every=2)
    for drawing, expert in enumerate((0, 1, 2)):
        forecast.seen(asked({expert}, drawing=drawing))
    now = asked({2}, drawing=2)
    assert [forecast.chance(now, Slot(0, expert)) for expert in range(3)] == [1, 0, 0]
    forecast.seen(asked({1}, drawing=3))
    assert [forecast.chance(now, Slot(0, expert)) for expert in range(3)] == [0, 0, 1]


def test_how_often_is_counted_by_task_and_told_of_others_where_it_is_new() -> None:
    forecast = Frequency()
    for drawing in range(20):
        forecast.seen(asked({0}, drawing=drawing, task="en"))
        forecast.seen(asked({1}, drawing=drawing, task="de"))
    of_english, of_german, of_new = (
        [forecast.chance(asked({0}, task=task), Slot(0, expert)) for expert in range(3)] for task in ("en", "de", "fi")
    )
    assert of_english[0] > 0.9 > 0.1 > of_english[1]
    assert of_german[1] > 0.9 > 0.1 > of_german[0]
    assert of_new[0] == of_new[1] == (20 + 1) / (40 + 2)
    assert of_new[2] == 1 / 42


def test_the_control_takes_experts_for_others() -> None:
    plain, control, now = LastStep(), Shuffled(LastStep(), 20, 4), asked({0, 1})
    for layer in range(20):
        plain.seen(asked({0, 1}, layer=layer))
        control.seen(asked({0, 1}, layer=layer))
    ours, theirs = (
        [[own.chance(now, Slot(layer, expert)) for expert in range(4)] for layer in range(20)]
        for own in (plain, control)
    )
    assert [sorted(own) for own in ours] == [sorted(own) for own in theirs]
    assert sum(own != others for own, others in zip(ours, theirs, strict=True)) > 10


def test_who_is_expected_later_or_takes_more_waits_longer() -> None:
    sizes = {Slot(layer, expert): 1 + 3 * (layer == 2) for layer in range(3) for expert in range(2)}
    keeper = Foreseen(LastStep(), sizes)
    for layer, needed in enumerate(({0}, {0}, {0})):
        keeper.asked(asked(needed, layer=layer))
    assert [keeper.wait(Slot(layer, 0)) for layer in range(3)] == [1, 2, 3 * 2]
    assert keeper.wait(Slot(0, 1)) > 100 * keeper.wait(Slot(0, 0)), "not needed the last time"
