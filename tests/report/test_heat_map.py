"""Heat maps: distance from the mean over groups, and how often languages use an expert."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import zscore

from emoe_audit.report import ReportData
from emoe_audit.report.findings import ExpertUse
from emoe_audit.report.heat_map import experts_figure, heat_figure, standardised


def test_distances_are_z_scores_and_what_is_missing_stays_missing() -> None:
    values = np.random.default_rng(0).normal(size=(8, 3))
    np.testing.assert_allclose(standardised(values), zscore(values))
    values[2, 1] = np.nan
    assert np.isnan(standardised(values)[2, 1])
    np.testing.assert_allclose(standardised(values), zscore(values, nan_policy="omit"))
    assert (standardised(np.ones((4, 1))) == 0).all()


def test_dark_is_worse_in_every_measure(report: ReportData) -> None:
    table = report.groups[0]
    figure = heat_figure(table)
    colours = np.reshape(figure.data[0].marker.color, (len(table.rows), -1))
    names = list(figure.layout.xaxis.ticktext)
    for measure, label, worst in (
        ("relative_disagreement", "Relative disagreement", max),
        ("clip_cosine", "CLIP cosine", min),
    ):
        means = [row.mean(measure) for row in table.rows]
        assert colours[:, names.index(label)].argmax() == means.index(worst(means))


def test_an_expert_that_a_language_uses_twice_as_often_as_the_mean_of_both_thirds_is_shown_so() -> None:
    use = ExpertUse(
        layer="down", divergence=0.1, expected=0.0, p=0.01, p_by=0.02, languages=("Finnish", "Swahili"),
        shares=((0.8, 0.2), (0.4, 0.6)),
    )  # fmt: skip
    trace = experts_figure(use).data[0]
    assert list(trace.marker.color) == pytest.approx([0.8 / 0.6, 0.2 / 0.4, 0.4 / 0.6, 0.6 / 0.4], abs=1e-3)
