"""The images to attack; helpers to predict in batches and to round to 8 bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from robustness_study.attacks.outcome import ByEpsilon
from robustness_study.classifier.batches import in_batches

Logits = Callable[[Tensor], Tensor]  # images float32 in [0, 1], N×3×H×W → N×classes

A_LAST_DIGIT = 1e-6  # rounding error of float32 values in [0, 1]; 1/255 is 4e-3


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


def predict(logits: Logits, images: Tensor, batch_size: int) -> np.ndarray:
    """Predicted labels, int64 N, of float32 images in [0, 1], N×3×H×W."""

    @torch.no_grad()  # of the thread that computes the batch
    def labels(batch: Tensor) -> Tensor:
        return logits(batch).argmax(1)

    return in_batches(labels, batch_size, images).cpu().numpy()


def features_of(model: Featured, images: Tensor, batch_size: int) -> np.ndarray:
    """Features float32 N×D of float32 images in [0, 1], N×3×H×W."""
    return in_batches(torch.no_grad()(model.features), batch_size, images).cpu().numpy()


class Featured(Protocol):
    """A model with features."""

    def features(self, images: Tensor) -> Tensor:
        """Features N×D of images in [0, 1], N×3×H×W."""


def to_8_bit(images: Tensor) -> Tensor:
    """The images, in [0, 1], rounded to multiples of 1/255, as an image file stores them."""
    return torch.round(images * 255) / 255


def is_8_bit(images: Tensor) -> bool:
    """Whether rounding to 8 bits changes nothing: all values are multiples of 1/255, up to float32 rounding error."""
    return (images - to_8_bit(images)).abs().max().item() < A_LAST_DIGIT


def rescale(logits: Logits, factor: float) -> Logits:
    """The logits times a positive factor. The predictions stay the same; the softmax and its gradient change."""
    return lambda images: factor * logits(images)
