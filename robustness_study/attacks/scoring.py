"""Data types for the attacked images and an attack's results; helpers to predict in batches and to round to 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustness_study.classifier.model import Classifier

Logits = Callable[[Tensor], Tensor]  # images float32 in [0, 1], N×3×H×W → N×classes

A_LAST_DIGIT = 1e-6  # rounding error of float32 values in [0, 1]; 1/255 is 4e-3

ByEpsilon = dict[int, np.ndarray]  # epsilon in units of 1/255 → an array of N


@dataclass(frozen=True)
class Target:
    """Images to attack, float32 in [0, 1] N×3×H×W, with true labels, int64 N, and indices among the test images, N."""

    images: Tensor
    labels: Tensor
    indices: np.ndarray

    def of(self, positions: np.ndarray) -> Target:
        """The images at these positions, with their labels and indices."""
        chosen = torch.from_numpy(positions).to(self.images.device)
        return Target(self.images[chosen], self.labels[chosen], self.indices[positions])

    def correct(self, predictions: ByEpsilon) -> ByEpsilon:
        """Which images are predicted correctly at each epsilon, bool N. `predictions` holds labels, N, by epsilon."""
        labels = self.labels.cpu().numpy()
        return {epsilon: predicted == labels for epsilon, predicted in predictions.items()}


@dataclass(frozen=True)
class Found:
    """One result of an attack: the labels predicted at each epsilon, for the images at `positions` in the target.

    attack.json also holds `settings` and `measured`. Two models are compared only if their settings are equal, as far
    as the attack's entry in the catalogue names them in `must_be_equal`.
    """

    positions: np.ndarray  # sorted, M
    predictions: ByEpsilon
    settings: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)

    def of(self, positions: np.ndarray) -> ByEpsilon:
        """The labels predicted for some of the images, by epsilon. `positions` are those in the target."""
        places = np.searchsorted(self.positions, positions)
        return {epsilon: predicted[places] for epsilon, predicted in self.predictions.items()}


def in_batches(function: Callable[..., Tensor], batch_size: int, *tensors: Tensor) -> Tensor:
    """Apply a function to the rows of the tensors, batch by batch, and concatenate the results."""
    starts = range(0, len(tensors[0]), batch_size)
    return torch.cat([function(*(tensor[start : start + batch_size] for tensor in tensors)) for start in starts])


def predict(logits: Logits, images: Tensor, batch_size: int) -> np.ndarray:
    """Predicted labels, int64 N, of float32 images in [0, 1], N×3×H×W."""
    with torch.no_grad():
        return in_batches(lambda batch: logits(batch).argmax(1), batch_size, images).cpu().numpy()


@torch.no_grad()
def features_of(model: Classifier, images: Tensor, batch_size: int) -> np.ndarray:
    """Features float32 N×D of float32 images in [0, 1], N×3×H×W."""
    return in_batches(model.features, batch_size, images).cpu().numpy()


def to_8_bit(images: Tensor) -> Tensor:
    """The images, in [0, 1], rounded to multiples of 1/255, as an image file stores them."""
    return torch.round(images * 255) / 255


def is_8_bit(images: Tensor) -> bool:
    """Whether rounding to 8 bits changes nothing: all values are multiples of 1/255, up to float32 rounding error."""
    return (images - to_8_bit(images)).abs().max().item() < A_LAST_DIGIT


def rescale(logits: Logits, factor: float) -> Logits:
    """The logits times a positive factor. The predictions stay the same; the softmax and its gradient change."""
    return lambda images: factor * logits(images)
