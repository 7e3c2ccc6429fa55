"""Training sets: one file for each, found by its name. The file makes the images that a model trains on.

A file defines:

- `Config`: the settings in its block under `train_set_config` in params.yaml.
- `make(clean, corrupted, config)`: returns the images to train on, uint8 N×S×S×3, one for each raw training image in
  the same order. `clean` are the raw training images, `corrupted` their copies from the stage `corrupt`. Random numbers
  must come from seeds that are derived from names (core/seeds.py), so that every machine makes the same images.
- `CHANGES`: the kinds of change that it makes to images, from `KINDS` below. A corruption of the same kind then counts
  as seen in training (results/seen_corruptions.py).

It may also define:

- `batch_attack(config)`: returns a `BatchAttack`, which changes each batch while the model trains.
- `CONTROL`: a sentence that says what the models are a control for. The report then shows them in a table of their own.

Importing a file must not import torch; its functions may import it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from robustness_study.core import registry
from robustness_study.core.errors import StudyError
from robustness_study.core.section import Section

if TYPE_CHECKING:
    import torch
    from torch import Tensor

NEEDS = ("Config", "CHANGES", "make")
KINDS = ("noise", "brightness", "contrast", "saturation", "rotation", "flip", "blur", "low resolution")

# The gradient of the training loss with respect to the images, both float32 N×3×H×W.
Gradient = Callable[["Tensor"], "Tensor"]


@dataclass(frozen=True)
class BatchAttack:
    """An attack on each training batch: the model learns from the attacked images only.

    `attacked(images, gradient, rng)` returns the attacked copies of augmented images, all float32 N×3×H×W in [0, 1].
    `gradient` is a function: images → gradient of the training loss at these images. All random numbers must come from
    `rng`, which is on the device of the images. `epsilon_255`, in units of 1/255, is the size of the attack that the
    model should withstand: after each epoch, PGD of this size measures whether it does.
    """

    epsilon_255: float
    attacked: Callable[[Tensor, Gradient, torch.Generator], Tensor]


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


def control(name: str) -> str | None:
    """What the models of this training set are a control for, in a sentence; None if they are not a control."""
    found: str | None = getattr(_module(name), "CONTROL", None)
    return found


def batch_attack(name: str, config: Section) -> BatchAttack | None:
    """What training does to each batch of images of this training set; None if it does nothing."""
    module = _module(name)
    found: BatchAttack | None = module.batch_attack(config) if hasattr(module, "batch_attack") else None
    return found


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
