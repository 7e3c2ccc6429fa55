"""The class `Dataset`, which every loader returns, and the checks that every dataset must pass.

`validate` raises StudyError if the later stages could not use the dataset.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from robustness_study.core.errors import StudyError
from robustness_study.core.files import array_digest

VARIABLE = "CIFAR10_ARCHIVE"  # environment variable: an archive or a folder to use instead of a download
MOST_CLASSES = 256  # a label is one byte
INVISIBLE = {"Cc", "Cf", "Zl", "Zp"}  # Unicode categories: control, format (also those that reverse text), line ends
JOINERS = "\u200c\u200d"  # format characters that some scripts and many emoji need
UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200c\u200d\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")


@dataclass(frozen=True)
class Places:
    """Where a dataset finds its files: what the user named (a file, a folder or None), and the folder for downloads."""

    archive: Path | None
    fetched: Path


@dataclass(frozen=True)
class Dataset:
    """Images uint8 N×S×S×3 with labels uint8 (N,). `official`: they are the original release of the publisher.

    If images come from single files, `train_files` and `test_files` name them, in the same order. `jpeg_share` is the
    share of training images that were JPEG files, from 0 to 1; None if this is not known. `notes` are sentences that
    `download` prints.
    """

    name: str
    origin: str
    checksum: str
    official: bool
    classes: list[str]
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    train_files: list[str] | None = None
    test_files: list[str] | None = None
    jpeg_share: float | None = None
    notes: list[str] = field(default_factory=list)


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
    """Raise StudyError unless there are 2 to 256 classes, with different names that can be shown everywhere."""
    if not 2 <= len(classes) <= MOST_CLASSES:
        raise StudyError(
            f"the dataset has {number(len(classes), 'class', 'classes')}; it must have 2 to {MOST_CLASSES} classes"
        )
    for name in classes:
        fault = fault_of_name(name)
        if fault:
            raise StudyError(f"the dataset has a class with the name {name!r}, which {fault}; rename it")
    looks = [visible_part(name) for name in classes]
    twice = [name for name, look in zip(classes, looks, strict=True) if looks.count(look) > 1]
    if twice:
        raise StudyError(f"the dataset has two classes with the name {twice[0]!r}, or that look so; rename one")


def visible_part(name: str) -> str:
    """The name without what nobody sees: joiners, selectors of variants, fillers. Accents are written in one way."""
    return "".join(each for each in unicodedata.normalize("NFC", name) if not UNSEEN.fullmatch(each))


def fault_of_name(name: str) -> str | None:
    """What is wrong with the name of a class, as the end of "the name …"; None if it can be shown everywhere.

    Names are shown in the terminal, in pictures, in Markdown, in web pages and in tables that spreadsheets open.
    """
    kinds = {unicodedata.category(character) for character in name if character not in JOINERS}
    if "Cs" in kinds:  # Python's stand-in for a byte that is not UTF-8
        return "is not UTF-8"
    if kinds & INVISIBLE:
        return "has a line break or another character that cannot be seen"
    if name[:1] in JOINERS or name[-1:] in JOINERS or not visible_part(name):
        return "has characters that cannot be seen, where they are not needed"
    if not name.strip() or name != name.strip():
        return "is empty, or begins or ends with a space"
    first = unicodedata.normalize("NFKC", name[0])  # also the wide forms of these characters
    if first in "=@" or (first in "+-" and not NUMBER.fullmatch(name)):
        return f"begins with {name[0]}, so that a spreadsheet would run it as a formula"
    return None


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
        "jpeg_share": dataset.jpeg_share,
    }


def array_checksum(*arrays: np.ndarray) -> str:
    """SHA-256 of shapes, types and values. It identifies a dataset that is not a single file."""
    return f"sha256:{array_digest(*arrays)}"


def number(count: int, one: str, many: str) -> str:
    """`count` followed by the noun: `one` if the count is 1, else `many`."""
    return f"{count} {one if count == 1 else many}"
