"""Who is depicted: a judge that sees exactly what a picture was made to show, real captions, and files on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from emoe_audit.analysis.prevalence import COLUMNS
from emoe_audit.errors import AuditError, PromptTableError, QualityError
from emoe_audit.experts.spec import load_spec
from emoe_audit.prompts.emoji import default_prompts
from emoe_audit.quality.attributes import (
    GENDER,
    NO_TONE,
    SHOWN_TONE,
    SKIN_TONE,
    TONES,
    names_none,
    subject_prompts,
    subjects,
    things,
)
from emoe_audit.quality.clip_score import ClipJudge
from emoe_audit.quality.depicted import Classifier, who_is_depicted
from emoe_audit.quality.labelled import LabelledImages, read_labelled, tone_drawings, write_labelled
from emoe_audit.types import EnsembleSpec
from tests.quality.exact_judge import ExactJudge

HAND, EAR = "waving hand", "ear"


def toned(concept: str, tone: str) -> str:
    return concept if tone == NO_TONE else f"{concept}: {tone} skin tone"


def labelled_by(judge: ExactJudge, n: int = 8) -> LabelledImages:
    rows = [(i, HAND, tone) for i in range(n) for tone in SKIN_TONE.classes]
    frame = pd.DataFrame(rows, columns=["source_id", "concept", "class"])
    return LabelledImages(frame=frame, images=[judge.picture(toned(HAND, tone)) for _, _, tone in rows])


def run_of(folder: Path, judge: ExactJudge, shown: dict[str, list[str]]) -> pd.DataFrame:
    """A run whose image i of a language shows the i-th text; its source i says `waving hand`."""
    rows = [(f"s{i}", language, text) for language, texts in shown.items() for i, text in enumerate(texts)]
    frame = pd.DataFrame(rows, columns=["source_id", "language", "text"]).assign(source_prompt=HAND, skin_tone=None)
    frame["image"] = frame["language"] + "-" + frame["source_id"] + ".png"
    for image, text in zip(frame["image"], frame["text"], strict=True):
        judge.picture(text).save(folder / image)
    return frame.drop(columns="text")


@pytest.fixture(scope="module")
def emoji() -> EnsembleSpec:
    return load_spec("emoji-b")


def test_subjects_are_named_as_without_a_tone_in_every_language(emoji: EnsembleSpec) -> None:
    named = subjects(emoji)
    expected = {"en": "waving hand", "de": "winkende Hand", "fr": "signe de la main", "es": "mano saludando"}
    assert named.loc["1f44b", list(expected)].to_dict() == expected
    assert named.shape == (24, 40)
    raw = default_prompts(emoji, n_concepts=10_000).frame
    for prompt in raw[raw["skin_tone"] == "dark"].itertuples():
        name = named.loc[prompt.source_id.rpartition("-")[0], prompt.language]
        assert prompt.prompt.startswith(name)
        assert prompt.prompt[len(name) :].strip()[0] in ":：፦"


def test_prompts_of_subjects_name_no_tone_and_the_toned_ones_of_the_same_do(emoji: EnsembleSpec) -> None:
    named = subjects(emoji)
    table = subject_prompts(emoji).frame
    assert len(table) == named.size
    assert table["prompt_id"].is_unique
    assert names_none(table, SKIN_TONE, named["en"]).all()
    assert not names_none(default_prompts(emoji).frame, SKIN_TONE, named["en"]).any()
    assert not set(things(emoji)) & set(named["en"])
    assert "tiger" in things(emoji)


def test_an_ensemble_without_toned_captions_says_so(tiny_spec: EnsembleSpec) -> None:
    with pytest.raises(PromptTableError, match="no caption of its own says a skin tone; name the subjects yourself"):
        subjects(tiny_spec)


@pytest.mark.parametrize(
    ("source", "column", "tone", "gender"),
    [
        ("a nurse", None, True, True),
        ("a Black nurse", None, False, True),
        ("a nurse and her patient", None, True, False),
        ("Santa Claus", None, True, False),
        ("a nurse", "dark", False, True),
        ("a woman with pale skin", None, False, False),
        ("a nurse in a darkroom", None, True, True),
        ("a chair", None, False, False),
        (None, None, False, False),
    ],
)
def test_a_prompt_names_none_when_neither_its_source_nor_its_table_does(
    source: str | None, column: str | None, tone: bool, gender: bool
) -> None:
    table = pd.DataFrame({"source_id": ["s"], "source_prompt": [source], "skin_tone": [column]})
    people = [text for text in (source,) if text is not None and "chair" not in text]
    assert names_none(table, SKIN_TONE, people).tolist() == [tone]
    assert names_none(table, GENDER, people).tolist() == [gender]


def test_without_source_captions_the_english_prompt_of_the_same_source_counts() -> None:
    rows = [("s", "en", "a nurse"), ("s", "de", "eine Krankenschwester"), ("t", "de", "ein Arzt")]
    table = pd.DataFrame(rows, columns=["source_id", "language", "prompt"])
    assert names_none(table, GENDER, ["a nurse"]).tolist() == [True, True, False]


def test_an_image_is_seen_as_the_class_whose_caption_is_nearest_and_not_as_one_where_a_thing_is() -> None:
    judge = ExactJudge()
    classifier = Classifier(judge, SKIN_TONE, [HAND, EAR], ["tiger"])
    shown = ["waving hand: dark skin tone", "ear: light skin tone", "ear", "tiger"]
    found = classifier.classify([judge.picture(text) for text in shown], [HAND, EAR, EAR, HAND])
    assert found["seen"].tolist()[:3] == ["dark", "light", NO_TONE]
    assert found["seen"].isna().tolist() == [False, False, False, True]
    assert found["dark"].tolist() == [1, 0, 0, 0]


def test_scores_are_the_judges_cosines_with_the_captions_of_the_own_concept(tiny_spec: EnsembleSpec) -> None:
    assert tiny_spec.judge is not None
    judge = ClipJudge(tiny_spec.judge, device="cpu")
    rng = np.random.default_rng(0)
    images = [Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)) for _ in range(3)]
    found = Classifier(judge, GENDER, ["cook", "nurse"]).classify(images, ["nurse", "cook", "nurse"])
    for place, concept in enumerate(["nurse", "cook", "nurse"]):
        for kind in ("woman", "man", "person"):
            text = judge.text_features([f"{concept}: {kind}"])[0]
            assert found.loc[place, kind] == pytest.approx(judge.image_features(images)[place] @ text, abs=1e-5)
    assert found["seen"].tolist() == found[["woman", "man", "person"]].idxmax(axis=1).tolist()


def test_drawings_change_style_from_subject_to_subject_and_another_helps_out() -> None:
    named = pd.DataFrame({"en": [HAND, EAR]}, index=["1f44b", "1f442"])
    first = {"\U0001f44b" + modifier for modifier in ("", *map(chr, TONES.values()))} - {"\U0001f44b\U0001f3ff"}
    plain = [Image.new("RGB", (2, 2), (place, 0, 0)) for place in range(2)]
    made = tone_drawings(named, [lambda e: plain[0] if e in first else None, lambda e: plain[1]])
    assert made.frame["class"].tolist() == [NO_TONE, *TONES] * 2
    assert made.frame["source_id"].tolist() == ["1f44b"] * 6 + ["1f442"] * 6
    assert [np.asarray(image)[0, 0, 0] for image in made.images] == [0] * 5 + [1] * 7


def test_labelled_images_are_read_as_they_were_written(tmp_path: Path) -> None:
    judge = ExactJudge()
    labelled = labelled_by(judge, 2)
    write_labelled(labelled, tmp_path / "labelled")
    again = read_labelled(tmp_path / "labelled")
    assert again.frame["class"].tolist() == labelled.frame["class"].tolist()
    assert again.frame["source_id"].tolist() == ["0"] * 6 + ["1"] * 6
    for image, expected in zip(again.images, labelled.images, strict=True):
        np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))


def test_a_folder_of_labelled_images_is_checked(tmp_path: Path) -> None:
    with pytest.raises(QualityError, match=r"no labels\.csv; a folder of labelled images needs one"):
        read_labelled(tmp_path)
    (tmp_path / "labels.csv").write_text("image,class\n1.png,dark\n")
    with pytest.raises(QualityError, match=r"labels\.csv: no column concept; there are image, class"):
        read_labelled(tmp_path)
    (tmp_path / "labels.csv").write_text("image,concept,class\n1.png,ear,dark\n")
    with pytest.raises(QualityError, match=r"'1\.png' is not in"):
        read_labelled(tmp_path)
    Image.new("RGB", (2, 2)).save(tmp_path / "1.png")
    assert read_labelled(tmp_path).frame["source_id"].tolist() == ["1.png"]


def test_a_run_is_counted_by_language_and_as_a_whole_against_the_reference(tmp_path: Path) -> None:
    judge = ExactJudge()
    light, dark = toned(HAND, "light"), toned(HAND, "dark")
    shown = {"en": [light] * 24, "fi": [light] * 10 + [dark] * 10 + ["tiger"] * 4}
    results = run_of(tmp_path, judge, shown)
    unasked = results.iloc[:3].assign(skin_tone="dark", image="nowhere.png")
    table = who_is_depicted(
        pd.concat([results, unasked], ignore_index=True),
        tmp_path,
        judge,
        SKIN_TONE,
        labelled_by(judge),
        concepts=[HAND],
        reference=dict.fromkeys(TONES, 0.2),
        things=["tiger"],
        n_boot=100,
    )
    assert table.columns.tolist() == ["attribute", *COLUMNS, "n_drawn"]
    assert table["group"].tolist() == [group for group in ("all", "en", "fi") for _ in SKIN_TONE.classes]
    own = table.set_index(["group", "class"])
    assert own.loc[("all", "light"), ["n_images", "n_drawn", "n_sources"]].tolist() == [44, 48, 24]
    assert own.loc[("fi", "dark"), ["n_images", "n_drawn", "n_sources"]].tolist() == [20, 24, 20]
    assert own.loc[("all", "light"), "share_seen"] == pytest.approx(34 / 44)
    assert own.loc[("fi", "dark"), "share_seen"] == pytest.approx(0.5)
    assert own.loc[("en", "light"), "difference"] == pytest.approx(0.8, abs=0.05)
    assert own.loc[("en", NO_TONE), ["reference", "difference"]].isna().all()
    assert set(own.loc["en", "verdict"]) == {"different"}
    assert own["share_corrected"].groupby("group").sum().tolist() == pytest.approx([1, 1, 1])


def test_nothing_is_said_of_a_group_whose_images_mostly_show_something_else(tmp_path: Path) -> None:
    judge = ExactJudge()
    shown = {"en": [toned(HAND, "light")] * 24, "fi": [toned(HAND, "dark")] * 11 + ["tiger"] * 13}
    table = who_is_depicted(
        run_of(tmp_path, judge, shown),
        tmp_path,
        judge,
        SKIN_TONE,
        labelled_by(judge),
        concepts=[HAND],
        reference=dict.fromkeys(TONES, 0.2),
        things=["tiger"],
        n_boot=50,
    ).set_index("group")
    assert set(table.loc["fi", "verdict"]) == {"most images show no subject"}
    assert table.loc["fi", ["share_corrected", "low", "high", "difference", "p", "p_bh"]].isna().all(axis=None)
    assert set(table.loc["fi", "n_images"]) == {11}
    assert table.loc[["all", "en"], "share_corrected"].notna().all()


def test_a_judge_that_knows_no_subject_without_a_tone_is_asked_for_tones_only(tmp_path: Path) -> None:
    judge = ExactJudge()
    results = run_of(tmp_path, judge, {"en": [toned(HAND, "light")] * 24})
    labelled = labelled_by(judge)
    reference = dict.fromkeys(TONES, 0.2)
    blind = LabelledImages(
        frame=labelled.frame,
        images=[
            judge.picture(toned(HAND, "light")) if tone == NO_TONE else image
            for tone, image in zip(labelled.frame["class"], labelled.images, strict=True)
        ],
    )
    told = who_is_depicted(results, tmp_path, judge, SKIN_TONE, blind, concepts=[HAND], reference=reference, n_boot=50)
    assert set(told["verdict"]) == {"judge cannot tell these apart: no tone shown, light"}
    shown = who_is_depicted(
        results, tmp_path, judge, SHOWN_TONE, blind.of(SHOWN_TONE), concepts=[HAND], reference=reference, n_boot=50
    )
    assert shown["share_corrected"].notna().all()
    with pytest.raises(AuditError, match="column class: 'no tone shown' is not one of light"):
        who_is_depicted(results, tmp_path, judge, SHOWN_TONE, blind, concepts=[HAND], reference=reference)


def test_a_run_without_such_an_image_says_what_to_do(tmp_path: Path) -> None:
    judge = ExactJudge()
    results = run_of(tmp_path, judge, {"en": [HAND]})
    for changed in (results.assign(image=None), results.assign(skin_tone="dark")):
        with pytest.raises(QualityError, match="no image of a subject whose prompt names no skin_tone; draw such"):
            who_is_depicted(
                changed, tmp_path, judge, SKIN_TONE, labelled_by(judge), concepts=[HAND], reference={"light": 1.0}
            )
