"""Gradient attacks against an independent implementation, foolbox, on trained networks."""

from __future__ import annotations

import functools
from pathlib import Path

import foolbox
import numpy as np
import pytest
import torch
from attacked import pgd_images
from recipes import RECIPE
from torch import Tensor

from robustness_study import losses
from robustness_study.attacks.pgd import REACH
from robustness_study.attacks.signs import gradient_signs, step
from robustness_study.classifier.inference import to_float
from robustness_study.classifier.model import Classifier
from robustness_study.core import params
from robustness_study.schema.recipe import Recipe
from robustness_study.training.one_model import train_cell
from robustness_study.training.progress import Progress

CONFIGS = params.read(Path(__file__).resolve().parents[1] / "params.yaml")["loss_config"]
TRAINED, ATTACKED, SEARCHED, CLASSES = 256, 1000, 400, 4


def striped(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of noise with faint stripes, uint8 N×16×16×3. The direction of the stripes is the label."""
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
    recipe = Recipe.model_validate(RECIPE | {"epochs": 4, "batch_size": 16, "crop_padding": 0, "flip": "off"})
    loss = losses.make(name, CONFIGS[name])
    watcher = Progress(recipe.epochs)
    model, _ = train_cell(images, labels, indices, CLASSES, loss, recipe, 0, torch.device("cpu"), watcher)
    return model.eval().requires_grad_(False)


def predictions(model: Classifier, images: Tensor) -> np.ndarray:
    with torch.no_grad():
        return model(images).argmax(1).numpy()


def accuracy_of(model: Classifier, images: Tensor, labels: Tensor) -> float:
    return float((predictions(model, images) == labels.numpy()).mean())


def loss_of(model: Classifier, images: Tensor, labels: Tensor) -> float:
    """The loss, which attacks increase. Accuracy may be 1 before and after a small step, depending on the processor."""
    with torch.no_grad():
        return float(torch.nn.functional.cross_entropy(model(images), labels))


def unseen(count: int) -> tuple[Tensor, Tensor]:
    pixels, digits = striped(count, seed=1)
    return to_float(torch.from_numpy(pixels)).contiguous(), torch.from_numpy(digits.astype(np.int64))


def by_foolbox(
    attack: foolbox.attacks.base.Attack, model: Classifier, images: Tensor, labels: Tensor, epsilon_255: int
) -> Tensor:
    theirs = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    return attack(theirs, images, foolbox.criteria.Misclassification(labels), epsilons=epsilon_255 / 255)[1]


@pytest.mark.parametrize("name", ["cross_entropy", "angular"])
@pytest.mark.parametrize("epsilon_255", [4, *(pytest.param(other, marks=pytest.mark.slow) for other in (1, 16))])
def test_fast_gradient_sign_agrees_with_foolbox(name: str, epsilon_255: int) -> None:
    """To within one image in a thousand."""
    model, (images, labels) = trained(name), unseen(ATTACKED)
    found = step(images, gradient_signs(model, images, labels), epsilon_255)
    attacked = by_foolbox(foolbox.attacks.FGSM(), model, images, labels, epsilon_255)
    assert (predictions(model, found) != predictions(model, attacked)).sum() <= ATTACKED / 1000
    assert loss_of(model, found, labels) > loss_of(model, images, labels)


@pytest.mark.parametrize("name", ["cross_entropy", "angular"])
def test_projected_gradient_descent_agrees_with_foolbox(name: str) -> None:
    """Both start at the images with the same step: nearly all values and the accuracy are the same.

    The sign of a gradient near zero may differ if the same numbers are added in another order.
    """
    model, (images, labels), epsilon_255, steps = trained(name), unseen(SEARCHED), 4, 4
    found = pgd_images(model, images, labels, epsilon_255, steps, torch.zeros_like(images))
    theirs = foolbox.attacks.LinfBasicIterativeAttack(rel_stepsize=REACH / steps, steps=steps, random_start=False)
    attacked = by_foolbox(theirs, model, images, labels, epsilon_255)
    assert ((found - attacked).abs() > 1e-6).float().mean() <= 0.001
    assert abs(accuracy_of(model, found, labels) - accuracy_of(model, attacked, labels)) <= 0.005
    single = step(images, gradient_signs(model, images, labels), epsilon_255)
    clean_loss, single_loss, found_loss = (loss_of(model, given, labels) for given in (images, single, found))
    assert clean_loss < single_loss < found_loss
