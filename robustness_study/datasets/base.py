"""What every dataset is once loaded, and the checks that hold for all of them.

In: the arrays and names a loader made. Out: the same as a `Dataset`, which `validate` refuses with one
line if the stages after it could not work with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robustness_study.core.errors import StudyError

VARIABLE = "CIFAR10_ARCHIVE"  # of the environment: an archive to use instead of fetching
MOST_CLASSES = 256  # a label is one byte


@dataclass(frozen=True)
class Places:
    """Where a dataset may find its files: the archive that a person named, and the folder for what is fetched."""

    archive: Path | None
    fetched: Path


@dataclass(frozen=True)
class Dataset:
    """Images uint8 N×S×S×3 with labels uint8 N; `official` if they are the publisher's own release."""

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
    """StudyError unless shapes, dtypes, labels and the images per class are as promised."""
    check_classes(dataset.classes)
    check_arrays("training", dataset.train_images, dataset.train_labels, size, len(dataset.classes))
    check_arrays("test", dataset.test_images, dataset.test_labels, size, len(dataset.classes))
    check_counts(
        dataset.classes,
        class_counts(dataset.train_labels, dataset.classes),
        class_counts(dataset.test_labels, dataset.classes),
    )


def check_classes(classes: Sequence[str]) -> None:
    """StudyError unless there are 2 to 256 classes, each with a name of its own."""
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise StudyError(
            f"the dataset has {number(len(classes), 'class', 'classes')}; it must have 2 to {MOST_CLASSES}"
        )
    twice = [name for name in classes if classes.count(name) > 1]
    if twice:
        raise StudyError(f"the dataset has two classes named {twice[0]!r}; rename one")


def check_arrays(part: str, images: np.ndarray, labels: np.ndarray, size: int, classes: int) -> None:
    """StudyError unless one part's images and labels fit each other, `size` and the number of classes."""
    wanted = (len(labels), size, size, 3)
    if labels.ndim != 1 or images.shape != wanted:
        raise StudyError(f"{part} images have shape {images.shape}, not {wanted}; the dataset's loader is at fault")
    for what, array in (("images", images), ("labels", labels)):
        if array.dtype != np.uint8:
            raise StudyError(f"{part} {what} are {array.dtype}, not uint8; the dataset's loader is at fault")
    beyond = np.flatnonzero(labels >= classes)
    if beyond.size:
        at = int(beyond[0])
        raise StudyError(
            f"{part} image {at} has label {labels[at]}, but labels end at {classes - 1}; get the dataset again"
        )


def check_counts(classes: Sequence[str], train: Sequence[int], test: Sequence[int]) -> None:
    """StudyError unless each class can be trained on, validated and tested."""
    for name, trained, tested in zip(classes, train, test, strict=True):
        if trained < 2:
            images = number(trained, "training image", "training images")
            raise StudyError(f"class {name!r} has {images}; at least 2 are needed: one to train on and one to validate")
        if tested < 1:
            raise StudyError(f"class {name!r} has no test image; at least 1 is needed")


def class_counts(labels: np.ndarray, classes: Sequence[str]) -> list[int]:
    """How many images each class has, in the order of `classes`."""
    return [int(count) for count in np.bincount(labels, minlength=len(classes))]


def describe(dataset: Dataset, size: int) -> dict[str, Any]:
    """What source.json says of a dataset of images `size` pixels wide; no path of the machine it was made on."""
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
    """SHA-256 over shapes, dtypes and values: the identity of a dataset that comes as no single file."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return f"sha256:{digest.hexdigest()}"


def number(count: int, one: str, many: str) -> str:
    """`count` with the noun that agrees with it."""
    return f"{count} {one if count == 1 else many}"
