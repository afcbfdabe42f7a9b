"""Kernel distance: against closed forms and a naive implementation of the unbiased squared MMD."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
import torchmetrics.image.fid
from PIL import Image

from emoe_audit.errors import MissingPackageError, QualityError
from emoe_audit.quality import fidelity
from emoe_audit.quality.fidelity import INCEPTION_GAMMA, ImageSet, Inception, kernel_distance, kid_by_group
from emoe_audit.quality.reference import Pictures

pytestmark = pytest.mark.slow

FRESH = itertools.count(1000)


def features(n: int, *, shift: float = 0.0, seed: int = 0, size: int = 6) -> np.ndarray:
    """Features of length one around a direction that is turned by `shift`."""
    rows = np.random.default_rng(seed).normal(size=(n, size)) + np.eye(size)[0] * 2 + np.eye(size)[1] * shift
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def naive_mmd(x: np.ndarray, y: np.ndarray, gamma: float, *, share_captions: bool) -> float:
    """Binkowski et al. 2018, equation 4, by loops; where captions are shared, row i of both sets is of caption i."""

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return float((gamma * np.dot(a.astype(np.float64), b.astype(np.float64)) + 1) ** 3)

    def within(rows: np.ndarray) -> float:
        n = len(rows)
        return sum(kernel(rows[i], rows[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))

    across = [kernel(x[i], y[j]) for i in range(len(x)) for j in range(len(y)) if not (share_captions and i == j)]
    return within(x) + within(y) - 2 * sum(across) / len(across)


def images(rows: np.ndarray, captions: Sequence[int] | None = None) -> ImageSet:
    """By default every image has a caption of its own, that no other set has."""
    own = [next(FRESH) for _ in rows] if captions is None else captions
    return ImageSet(features=rows, captions=np.array(own))


of_inception = partial(kernel_distance, gamma=INCEPTION_GAMMA)


@pytest.mark.parametrize(("distance", "gamma"), [(kernel_distance, 1.0), (of_inception, 1 / 2048)])
def test_sets_without_spread_have_the_distance_of_the_kernel_alone(
    distance: Callable[[ImageSet, ImageSet], tuple[float, float]], gamma: float
) -> None:
    a, b = np.array([[1.0, 0.0]], dtype=np.float32), np.array([[0.6, 0.8]], dtype=np.float32)
    kid, sd = distance(images(a.repeat(12, axis=0)), images(b.repeat(20, axis=0)))
    assert kid == pytest.approx(2 * (gamma + 1) ** 3 - 2 * (0.6 * gamma + 1) ** 3, rel=1e-5)
    assert sd == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("gamma", [1.0, 1 / 6])
@pytest.mark.parametrize("share_captions", [False, True])
def test_the_mean_over_subsets_is_the_unbiased_distance_of_all_images(
    share_captions: bool, gamma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fidelity, "N_SUBSETS", 2000)
    drawn, real = features(12 if share_captions else 15, shift=1.0), features(12, seed=1)
    sets = [images(rows, range(12) if share_captions else None) for rows in (drawn, real)]
    kid, sd = kernel_distance(sets[0], sets[1], gamma=gamma)
    expected = naive_mmd(drawn, real, gamma, share_captions=share_captions)
    assert kid == pytest.approx(expected, abs=4 * sd / np.sqrt(2000))
    assert sd > 0


def test_captions_without_a_real_image_count_no_more_than_the_others() -> None:
    real, drawn = features(20, seed=1), np.concatenate([features(20), features(40, shift=4.0, seed=2)])
    kid, sd = kernel_distance(images(drawn, range(60)), images(real, range(20)))
    assert kid == pytest.approx(naive_mmd(drawn, real, 1.0, share_captions=True), abs=sd / 3)


def test_it_does_not_depend_on_which_set_is_called_real_and_grows_with_their_distance() -> None:
    near, far = images(features(40, shift=1.0)), images(features(40, shift=3.0))
    real = images(features(40, seed=1))
    assert kernel_distance(far, real)[0] > kernel_distance(near, real)[0] > 0
    (kid, sd), (turned, _) = kernel_distance(far, real), kernel_distance(real, far)
    assert turned == pytest.approx(kid, abs=sd)


def test_of_one_distribution_it_is_as_often_below_zero_as_above(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "N_SUBSETS", 20)
    pairs = [(images(features(20, seed=s)), images(features(20, seed=1000 + s))) for s in range(40)]
    signs = [np.sign(kernel_distance(*pair)[0]) for pair in pairs]
    assert {-1.0, 1.0} == set(signs)
    assert abs(np.mean(signs)) < 0.6


def test_that_an_image_is_like_the_real_one_of_its_caption_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "N_SUBSETS", 20)
    rows = [features(30, seed=s) for s in range(40)]
    paired = [kernel_distance(images(own, range(30)), images(own, range(30)))[0] for own in rows]
    unpaired = [kernel_distance(images(own), images(own.copy()))[0] for own in rows]
    error = np.std(paired, ddof=1) / np.sqrt(40)
    assert abs(np.mean(paired)) < 3 * error
    assert np.mean(unpaired) < -10 * error


def test_translations_of_one_caption_count_as_one_image() -> None:
    rows = features(30, shift=1.0)
    thrice = images(rows.repeat(3, axis=0), np.repeat(range(30), 3).tolist())
    real = images(features(30, seed=1), range(30))
    (kid, sd), (expected, _) = kernel_distance(thrice, real), kernel_distance(images(rows, range(30)), real)
    assert kid == pytest.approx(expected, abs=4 * sd * np.sqrt(2 / fidelity.N_SUBSETS))


@pytest.mark.parametrize("share_captions", [False, True])
def test_the_spread_of_halves_is_about_the_standard_error(
    share_captions: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fidelity, "N_SUBSETS", 40)
    captions = range(40) if share_captions else None
    runs = [
        kernel_distance(
            images(features(40, shift=1.5, seed=s), captions), images(features(40, seed=1000 + s), captions)
        )
        for s in range(40)
    ]
    kids, sds = np.array(runs).T
    assert 0.7 < sds.mean() / kids.std(ddof=1) < 1.5


def test_with_fewer_than_ten_captions_it_is_undefined() -> None:
    few, many = images(features(9)), images(features(50))
    assert np.isnan(kernel_distance(few, many)).all()
    assert np.isnan(kernel_distance(many, few)).all()
    assert np.isnan(kernel_distance(many, images(features(50), [0, 1] * 25))).all()
    assert np.isfinite(kernel_distance(images(features(10)), images(features(10)))).all()


def test_a_subset_is_not_larger_than_is_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def measure(x: torch.Tensor, y: torch.Tensor, **_: float) -> torch.Tensor:
        sizes.extend([len(x), len(y)])
        return torch.zeros(())

    monkeypatch.setattr(fidelity, "poly_mmd", measure)
    kernel_distance(images(features(2600)), images(features(3000)))
    assert set(sizes) == {1000}


def test_the_same_seed_gives_the_same_subsets() -> None:
    drawn, real = images(features(30, shift=1.0)), images(features(30, seed=1))
    assert kernel_distance(drawn, real, seed=5) == kernel_distance(drawn, real, seed=5)
    assert kernel_distance(drawn, real, seed=5) != kernel_distance(drawn, real, seed=6)


def pictures(rows: np.ndarray, place: Sequence[int]) -> Pictures:
    return Pictures(features=rows, place=pd.Series(list(place)))


def test_every_group_is_set_against_the_real_images_of_its_own_prompts_each_once() -> None:
    captions = [i % 12 for i in range(40)]
    prompts = pd.DataFrame({"language": ["en"] * 24 + ["de"] * 12 + ["fi"] * 3 + [None]})
    prompts["source_id"] = [str(caption) for caption in captions]
    drawn, real = features(40, shift=1.0), features(12, seed=1)
    named = [*captions[:36], -1, -1, -1, captions[39]]
    table = kid_by_group(prompts, "language", pictures(drawn, range(40)), pictures(real, named))
    assert table[["by", "group", "n_images", "n_reference"]].to_numpy().tolist() == [
        ["overall", "overall", 40, 12],
        ["language", "de", 12, 12],
        ["language", "en", 24, 12],
        ["language", "fi", 3, 0],
    ]
    own = table.set_index("group")[["kid", "kid_sd"]]
    expected = kernel_distance(images(drawn[24:36], range(12)), images(real, range(12)))
    assert tuple(own.loc["de"]) == pytest.approx(expected)
    assert own.loc["fi"].isna().all()
    assert own.loc["overall"].notna().all()


def test_prompts_without_any_image_have_no_distance() -> None:
    prompts = pd.DataFrame({"language": ["en", "de"], "source_id": ["1", "1"]})
    none = pictures(np.empty((0, 0), dtype=np.float32), [-1, -1])
    table = kid_by_group(prompts, "language", none, none)
    assert table["n_images"].tolist() == [0, 0, 0]
    assert table["kid"].isna().all()


def test_inception_without_its_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "find_spec", lambda _: None)
    with pytest.raises(MissingPackageError, match="pip install torch-fidelity"):
        Inception()


class Network(torch.nn.Module):
    """Takes the place of Inception: the mean of each colour, in the values that it was given."""

    def __init__(self, name: str, features_list: list[str]) -> None:
        super().__init__()
        assert (name, features_list) == ("inception-v3-compat", ["2048"])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        assert pixels.dtype == torch.uint8
        return pixels.double().mean(dim=(2, 3))


def test_inception_is_given_bytes_with_the_colours_first_whatever_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fidelity, "find_spec", lambda name: name)
    monkeypatch.setattr(torchmetrics.image.fid, "NoTrainInceptionV3", Network)
    given = [Image.new("RGB", (5, 3), (255, 10, 0)), Image.new("L", (8, 8), 7)]
    assert Inception(device="cpu").image_features(given).tolist() == [[255, 10, 0], [7, 7, 7]]


def test_weights_of_inception_that_cannot_be_fetched_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(fidelity, "find_spec", lambda name: name)
    monkeypatch.setattr(torchmetrics.image.fid, "NoTrainInceptionV3", fail)
    with pytest.raises(QualityError, match="cannot be fetched: no route to host; go online once"):
        Inception()
