"""The images that are attacked, what an attack finds, and helpers to predict and round in batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustness_study.classifier.model import Classifier

Logits = Callable[[Tensor], Tensor]  # images float32 in [0, 1], N×3×H×W → N×classes

A_LAST_DIGIT = 1e-6  # of values in [0, 1]; a grey level is 4e-3

ByEpsilon = dict[int, np.ndarray]  # epsilon in grey levels → an array of N


@dataclass(frozen=True)
class Target:
    """The attacked images, float32 in [0, 1] N×3×H×W, int64 labels, and their indices among the test images."""

    images: Tensor
    labels: Tensor
    indices: np.ndarray

    def of(self, positions: np.ndarray) -> Target:
        """Some of them."""
        chosen = torch.from_numpy(positions).to(self.images.device)
        return Target(self.images[chosen], self.labels[chosen], self.indices[positions])

    def right(self, predictions: ByEpsilon) -> ByEpsilon:
        """Who is right, bool N, at each epsilon."""
        labels = self.labels.cpu().numpy()
        return {epsilon: predicted == labels for epsilon, predicted in predictions.items()}


@dataclass(frozen=True)
class Found:
    """The labels predicted under one attack, at each epsilon, for the images at these positions of the target.

    `settings` and `measured` go into attack.json beside them. Two models are compared only if the settings that the
    catalogue names are equal.
    """

    positions: np.ndarray  # sorted, M
    predictions: ByEpsilon
    settings: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)

    def of(self, positions: np.ndarray) -> ByEpsilon:
        """The predictions for some of its images, given by their positions in the target."""
        places = np.searchsorted(self.positions, positions)
        return {epsilon: predicted[places] for epsilon, predicted in self.predictions.items()}


def in_batches(function: Callable[..., Tensor], batch_size: int, *tensors: Tensor) -> Tensor:
    """What a function of the tensors' rows gives, batch by batch."""
    starts = range(0, len(tensors[0]), batch_size)
    return torch.cat([function(*(tensor[start : start + batch_size] for tensor in tensors)) for start in starts])


def predict(logits: Logits, images: Tensor, batch_size: int) -> np.ndarray:
    """Predicted labels of float32 images in [0, 1], N×3×H×W."""
    with torch.no_grad():
        return in_batches(lambda batch: logits(batch).argmax(1), batch_size, images).cpu().numpy()


@torch.no_grad()
def features_of(model: Classifier, images: Tensor, batch_size: int) -> np.ndarray:
    """Features float32 N×D of float32 images in [0, 1], N×3×H×W."""
    return in_batches(model.features, batch_size, images).cpu().numpy()


def to_8_bit(images: Tensor) -> Tensor:
    """The images as a file would hold them."""
    return torch.round(images * 255) / 255


def is_8_bit(images: Tensor) -> bool:
    """Whether rounding to 8 bits changes no more than a float's last digits, as of bytes moved by whole grey levels."""
    return (images - to_8_bit(images)).abs().max().item() < A_LAST_DIGIT


def rescale(logits: Logits, factor: float) -> Logits:
    """The same logits, times a factor: the same predictions, and another softmax."""
    return lambda images: factor * logits(images)
