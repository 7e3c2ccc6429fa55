"""Training sets: one file for each, found by its name. The file makes the images that a model trains on.

A file defines:

- `Config`: the settings in its block under `train_set_config` in params.yaml.
- `make(clean, corrupted, config)`: returns the images to train on, uint8 N×S×S×3, one for each raw training image in
  the same order. `clean` are the raw training images, `corrupted` their copies from the stage `corrupt`. Random numbers
  must come from seeds that are derived from names (core/seeds.py), so that every machine makes the same images.
- `CHANGES`: the kinds of change that it makes to images, from `KINDS` below. A corruption of the same kind then counts
  as seen in training (results/seen_corruptions.py).

Importing a file must not import torch; `make` may import it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from robustness_study.core import registry
from robustness_study.core.errors import StudyError
from robustness_study.core.section import Section

NEEDS = ("Config", "CHANGES", "make")
KINDS = ("noise", "brightness", "contrast", "saturation", "rotation", "flip", "blur", "low resolution")


def names() -> list[str]:
    """The names of all training sets: the other files in this folder."""
    return registry.names(__path__)


def file_of(name: str) -> str:
    """The path of the training set's file from the root of the project."""
    return registry.file_of(__name__, name)


def config_class(name: str) -> type[Section]:
    """The schema of `train_set_config.NAME`.

    Raises StudyError if the training set does not exist or its file has a mistake.
    """
    return _module(name).Config


def changes(name: str) -> tuple[str, ...]:
    """The kinds of change that the training set makes to images, from `KINDS`."""
    return tuple(_module(name).CHANGES)


def make(name: str, clean: np.ndarray, corrupted: np.ndarray, config: Section) -> np.ndarray:
    """The images of the training set `name`, uint8 N×S×S×3, in the order of `clean`.

    Raises StudyError if the training set does not exist, or if its images do not have the type and shape of `clean`.
    """
    made: np.ndarray = _module(name).make(clean, corrupted, config)
    if made.shape != clean.shape or made.dtype != np.uint8:
        raise StudyError(
            f"{file_of(name)}: make returned {made.dtype} images of shape {made.shape}; they must be uint8 of shape "
            f"{clean.shape}, one for each raw training image"
        )
    return made


def _module(name: str) -> Any:
    module = registry.module(__name__, name, names(), NEEDS)
    changes = module.CHANGES
    if not isinstance(changes, tuple | list) or not all(each in KINDS for each in changes):
        raise StudyError(
            f"{file_of(name)}: CHANGES is {changes!r}; it must be a tuple such as () or ('blur',), with names from "
            f"{', '.join(KINDS)}"
        )
    return module
