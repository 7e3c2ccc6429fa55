"""What all parts of the benchmark share: the device, the recipe, the sizes, and a training run to measure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bench import speed
from robustness_study import losses
from robustness_study.classifier.precision import repeatable
from robustness_study.schema.recipe import Recipe
from robustness_study.training.engine import Training
from robustness_study.training.one_model import fresh_model
from robustness_study.training.watcher import Images

CLASSES = 10
ENDLESS = 2000  # epochs: the most that a recipe allows, so that a measurement never comes to the end of the training
TINY = {"epochs": 2, "batch_size": 20, "watched_images": 20, "compile": False, "network": "resnet18_narrow"}


@dataclass(frozen=True)
class Setting:
    """The device, the params and the sizes of the measurements. `tiny` is for trying the program, not for figures."""

    on: torch.device
    params: dict[str, Any]
    tiny: bool

    @property
    def recipe(self) -> Recipe:
        """The recipe `gpu`; if tiny, a small network and few epochs."""
        return Recipe.model_validate(self.params["recipes"]["gpu"] | (TINY if self.tiny else {}))

    @property
    def stems(self) -> tuple[str, ...]:
        """The stems of ResNet-18 whose speeds are measured: the recipe's first."""
        return ("imagenet",) if self.tiny else ("cifar", "half", "imagenet")

    @property
    def images(self) -> int:
        """The number of made images: as many as a fifth of CIFAR-10's training images."""
        return 200 if self.tiny else speed.IMAGES

    @property
    def turns(self) -> int:
        """How often each measurement of speed is repeated."""
        return 2 if self.tiny else 5

    @property
    def seconds(self) -> float:
        """How long one turn takes, at most."""
        return 0.2 if self.tiny else 2.0


def made_images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Random images uint8 N×32×32×3 and labels uint8 N. What an image shows does not change how long a step takes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return images, (np.arange(count) % CLASSES).astype(np.uint8)


def training_of(given: Setting, loss_name: str = "cross_entropy", **changes: Any) -> Training:
    """A training run with the recipe, some of its keys changed, on made images."""
    recipe = Recipe.model_validate(given.recipe.model_dump() | {"epochs": ENDLESS} | changes)
    loss = losses.make(loss_name, given.params["loss_config"][loss_name])
    images, labels = made_images(given.images)
    model = fresh_model(images, CLASSES, loss, recipe, 0).to(given.on)
    data = Images(torch.from_numpy(images).to(given.on), torch.from_numpy(labels.astype(np.int64)).to(given.on))
    return Training(model, data, recipe, loss.batches, 0)


def endless_steps(training: Training) -> Iterator[int]:
    """Train step by step; yields the number of images of each step. The preparation of epochs is included."""
    epoch = 0
    while True:
        epoch += 1
        for _ in training.epoch_from(epoch, 0):
            yield training.recipe.batch_size


def rate(training: Training, steps: Iterator[int], given: Setting) -> float:
    """Images per second in one turn."""
    with repeatable(given.on, training.recipe.deterministic):
        return speed.speed_of(steps, given.seconds, given.on)


def warm_up(training: Training, steps: Iterator[int], given: Setting) -> None:
    """Take three steps: the first compiles, and all of them let torch choose its kernels."""
    with repeatable(given.on, training.recipe.deterministic):
        for _ in range(3):
            next(steps)
    speed.wait(given.on)
