"""The attack against an independent implementation, foolbox's, on a trained network."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from recipes import RECIPE
from torch import Tensor

from stages import train as stage
from stages.lib import losses, params
from stages.lib.attacks import fast_gradient_sign
from stages.lib.inference import to_float
from stages.lib.model import Classifier
from stages.lib.progress import Progress
from stages.lib.schema.recipe import Recipe

CONFIGS = params.read(Path(__file__).resolve().parents[1] / "params.yaml")["loss_config"]
TRAINED, ATTACKED, CLASSES = 256, 1000, 4


def striped(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise with faint stripes, uint8 N×16×16×3, whose direction is the label."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(count) % CLASSES).astype(np.uint8)
    row, column = np.mgrid[:16, :16]
    waves = np.stack([row, column, row + column, row - column])
    stripes = np.sin(np.pi * waves / 2)
    levels = 128 + 22 * stripes[labels][..., None] + rng.normal(0, 30, (count, 16, 16, 3))
    return np.clip(levels, 0, 255).astype(np.uint8), labels


@functools.cache
def trained(name: str) -> Classifier:
    images, labels = striped(TRAINED + 64, seed=0)
    indices = {"train": np.arange(TRAINED), "val": np.arange(TRAINED, TRAINED + 64)}
    recipe = Recipe.model_validate(RECIPE | {"epochs": 4, "batch_size": 32, "crop_padding": 0, "flip": "off"})
    loss = losses.make(name, CONFIGS[name])
    watcher = Progress(recipe.epochs)
    model, _ = stage.train_cell(images, labels, indices, CLASSES, loss, recipe, 0, torch.device("cpu"), watcher)
    return model.eval().requires_grad_(False)


def predictions(model: Classifier, images: Tensor) -> np.ndarray:
    with torch.no_grad():
        return model(images).argmax(1).numpy()


@pytest.mark.parametrize("name", ["cross_entropy", "angular"])
@pytest.mark.parametrize("epsilon_255", [1, 4, 16])
def test_fast_gradient_sign_is_foolboxs(name: str, epsilon_255: int) -> None:
    """To within one image in a thousand."""
    import foolbox

    model = trained(name)
    pixels, digits = striped(ATTACKED, seed=1)
    images, labels = to_float(torch.from_numpy(pixels)).contiguous(), torch.from_numpy(digits.astype(np.int64))
    theirs = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    criterion = foolbox.criteria.Misclassification(labels)
    _, attacked, _ = foolbox.attacks.FGSM()(theirs, images, criterion, epsilons=epsilon_255 / 255)
    one = predictions(model, fast_gradient_sign(model, images, labels, epsilon_255))
    other = predictions(model, attacked)
    assert (one != other).sum() <= ATTACKED / 1000
    assert (one == digits).mean() < (predictions(model, images) == digits).mean()
