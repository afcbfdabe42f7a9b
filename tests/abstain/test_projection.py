"""Directions against scikit-learn's principal components."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from emoe_audit.abstain import projection as module
from emoe_audit.abstain.projection import Projection, distance


def points(n: int = 60, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 9)) @ rng.normal(size=(9, 9)) + rng.normal(size=9)


def test_each_sketch_is_reduced_to_its_own_whitened_principal_components(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "COMPONENTS", 2)
    x = points()
    z = Projection.fit(x, [4, 3])(x)
    standard = StandardScaler().fit_transform(x)
    unbiased = np.sqrt(len(x) / (len(x) - 1))
    for columns, own in ((slice(0, 4), z[:, 0:2]), (slice(4, 7), z[:, 2:4])):
        expected = PCA(2, whiten=True).fit_transform(standard[:, columns]) * unbiased
        np.testing.assert_allclose(np.abs(own), np.abs(expected), atol=1e-9)
    np.testing.assert_allclose(z[:, 4:], standard[:, 7:], atol=1e-12)


def test_new_points_go_through_the_map_that_was_learned() -> None:
    x = points()
    fitted = Projection.fit(x, [4, 3])
    np.testing.assert_allclose(fitted(x[:5]), fitted(x)[:5])


def test_constant_features_and_components_of_rounding_give_no_direction() -> None:
    x = points()
    x[:, 0] = 7.0
    x[:, 2] = x[:, 1]
    z = Projection.fit(x, [4, 3])(x)
    assert z.shape[1] == 2 + 3 + 2
    np.testing.assert_allclose(z.std(axis=0), 1)


def test_the_squared_distance_is_one_on_average() -> None:
    z = Projection.fit(points(), [4, 3])(points())
    assert np.square(distance(z)).mean() == pytest.approx(1)


def test_the_distance_of_uncorrelated_directions_is_mahalanobis() -> None:
    from scipy.spatial.distance import mahalanobis

    x = points()
    z = Projection.fit(x, [9])(x)
    inverse = np.linalg.inv(np.cov(x.T, bias=True))
    expected = [mahalanobis(row, x.mean(axis=0), inverse) / np.sqrt(9) for row in x]
    np.testing.assert_allclose(distance(z), expected)
