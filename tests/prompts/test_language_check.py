"""Language tags doubted: none of those of captions that people wrote in forty languages, nearly all swapped ones."""

from __future__ import annotations

import itertools
import sys

import pandas as pd
import pytest

from emoe_audit.errors import MissingPackageError
from emoe_audit.prompts import language_check
from emoe_audit.prompts.language_check import (
    language_warnings,
    long_prompt_language,
    other_language,
    other_script,
)
from emoe_audit.prompts.read import read_prompts
from emoe_audit.prompts.shipped import CAPTIONS, shipped_prompts

NOT_TOLD_APART = [{"am", "ti"}, {"zh", "zh-Hant"}, {"zh", "yue"}, {"zh-Hant", "yue"}, {"hi", "mr"}]
"""Tigrinya is not known to the identifier, Chinese is near Chinese, and some Marathi chunks may well be Hindi."""
SENTENCE = {
    "en": "a small brown dog is running along the beach with a red ball in its mouth",
    "de": "ein kleiner brauner Hund läuft mit einem roten Ball im Maul den Strand entlang",
    "fi": "pieni ruskea koira juoksee rannalla punainen pallo suussaan auringon laskiessa mereen",
}


@pytest.fixture(scope="module")
def captions() -> pd.DataFrame:
    return read_prompts(shipped_prompts() / CAPTIONS).frame


def frame_of(**prompts: list[str]) -> pd.DataFrame:
    """Prompts by their tags, in which `_` stands for `-`."""
    rows = [(tag.replace("_", "-"), prompt) for tag, own in prompts.items() for prompt in own]
    frame = pd.DataFrame(rows, columns=["language", "prompt"])
    return frame.assign(prompt_id=frame.index.map("p{}".format))


def test_no_caption_that_people_wrote_is_doubted(captions: pd.DataFrame) -> None:
    assert language_warnings([captions]) == []


@pytest.mark.parametrize("size", [5, 10, 20])
def test_nor_are_few_of_them(captions: pd.DataFrame, size: int) -> None:
    parts = captions.groupby(captions.groupby("language").cumcount() // size)
    assert [warning for _, part in parts for warning in language_warnings([part])] == []


def test_swapped_tags_are_doubted(captions: pd.DataFrame) -> None:
    texts = {str(tag): own["prompt"].tolist() for tag, own in captions.groupby("language")}
    pairs = [pair for pair in itertools.permutations(texts, 2) if set(pair) not in NOT_TOLD_APART]
    missed = [(tag, of) for tag, of in pairs if not (other_script(tag, texts[of]) or other_language(tag, texts[of]))]
    assert missed == []
    assert len(pairs) > 1500


def test_the_warning_names_both_languages(captions: pd.DataFrame) -> None:
    swapped = captions.assign(language=captions["language"].replace({"fi": "de", "de": "fi"}))
    assert language_warnings([swapped]) == [
        "de (German): the prompts look like fi (Finnish); check the tag",
        "fi (Finnish): the prompts look like de (German); check the tag",
    ]


def test_another_script_is_named_with_the_tag_that_it_would_have() -> None:
    latin = ["pas trči po plaži", "mačka spava na krovu", "velika crvena kuća"]
    (warning,) = language_warnings([frame_of(sr=latin)])
    assert warning == (
        "sr (Serbian): the prompts are in Latin script, not in Cyrillic; if that is meant, write sr-Latn"
    )
    assert language_warnings([frame_of(sr_Latn=latin)]) == []


@pytest.mark.parametrize(
    ("tag", "prompt", "script"),
    [
        ("ja", "浜辺を走る小さな茶色の犬と赤いボール、海のそばで", None),
        ("ko", "해변을 달리는 작은 갈색 개와 빨간 공 그리고 파란 바다", None),
        ("zh-Hant", "一隻棕色的小狗嘴裡叼著紅球在海灘上奔跑海邊有人", None),
        ("hi", "samudra tat par daudta hua chhota kutta", "Latn"),
        ("en", "собака бежит по пляжу с красным мячом", "Cyrl"),
        ("uz", "кичкина жигарранг ит соҳил бўйлаб югурмоқда", "Cyrl"),
        ("en", "собака", None),
    ],
)
def test_scripts_are_those_of_the_tag_or_another(tag: str, prompt: str, script: str | None) -> None:
    assert other_script(tag, [prompt]) == script


@pytest.mark.parametrize("tag", SENTENCE)
def test_a_long_prompt_is_judged_alone(tag: str) -> None:
    others = {other: long_prompt_language(other, SENTENCE[tag]) for other in (*SENTENCE, "sw", "nb")}
    assert others == {other: None if other == tag else tag for other in others}
    assert long_prompt_language("sw", " ".join(SENTENCE[tag].split()[:7])) is None, "too few words to be sure"


def test_long_prompts_among_many_are_named(captions: pd.DataFrame) -> None:
    german = captions[captions["language"] == "de"]
    strangers = pd.DataFrame({"prompt": [SENTENCE["en"] + f" {n}" for n in range(4)] + [SENTENCE["fi"]]})
    strangers = strangers.assign(language="de", prompt_id=["a", "b", "c", "d", "e"])
    (warning,) = language_warnings([pd.concat([german, strangers])])
    assert warning == (
        "de (German): a looks like en (English), b looks like en (English), c looks like en (English) and 2 more; "
        "check their tags"
    )


def test_near_relatives_and_languages_that_are_not_known_are_not_doubted(captions: pd.DataFrame) -> None:
    indonesian = captions.loc[captions["language"] == "id", "prompt"].tolist()
    assert other_language("ms", indonesian) is None
    assert other_language("sux", indonesian) is None
    assert other_language("fi", indonesian) == "id"


def test_prompts_without_a_language_are_passed_over() -> None:
    assert language_warnings([frame_of(und=list(SENTENCE.values()))]) == []


def test_a_missing_package_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid.langid", None)
    language_check._identifier.cache_clear()
    with pytest.raises(MissingPackageError, match=r"pip install 'py3langid>=0\.4'"):
        language_warnings([frame_of(de=[SENTENCE["en"]])])
    language_check._identifier.cache_clear()
