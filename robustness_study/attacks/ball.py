"""The check that attacked images stay within epsilon and within [0, 1]. Every attack runs it on every batch."""

from __future__ import annotations

import torch
from torch import Tensor

from robustness_study.core.errors import StudyError

TOLERANCE = 1e-6


def assert_within(images: Tensor, attacked: Tensor, epsilon_255: int) -> None:
    """Raise StudyError unless both are float32, and `attacked` is in [0, 1] and within epsilon_255/255 of `images`.

    Both are N×3×H×W. No single value may move by more than epsilon_255/255.
    """
    for dtype in (images.dtype, attacked.dtype):  # both, because a float32 step turns half precision into float32
        if dtype != torch.float32:
            raise StudyError(
                f"attack: images are {dtype}, in which small gradients can round to zero; convert them to float32"
            )
    moved = (attacked - images).abs().max().item()
    low, high = attacked.min().item(), attacked.max().item()
    if not (moved <= epsilon_255 / 255 + TOLERANCE and low >= 0 and high <= 1):
        raise StudyError(
            f"attack: epsilon {epsilon_255}/255 moved a value by {moved * 255:.3f}/255, and values are now in "
            f"[{low:.4f}, {high:.4f}]; give images in [0, 1] and put normalisation inside the model"
        )
