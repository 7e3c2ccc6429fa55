"""Colours as hue, saturation and value, as far as the corruptions need them (Smith 1978)."""

from __future__ import annotations

import torch
from torch import Tensor


def with_value(images: Tensor, value: Tensor) -> Tensor:
    """Images N×3×H×W with another value (N×1×H×W), the same hue and saturation; black becomes grey."""
    old = images.amax(1, keepdim=True)
    return torch.where(old > 0, images * (value / old.clamp(min=1e-9)), value)


def with_saturation(images: Tensor, factor: float, offset: float) -> Tensor:
    """Images N×3×H×W with the saturation times `factor` plus `offset`, in [0, 1]. Grey has the hue of red."""
    value, low = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    old = (value - low) / value.clamp(min=1e-9)
    new = (old * factor + offset).clamp(0, 1)
    red = torch.tensor([0.0, 1.0, 1.0], device=images.device).view(1, 3, 1, 1)  # how far below the value
    return torch.where(old > 0, value - (value - images) * (new / old.clamp(min=1e-9)), value * (1 - red * new))


def grey(images: Tensor) -> Tensor:
    """Luma N×1×H×W (ITU-R BT.601)."""
    return 0.299 * images[:, 0:1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:3]
