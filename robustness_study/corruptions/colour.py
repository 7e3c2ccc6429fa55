"""Changes of saturation and value in the HSV colour model (Smith 1978), as the corruptions need them."""

from __future__ import annotations

import torch
from torch import Tensor


def with_value(images: Tensor, value: Tensor) -> Tensor:
    """Images N×3×H×W with a new HSV value (N×1×H×W) and the same hue and saturation. Black pixels become grey."""
    old = images.amax(1, keepdim=True)
    return torch.where(old > 0, images * (value / old.clamp(min=1e-9)), value)


def with_saturation(images: Tensor, factor: float, offset: float) -> Tensor:
    """Images N×3×H×W with the saturation times `factor` plus `offset`, clipped to [0, 1]. Grey has the hue of red."""
    value, low = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    old = (value - low) / value.clamp(min=1e-9)
    new = (old * factor + offset).clamp(0, 1)
    # If the hue is red, the first channel equals the value and the other two are below it.
    red = torch.tensor([0.0, 1.0, 1.0], device=images.device).view(1, 3, 1, 1)
    return torch.where(old > 0, value - (value - images) * (new / old.clamp(min=1e-9)), value * (1 - red * new))


def grey(images: Tensor) -> Tensor:
    """The grey value of each pixel (ITU-R BT.601 luma), N×1×H×W, of images N×3×H×W."""
    return 0.299 * images[:, 0:1] + 0.587 * images[:, 1:2] + 0.114 * images[:, 2:3]
