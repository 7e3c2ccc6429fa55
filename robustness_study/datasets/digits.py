"""The handwritten digits that scikit-learn brings along: a dataset for a run without a network.

In: the side in pixels. Out: a `Dataset` of 1797 images in 10 classes, enlarged from 8×8 grey values.
"""

from __future__ import annotations

import numpy as np

from robustness_study.core.seeds import derive_seed
from robustness_study.datasets.base import Dataset, Places, array_checksum
from robustness_study.schema.download import Download

BRIGHTEST = 16  # the dataset's grey values are 0..16
TEST_DIVISOR = 6  # one image in so many is for testing, as in CIFAR-10


def check(choice: Download) -> None:
    """Nothing to refuse: any size will do."""


def load(choice: Download, places: Places) -> Dataset:
    """The digits at the side that params name."""
    return enlarged_digits(choice.size)


def enlarged_digits(size: int) -> Dataset:
    """The digits at `size`×`size` pixels, cut into training and test images within each class."""
    from sklearn.datasets import load_digits

    source = load_digits()
    images = enlarge(source.images, size)
    labels = source.target.astype(np.uint8)
    test = held_out(labels)
    arrays = images[~test], labels[~test], images[test], labels[test]
    return Dataset(
        name="digits",
        origin="scikit-learn's load_digits",
        checksum=array_checksum(*arrays),
        official=True,
        classes=[str(name) for name in source.target_names],
        train_images=arrays[0],
        train_labels=arrays[1],
        test_images=arrays[2],
        test_labels=arrays[3],
    )


def enlarge(values: np.ndarray, size: int) -> np.ndarray:
    """Grey values 0..16 as bytes 0..255, bilinearly enlarged and repeated in three channels."""
    from PIL import Image

    grey = np.rint(values * (255 / BRIGHTEST)).astype(np.uint8)
    resized = [Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in grey]
    return np.repeat(np.stack([np.asarray(image) for image in resized])[..., None], 3, axis=-1)


def held_out(labels: np.ndarray) -> np.ndarray:
    """True for a sixth of each class, chosen by a hash of the image's index.

    A hash, not a generator's shuffle: the choice is then the same under every version of numpy.
    """
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = [int(index) for index in np.flatnonzero(labels == label)]
        members.sort(key=lambda index: derive_seed(0, "digits", "test", index))
        mask[members[: round(len(members) / TEST_DIVISOR)]] = True
    return mask
