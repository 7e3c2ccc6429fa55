"""The model: normalisation, a backbone, and the head that the loss chooses.

In: float32 images in [0, 1], N×3×H×W. Out: features N×D or class logits N×classes. Normalisation is the first layer,
so an attack's epsilon is in pixel units (Croce et al. 2020, arXiv 2010.09670).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from robustness_study.losses.head import Head

FEATURES = 512


class Classifier(nn.Module):
    """Normalisation, backbone, head; see the module's docstring for shapes and ranges."""

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, head: Head, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1))
        self.backbone = backbone
        self.head = head

    def features(self, images: Tensor) -> Tensor:
        """The backbone's features, N×512, of images in [0, 1], N×3×H×W."""
        return self.backbone((images - self.mean) / self.std)

    def forward(self, images: Tensor) -> Tensor:
        """Class logits, N×classes, of images in [0, 1], N×3×H×W."""
        return self.head(self.features(images))
