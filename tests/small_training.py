"""Small images and short trainings for the tests of the training."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recipes import RECIPE

from robustness_study import losses
from robustness_study.classifier.model import Classifier
from robustness_study.core import params
from robustness_study.schema.recipe import Recipe
from robustness_study.training import one_model
from robustness_study.training.progress import Progress
from robustness_study.training.watcher import Epoch

ROOT = Path(__file__).resolve().parents[1]
PARAMS = params.read(ROOT / "params.yaml")
CONFIGS, SETS = PARAMS["loss_config"], PARAMS["train_set_config"]
CPU = torch.device("cpu")
STUDIED = ("cross_entropy", "angular")  # a loss for each way to draw batches
SIDE, CLASSES = 16, 4
WIDTH = 512  # of the features of `Tiny`


def noise(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise, uint8, and labels that do not depend on them."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8)
    return images, rng.permutation(np.arange(count) % CLASSES).astype(np.uint8)


def quadrants(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise with one brighter quadrant. Its number is the label."""
    images, labels = noise(count, seed)
    images //= 2
    half = SIDE // 2
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[row * half : (row + 1) * half, column * half : (column + 1) * half] += 100
    return images, labels


IMAGES, LABELS = quadrants(40)
INDICES = {"train": np.arange(0, 26), "val": np.arange(26, 40)}


def train_cell(
    name: str, images: np.ndarray = IMAGES, labels: np.ndarray = LABELS, seed: int = 0, **changes: Any
) -> tuple[Classifier, list[Epoch]]:
    """The stage's own function on the CPU, with `changes` to the recipe."""
    indices = changes.pop("indices", INDICES)
    loss, recipe = losses.make(name, CONFIGS[name]), Recipe.model_validate(RECIPE | changes)
    return one_model.train_cell(images, labels, indices, CLASSES, loss, recipe, seed, CPU, Progress(recipe.epochs))


@functools.cache
def baseline(name: str) -> tuple[Classifier, list[Epoch]]:
    return train_cell(name)


def untimed(epoch: Epoch) -> Epoch:
    return replace(epoch, seconds=0, images_per_second=0)


def same_weights(one: Classifier, other: Classifier) -> bool:
    states = one.state_dict(), other.state_dict()
    return states[0].keys() == states[1].keys() and all(
        torch.equal(states[0][key], states[1][key]) for key in states[0]
    )
