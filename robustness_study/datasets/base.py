"""The class `Dataset`, which every loader returns, and the checks that every dataset must pass.

`validate` raises StudyError if the later stages could not use the dataset.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robustness_study.core.errors import StudyError

VARIABLE = "CIFAR10_ARCHIVE"  # environment variable: path of an archive to use instead of a download
MOST_CLASSES = 256  # a label is one byte


@dataclass(frozen=True)
class Places:
    """Where a dataset finds its files: the archive that the user named (or None), and the folder for downloads."""

    archive: Path | None
    fetched: Path


@dataclass(frozen=True)
class Dataset:
    """Images uint8 N×S×S×3 with labels uint8 (N,). `official`: they are the original release of the publisher."""

    name: str
    origin: str
    checksum: str
    official: bool
    classes: list[str]
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def validate(dataset: Dataset, size: int) -> None:
    """Raise StudyError if classes, shapes, types, labels or the number of images of a class are not valid.

    `size` is the required width and height of the images in pixels.
    """
    check_classes(dataset.classes)
    check_arrays("training", dataset.train_images, dataset.train_labels, size, len(dataset.classes))
    check_arrays("test", dataset.test_images, dataset.test_labels, size, len(dataset.classes))
    check_counts(
        dataset.classes,
        class_counts(dataset.train_labels, dataset.classes),
        class_counts(dataset.test_labels, dataset.classes),
    )


def check_classes(classes: Sequence[str]) -> None:
    """Raise StudyError unless there are 2 to 256 classes with different names that UTF-8 can hold."""
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise StudyError(
            f"the dataset has {number(len(classes), 'class', 'classes')}; it must have 2 to {MOST_CLASSES} classes"
        )
    twice = [name for name in classes if classes.count(name) > 1]
    if twice:
        raise StudyError(f"the dataset has two classes with the name {twice[0]!r}; rename one")
    unreadable = [name for name in classes if any("\ud800" <= letter <= "\udfff" for letter in name)]
    if unreadable:
        raise StudyError(
            f"the name of class {unreadable[0]!r} is not readable here; set LC_ALL=C.UTF-8, or rename the class"
        )


def check_arrays(part: str, images: np.ndarray, labels: np.ndarray, size: int, classes: int) -> None:
    """Raise StudyError unless the images and labels of one part fit each other, `size` and the number of classes."""
    wanted = (len(labels), size, size, 3)
    if labels.ndim != 1 or images.shape != wanted:
        raise StudyError(f"{part} images have shape {images.shape}, not {wanted}; correct `load` in the dataset's file")
    for what, array in (("images", images), ("labels", labels)):
        if array.dtype != np.uint8:
            raise StudyError(f"{part} {what} are {array.dtype}, not uint8; correct `load` in the dataset's file")
    beyond = np.flatnonzero(labels >= classes)
    if beyond.size:
        at = int(beyond[0])
        raise StudyError(
            f"{part} image {at} has label {labels[at]}, but the largest label is {classes - 1}; get the dataset again"
        )


def check_counts(classes: Sequence[str], train: Sequence[int], test: Sequence[int]) -> None:
    """Raise StudyError unless each class has at least 2 training images and 1 test image.

    `train` and `test` are the numbers of images of each class, in the order of `classes`.
    """
    for name, trained, tested in zip(classes, train, test, strict=True):
        if trained < 2:
            images = number(trained, "training image", "training images")
            raise StudyError(f"class {name!r} has {images}; add some: at least 2 are needed (training and validation)")
        if tested < 1:
            raise StudyError(f"class {name!r} has no test image; add at least 1")


def class_counts(labels: np.ndarray, classes: Sequence[str]) -> list[int]:
    """The number of images of each class, in the order of `classes`."""
    return [int(count) for count in np.bincount(labels, minlength=len(classes))]


def describe(dataset: Dataset, size: int) -> dict[str, Any]:
    """The content of source.json for a dataset with images `size` pixels wide. It has no path of this machine."""
    return {
        "name": dataset.name,
        "origin": dataset.origin,
        "checksum": dataset.checksum,
        "official": dataset.official,
        "classes": dataset.classes,
        "counts": {
            "train": class_counts(dataset.train_labels, dataset.classes),
            "test": class_counts(dataset.test_labels, dataset.classes),
        },
        "size": size,
    }


def array_checksum(*arrays: np.ndarray) -> str:
    """SHA-256 of shapes, types and values. It identifies a dataset that is not a single file."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"sha256:{digest.hexdigest()}"


def number(count: int, one: str, many: str) -> str:
    """`count` followed by the noun: `one` if the count is 1, else `many`."""
    return f"{count} {one if count == 1 else many}"
