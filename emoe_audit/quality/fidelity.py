"""How far the images of a run are from real ones: the kernel distance of Binkowski et al. (arXiv 1801.01401).

It is the squared maximum mean discrepancy of two sets of features, without bias at any size, under the kernel
k(x, y) = (gamma x.y + 1)^3: 0 where both sets come from the same distribution, and then by chance also below.

`kid` is its mean over random pairs of subsets and `kid_sd` its standard deviation over them. A subset has an image of
every other caption, but no more than 1,000. With halves `kid_sd` is about the standard error of `kid` (the delete-half
jackknife, Shao and Wu 1989); with subsets of 1,000 it is that of 1,000 images, as others report it.

No caption is in a subset twice, nor in both of a pair. The images of one caption resemble each other, real or drawn,
and with few captions that resemblance would be taken for likeness of the sets: 60 images drawn well from the captions
of 60 real ones came out far below 0.

The features are the judge's, of length one, so gamma is 1 and the kernel a power of the cosine plus 1. With the
published Inception features and gamma = 1/2048 the values are those of the published KID. The two are not comparable.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torchmetrics.image.kid import poly_mmd

from emoe_audit.errors import MissingPackageError, QualityError
from emoe_audit.experts.devices import resolve_device
from emoe_audit.quality.reference import Pictures

COLUMNS = ["by", "group", "n_images", "n_reference", "kid", "kid_sd"]
OVERALL = "overall"
N_SUBSETS = 100
MIN_CAPTIONS = 10
"""Below, a set has fewer halves than subsets are drawn: C(10, 5) = 252."""
MOST_IN_SUBSET = 1000
JUDGE_GAMMA = 1.0
INCEPTION_GAMMA = 1 / 2048


class Inception:
    """The 2048 features of Inception that the published KID is computed from; weights come from the network once."""

    def __init__(self, *, device: str = "auto") -> None:
        """Load it.

        Raises:
            MissingPackageError: torch-fidelity is not installed.
            QualityError: the weights cannot be fetched.
        """
        if find_spec("torch_fidelity") is None:
            raise MissingPackageError("Inception's features need torch-fidelity: pip install torch-fidelity")
        from torchmetrics.image.fid import NoTrainInceptionV3

        self._device = resolve_device(device)
        try:
            self._network = NoTrainInceptionV3("inception-v3-compat", ["2048"]).to(self._device)
        except (OSError, RuntimeError) as error:
            raise QualityError(f"the weights of Inception cannot be fetched: {error}; go online once") from error

    @torch.no_grad()
    def image_features(self, images: Sequence[Image.Image]) -> np.ndarray:
        """Float32 `[image, 2048]`; images may differ in size."""
        pixels = [torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)[None] for image in images]
        return torch.cat([self._network(one.to(self._device)) for one in pixels]).float().cpu().numpy()


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Images of one side."""

    features: np.ndarray
    """`[image, feature]`"""
    captions: np.ndarray
    """The number of the caption that each image belongs to, `[image]`; on both sides the same."""

    @property
    def n_captions(self) -> int:
        """How many different captions there are."""
        return len(np.unique(self.captions))

    def one_of_each(self, captions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The features of a random image of each of these captions that has one, in random order."""
        rows = rng.permutation(np.flatnonzero(np.isin(self.captions, captions)))
        _, first = np.unique(self.captions[rows], return_index=True)
        chosen: np.ndarray = self.features[rows[rng.permutation(first)]]
        return chosen


def kernel_distance(
    drawn: ImageSet, real: ImageSet, *, gamma: float = JUDGE_GAMMA, seed: int = 0
) -> tuple[float, float]:
    """`kid` and `kid_sd` of two sets of images; NaN where one has images of fewer than 10 captions."""
    if min(drawn.n_captions, real.n_captions) < MIN_CAPTIONS:
        return np.nan, np.nan
    rng = np.random.default_rng(seed)
    pairs = (_disjoint(drawn, real, rng) for _ in range(N_SUBSETS))
    values = torch.stack([poly_mmd(x, y, degree=3, gamma=gamma, coef=1.0) for x, y in pairs])
    return float(values.mean()), float(values.std(unbiased=True))


def kid_by_group(
    prompts: pd.DataFrame, by: str, drawn: Pictures, real: Pictures, *, gamma: float = JUDGE_GAMMA, seed: int = 0
) -> pd.DataFrame:
    """One row for all images, of group `overall`, and one per group, see `COLUMNS`: its images against real ones.

    The real images of a group are those that its prompts name, each once: translations of a caption share theirs.

    Args:
        prompts: A row per prompt, with `source_id`.
        by: The group column.
        drawn: The images of the run, read for these prompts; leave out those that a safety checker blanked.
        real: The real images, read for the same prompts with the same features.
        gamma: `JUDGE_GAMMA` for features of the judge, `INCEPTION_GAMMA` for those of Inception.
        seed: Of the subsets.
    """
    captions = pd.Series(pd.factorize(prompts["source_id"])[0], index=prompts.index)
    labels = prompts[by].dropna().astype(str)
    groups = [(by, str(name), rows.index) for name, rows in labels.groupby(labels)]
    table = []
    for column, name, index in [(OVERALL, OVERALL, prompts.index), *groups]:
        sides = [_image_set(captions.loc[index], side) for side in (drawn, real)]
        numbers = [len(side.captions) for side in sides]
        table.append((column, name, *numbers, *kernel_distance(*sides, gamma=gamma, seed=seed)))
    return pd.DataFrame(table, columns=COLUMNS)


def _image_set(captions: pd.Series, pictures: Pictures) -> ImageSet:
    """The different images of some prompts, whose captions are given by number."""
    place = pictures.place.loc[captions.index]
    place = place[place >= 0].drop_duplicates()
    return ImageSet(features=pictures.features[place.to_numpy()], captions=captions.loc[place.index].to_numpy())


def _disjoint(drawn: ImageSet, real: ImageSet, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A subset of each side without a caption in common, of one size, `[image, feature]` in float64.

    Captions with both images, with a real one and with a drawn one only are each halved, so that all count alike.
    """
    captions = np.union1d(drawn.captions, real.captions)
    kinds = 2 * np.isin(captions, drawn.captions) + np.isin(captions, real.captions)
    shuffled = captions[np.lexsort((rng.random(len(captions)), kinds))]
    start = rng.integers(2)
    theirs, ours = real.one_of_each(shuffled[start::2], rng), drawn.one_of_each(shuffled[1 - start :: 2], rng)
    size = min(len(theirs), len(ours), MOST_IN_SUBSET)
    return torch.from_numpy(theirs[:size]).double(), torch.from_numpy(ours[:size]).double()
