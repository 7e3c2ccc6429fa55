"""The model: normalisation, a backbone (the network) and the head of the loss.

In: float32 images in [0, 1], N×3×H×W. Out: features N×D or class logits N×classes. Normalisation is the first layer,
so the epsilon of an attack is measured on pixel values in [0, 1] (Croce et al. 2020, arXiv 2010.09670).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robustness_study.losses.head import Head


class Classifier(nn.Module):
    """Normalisation, backbone and head. `width` is the number D of the backbone's features, N×D."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, head: Head, mean: Sequence[float], std: Sequence[float], *, width: int):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))
        self.backbone = backbone
        self.head = head
        self.width = width

    def features(self, images: Tensor) -> Tensor:
        """The backbone's features, N×D, of images in [0, 1], N×3×H×W."""
        return self.backbone((images - self.mean) / self.std)

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits, N×classes, and features, N×D, both float32, of images in [0, 1], N×3×H×W."""
        features = self.features(images).float()
        return self.head(features), features

    def forward(self, images: Tensor) -> Tensor:
        """Class logits, N×classes, of images in [0, 1], N×3×H×W."""
        return self.head(self.features(images))
