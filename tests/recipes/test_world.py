"""Which emoji take part, and what kind each is."""

from __future__ import annotations

import pandas as pd
import pytest

from emoe_audit.recipes.drawings import DrawingStyle, code_points, flag_characters, flag_country
from emoe_audit.recipes.world import SKIN_TONES, Kind, choose_concepts, classify

WAVE, NURSE = "\U0001f44b", "\U0001f9d1\u200d\u2695\ufe0f"
SEVEN = [WAVE, *(WAVE + tone for tone in SKIN_TONES), flag_characters("KE")]


def style(characters: list[str]) -> DrawingStyle:
    return DrawingStyle(bodies={code_points(c): ("<path/>", 16, 16) for c in characters})


def choose(kinds: tuple[Kind, ...], *drawn: list[str]) -> list[str]:
    captions = pd.DataFrame({"en": [f"name of {c}" for c in SEVEN]}, index=SEVEN)
    styles = {str(number): style(own) for number, own in enumerate(drawn)}
    return choose_concepts(captions, styles, kinds)["characters"].tolist()


@pytest.mark.parametrize(
    ("characters", "expected"),
    [
        (WAVE, ("emoji", None)),
        ("\u2764\ufe0f", ("emoji", None)),
        (WAVE + "\U0001f3ff", ("skin_tone", "dark")),
        (flag_characters("KE"), ("flag", "014")),
        (flag_characters("EU"), (None, None)),
        (NURSE, (None, None)),
    ],
)
def test_kind_and_group_of_an_emoji(characters: str, expected: tuple[str | None, str | None]) -> None:
    assert classify(characters) == expected


def test_a_flag_spells_its_country() -> None:
    assert flag_characters("FI") == "\U0001f1eb\U0001f1ee"
    assert flag_country(flag_characters("FI")) == "FI"
    assert flag_country("F\U0001f1ee") == "?I"


def test_only_the_planned_kinds_take_part() -> None:
    assert choose(("emoji",), SEVEN, SEVEN, SEVEN) == [WAVE]
    assert choose(("emoji", "flag", "skin_tone"), SEVEN, SEVEN, SEVEN) == SEVEN


def test_an_emoji_that_few_styles_draw_is_left_out_and_a_toned_one_too_unless_all_its_tones_are_drawn() -> None:
    without_flag, without_a_tone = SEVEN[:-1], SEVEN[:1] + SEVEN[2:]
    assert choose(("emoji", "flag"), SEVEN, SEVEN, without_flag) == [WAVE]
    assert choose(("emoji", "skin_tone"), SEVEN, SEVEN, without_a_tone) == [WAVE]
