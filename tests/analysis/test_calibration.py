"""What a company of languages is worth, in worlds in which that is known."""

from __future__ import annotations

import numpy as np
import pytest

from emoe_audit.analysis.calibration import Calibration
from tests.analysis.worlds import World, among, many

N = 120


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return Calibration.fit(World(many(4, 4)).readings(N))


def company(calibration: Calibration, *names: str) -> np.ndarray:
    return np.isin(calibration.languages, names)


def test_loadings_are_found(calibration: Calibration) -> None:
    np.testing.assert_allclose(calibration.loadings, list(many(4, 4).values()), atol=0.03)
    assert calibration.weights.sum() == pytest.approx(1)
    assert calibration.weights[4:].sum() < 0.02
    assert (calibration.whole > 0.9).all()


def test_the_company_of_all_is_worth_what_the_whole_is(calibration: Calibration) -> None:
    form = calibration.form(np.ones(8, dtype=bool))
    np.testing.assert_allclose(form.offset, 0, atol=1e-6)
    np.testing.assert_allclose(form.reliability, calibration.whole, atol=1e-6)
    assert form.attenuation == pytest.approx(calibration.whole.mean())


def test_an_offset_brings_the_cosines_of_a_company_to_those_of_all(calibration: Calibration) -> None:
    """By arithmetic: a good reader agrees with another by 0.81, with three by 0.9 of their cosine with the meaning."""
    form = calibration.form(company(calibration, "g0", "g1", "p0", "p1"))
    three = 3 * 0.9 / np.sqrt(3 + 6 * 0.81)
    assert form.offset[0] == pytest.approx(0.9 * three - 0.81, abs=0.02)
    assert form.offset[0] > 3 * abs(form.offset[4])


def test_reliability_grows_with_the_readers_of_a_company(calibration: Calibration) -> None:
    reliability = [
        calibration.form(company(calibration, *names)).reliability[7]
        for names in (("p0", "p1", "p7"), ("g0", "p0", "p7"), ("g0", "g1", "p7"), ("g0", "g1", "g2", "p7"))
    ]
    assert reliability == sorted(reliability)
    assert reliability[0] < 0.4 < 0.8 < reliability[1]
    attenuation = calibration.form(company(calibration, "g0")).attenuation
    assert attenuation == pytest.approx(0.9, abs=0.03)


def test_a_company_of_nobody_is_worth_nothing(calibration: Calibration) -> None:
    form = calibration.form(np.zeros(8, dtype=bool))
    assert (form.reliability == 0).all() and form.attenuation == 0


def test_nobody_is_believed_where_no_language_is_read() -> None:
    nonsense = Calibration.fit(World(dict.fromkeys("abcdef", 0.3)).readings(N))
    assert (nonsense.weights == 0).all()
    assert (nonsense.form(np.ones(6, dtype=bool)).reliability == 0).all()
    assert nonsense.missing([]) == []


def test_missing_languages_are_those_that_would_help_most(calibration: Calibration) -> None:
    assert set(calibration.missing(["g1", "p0"], n=3)) == {"g0", "g2", "g3"}
    assert "g1" not in calibration.missing(["g1"], n=8)


def test_captions_that_are_alike_are_rare_in_the_calibration(calibration: Calibration) -> None:
    assert 0 < calibration.alike < 0.5


def test_a_frame_keeps_all_of_it(calibration: Calibration) -> None:
    frame = calibration.to_frame()
    assert frame["language"].tolist() == list(calibration.languages)
    kept = Calibration.from_frame(frame)
    assert kept.languages == calibration.languages and kept.alike == calibration.alike
    np.testing.assert_array_equal(kept.means, calibration.means)
    np.testing.assert_array_equal(kept.cosines, calibration.cosines)


@pytest.mark.parametrize("change", ["mean", "cosines", "rows"])
def test_a_frame_whose_rows_do_not_fit_together_is_refused(calibration: Calibration, change: str) -> None:
    frame = calibration.to_frame()
    if change == "rows":
        frame = frame.iloc[:-1]
    else:
        frame.loc[2, change] = frame.loc[2, change][:-3]
    with pytest.raises(ValueError):
        Calibration.from_frame(frame)


def test_a_language_needs_five_captions() -> None:
    readings = World(many(3, 0)).readings(8)
    few = [row for row, name in enumerate(readings.languages) if name == "g2"]
    kept = readings.take(np.delete(np.arange(24), few[4:]))
    assert Calibration.fit(kept).languages == ("g0", "g1")
    assert Calibration.fit(among(readings, "none")).languages == ()
