"""CIFAR-10.1 v6 (Recht et al. 2018, arXiv 1806.00451): 2,000 new test images for the classes of CIFAR-10.

They were collected in the way that CIFAR-10 was, from the same larger collection, years later. All models lose accuracy
on them. The authors give no checksums. Those below were published by several projects, independently, for the files of
the authors' repository (commit d9982abb); all agree, also that each class has 200 images.
Files: https://github.com/modestyachts/CIFAR-10.1
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.natural.base import NaturalSet, Source

DATASET = "cifar10"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE, OF_EACH_CLASS = 32, 200
URL = "https://raw.githubusercontent.com/modestyachts/CIFAR-10.1/master/datasets/"
IMAGES = Source(
    f"{URL}cifar10.1_v6_data.npy",
    "cifar10.1_v6_data.npy",
    6_144_128,
    "2997188e5816f5bd545dc77771b6227828c28146049fcecf3fa10775474cacc6",
)
LABELS = Source(
    f"{URL}cifar10.1_v6_labels.npy",
    "cifar10.1_v6_labels.npy",
    8_128,
    "ae40beda001693674edc94d925ee8268cfe68905f8f9aff800c8dcdfcd6c9448",
)


def load(folder: Path | None, fetched: Path) -> NaturalSet:
    """The 2,000 images uint8 2000×32×32×3 and labels 0 to 9, from `folder`, or else downloaded to `fetched`.

    Raises StudyError if a file cannot be had, or if it is not of this form.
    """
    images, labels = (source.read(folder, fetched) for source in (IMAGES, LABELS))
    count = OF_EACH_CLASS * len(CLASSES)
    if images.dtype != np.uint8 or images.shape != (count, SIDE, SIDE, 3):
        raise StudyError(
            f"{IMAGES.name}: the images are {images.dtype} {images.shape}, not uint8 {(count, SIDE, SIDE, 3)}; get the "
            f"file again from {IMAGES.url}"
        )
    if labels.dtype.kind not in "iu" or labels.shape != (count,):
        raise StudyError(
            f"{LABELS.name}: the labels are {labels.dtype} {labels.shape}, not whole numbers {(count,)}; get the file "
            f"again from {LABELS.url}"
        )
    found, counts = np.unique(labels, return_counts=True)
    if found.tolist() != list(range(len(CLASSES))) or (counts != OF_EACH_CLASS).any():
        raise StudyError(
            f"{LABELS.name}: the labels are not {OF_EACH_CLASS} of each of 0 to {len(CLASSES) - 1}; get the file again "
            f"from {LABELS.url}"
        )
    checksums = {source.name: f"sha256:{source.checksum}" for source in (IMAGES, LABELS)}
    return NaturalSet(images, labels.astype(np.uint8), checksums)
