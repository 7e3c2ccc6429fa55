"""Natural shift: test images of a dataset's classes that others collected later. One file for each set of images.

A model meets such images in use: nothing was done to them, but they are not a random part of the dataset. The file of a
set defines `DATASET` (the dataset whose classes it has), `CLASSES` (their names, in the order of the labels) and
`load(folder, fetched)`, which returns a `NaturalSet` (base.py). Importing the file must not import torch or requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from robustness_study.core import registry
from robustness_study.core.errors import StudyError
from robustness_study.natural.base import NaturalSet

HELPERS = ("base",)
NEEDS = ("DATASET", "CLASSES", "load")


def names() -> list[str]:
    """The names of all natural sets: the other files in this folder."""
    return registry.names(__path__, HELPERS)


def check(chosen: Sequence[str], dataset: str) -> None:
    """Raise StudyError if a set in `chosen` does not exist, or has the classes of another dataset than `dataset`."""
    for name in chosen:
        if name not in names():
            raise StudyError(
                f"params.yaml: natural has {name!r}, which does not exist; choose one of {', '.join(names())}"
            )
        wanted = _module(name).DATASET
        if dataset != wanted:
            raise StudyError(
                f"params.yaml: natural has {name!r}, which needs the classes of {wanted}, but download.dataset is "
                f"{dataset!r}; set natural to [], or download.dataset to {wanted}"
            )


def classes(name: str) -> tuple[str, ...]:
    """The classes of a set, in the order of its labels."""
    found: tuple[str, ...] = _module(name).CLASSES
    return found


def load(name: str, classes: Sequence[str], folder: Path | None, fetched: Path) -> NaturalSet:
    """The set called `name`, from the files in `folder`; if that is None, from `fetched`, where they are downloaded.

    `classes` are the names of the dataset's classes, in the order of its labels. Raises StudyError if they are not
    those of the set, or if its files cannot be had or are wrong.
    """
    module = _module(name)
    if tuple(classes) != module.CLASSES:
        raise StudyError(
            f"data/raw/source.json: the classes are {', '.join(classes)}, but those of {name} are "
            f"{', '.join(module.CLASSES)}, in this order; set natural to [], or get the official {module.DATASET}"
        )
    found: NaturalSet = module.load(folder, fetched)
    return found


def _module(name: str) -> Any:
    return registry.module(__name__, name, names(), NEEDS)
