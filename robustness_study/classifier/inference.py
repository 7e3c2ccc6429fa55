"""Running a model over many images without training it, and the one accuracy that every stage uses."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from robustness_study.classifier.model import Classifier


def to_float(images: Tensor) -> Tensor:
    """uint8 N×H×W×3 to float32 [0, 1] N×3×H×W, laid out channels-last (no copy but the conversion)."""
    return images.permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def features_in_batches(model: Classifier, images: Tensor, batch_size: int) -> Iterator[Tensor]:
    """Features, float32 n×D, of uint8 images N×H×W×3, batch by batch, on the model's device."""
    device = model.mean.device
    model.eval()
    for start in range(0, len(images), batch_size):
        yield model.features(to_float(images[start : start + batch_size].to(device))).float()


def all_features(model: Classifier, images: Tensor, batch_size: int) -> Tensor:
    """The features, float32 N×D, of all the images; the model is left in evaluation mode."""
    return torch.cat(list(features_in_batches(model, images, batch_size)))


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of images whose largest logit is their label's, in [0, 1]."""
    return (logits.argmax(1) == labels).double().mean().item()
