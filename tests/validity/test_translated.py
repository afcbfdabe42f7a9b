"""The probes of the translation score: they hold for an encoder that reads, and for none that does not."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from emoe_audit.validity.evidence import ProbeResult
from emoe_audit.validity.gallery import Gallery, nearest
from emoe_audit.validity.translated import check_translations
from tests.validity.made import MadeReader, by_letters, calibration, ignorant, knowing, made_captions, made_pairs

CAPTIONS = made_captions(12)
PROBES = {"pseudo-words", "shuffled letters", "own translations"}


def found(reader: MadeReader, captions: pd.DataFrame = CAPTIONS) -> dict[str, ProbeResult]:
    pairs = made_pairs(captions, reader.count)
    results = check_translations(reader, calibration(reader, captions), captions, pairs)  # type: ignore[arg-type]
    return {result.probe: result for result in results}


def test_all_probes_hold_for_an_encoder_that_reads_and_the_placebo_is_told_from_what_cannot_be_read() -> None:
    results = found(knowing(CAPTIONS))
    assert set(results) == PROBES
    for result in results.values():
        assert result.sign == "holds"
        assert result.share.value > 0.95
        assert result.placebo == pytest.approx(0.5, abs=0.15)
        assert result.n_languages == 12


def test_they_hold_where_half_of_the_languages_are_read_and_show_less() -> None:
    whole, half = found(knowing(CAPTIONS)), found(knowing(CAPTIONS, n_read=8))
    for probe in PROBES:
        assert half[probe].sign == "holds"
        assert half[probe].beyond.value < whole[probe].beyond.value - 0.1


@pytest.mark.parametrize("make", [ignorant, by_letters])
def test_none_holds_for_an_encoder_that_knows_nothing(make: object) -> None:
    for seed in range(3):
        results = found(make(seed))  # type: ignore[operator]
        assert not [result for result in results.values() if result.sign != "unclear"]


def test_languages_that_share_words_prove_nothing() -> None:
    """Every second language has the words of the one before: an encoder of letters brings them together."""
    shared = CAPTIONS.copy()
    for place in range(1, 12, 2):
        shared.iloc[:, place] = shared.iloc[:, place - 1]
    reader = by_letters(0)
    weights = calibration(reader, shared).weights
    assert weights.sum() == pytest.approx(1), "this agreement is taken for reading"
    assert {result.sign for result in found(reader, shared).values()} <= {"unclear"}


def test_a_distance_is_one_less_the_cosine_to_the_weighted_consensus_of_other_languages() -> None:
    reader, few = knowing(CAPTIONS), CAPTIONS.iloc[:, :4]
    known = calibration(reader, few)
    gallery = gallery_of(reader, few)
    text = few.iloc[2, 0]
    (own,) = gallery.distances(reader.read([text]), ["l00"], reader.ids([text]))
    effect = reader.read([text])[0] - known.means[0]
    for row, name in enumerate(few.index):
        others = [reader.read([few.loc[name, language]])[0] - known.means[at] for at, language in enumerate(few)][1:]
        consensus = sum(
            weight * vector / np.linalg.norm(vector) for weight, vector in zip(known.weights[1:], others, strict=True)
        )
        cosine = effect @ consensus / np.linalg.norm(effect) / np.linalg.norm(consensus)
        assert own[row] == pytest.approx(1 - cosine, abs=1e-4)


def test_a_language_that_shares_a_token_has_no_voice() -> None:
    reader = knowing(CAPTIONS)
    gallery = gallery_of(reader, CAPTIONS.iloc[:, :2])
    text, other = CAPTIONS.iloc[0, 0], CAPTIONS.iloc[0, 1]
    apart = gallery.distances(reader.read([text]), ["l00"], reader.ids([text]))[0]
    sharing = gallery.distances(reader.read([text]), ["l00"], [[*reader.ids([text])[0], ord(other[0])]])[0]
    assert np.isfinite(apart).all()
    has = [other[0] in own for own in CAPTIONS.iloc[:, 1]]
    assert np.isnan(sharing).tolist() == has


def test_the_nearest_caption_is_found_among_those_that_are_defined() -> None:
    assert nearest(np.array([[0.5, np.nan, 0.2], [np.nan, np.nan, np.nan]])).tolist()[0] == 0.2
    assert np.isnan(nearest(np.array([[np.nan, np.nan]])))[0]


def gallery_of(reader: MadeReader, captions: pd.DataFrame) -> Gallery:
    from emoe_audit.analysis.readings import Readings

    long = captions.melt(ignore_index=False, var_name="language", value_name="text")
    texts = long["text"].to_list()
    readings = Readings(vectors=reader.read(texts), languages=long["language"].to_list(), sources=list(long.index))
    return Gallery.of(calibration(reader, captions), readings, reader.ids(texts), reader.n_tokens)
