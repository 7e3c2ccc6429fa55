"""Refuses files that are whole, but do not fit each other: other shapes, labels, indices or parts than they must have.

Each function gets the path of the file to blame, and raises StudyError with that path and what to do.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from robustness_study.core.cached import remedy
from robustness_study.core.errors import StudyError

Shape = tuple[int | None, ...]  # None: any length


def refuse_shape(path: str | Path, **arrays: tuple[np.ndarray, Shape]) -> None:
    """Raise StudyError unless each array from `path` has the shape that other files ask for. Name → array, shape."""
    for name, (array, wanted) in arrays.items():
        fits = array.ndim == len(wanted) and all(
            length in (None, found) for length, found in zip(wanted, array.shape, strict=True)
        )
        if not fits:
            found, asked = ("×".join(map(str, shape)) or "one value" for shape in (array.shape, wanted))
            _refuse(path, f"{name} is {found}, but other files ask for {asked.replace('None', 'any')}")


def refuse_labels(path: str | Path, labels: np.ndarray, classes: int) -> None:
    """Raise StudyError if a label from `path` is not of one of the classes."""
    if labels.max() >= classes:
        _refuse(path, f"there is the label {labels.max()}, but there are only {classes} classes")


def refuse_images(path: str | Path, images: np.ndarray, labels: np.ndarray, model: Mapping[str, Any]) -> None:
    """Raise StudyError unless images and labels from `path` are such as a model knows.

    `model` is the content of its model.json: `size` in pixels, and `classes`.
    """
    refuse_shape(path, images=(images, (len(labels), model["size"], model["size"], 3)))
    refuse_labels(path, labels, len(model["classes"]))


def refuse_beyond(path: str | Path, count: int, *of_each: np.ndarray) -> None:
    """Raise StudyError if a rising index from `path` is not one of `count` images."""
    for indices in of_each:
        if len(indices) and indices[-1] >= count:
            _refuse(path, f"there is the index {indices[-1]}, but there are only {count} images")


def refuse_no_partition(path: str | Path, count: int, *parts: np.ndarray) -> None:
    """Raise StudyError unless each of `count` images is in exactly one of the parts, which are rising indices."""
    refuse_beyond(path, count, *parts)
    if not np.array_equal(np.sort(np.concatenate(parts)), np.arange(count)):
        _refuse(path, f"not each of the {count} images is in exactly one part")


def _refuse(path: str | Path, what: str) -> None:
    raise StudyError(f"{path}: {what}; {remedy(path)}")
