"""The handwritten digits that come with scikit-learn: a dataset that needs no download.

The dataset has 1797 images in 10 classes, enlarged from 8×8 grey values.
"""

from __future__ import annotations

import numpy as np

from robustness_study.core.seeds import derive_seed
from robustness_study.datasets.base import Dataset, Places, array_checksum
from robustness_study.schema.download import Download

BRIGHTEST = 16  # the grey values of the dataset are 0 to 16
TEST_DIVISOR = 6  # one image in six is a test image, as in CIFAR-10


def check(choice: Download) -> None:
    """Do nothing: every size is valid."""


def load(choice: Download, places: Places) -> Dataset:
    """The digits at the size given in params."""
    return enlarged_digits(choice.size)


def enlarged_digits(size: int) -> Dataset:
    """The digits at `size`×`size` pixels. A sixth of each class is for testing, the rest for training."""
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
        jpeg_share=0.0,
    )


def enlarge(values: np.ndarray, size: int) -> np.ndarray:
    """Grey values N×8×8 from 0 to 16 as images uint8 N×size×size×3, resized bilinearly, with three equal channels."""
    from PIL import Image

    grey = np.rint(values * (255 / BRIGHTEST)).astype(np.uint8)
    resized = [Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR) for image in grey]
    return np.repeat(np.stack([np.asarray(image) for image in resized])[..., None], 3, axis=-1)


def held_out(labels: np.ndarray) -> np.ndarray:
    """A mask (N,) for `labels` (N,) that is True for a sixth of each class: the test images.

    The choice uses a hash of the image's index and no random generator, so it is the same with every version of numpy.
    """
    mask = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = [int(index) for index in np.flatnonzero(labels == label)]
        members.sort(key=lambda index: derive_seed(0, "digits", "test", index))
        mask[members[: round(len(members) / TEST_DIVISOR)]] = True
    return mask
