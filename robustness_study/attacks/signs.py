"""The signs of a gradient, and one step along such signs (Goodfellow et al. 2015, arXiv 1412.6572).

The signs do not depend on epsilon, so they are computed once. cleverhans computes them, from the cross-entropy of the
given logits. It takes the mean over the batch. This changes a sign only where the gradient is close to underflow.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from robustness_study.attacks.ball import assert_within
from robustness_study.attacks.scoring import Logits


def gradient_signs(logits: Logits, images: Tensor, labels: Tensor) -> Tensor:
    """The signs of the loss's gradient, int8 N×3×H×W in {−1, 0, 1}; an image with a zero gradient has only zeros."""
    from cleverhans.torch.attacks.fast_gradient_method import fast_gradient_method

    stepped = fast_gradient_method(logits, images, 1.0, norm=np.inf, y=labels).detach()
    return torch.round(stepped - images).to(torch.int8)


def step(images: Tensor, signs: Tensor, epsilon_255: int) -> Tensor:
    """Images, N×3×H×W, with each value moved by epsilon_255/255 in the direction of its sign and clipped to [0, 1].

    Raises StudyError if the result is out of bounds.
    """
    moved = (images + epsilon_255 / 255 * signs).clamp(0, 1)
    assert_within(images, moved, epsilon_255)
    return moved
