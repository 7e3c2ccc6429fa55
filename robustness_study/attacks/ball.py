"""What every attack promises of its images, checked on every batch."""

from __future__ import annotations

import torch
from torch import Tensor

from robustness_study.core.errors import StudyError

TOLERANCE = 1e-6


def assert_within(images: Tensor, attacked: Tensor, epsilon_255: int) -> None:
    """StudyError unless both are float32, and `attacked` in [0, 1] and within epsilon_255/255 of `images`, by value."""
    for dtype in (images.dtype, attacked.dtype):  # a step of float32 makes float32 of half precision
        if dtype != torch.float32:
            raise StudyError(f"attack: images are {dtype}; it takes float32, or gradients round to zero")
    moved = (attacked - images).abs().max().item()
    low, high = attacked.min().item(), attacked.max().item()
    if not (moved <= epsilon_255 / 255 + TOLERANCE and low >= 0 and high <= 1):
        raise StudyError(
            f"attack: epsilon {epsilon_255}/255 moved a value by {moved * 255:.3f}/255 into [{low:.4f}, {high:.4f}]; "
            "images must be in [0, 1] with normalisation inside the model"
        )
