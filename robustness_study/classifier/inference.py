"""Inference: features of many images in batches, and the accuracy function that every stage uses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from robustness_study.classifier.batches import each_batch
from robustness_study.classifier.model import Classifier


def to_float(images: Tensor) -> Tensor:
    """Convert images uint8 N×H×W×3 to float32 in [0, 1], N×3×H×W, channels-last in memory (only one copy is made)."""
    return images.permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def features_in_batches(model: Classifier, images: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Yield the features, float32 n×D on the model's device, of each batch of the uint8 images N×H×W×3."""
    device = model.mean.device
    model.eval()
    for start in range(0, len(images), batch_size):
        yield model.features(to_float(images[start : start + batch_size].to(device))).float()


def all_features(model: Classifier, images: Tensor, batch_size: int) -> Tensor:
    """The features, float32 N×D, of all uint8 images N×H×W×3. Leaves the model in evaluation mode."""
    return torch.cat(list(features_in_batches(model, images, batch_size)))


class Scored(Protocol):
    """What a model needs to be scored: a `Classifier`, or a model from elsewhere that was wrapped."""

    @property
    def mean(self) -> Tensor:
        """A tensor on the model's device."""

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits float32 N×classes and features float32 N×D of images in [0, 1], N×3×H×W."""


def outputs(model: Scored, images: Tensor, batch_size: int) -> tuple[Tensor, Tensor]:
    """Logits float32 N×classes and features float32 N×D of uint8 images N×H×W×3, on the model's device.

    The same bits for any number of threads. The model must be in evaluation mode.
    """
    device = model.mean.device

    @torch.no_grad()  # of the thread that computes the batch
    def of_batch(batch: slice) -> tuple[Tensor, Tensor]:
        return model.outputs(to_float(images[batch].to(device)))

    logits, features = zip(*each_batch(of_batch, len(images), batch_size, device), strict=True)
    return torch.cat(logits), torch.cat(features)


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Accuracy in [0, 1]: the share of images for which the largest of the logits, N×classes, is that of the label."""
    return (logits.argmax(1) == labels).double().mean().item()
